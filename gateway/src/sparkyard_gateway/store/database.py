"""The one connection that writes: transactions in the order they were asked for, many to a commit.

A database call blocks, so it runs on a thread; each hop there costs as much as a small insert. Hence one writer
thread that takes everything that has gathered and commits it together. A caller who must know that it is written
awaits; who need not (`write_soon`) goes on, and the change is kept and tried again, in order, while the database is
away. Under SQLite the journal is a WAL with ``synchronous=NORMAL``: what is committed survives a killed gateway;
after a power cut the last moments may be missing, but never a broken file.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.store.migrations import NewerDatabaseError, upgrade

T = TypeVar("T")
Change = Callable[[Connection], T]

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""How long the writer waits before it tries again a change that nobody awaits."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    change: Change[Any]
    done: asyncio.Future[Any] | None
    written: Callable[[], None] | None = None


class Database:
    """An engine with its writer. `open` before use, `close` after."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine: Engine = _engine(url)
        self._queue: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self.healthy = True

    def prepare(self) -> bool:
        """Bring the database up to this version; returns whether there was something to do. Raises StoreUnavailable."""
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
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        for thread in (self._write_thread, self._read_thread):
            thread.shutdown(wait=True)
        self.engine.dispose()

    async def write(self, change: Change[T]) -> T:
        """Run a change and return when it is committed. Raises StoreUnavailable, or IntegrityError as it came."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(change, done))
        self._wake.set()
        return await done

    def write_soon(self, change: Change[Any], written: Callable[[], None] | None = None) -> None:
        """Run a change with the next commit; it is kept until it could be written, and then `written` is called."""
        self._queue.append(_Job(change, None, written))
        self._wake.set()

    async def read(self, query: Change[T]) -> T:
        """Run a query on a thread of its own. Raises StoreUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_thread, self._query, query)
        except SQLAlchemyError as error:
            raise _unavailable() from error

    def _query(self, query: Change[T]) -> T:
        with self.engine.connect() as connection:
            return query(connection)

    async def _write_for_ever(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                jobs = list(self._queue)
                self._queue.clear()
                kept = await self._commit(jobs)
                if not kept:
                    failures = 0
                    continue
                self._queue.extendleft(reversed(kept))
                if self._closing:
                    log.error("store_lost_changes", changes=len(kept))
                    self._queue.clear()
                    break
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
            if self._closing and not self._queue:
                return

    async def _commit(self, jobs: list[_Job]) -> list[_Job]:
        """Write a batch; returns the jobs to try again."""
        run = asyncio.get_running_loop().run_in_executor
        try:
            results = await run(self._write_thread, self._apply, jobs)
        except SQLAlchemyError as error:
            if len(jobs) > 1:
                # One of them failed the batch: each alone, so that the others don't suffer.
                kept: list[_Job] = []
                for number, job in enumerate(jobs):
                    if await self._commit([job]):
                        kept = [job] + [later for later in jobs[number + 1 :] if later.done is None]
                        for later in jobs[number + 1 :]:
                            _fail(later, _unavailable())
                        break
                return kept
            return self._failed(jobs[0], error)
        self.healthy = True
        for job, result in zip(jobs, results, strict=True):
            if job.done is not None and not job.done.done():
                job.done.set_result(result)
            if job.written is not None:
                job.written()
        return []

    def _failed(self, job: _Job, error: SQLAlchemyError) -> list[_Job]:
        away = isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, OperationalError))
        if job.done is not None:
            _fail(job, error if isinstance(error, IntegrityError) else _unavailable())
        if away:
            log.warning("store_unavailable", error=type(error.__cause__ or error).__name__)
            self.healthy = False
            return [job] if job.done is None else []
        if job.done is None:
            log.error("store_change_refused", error=type(error.__cause__ or error).__name__, exc_info=error)
        return []

    def _apply(self, jobs: list[_Job]) -> list[Any]:
        with self.engine.begin() as connection:
            return [job.change(connection) for job in jobs]


def _fail(job: _Job, error: Exception) -> None:
    if job.done is not None and not job.done.done():
        job.done.set_exception(error)


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("The gateway cannot reach its database at the moment. Try again shortly.")


def database_url(url: str | None, state_dir: Path, password_file: Path | None) -> URL:
    """Where the database is; SQLite in the state folder where nothing else is said."""
    if url is None:
        return URL.create("sqlite", database=str(state_dir.absolute() / "gateway.sqlite"))
    made = make_url(url)
    if password_file is not None:
        made = made.set(password=password_file.read_text(encoding="utf-8").strip())
    return made


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=2, max_overflow=0, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": 5.0, "check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes too late for a read that leads to a write: see SQLAlchemy's pysqlite notes.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
