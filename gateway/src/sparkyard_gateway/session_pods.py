"""The pods of a session or a batch, for those who may see it: its executors, their logs, and what happened to them.

An executor's log is read as a driver's is (`driver_logs`): `ExecutorLog` is what that reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sparkyard_gateway.backends.base import Backend, BatchBackend
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.executors import Executor, Kept
from sparkyard_gateway.backends.pod_book import PodBook
from sparkyard_gateway.backends.pod_records import PodRecords
from sparkyard_gateway.errors import ExecutorNotFound
from sparkyard_gateway.live import LiveSession, Signal
from sparkyard_gateway.live_batch import LiveBatch

Subject = LiveSession | LiveBatch


@runtime_checkable
class KeepsPods(Protocol):
    """A backend that runs pods, and knows what became of them."""

    @property
    def records(self) -> PodRecords:
        """What it knows."""


@dataclass(frozen=True, slots=True)
class When:
    """As an event, of what is found out when it is asked."""

    is_set: Callable[[], bool]


class ExecutorLog:
    """One executor's log, as its readers want it. `id` is the session's or the batch's."""

    def __init__(self, subject: Subject, number: int, executor: Executor, book: PodBook, records: PodRecords) -> None:
        self.id = subject.id
        self.backend = subject.backend
        self.executor = executor
        self.file: DriverLog = records.log_of(number, executor)
        self._subject = subject
        self._book = book
        self._records = records

    @property
    def moved(self) -> bool:
        """Whether another gateway has it now."""
        return self._subject.moved

    @property
    def changed(self) -> Signal:
        """Fired when the session has changed."""
        return self._subject.changed

    @property
    def ended(self) -> When:
        """Set when nothing is added any more."""
        return When(self._over)

    def _over(self) -> bool:
        executor = self._book.executors.get(self.executor.uid)
        return executor is None or executor.kept is not Kept.GROWING or not self._records.looked_after(executor)

    async def freshen(self, *, follow: bool) -> None:
        """See that the file is as the log is where the executor runs; followed, it stays so for a while."""
        await self._records.freshen(self.executor, follow=follow)


class SessionPods:
    """Finds them."""

    def __init__(self, backends: Mapping[str, Backend], batch_backends: Mapping[str, BatchBackend]) -> None:
        self._backends = backends
        self._batch_backends = batch_backends

    async def book(self, subject: Subject) -> PodBook | None:
        """What is known of the pods of a session or batch; None where it runs in none."""
        records = self._records(subject)
        return None if records is None else await records.book(_number(subject))

    async def log(self, subject: Subject, reference: str) -> ExecutorLog:
        """The log of the executor of this uid, or of the latest of this number. Raises ExecutorNotFound."""
        records = self._records(subject)
        book = await records.book(_number(subject)) if records is not None else None
        executor = book.find(reference) if book is not None else None
        if records is None or book is None or executor is None:
            raise ExecutorNotFound(reference)
        return ExecutorLog(subject, _number(subject), executor, book, records)

    def _records(self, subject: Subject) -> PodRecords | None:
        backends: Mapping[str, object] = self._batch_backends if isinstance(subject, LiveBatch) else self._backends
        backend = backends[subject.backend]
        return backend.records if isinstance(backend, KeepsPods) else None


def _number(subject: Subject) -> int:
    """What its backend knows it by."""
    return subject.attempt if isinstance(subject, LiveBatch) else subject.id
