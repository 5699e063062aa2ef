"""Processes of this machine, told apart from their successors of the same number, and ended with all they started.

Words:
    stamp     a process's start time, in clock ticks since boot: with the pid it names one process for ever
    session   (the kernel's) every process that a driver starts stays in the session the driver leads, whatever
              process group it makes for itself, as Spark's Python workers do
    pidfd     a descriptor that becomes readable when the process ends, child or not
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

_PROC = Path("/proc")
OOM_SCORE = "500"
"""When memory runs out the kernel shall take a driver, not the gateway or the hub."""
_LISTEN = "0A"
POLL_SECONDS = 0.02
"""How often the last processes of a killed session are looked for: they die in milliseconds, or are stuck."""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on: the name before them may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def stamp(pid: int) -> int | None:
    """When the process started; None where there is none (or only its remains)."""
    fields = _stat(pid)
    if fields is None or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def working_in(folder: Path) -> list[int]:
    """The processes whose working folder this is."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            where = (entry / "cwd").readlink()
        except OSError:
            continue
        if where == folder:
            found.append(int(entry.name))
    return sorted(found)


def members(leader: int) -> list[int]:
    """The living processes of the session that `leader` leads or led."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields is not None and fields[0] not in {"Z", "X"} and int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def leader_of(pid: int) -> int | None:
    """The leader of the process's session."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def kill_members(leader: int, number: signal.Signals) -> int:
    """Send a signal to all of a session; returns how many there were."""
    pids = members(leader)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)


def memory_of(leaders: Collection[int]) -> dict[int, int]:
    """The bytes that the processes of these sessions hold, each session's together: one look at all processes.

    What they share with the files they were started from is not counted.
    """
    held: dict[int, int] = {}
    for entry in _PROC.iterdir() if leaders else ():
        fields = _stat(int(entry.name)) if entry.name.isdecimal() else None
        if fields is None or int(fields[3]) not in leaders:
            continue
        with contextlib.suppress(OSError):
            for line in (entry / "status").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    held[int(fields[3])] = held.get(int(fields[3]), 0) + int(line.split()[1]) * 1024
    return held


def listening_ports(leader: int) -> set[int]:
    """The TCP ports that the processes of a session listen on."""
    sockets = set()
    for pid in members(leader):
        for descriptor in _listed(_PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                sockets.add(str(descriptor.readlink()))
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def running_as(uid: int) -> list[int]:
    """The living processes that are this uid in any way. Not by who owns /proc/<pid>, which a process can change."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            lines = (entry / "status").read_text(encoding="utf-8", errors="replace").splitlines()
            fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
            if str(uid) in fields["Uid"] and fields["State"][0] not in {"Z", "X"}:
                found.append(int(entry.name))
    return found


async def end_all_of(uid: int, force_seconds: float = 10.0) -> bool:
    """Kill whatever runs as this uid. Returns whether nothing is left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + force_seconds
    while pids := await asyncio.to_thread(running_as, uid):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if loop.time() > end:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


class Watch:
    """Calls once when a process ends, be it our child or an orphan of an earlier gateway."""

    def __init__(self, pid: int, when_ended: Callable[[int | None], None]) -> None:
        self.pid = pid
        self._when_ended = when_ended
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._ended)

    def forget(self) -> None:
        """Tell nobody any more."""
        self._when_ended = lambda _code: None

    def stop(self) -> None:
        """Look away."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _ended(self) -> None:
        self.stop()
        try:
            _, status = os.waitpid(self.pid, os.WNOHANG)
            code: int | None = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = None
        self._when_ended(code)


def same(handle: Mapping[str, object]) -> bool:
    """Whether the process of that number is still the one that was started."""
    pid = handle["pid"]
    return isinstance(pid, int) and stamp(pid) == handle["stamp"] is not None


def expendable(pid: int) -> None:
    """When memory runs out the kernel shall take this one; what it starts later on inherits it."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")


def why_ended(code: int | None) -> str:
    """An end in a sentence, from an exit code; negative for a signal, None where nobody saw it."""
    if code is None:
        return "The driver process ended; how is not known, as an earlier gateway had started it."
    if code == 0:
        return "The driver process ended by itself (exit code 0)."
    if code > 0:
        return f"The driver process ended with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "The driver process was killed (SIGKILL): most often because the machine ran out of memory."
    return f"The driver process was ended by {name}."
