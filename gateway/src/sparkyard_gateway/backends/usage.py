"""What the processes of this machine use, by the kernel's session that they are in: one read for each process."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """One process's. `resident` counts what it shares with others as if it were its own."""

    pid: int
    threads: int
    resident: int

    def proportional(self) -> int:
        """Its memory, with a fair part of what it shares; slow, and 0 where it is gone."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        return 0


def usage_by_leader() -> dict[int, list[Usage]]:
    """All processes by the leader of their session."""
    found: dict[int, list[Usage]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, so what follows it is counted from its end.
            fields = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            usage = Usage(int(entry.name), int(fields[17]), int(fields[21]) * _PAGE)
            found.setdefault(int(fields[3]), []).append(usage)
    return found
