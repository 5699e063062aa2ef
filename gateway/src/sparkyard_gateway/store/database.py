"""The one connection that writes: transactions in the order they were asked for, many to a commit.

A database call blocks, so it runs on a thread; each hop there costs as much as a small insert. Hence one writer
thread that takes everything that has gathered and commits it together. A caller who must know that it is written
awaits, for seconds and no longer; who need not (`write_soon`) goes on, and the change is kept and tried again, in
order, while the database is away. Under SQLite the journal is a WAL with ``synchronous=NORMAL``: what is committed
survives a killed gateway; after a power cut the last moments may be missing, but never a broken file.

Words:
    away       the database cannot be used at the moment: stopped, unreachable, its disk full
    doubtful   a commit that was never answered: PostgreSQL is asked for its fate, so that nothing is written twice
    taken back a change that was committed after its caller had been told that it failed
    fenced     another gateway took this one for dead: it may write nothing more (``sparkyard_gateway.store.gateways``)
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from sparkyard_gateway.errors import Misdirected, StoreUnavailable
from sparkyard_gateway.store import engines
from sparkyard_gateway.store.engines import database_url
from sparkyard_gateway.store.migrations import NewerDatabaseError, upgrade

T = TypeVar("T")
Change = Callable[[Connection], T]

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 2.0)
"""How long the writer waits before it tries again a change that nobody awaits."""
ANSWER_SECONDS = 5.0
"""How long a caller waits for the database before it is told that it does not answer."""

_PROBE = text("UPDATE alembic_version SET version_num = version_num")

log = structlog.get_logger(__name__)

__all__ = ["Database", "database_url"]


@dataclass(slots=True, eq=False)
class _Job:
    change: Change[Any]
    done: asyncio.Future[Any] | None = None
    written: Callable[[], None] | None = None
    undo: Change[Any] | None = None


class _DoubtfulError(Exception):
    """A commit was not answered."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number


class FencedError(Exception):
    """This gateway may not write: another one has taken over what was its."""


