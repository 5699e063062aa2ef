"""Drivers' and executors' logs as their readers want them: a page, the lines with a text, the whole, or what follows.

A log may be large and its reader slow, so all reading happens piece by piece, on threads that nothing else needs:
however many read, no statement waits for them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

import structlog

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.backends.base import Backend, Ended
from sparkyard_gateway.backends.driver_log import DriverLog, Matches, Piece
from sparkyard_gateway.errors import TooMany
from sparkyard_gateway.failures import Failure, find_failure
from sparkyard_gateway.live import LiveSession, Signal
from sparkyard_gateway.session_pods import ExecutorLog

T = TypeVar("T")

log = structlog.get_logger(__name__)

THREADS = 3
LOOK_SECONDS = 0.5
"""How often a follower looks for more."""
ALIVE_SECONDS = 15.0
"""After how long of silence a follower is told that the connection is still good."""
PIECE_BYTES = 256 * 1024
FAILURE_LINES = 5000
"""How many of the last lines are searched for an exception."""
LAST_WORDS_LINES = 60
LAST_LINES = 5
"""How many lines of a dead driver's log a statement that died with it shows."""
MOST_MATCHES = 1000
FOLLOWERS_OF_ONE = 20
FOLLOWERS = 500


@runtime_checkable
class KeepsLogs(Protocol):
    """A backend whose drivers' logs are files here. Of others `log_page` gives what there is."""

    def log_of(self, session_id: int) -> DriverLog:
        """The log of a session's driver, present or past."""


class Ending(Protocol):
    """What ends."""

    def is_set(self) -> bool:
        """Whether it has."""


class Readable(Protocol):
    """A driver's log, which is its session, or an executor's."""

    @property
    def id(self) -> int:
        """The session's, or the batch's."""

    @property
    def backend(self) -> str:
        """Where it runs."""

    @property
    def moved(self) -> bool:
        """Whether another gateway has it now."""

    @property
    def ended(self) -> Ending:
        """Set when nothing is added any more."""

    @property
    def changed(self) -> Signal:
        """Fired when something about it has."""


