"""A driver's output, in a file that outlives the gateway.

The driver writes into the file itself: a pipe through the gateway would break with the gateway. The file is opened
for appending, so that it can be cut while the driver writes: when it passes its limit its content moves to one older
file beside it, which takes the place of the one before.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

TAIL_BYTES = 8192
HEAD = ["stdout: ", "\nstderr: "]
"""How Livy's log begins; everything of ours follows the second mark, as both streams go to one file."""


class DriverLog:
    """One driver's log."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "driver.log"
        self.older = folder / "driver.log.1"

    def open(self) -> int:
        """A descriptor for the driver to write to; only this process's user may open the file."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def rotate(self, limit: int) -> bool:
        """Move the content aside where it has passed the limit."""
        try:
            if self.path.stat().st_size <= limit:
                return False
        except FileNotFoundError:
            return False
        shutil.copyfile(self.path, self.older)
        self.older.chmod(0o600)
        os.truncate(self.path, 0)
        return True

    def age_seconds(self) -> float:
        """How long ago something was last written."""
        try:
            return time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def note(self, line: str) -> None:
        """Add a line of the gateway's."""
        descriptor = self.open()
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def tail(self, lines: int) -> list[str]:
        """The last lines, by one short read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return list(HEAD)
        found = text.splitlines()
        if size > TAIL_BYTES:
            return found[1:][-lines:]
        return [*HEAD, *found][-lines:]

    def page(self, first: int, size: int) -> tuple[int, int, list[str]]:
        """(index of the first, count of all, lines); blocks on the disk."""
        wanted: deque[str] = deque(maxlen=size if first < 0 <= size else None)
        total = 0
        for line in self._lines():
            if first < 0 or (total >= first and (size < 0 or total < first + size)):
                wanted.append(line)
            total += 1
        lines = list(wanted)
        begin = total - len(lines) if first < 0 else first
        return begin, total, lines

    def _lines(self) -> Iterator[str]:
        yield from HEAD
        for path in (self.older, self.path):
            try:
                with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                    for line in file:
                        yield line.rstrip("\r\n")
            except FileNotFoundError:
                continue
