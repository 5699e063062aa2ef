"""A fence around each driver on this machine: what it may take, and what happens when it takes more.

A driver's limits are set before its program runs (`limits`). Where the kernel offers groups (`cgroups`) it does the
rest; everywhere else `look` adds up what a driver's processes use, and says who has to go. Either way the owner reads
why. Looking is the weaker of the two: a process that leaves its session is not seen by it, and is held by the limits on
one process and one user alone.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.cgroups import PREFIX, Group, Hierarchy, find_hierarchy
from sparkyard_gateway.backends.limits import (
    Limits,
    limited,
    limits_of,
    prlimit,
    too_many_processes,
    too_much_memory,
)
from sparkyard_gateway.backends.usage import Usage, usage_by_leader

LOOK_SECONDS = 2.0
"""How often drivers without a group are looked at."""

FORCE_SECONDS = 10.0
"""How long the last processes of a group may take to die; they do in milliseconds, or are stuck."""
LEISURE = 50
"""How much longer the pause after a look is than the CPU time that it took, at the least."""
LONGEST_PAUSE_SECONDS = 10.0
"""A machine that is overrun is when looking matters most."""

log = structlog.get_logger(__name__)


class Fence:
    """One driver's."""

    def __init__(self, limits: Limits, group: Group | None) -> None:
        self.limits = limits
        self.group = group
        self.pid: int | None = None
        self._verdict: str | None = None

    def command(self, command: Sequence[str], *, own_user: bool) -> list[str]:
        """The command that starts the driver's program under its limits."""
        return limited(command, self.limits, own_user=own_user)

    def enter(self, pid: int) -> None:
        """The driver's process is there; nothing of its user's has run in it yet."""
        self.pid = pid
        if self.group is not None:
            try:
                self.group.enter(pid)
            except OSError as error:
                log.warning("driver_without_group", pid=pid, error=str(error))
                self.group = None

    @property
    def verdict(self) -> str | None:
        """Why the driver was ended, or fell, for having taken too much; None where it didn't."""
        if self._verdict is None and self.group is not None and self.group.ran_out_of_memory():
            self._verdict = too_much_memory(self.limits)
        return self._verdict

    def look(self, seen: Sequence[Usage]) -> str | None:
        """What it takes too much of, by what its processes use; blocks for as long as that takes."""
        threads = sum(each.threads for each in seen)
        if threads > self.limits.processes:
            self._verdict = too_many_processes(self.limits, threads)
        elif sum(each.resident for each in seen) > self.limits.memory:
            # What processes share was counted for each of them: now as precisely as the kernel can say it.
            used = sum(each.proportional() for each in seen)
            if used > self.limits.memory:
                self._verdict = too_much_memory(self.limits, used)
        return self._verdict

    def end(self) -> bool:
        """End what is in the group, wherever it hides, and take the group away. Returns whether that is done."""
        return self.group is None or (self.group.kill() and self.group.remove())


def fences_for(
    folder: Path, memory_mib: int | None = None, process_count: int | None = None, *, cgroups: bool = True
) -> "Callable[[Callable[[int], None]], Fences]":
    """Fences for the backend of this folder, yet to be told whom to tell that a driver took too much."""
    # Gateways that run side by side on one machine have folders of their own.
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    hierarchy = find_hierarchy if cgroups else lambda: None
    return lambda over: Fences(name, over, memory_mib, process_count, hierarchy)


class Fences:
    """All drivers' of one gateway."""

    def __init__(
        self,
        name: str,
        over: Callable[[int], None],
        memory_mib: int | None = None,
        process_count: int | None = None,
        hierarchy: Callable[[], Hierarchy | None] = find_hierarchy,
    ) -> None:
        """`name` tells this gateway's groups from another's; `over` is called with a driver that took too much."""
        self._name = name
        self._over = over
        self._memory_mib = memory_mib
        self._process_count = process_count
        self._hierarchy = hierarchy()
        self._fences: dict[int, Fence] = {}
        self._guard: asyncio.Task[None] | None = None
        if self._hierarchy is not None:
            self._hierarchy.tidy()
        log.info("drivers_are_fenced", by="cgroups" if self._hierarchy else "looking", limits=bool(prlimit()))

    def make(self, number: int, conf: Mapping[str, str]) -> Fence:
        """A fence for a driver that is about to start."""
        limits = limits_of(conf, self._memory_mib, self._process_count)
        group = None
        if self._hierarchy is not None:
            try:
                group = self._hierarchy.make(self._group_name(number), limits)
            except OSError as error:
                log.warning("driver_without_group", session=number, error=str(error))
        return self._keep(number, Fence(limits, group))

    def find(self, number: int, kept: object, pid: int) -> Fence | None:
        """The fence of a driver that an earlier gateway started; None where it had none."""
        limits = Limits.of(kept)
        if number in self._fences or limits is None:
            return self._fences.get(number)
        group = self._hierarchy.group(self._group_name(number)) if self._hierarchy is not None else None
        fence = Fence(limits, group if group is not None and pid in group.members() else None)
        fence.pid = pid
        return self._keep(number, fence)

    def _keep(self, number: int, fence: Fence) -> Fence:
        self._fences[number] = fence
        if self._guard is None or self._guard.done():
            self._guard = asyncio.get_running_loop().create_task(self._look_after(), name="fences")
        return fence

    def verdict(self, number: int) -> str | None:
        """Why a driver fell for having taken too much; None where it didn't."""
        fence = self._fences.get(number)
        return fence.verdict if fence is not None else None

    def forget(self, number: int) -> None:
        """Another gateway looks after this driver now."""
        self._fences.pop(number, None)

    async def end(self, number: int) -> None:
        """The driver has ended: whatever it left behind ends too, and the fence is taken away."""
        fence = self._fences.pop(number, None)
        if fence is not None:
            loop = asyncio.get_running_loop()
            end = loop.time() + FORCE_SECONDS
            # On a thread: the kernel takes its time to take a group away.
            while not await asyncio.to_thread(fence.end) and loop.time() < end:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(processes.POLL_SECONDS)

    async def _look_after(self) -> None:
        """Until no driver is left."""
        while self._fences:
            cost = 0.0
            if any(fence.group is None for fence in self._fences.values()):
                seen, cost = await asyncio.to_thread(_timed_look)
                for number, fence in list(self._fences.items()):
                    mine = seen.get(fence.pid, []) if fence.pid is not None and fence.group is None else []
                    if await asyncio.to_thread(fence.look, mine) is not None:
                        log.warning("driver_over_its_limits", session=number, why=fence.verdict)
                        self._over(number)
            # Many drivers take long to look at, and looking must not become the load itself.
            await asyncio.sleep(min(max(LOOK_SECONDS, LEISURE * cost), LONGEST_PAUSE_SECONDS))

    def _group_name(self, number: int) -> str:
        return f"{PREFIX}{self._name}-{number}"


def _timed_look() -> tuple[dict[int, list[Usage]], float]:
    """What all use, and the CPU seconds that it took to see it: on a busy machine time on the clock says little."""
    begun = time.thread_time()
    return usage_by_leader(), time.thread_time() - begun
