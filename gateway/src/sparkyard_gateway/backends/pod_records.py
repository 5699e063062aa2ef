"""What is kept of the pods of sessions, or of batches: executors with their logs, and what Kubernetes tells of them.

A backend tells what its watch sees. Events are watched here, one watch a namespace as of pods: an event may come
before the pod that it is about, so that those of pods that nobody knows yet are held for a while.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends import executors as of
from sparkyard_gateway.backends import pod_events, pod_names, pod_reasons
from sparkyard_gateway.backends.cluster import Cluster
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.executor_logs import ExecutorLogs
from sparkyard_gateway.backends.executor_notes import ExecutorNotes
from sparkyard_gateway.backends.executors import Executor
from sparkyard_gateway.backends.pod_book import PodBook
from sparkyard_gateway.backends.pod_watch import PodWatch
from sparkyard_gateway.backends.stray_pods import role_of
from sparkyard_gateway.times import now_ms

Object = dict[str, Any]

SAVE_SECONDS = 1.0
BEFORE_END_SECONDS = 5.0
AFTER_END_SECONDS = 10.0
MOST_HELD = 2000
"""How many events of pods that nobody knows yet are held."""
OF_PODS = {"fieldSelector": "involvedObject.kind=Pod"}

log = structlog.get_logger(__name__)


class _Held:
    """Events of pods that nobody knows yet, the oldest pod's go first."""

    def __init__(self) -> None:
        self._by_pod: dict[str, dict[str, Object]] = {}
        self._count = 0

    def add(self, pod: str, event: Object) -> None:
        """One more."""
        known = self._by_pod.setdefault(pod, {})
        self._count += event["metadata"]["uid"] not in known
        known[event["metadata"]["uid"]] = event
        while self._count > MOST_HELD:
            self._count -= len(self._by_pod.pop(next(iter(self._by_pod))))

    def take(self, pod: str) -> Iterable[Object]:
        """Those of one pod, which is known now."""
        found = self._by_pod.pop(pod, {})
        self._count -= len(found)
        return found.values()


