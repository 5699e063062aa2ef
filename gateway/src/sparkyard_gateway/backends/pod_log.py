"""A pod's log, brought into a file of the session's own as it is written: Kubernetes forgets it with the pod.

A driver's is followed for as long as it runs. There may be a thousand executors, so theirs are looked at in turns, and
followed while somebody reads them (`executor_logs`).

Each line comes with its time, by which the reading goes on after a break, and after the gateway's: the time of the last
line that is kept stands in a file beside the log. A gateway that dies between the two writes brings a few lines twice.
"""

import asyncio
import contextlib
import os
import random
import re
from pathlib import Path

import structlog

from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.pod_places import DRIVER_CONTAINER

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 15.0
AT_ONCE = 500
"""How many lines are written at a time."""

_NO_MORE = b"unable to retrieve container logs for "  # the kubelet, of a container that it has removed
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")

log = structlog.get_logger(__name__)


class PodLog:
    """Follows one container from when it runs to its end."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        folder: Path,
        container: str = DRIVER_CONTAINER,
        limit: int | None = None,
    ) -> None:
        """`limit` is the size at which the file is cut, where nobody else sees to that."""
        self._cluster = cluster
        self._where = (namespace, pod, container)
        self._folder = folder
        self._limit = limit
        self._kept = folder / "driver.log.until"
        self._last = ""
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.complete = False
        """Whether all of it is here, the container having ended."""

    @property
    def following(self) -> bool:
        """Whether it is being read as it is written."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """The container runs, or has run: read, unless it is being read."""
        if self._task is None or (self._task.done() and not self._ended.is_set()):
            self._task = asyncio.create_task(self._run(), name=f"log-of-{self._where[1]}")

    async def finish(self, seconds: float) -> None:
        """The container has ended: read what is left of its log, for so long at most."""
        self.begin()
        self._ended.set()
        assert self._task is not None
        await asyncio.wait({self._task}, timeout=seconds)
        await self.stop()

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def look(self) -> None:
        """Keep what was written since the last time. Raises ClusterAway, ClusterRefused and OSError."""
        if not self.following:
            self._last = self._last or await asyncio.to_thread(self._recall)
            await self._read(follow=False)

    async def _run(self) -> None:
        self._last = self._last or await asyncio.to_thread(self._recall)
        pause = FIRST_PAUSE
        while True:
            # Whoever follows is told the end; after it one plain look suffices.
            last_look, before = self._ended.is_set(), self._last
            try:
                await self._read(follow=not last_look)
            except ClusterRefused as refused:
                # 400 while the container is being made, 404 once the pod is gone.
                if refused.status == 404:
                    return
                self.complete = False
            except ClusterAway as away:
                self.complete = False
                log.info("driver_log_interrupted", pod=self._where[1], error=str(away))
            except OSError as error:
                self.complete = False
                log.warning("log_not_kept", pod=self._where[1], error=error.strerror)
            else:
                # A stream that is followed ends with its container.
                self.complete = True
                if last_look:
                    return
            pause = FIRST_PAUSE if self._last != before else min(2 * pause, LONGEST_PAUSE)
            rest = pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
            if last_look:
                await asyncio.sleep(rest)  # `finish` bounds it
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), rest)

    async def _read(self, *, follow: bool) -> None:
        """Keep what is new, until there is no more."""
        since = f"{self._last[:19]}Z" if self._last else None
        stream = self._cluster.log(*self._where, since, follow=follow)
        # Whatever has come is written at once, and as much of it together as there is.
        lines: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(AT_ONCE)

        async def fetch() -> None:
            try:
                async for line in stream:
                    await lines.put(line)
            except (ClusterAway, ClusterRefused) as error:
                await lines.put(error)
            else:
                await lines.put(None)

        fetching = asyncio.create_task(fetch())
        try:
            while True:
                waiting: list[bytes | BaseException | None] = [await lines.get()]
                while not lines.empty():
                    waiting.append(lines.get_nowait())
                fresh, stamp = after(self._last, _there(waiting))
                if fresh:
                    await asyncio.to_thread(self._keep, fresh, stamp)
                    self._last = stamp
                end = waiting[-1]
                if isinstance(end, BaseException):
                    raise end
                if end is None:
                    return
        finally:
            fetching.cancel()
            await asyncio.wait({fetching})
            await stream.aclose()  # type: ignore[attr-defined]

    def _keep(self, lines: list[bytes], stamp: str) -> None:
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        kept = DriverLog(self._folder)
        descriptor = kept.open()
        try:
            os.write(descriptor, b"".join(line + b"\n" for line in lines))
        finally:
            os.close(descriptor)
        self._kept.write_text(stamp, encoding="ascii")
        if self._limit is not None:
            kept.rotate(self._limit)

    def _recall(self) -> str:
        try:
            return self._kept.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""


def _there(waiting: list[bytes | BaseException | None]) -> list[bytes]:
    """Those that are lines. Raises ClusterRefused where the node says that it has the log no more."""
    lines = [each for each in waiting if isinstance(each, bytes)]
    if any(each.startswith(_NO_MORE) for each in lines):
        raise ClusterRefused(404, "its node has its log no more")
    return lines


def after(last: str, lines: list[bytes]) -> tuple[list[bytes], str]:
    """The lines that are later than `last`, without their times, and the time of the last of all."""
    fresh: list[bytes] = []
    for line in lines:
        found = _STAMP.match(line)
        if found is None:
            # No line of a container's: the server's own word, such as that a log file is gone.
            if not line.startswith(_NO_MORE):
                fresh.append(line)
            continue
        stamp = f"{found[1].decode()}.{(found[2] or b'').decode():0<9}"
        if stamp > last:
            fresh.append(line[found.end() :])
            last = stamp
    return fresh, last
