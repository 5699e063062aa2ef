"""Executors' logs, brought here before they are gone, however many executors there are.

There may be a thousand, and a stream of each would be a thousand connections through the API server. So:

    in turns     each that runs, of a session the newest, is looked at every minute; AT_ONCE are read at a time
    followed     one that somebody reads, and what is about to be ended
    at its end   what is left is read. Its pod stays until then: Spark deletes none, and the gateway does once the
                 log is here and Spark has seen the end

What ends while no gateway lives is read by the next one. What a node took along with it is lost but for what an
earlier turn has brought: that is told as a log in part.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from sparkyard_gateway.backends import executors as of
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.executors import Executor, Kept
from sparkyard_gateway.backends.pod_book import PodBook, remove_all
from sparkyard_gateway.backends.pod_log import PodLog
from sparkyard_gateway.backends.pod_places import EXECUTOR_CONTAINER
from sparkyard_gateway.times import now_ms

Object = dict[str, Any]

LIMIT_BYTES = 4 * 1024 * 1024
"""When an executor's log is cut; one older file is kept beside it."""
MOST_KEPT = 50
"""Of one session: of those that run, that ended, and that failed each so many."""
AT_ONCE = 16
STREAMS = 200
"""How many are followed at once."""
ROUND_SECONDS = 60.0
FRESH_SECONDS = 2.0
"""How old what a reader gets may be."""
WANTED_SECONDS = 20.0
"""How long one that nobody reads any more is still followed."""
TURN_SECONDS = 1.0
END_SECONDS = 20.0
"""How long the reading of an end may take before it is tried again."""
TRIES = 6
PAUSE_SECONDS = 30.0
GRACE_SECONDS = 30

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Reader:
    """One executor whose log is looked after."""

    book: PodBook
    uid: str
    pod: Object
    log: PodLog
    gone: bool = False
    looked: float = float("-inf")
    next_try: float = float("-inf")
    tries: int = 0
    wanted_until: float = float("-inf")
    task: asyncio.Task[None] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def executor(self) -> Executor:
        return self.book.executors[self.uid]

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()