class Database:
    """An engine with its writer. `open` before use, `close` after."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine: Engine = engines.make_engine(url)
        self._queue: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self.healthy = True
        self.stuck = False
        self.begin_transaction: Callable[[Connection], str | None] = engines.transaction_number
        """What each transaction begins with: it answers with the transaction's number, or raises FencedError."""
        self.written_at = time.monotonic()
        """When the last transaction that was committed had begun."""
        self.when_fenced: Callable[[], None] = lambda: None

    def prepare(self, wait_seconds: float = 0) -> bool:
        """Bring the database up to this version; returns whether there was something to do. Raises StoreUnavailable.

        A server that does not answer yet is waited for; a file is there or not.
        """
        end = time.monotonic() + (0 if engines.is_sqlite(self.url) else wait_seconds)
        while True:
            try:
                return self._upgrade()
            except StoreUnavailable as error:
                if time.monotonic() >= end or not engines.is_away(error.__cause__ or error):
                    raise
                log.warning("database_awaited", why=error.message)
            time.sleep(RETRY_SECONDS[2])

    def _upgrade(self) -> bool:
        try:
            return upgrade(self.engine)
        except SQLAlchemyError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise StoreUnavailable(f"The database {self.url.render_as_string()} cannot be used: {reason}") from error
        except NewerDatabaseError as error:
            raise StoreUnavailable(f"The database {self.url.render_as_string()} is {error}") from error

    def open(self) -> None:
        """Begin to write."""
        self._writer = asyncio.create_task(self._write_for_ever(), name="store-writer")

    async def close(self) -> None:
        """Write what is queued, then let go of the database."""
        self._closing.set()
        self._wake.set()
        if self._writer is not None:
            _, unfinished = await asyncio.wait({self._writer}, timeout=ANSWER_SECONDS)
            # The thread waits for a database that says nothing; the process must not wait for the thread.
            self.stuck = bool(unfinished)
        for thread in (self._write_thread, self._read_thread):
            thread.shutdown(wait=not self.stuck, cancel_futures=True)
        if not self.stuck:
            self.engine.dispose()

    async def write(self, change: Change[T], undo: Change[Any] | None = None) -> T:
        """Run a change and return when it is committed. Raises StoreUnavailable, or IntegrityError as it came.

        Where it fails and is found committed after all, `undo` takes it back: the caller has been told otherwise.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = _Job(change, done, undo=undo)
        self._queue.append(job)
        self._wake.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await done
        except TimeoutError:
            self.healthy = False
            raise _unavailable() from None
        finally:
            if done.cancelled() and job in self._queue:
                self._queue.remove(job)

    def write_soon(self, change: Change[Any], written: Callable[[], None] | None = None) -> None:
        """Run a change with the next commit; it is kept until it could be written, and then `written` is called."""
        self._queue.append(_Job(change, written=written))
        self._wake.set()

    async def read(self, query: Change[T]) -> T:
        """Run a query on a thread of its own. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._read_thread, self._query, query)
        except (SQLAlchemyError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def write_unfenced(self, change: Change[Any]) -> None:
        """Run a change at once, whatever is queued and whoever has taken over. Raises StoreUnavailable."""

        def apply() -> None:
            began = time.monotonic()
            with self.engine.begin() as connection:
                change(connection)
            self.written_at = began

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._write_thread, apply)
        except (SQLAlchemyError, TimeoutError) as error:
            raise _unavailable(error) from error

    # On the threads

    def _query(self, query: Change[T], attempt: int = 1) -> T:
        try:
            with self.engine.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            if attempt == 1 and engines.was_stale(error):
                return self._query(query, 2)
            raise

    def _apply(self, jobs: list[_Job], attempt: int = 1) -> list[Any]:
        """One transaction. Raises _DoubtfulError where nobody knows whether it was committed."""
        number: str | None = None
        committing, began = False, time.monotonic()
        try:
            with self.engine.connect() as connection, connection.begin() as transaction:
                number = self.begin_transaction(connection)
                results = [job.change(connection) for job in jobs]
                committing = True
                transaction.commit()
        except DBAPIError as error:
            if committing and number is not None and engines.was_stale(error):
                raise _DoubtfulError(number) from error
            if attempt == 1 and engines.was_stale(error):
                return self._apply(jobs, 2)
            raise
        self.written_at = began
        return results

    def _fate(self, number: str) -> bool | None:
        return self._query(lambda connection: engines.was_committed(connection, number))

    # The writer

    async def _write_for_ever(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                jobs = list(self._queue)
                self._queue.clear()
                kept = await self._commit(jobs)
                if not kept and (self.healthy or self._closing.is_set()):
                    failures = 0
                    continue
                if self._closing.is_set():
                    log.error("store_lost_changes", changes=len(kept))
                    self._queue.clear()
                    break
                # Where nothing is left to try again, something else must show that the database is back.
                self._queue.extendleft(reversed(kept or [_Job(lambda connection: connection.execute(_PROBE))]))
                await self._pause(failures)
                failures += 1
            if self._closing.is_set() and not self._queue:
                return

    async def _pause(self, failures: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]):
                await self._closing.wait()

    async def _commit(self, jobs: list[_Job]) -> list[_Job]:
        """Write a batch; returns the jobs to try again."""
        run = asyncio.get_running_loop().run_in_executor
        # Whoever gave up waiting has been told that it failed.
        jobs = [job for job in jobs if job.done is None or not job.done.done()]
        if not jobs:
            return []
        try:
            results = await run(self._write_thread, self._apply, jobs)
        except Exception as error:  # noqa: BLE001 - a change may raise anything, and none may end the writer
            return await self._failed(jobs, error)
        return self._written(jobs, results)

    async def _failed(self, jobs: list[_Job], error: Exception) -> list[_Job]:
        if isinstance(error, _DoubtfulError):
            return await self._settle(jobs, error.number)
        if engines.is_away(error):
            return self._away(jobs, error)
        if isinstance(error, FencedError):
            self._fenced(jobs)
        elif len(jobs) > 1:
            # One of them failed the batch: each alone, so that the others don't suffer.
            return await self._each_alone(jobs)
        else:
            self._refused(jobs[0], error)
        return []

    async def _each_alone(self, jobs: list[_Job]) -> list[_Job]:
        for number, job in enumerate(jobs):
            if kept := await self._commit([job]):
                return [*kept, *jobs[number + 1 :]]
        return []

    def _written(self, jobs: list[_Job], results: list[Any] | None) -> list[_Job]:
        """The jobs are committed; returns what must be taken back of them."""
        if not self.healthy:
            log.info("store_available_again")
        self.healthy = True
        taken_back: list[_Job] = []
        for number, job in enumerate(jobs):
            if job.written is not None:
                job.written()
            if job.done is None:
                continue
            if results is not None and not job.done.done():
                job.done.set_result(results[number])
            elif job.undo is not None:
                taken_back.append(_Job(job.undo))
        if taken_back:
            log.warning("store_takes_back", changes=len(taken_back))
            # First of all: a number or a name that was given back may be taken again by what waits in the queue.
            self._queue.extendleft(reversed(taken_back))
            self._wake.set()
        return []

    def _away(self, jobs: list[_Job], error: Exception) -> list[_Job]:
        if self.healthy:
            log.warning("store_unavailable", error=type(error.__cause__ or error).__name__)
        self.healthy = False
        for job in jobs:
            _fail(job, _unavailable(error))
        return [job for job in jobs if job.done is None]

    def _fenced(self, jobs: list[_Job]) -> None:
        """Nothing of what waits may be written: it is the successor's now, and drivers will tell it all again."""
        log.warning("store_fenced", changes=len(jobs) + len(self._queue))
        jobs = [*jobs, *self._queue]
        self._queue.clear()
        for job in jobs:
            _fail(job, Misdirected("Another gateway has taken over from this one. Try again."))
        self.when_fenced()

    def _refused(self, job: _Job, error: Exception) -> None:
        if job.done is None:
            log.error("store_change_refused", error=type(error.__cause__ or error).__name__, exc_info=error)
        else:
            _fail(job, error if not isinstance(error, SQLAlchemyError) else _told(error))

    async def _settle(self, jobs: list[_Job], number: str) -> list[_Job]:
        """Find out what became of a commit that was not answered. Nothing else is written before that is known."""
        log.warning("store_commit_unanswered", transaction=number, changes=len(jobs))
        self._away(jobs, ConnectionError())
        failures = 0
        while not self._closing.is_set():
            try:
                committed = await asyncio.get_running_loop().run_in_executor(self._write_thread, self._fate, number)
            except SQLAlchemyError:
                committed = None
            if committed is not None:
                return self._written(jobs, None) if committed else [job for job in jobs if job.done is None]
            await self._pause(failures)
            failures += 1
        return [job for job in jobs if job.done is None]


def _told(error: SQLAlchemyError) -> Exception:
    return error if isinstance(error, IntegrityError) else _unavailable(error)


def _fail(job: _Job, error: Exception) -> None:
    if job.done is not None and not job.done.done():
        job.done.set_exception(error)


def _unavailable(error: BaseException | None = None) -> StoreUnavailable:
    if error is not None and engines.is_disk_full(error):
        return StoreUnavailable(
            "The disk of the gateway's database is full, so nothing new can be taken on. "
            "An administrator must make room; then try again."
        )
    return StoreUnavailable("The gateway cannot reach its database at the moment. Try again shortly.")