class DriverLogs:
    """Reads logs of all backends."""

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = backends
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="logs")
        self._followers: Counter[str] = Counter()
        self._failures: dict[int, tuple[int, int, Failure | None]] = {}

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def page(self, session: Readable, first: int, size: int) -> tuple[int, int, list[str]]:
        """Lines as Livy counts them: (number of the first, count of all, lines)."""
        await _freshen(session)
        file = self._file(session)
        if file is None:
            return await self._backends[session.backend].log_page(session.id, first, size)
        return await self._run(lambda: file.page(first, size))

    async def search(self, session: Readable, text: str, first: int, size: int) -> Matches:
        """The lines that hold a text: of all matches those from the `first` on."""
        size = MOST_MATCHES if size < 0 else min(size, MOST_MATCHES)
        await _freshen(session)
        file = self._file(session)
        if file is not None:
            return await self._run(lambda: file.search(text, max(0, first), size))
        begin, _, lines = await self._backends[session.backend].log_page(session.id, 0, -1)
        found = [(begin + number, line) for number, line in enumerate(lines) if text.lower() in line.lower()]
        wanted = found[max(0, first) : max(0, first) + size]
        return Matches(len(found), [number for number, _ in wanted], [line for _, line in wanted])

    async def read(self, session: Readable, position: int, size: int = PIECE_BYTES) -> Piece:
        """The bytes from a position on."""
        file = self._file(session)
        if file is not None:
            return await self._run(lambda: file.read(position, size))
        _, _, lines = await self._backends[session.backend].log_page(session.id, 0, -1)
        data = "".join(f"{line}\n" for line in lines).encode()
        position = min(max(0, position), len(data))
        return Piece(position, data[position : position + size])

    async def end(self, session: Readable) -> int:
        """The position that will be written next."""
        file = self._file(session)
        if file is not None:
            return await self._run(file.end)
        return (await self.read(session, 0, -1)).end

    async def whole(self, session: Readable) -> AsyncIterator[bytes]:
        """All that is kept, as far as it was written when the reading began."""
        await _freshen(session)
        position, end = 0, await self.end(session)
        while position < end:
            piece = await self.read(session, position)
            if not piece.data:
                return
            yield piece.data
            position = piece.end

    async def failure(self, session: LiveSession) -> Failure | None:
        """The last exception in the log."""
        return (await self._last_failure(session))[1]

    def with_last_line(self, session: LiveSession, ended: Ended) -> str:
        """Why a driver ended, with the last line of its log where that may say more."""
        words = [] if ended.explained else self.last_lines(session)
        return f"{ended.reason} Its last line: {words[-1][:500]}" if words else ended.reason

    def last_lines(self, session: LiveSession) -> list[str]:
        """The last lines of a driver that is gone."""
        lines = map(str.strip, self._backends[session.backend].log_tail(session.id, LAST_LINES))
        return [line for line in lines if line not in {"", "stdout:", "stderr:"}]

    async def last_words(self, session: LiveSession) -> Failure | None:
        """The exception with which the log ends; one that much has followed since did not end the driver."""
        try:
            total, found = await self._last_failure(session)
        except OSError as error:
            log.warning("driver_log_unreadable", session=session.id, error=error.strerror)
            return None
        return found if found is not None and total - found.last <= LAST_WORDS_LINES else None

    async def _last_failure(self, session: LiveSession) -> tuple[int, Failure | None]:
        end = await self.end(session)
        known = self._failures.get(session.id)
        if known is None or known[0] != end:
            first, total, lines = await self.page(session, -1, FAILURE_LINES)
            known = (end, total, await self._run(lambda: find_failure(lines, first)))
            while len(self._failures) >= FOLLOWERS:
                del self._failures[next(iter(self._failures))]
            self._failures[session.id] = known
        return known[1:]

    # What comes next

    def admit(self, caller: Caller) -> None:
        """See whether one more reader may stay. Raises TooMany."""
        if self._followers[caller.name] >= FOLLOWERS_OF_ONE or self._followers.total() >= FOLLOWERS:
            raise TooMany(f"You follow {self._followers[caller.name]} things at once; close some of them first.")

    @contextmanager
    def following(self, caller: Caller) -> Iterator[None]:
        """Count a reader who stays."""
        self._followers[caller.name] += 1
        try:
            yield
        finally:
            self._followers[caller.name] -= 1
            self._followers += Counter()  # forget those at zero

    async def follow(self, session: Readable, position: int, stop: Callable[[], bool]) -> AsyncIterator[Piece]:
        """What stands from a position on and what is added, until the session has ended and all is told.

        A piece without data says that nothing was added for a while. It ends early where `stop` says so, and where
        another gateway has taken the session over, which knows how it goes on.
        """
        loop = asyncio.get_running_loop()
        told = loop.time()
        while not (stop() or session.moved):
            ended = session.ended.is_set()
            await _freshen(session, follow=True)
            piece = await self.read(session, position)
            piece = piece if ended else whole_characters(piece)
            if piece.data:
                yield piece
                position, told = piece.end, loop.time()
                continue
            if ended:
                return
            if loop.time() - told > ALIVE_SECONDS:
                yield piece
                told = loop.time()
            await session.changed.wait_until(session.ended.is_set, LOOK_SECONDS)

    def _file(self, session: Readable) -> DriverLog | None:
        if isinstance(session, ExecutorLog):
            return session.file
        backend = self._backends[session.backend]
        return backend.log_of(session.id) if isinstance(backend, KeepsLogs) else None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _freshen(log: Readable, *, follow: bool = False) -> None:
    """Executors' logs are brought here in turns, and at once for whoever reads one."""
    if isinstance(log, ExecutorLog):
        await log.freshen(follow=follow)


def whole_characters(piece: Piece) -> Piece:
    """A piece without the beginning of a character that is cut in two: it comes whole with the next piece."""
    data = piece.data
    for kept in range(1, min(3, len(data)) + 1):
        byte = data[-kept]
        if byte & 0xC0 != 0x80:
            length = 1 if byte < 0xC0 or byte >= 0xF8 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return Piece(piece.start, data[:-kept]) if kept < length else piece
    return piece


def with_exception(reason: str, failure: Failure | None) -> str:
    """The reason of an end, with the exception that the log tells of, unless it is told already."""
    if failure is None or (failure.root.name in reason and failure.root.message in reason):
        return reason
    joint = "" if reason.endswith((".", "!", "?")) else "."
    return f"{reason}{joint} The last exception in its log: {failure.root.words[:500]} (line {failure.root.line})."