class ExecutorLogs:
    """One for all sessions of a backend."""

    def __init__(self, cluster: Cluster, changed: Callable[[], None]) -> None:
        """`changed` is called when a book has."""
        self._cluster = cluster
        self._changed = changed
        self._readers: dict[str, _Reader] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def seen(self, book: PodBook, executor: Executor, pod: Object, *, gone: bool) -> None:
        """An executor's pod has changed; `executor` is in its book."""
        reader = self._readers.get(executor.uid)
        if reader is None:
            if gone and executor.kept is not Kept.GROWING:
                return
            reader = self._readers[executor.uid] = _Reader(book, executor.uid, pod, self._log(book, executor))
        reader.pod, reader.gone = pod, reader.gone or gone
        if executor.kept is not Kept.GROWING:
            reader.done.set()
        if pod["metadata"].get("deletionTimestamp") and not executor.over and executor.started:
            # Whatever it says from now on is gone with it.
            self._want(reader)
        if executor.over:
            self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="executor-logs")

    def _log(self, book: PodBook, executor: Executor) -> PodLog:
        where = executor.namespace, executor.pod, book.folder_of(executor)
        return PodLog(self._cluster, *where, container=EXECUTOR_CONTAINER, limit=LIMIT_BYTES)

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for reader in list(self._readers.values()):
            await self._drop(reader)

    # For whoever reads

    def looks_after(self, uid: str) -> bool:
        """Whether more of an executor's log may come."""
        reader = self._readers.get(uid)
        return reader is not None and not reader.done.is_set()

    async def freshen(self, uid: str, *, follow: bool) -> None:
        """See that what is here of a log is as it is there, where that can be done."""
        reader = self._readers.get(uid)
        if reader is None or reader.done.is_set() or not reader.executor.started:
            return
        if follow:
            self._want(reader)
        elif not reader.log.following and time.monotonic() - reader.looked > FRESH_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look(reader), END_SECONDS)

    def _want(self, reader: _Reader) -> None:
        reader.wanted_until = time.monotonic() + WANTED_SECONDS
        if reader.log.following or reader.looking.locked():
            return
        if sum(each.log.following for each in self._readers.values()) < STREAMS:
            reader.log.begin()

    # The end of a session

    async def before_end(self, book: PodBook, seconds: float) -> None:
        """Its pods are about to be ended: have what those that ended have left, and follow the others to their ends."""
        worth = of.worth_keeping(book.executors.values(), MOST_KEPT)
        mine = [each for each in self._readers.values() if each.book is book and not each.done.is_set()]
        alive = [each for each in mine if each.uid in worth and each.executor.started and not each.executor.over]
        ended = [each for each in mine if each.executor.over]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(self._wait(ended, seconds), *(self._look_now(each) for each in alive))
        for reader in alive:
            self._want(reader)

    async def _look_now(self, reader: _Reader) -> None:
        async with self._at_once:
            await self._do(self._look(reader))

    async def after_end(self, book: PodBook, seconds: float) -> None:
        """Its pods are gone."""
        mine = [each for each in self._readers.values() if each.book is book]
        await self._wait(mine, seconds)
        for reader in mine:
            if not reader.done.is_set():
                book.put(replace(reader.executor, kept=Kept.PART))
            await self._drop(reader)

    async def _wait(self, readers: list[_Reader], seconds: float) -> None:
        self._wake.set()
        waiting = [asyncio.ensure_future(each.done.wait()) for each in readers if not each.done.is_set()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
            for each in waiting:
                each.cancel()

    async def let_go(self, book: PodBook) -> None:
        """Look no more at a session's."""
        for reader in [each for each in self._readers.values() if each.book is book]:
            await self._drop(reader)

    async def _drop(self, reader: _Reader) -> None:
        self._readers.pop(reader.uid, None)
        if reader.task is not None and reader.task is not asyncio.current_task():
            reader.task.cancel()
            await asyncio.wait({reader.task})
        await reader.log.stop()

    # Turns

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._give_turns()
            except Exception:  # the loop must outlive one bad round
                log.exception("executor_logs_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TURN_SECONDS)

    def _give_turns(self) -> None:
        now = time.monotonic()
        idle = [each for each in self._readers.values() if not each.busy]
        for reader in idle:
            if reader.log.following and now > reader.wanted_until and not reader.executor.over:
                reader.task = asyncio.create_task(reader.log.stop(), name=f"unfollow-{reader.uid}")
        ends = [each for each in idle if each.executor.over and now >= each.next_try]
        # A log that is to be read comes before a pod that is to be deleted.
        ends.sort(key=lambda each: each.done.is_set())
        free = AT_ONCE - sum(each.busy for each in self._readers.values())
        for work, readers in ((self._end, ends), (self._look, self._due(idle, now))):
            for reader in readers[: max(0, free)]:
                reader.task = asyncio.create_task(self._do(work(reader)), name=f"executor-{reader.uid}")
                free -= 1

    @staticmethod
    def _due(readers: list[_Reader], now: float) -> list[_Reader]:
        """Those that run and were not looked at for a while, the longest ago first."""
        old = [
            each
            for each in readers
            if now - each.looked > ROUND_SECONDS
            and each.executor.started
            and not each.executor.over
            and not each.log.following
        ]
        books = {id(each.book): each.book for each in old}
        worth = {key: of.worth_keeping(book.executors.values(), MOST_KEPT) for key, book in books.items()}
        return sorted((each for each in old if each.uid in worth[id(each.book)]), key=lambda each: each.looked)

    async def _do(self, work: Any) -> None:
        try:
            await work
        except (ClusterAway, ClusterRefused) as error:
            log.info("executor_log_interrupted", error=str(error))
        except OSError as error:
            log.warning("log_not_kept", error=error.strerror)
        finally:
            self._wake.set()

    async def _look(self, reader: _Reader) -> None:
        async with reader.looking:  # whatever else looks has what is new
            reader.looked = time.monotonic()
            with contextlib.suppress(ClusterAway, ClusterRefused):
                await reader.log.look()

    async def _end(self, reader: _Reader) -> None:
        """One step after an executor's end: read its log, then delete its pod once Spark has seen the end."""
        executor = reader.executor
        if executor.kept is Kept.GROWING:
            await self._read_end(reader)
            return
        reader.done.set()
        if reader.gone:
            self._readers.pop(reader.uid, None)
        elif of.may_be_deleted(executor, reader.pod, now_ms(), driver_over=reader.book.driver_over):
            reader.next_try = time.monotonic() + PAUSE_SECONDS
            await self._cluster.delete(
                executor.namespace, "pods", executor.pod, uid=executor.uid, grace_seconds=GRACE_SECONDS
            )
        else:
            reader.next_try = time.monotonic() + TURN_SECONDS

    async def _read_end(self, reader: _Reader) -> None:
        book, executor = reader.book, reader.executor
        if reader.uid not in of.worth_keeping(book.executors.values(), MOST_KEPT):
            kept = Kept.DROPPED
            await reader.log.stop()
            await asyncio.to_thread(remove_all, [book.folder_of(executor)])
        else:
            async with reader.looking:
                await reader.log.finish(END_SECONDS)
            reader.tries += 1
            if not (reader.log.complete or reader.gone) and reader.tries < TRIES:
                reader.next_try = time.monotonic() + PAUSE_SECONDS
                reader.log = self._log(book, executor)
                return
            kept = Kept.WHOLE if reader.log.complete else Kept.PART
        book.put(replace(reader.executor, kept=kept))
        folders = book.cut(MOST_KEPT, self._readers)
        if folders:
            await asyncio.to_thread(remove_all, folders)
        reader.done.set()
        self._changed()
