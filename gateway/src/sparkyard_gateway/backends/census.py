"""Who runs on this machine, looked up once for all who want to know within the same moment.

Whoever ends a driver must find all that it started, and the kernel tells that only to one who looks at every process
there is. Where hundreds of drivers end at once, each looking for itself, again and again until nothing is left, the
looks alone take a minute. So they are shared: who asks gets the result of the next look that *begins*, as an earlier
one may have missed what was started meanwhile, and all who asked before it began get the same.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sparkyard_gateway.backends import processes

_PROC = "/proc"
_STAT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """The living processes by the leader of their session, and by their working folder."""

    by_leader: dict[int, list[int]] = field(default_factory=dict)
    by_folder: dict[str, list[int]] = field(default_factory=dict)


class Census:
    """Looks, and ends what it finds. One for all who end processes beside each other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Seen] | None = None
        self._finished = self._took = 0.0

    async def look(self) -> Seen:
        """What a look has found that began after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(), name="census")
        return await asyncio.shield(self._next)

    async def _look(self) -> Seen:
        async with self._turn:
            # As long as the last one took: looking must not take all of the machine from those who shall end.
            await asyncio.sleep(self._finished + self._took - time.monotonic())
            self._next = None  # who asks from here on may ask for something newer
            begun = time.monotonic()
            seen = await asyncio.to_thread(everybody)
            self._finished = time.monotonic()
            self._took = self._finished - begun
            return seen

    async def end_session(self, leader: int, grace_seconds: float, force_seconds: float = 10.0) -> bool:
        """End all of a session: a request, a while, then by force. Returns whether nothing is left."""
        loop = asyncio.get_running_loop()
        if await self.kill_members(leader, signal.SIGTERM):
            end = loop.time() + grace_seconds
            while (await self.look()).by_leader.get(leader) and loop.time() < end:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(processes.POLL_SECONDS)
        end = loop.time() + force_seconds
        while await self.kill_members(leader, signal.SIGKILL):
            if loop.time() > end:
                return False
            await asyncio.sleep(processes.POLL_SECONDS)
        return True

    async def kill_members(self, leader: int, number: signal.Signals) -> int:
        """Send a signal to all of a session; returns how many there were."""
        pids = (await self.look()).by_leader.get(leader, [])
        _kill(pids, number, lambda pid: processes.leader_of(pid) == leader)
        return len(pids)

    async def end_working_in(self, folder: Path, force_seconds: float = 10.0) -> bool:
        """Kill whatever has this working folder. Returns whether nothing is left."""
        loop = asyncio.get_running_loop()
        end = loop.time() + force_seconds
        while pids := (await self.look()).by_folder.get(str(folder), []):
            _kill(pids, signal.SIGKILL, lambda pid: _folder_of(str(pid)) == str(folder))
            if loop.time() > end:
                return False
            await asyncio.sleep(processes.POLL_SECONDS)
        return True


def _kill(pids: Iterable[int], number: signal.Signals, still: Callable[[int], bool]) -> None:
    """Send a signal to those that are still what the look has seen: a number may be another's by now."""
    for pid in pids:
        if still(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def everybody() -> Seen:
    """Look now. Blocks for as long as there are processes."""
    seen = Seen()
    for name in os.listdir(_PROC):  # noqa: PTH208 - no path is made of each: this is done often
        if not name.isdecimal():
            continue
        leader = _leader_of(name)
        if leader is not None:
            seen.by_leader.setdefault(leader, []).append(int(name))
            folder = _folder_of(name)
            if folder is not None:
                seen.by_folder.setdefault(folder, []).append(int(name))
    return seen


def _leader_of(pid: str) -> int | None:
    """The leader of a living process's session. As `processes.leader_of`, at a quarter of its time."""
    try:
        descriptor = os.open(f"{_PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The name of a program may hold anything, also a bracket.
        fields = os.read(descriptor, _STAT_BYTES).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if len(fields) < 4 or fields[0] in {b"Z", b"X"} else int(fields[3])


def _folder_of(pid: str) -> str | None:
    try:
        return os.readlink(f"{_PROC}/{pid}/cwd")  # noqa: PTH115 - likewise
    except OSError:
        return None