class PodRecords:
    """One for all sessions, or for all attempts at batches: `number` is which."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._dir = folder
        self._notes = ExecutorNotes(folder)
        self._logs = ExecutorLogs(cluster, self._changed)
        self._books: dict[int, PodBook] = {}
        self._by_driver: dict[str, PodBook] = {}
        self._by_executor: dict[str, PodBook] = {}
        self._held = _Held()
        self._watches: dict[str, PodWatch] = {}
        self._dirty = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Look no more, and keep what is known."""
        for watch in self._watches.values():
            await watch.close()
        await self._logs.close()
        if self._saving is not None:
            self._saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saving
        await self._save()

    # What the backend tells

    def open(self, namespace: str) -> None:
        """Watch what happens to the pods of a namespace."""
        watch = self._watches.get(namespace)
        if watch is None:
            watch = self._watches[namespace] = PodWatch(
                self._cluster, namespace, OF_PODS, self._happened, lambda _asked: None,
                kind="events", kept=pod_events.essential, holds=False,
            )  # fmt: skip
        watch.open()

    def begin(self, number: int, driver_uid: str, watch: PodWatch) -> None:
        """Look after a driver; `watch` is that of its namespace's pods."""
        book = self._books.get(number)
        if book is None:
            book = self._books[number] = PodBook.load(self._dir / str(number))
        else:
            self._by_driver.pop(book.driver_uid, None)
        book.driver_uid, book.driver_over = driver_uid, False
        self._by_driver[driver_uid] = book
        self._by_executor.update(dict.fromkeys(book.executors, book))
        for event in self._held.take(driver_uid):
            self._happened(event, False)
        for pod in list(watch.pods.values()):
            self.seen(number, pod, gone=False)
        if watch.listed.is_set():
            self._compare(book, watch)

    def driver_seen(self, number: int, pod: Object | None, *, over: bool) -> None:
        """A driver's pod has changed."""
        book = self._books.get(number)
        if book is not None and over:
            book.driver_over = True
        elif pod is not None and (why := pod_reasons.stuck(pod)) is not None:
            self._notes.driver_waits(number, why)

    def seen(self, number: int, pod: Object, *, gone: bool) -> bool:
        """A pod has changed; returns whether it is an executor of this number's driver."""
        book = self._books.get(number)
        if book is None or role_of(pod) != pod_names.EXECUTOR or not of.belongs(pod, book.driver_uid):
            return False
        uid = pod["metadata"]["uid"]
        before = book.executors.get(uid)
        executor = of.executor_of(pod, before, now_ms(), gone=gone, driver_over=book.driver_over)
        book.put(executor)
        if before is None:
            self._by_executor[uid] = book
            for event in self._held.take(uid):
                self._happened(event, False)
        if not book.driver_over:
            self._notes.seen(number, pod, gone=gone)
        self._logs.seen(book, executor, pod, gone=gone)
        self._changed()
        return True

    def listed(self, watch: PodWatch) -> None:
        """All pods of a namespace are known: what is not among them is gone, though nobody saw it go."""
        for book in self._books.values():
            self._compare(book, watch)

    def _compare(self, book: PodBook, watch: PodWatch) -> None:
        for executor in [each for each in book.executors.values() if each.namespace == watch.namespace]:
            if executor.uid not in watch.pods and not executor.over:
                self._gone(book, executor)

    def _gone(self, book: PodBook, executor: Executor) -> None:
        pod: Object = {"metadata": {"uid": executor.uid, "name": executor.pod, "namespace": executor.namespace}}
        ended = of.executor_of(pod, executor, now_ms(), gone=True, driver_over=book.driver_over)
        book.put(ended)
        self._logs.seen(book, ended, pod, gone=True)
        self._changed()

    def _happened(self, event: Object, gone: bool) -> None:
        uid = pod_events.concerns(event)
        if gone or uid is None:
            return
        book = self._by_driver.get(uid) or self._by_executor.get(uid)
        who = book.who(uid) if book is not None else None
        if book is None or who is None:
            self._held.add(uid, event)
            return
        book.tell(pod_events.event_of(event, who, now_ms()))
        self._changed()

    # The end

    async def before_end(self, number: int) -> None:
        """Its pods are about to be ended."""
        if (book := self._books.get(number)) is not None:
            await self._logs.before_end(book, BEFORE_END_SECONDS)

    async def after_end(self, number: int) -> None:
        """Its pods are gone."""
        book = self._books.get(number)
        if book is None:
            return
        book.driver_over = True
        for executor in [each for each in book.executors.values() if not each.over]:
            self._gone(book, executor)
        await self._logs.after_end(book, AFTER_END_SECONDS)
        await self._write(book)

    async def forget(self, number: int) -> None:
        """Nothing will happen to it any more; what is kept stays in its folder."""
        self._notes.forget(number)
        await self.let_go(number)

    async def let_go(self, number: int) -> None:
        """Look no more at one."""
        book = self._books.pop(number, None)
        if book is None:
            return
        await self._logs.let_go(book)
        self._by_driver.pop(book.driver_uid, None)
        for uid in book.executors:
            self._by_executor.pop(uid, None)
        await self._write(book)

    # What is asked

    async def book(self, number: int) -> PodBook:
        """What is known of one, present or past."""
        held = self._books.get(number)
        return held if held is not None else await asyncio.to_thread(PodBook.load, self._dir / str(number))

    async def freshen(self, executor: Executor, *, follow: bool) -> None:
        """See that what is here of an executor's log is as it is there; followed, it stays so for a while."""
        await self._logs.freshen(executor.uid, follow=follow)

    def looked_after(self, executor: Executor) -> bool:
        """Whether more of an executor's log may come."""
        return self._logs.looks_after(executor.uid)

    def log_of(self, number: int, executor: Executor) -> DriverLog:
        """An executor's log."""
        return PodBook(self._dir / str(number)).log_of(executor)

    def living(self, number: int) -> list[Executor]:
        """The executors that run."""
        book = self._books.get(number)
        return [each for each in book.executors.values() if not each.over] if book is not None else []

    # Keeping

    def _changed(self) -> None:
        self._dirty.set()
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._run(), name="pod-records")

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SAVE_SECONDS)
            self._dirty.clear()
            await self._save()

    async def _save(self) -> None:
        for book in list(self._books.values()):
            await self._write(book)

    async def _write(self, book: PodBook) -> None:
        if not book.changed:
            return
        book.changed = False
        try:
            await asyncio.to_thread(book.save, book.text())
        except OSError as error:
            log.warning("pods_not_kept", folder=book.folder.name, error=error.strerror)
