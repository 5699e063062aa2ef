"""What a driver had written down and could not send any more: it died while no gateway listened.

A driver keeps each outcome in a file in its working folder before it tells anybody (`driver/journal.py`). Of one that
is gone, that file is all there is. Its user's code could have written every byte of it, and could have put something
else in its place. So it must be a plain file of whoever owns the folder, its end is read within bounds, every line is
checked as a message on the wire is, and what it says counts for statements of that session alone that have no outcome
yet, as the driver's own word would have.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import structlog

from sparkyard_gateway import driver_messages as say
from sparkyard_gateway.backends.base import Backend
from sparkyard_gateway.drivers import Drivers
from sparkyard_gateway.live import LiveSession

NAME = "journal.jsonl"
MOST_READ = 64 * 1024 * 1024
LONGEST_LINE = 16 * 1024 * 1024
AT_A_TIME = 2
"""How many are read at once, after a restart that finds a thousand drivers gone."""

log = structlog.get_logger(__name__)


@runtime_checkable
class Journaled(Protocol):
    """A backend whose drivers leave their journals where this gateway can read them."""

    def journal_folder(self, session_id: int) -> Path:
        """The folder that a session's driver worked in."""


class Journals:
    """Reads them, and has the drivers' words heard."""

    def __init__(self, backends: Mapping[str, Backend], drivers: Drivers) -> None:
        self._backends = backends
        self._drivers = drivers
        self._reading = asyncio.Semaphore(AT_A_TIME)

    async def recall(self, session: LiveSession) -> None:
        """Let what the driver of this session, which is gone, has finished be known."""
        backend = self._backends[session.backend]
        wanted = frozenset(each.id for each in session.statements.values() if not each.state.final)
        if not wanted or not isinstance(backend, Journaled):
            return
        async with self._reading:
            found = await asyncio.to_thread(outcomes, backend.journal_folder(session.id), wanted)
        for message in found:
            self._drivers.recalled(session, message)
        finished = sum(isinstance(each, say.Done) for each in found)
        if finished:
            log.info("journal_recalled", session=session.id, user=session.owner, statements=finished)


def outcomes(folder: Path, wanted: Collection[int]) -> list[say.Begin | say.Done]:
    """What a journal says of these statements: of each, at most that it began, and how it ended. Blocks on the disk."""
    begun: dict[int, say.Begin] = {}
    done: dict[int, say.Done] = {}
    try:
        with _opened(folder) as journal:
            for line in _lines(journal):
                message = _message(line)
                if isinstance(message, say.Done) and message.statement in wanted:
                    done.setdefault(message.statement, message)
                elif isinstance(message, say.Begin) and message.statement in wanted:
                    begun.setdefault(message.statement, message)
    except OSError as error:
        log.info("journal_not_read", folder=str(folder), error=error.strerror)
    return [each[number] for number in sorted(wanted) for each in (begun, done) if number in each]


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[BinaryIO]:
    """The journal, if it is a plain file, by no other name anywhere, of whoever has the folder. Raises OSError."""
    where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Not blocking: in place of the file there could be a pipe that nobody ever writes to.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(NAME, flags, dir_fd=where), "rb") as journal:
            found, owner = os.fstat(journal.fileno()), os.fstat(where).st_uid
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != owner:
                raise OSError(None, "it is no plain file of the session's own")
            journal.seek(max(0, found.st_size - MOST_READ))
            yield journal
    finally:
        os.close(where)


def _lines(journal: BinaryIO) -> Iterator[bytes]:
    """The lines from here on, within bounds; what comes first may be the end of one, and is no message then."""
    left = MOST_READ
    whole = True
    while left > 0:
        line = journal.readline(min(LONGEST_LINE, left))
        if not line:
            return
        left -= len(line)
        ends = line.endswith(b"\n")
        # Of a line that is too long nothing is taken; nor of the last one of a driver that was killed while it wrote.
        if whole and ends:
            yield line
        whole = ends


def _message(line: bytes) -> say.FromDriver | None:
    try:
        return say.FROM_DRIVER.validate_json(line)
    except ValueError:
        return None
