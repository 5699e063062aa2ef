"""What is kept of sessions, those that clients no longer see among them: Livy forgets a session minutes after its end.

A record is reached by the session's number, by whoever might see the session while it was shown, for as long as its
log is kept. Whose it is, `ownership` says, here as there.
"""

from collections.abc import AsyncIterator

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import SessionNotFound
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.ownership import LARGEST_ID, may_see
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.store.models import Event
from sparkyard_gateway.store.repository import Store
from sparkyard_gateway.times import now_ms

BATCH = 200
MOST_LOOKED_AT = 5000
"""How many past sessions are gone through for one answer: who sees few of many does not make the gateway read all."""


class Records:
    """Sessions, shown or not."""

    def __init__(self, settings: Settings, store: Store, sessions: Sessions) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions

    async def find(self, caller: Caller, reference: str) -> LiveSession:
        """The session of this id, or of a shown one's name. Raises SessionNotFound, as `Sessions.find` does."""
        try:
            return self._sessions.find(caller, reference)
        except SessionNotFound:
            number = int(reference) if reference.isascii() and reference.isdecimal() and len(reference) < 11 else None
            if number is None or number > LARGEST_ID:
                raise
        record = await self._store.session(number)
        # One that was deleted and whose driver has not gone yet is found when it has: its log is still being written.
        if record is None or record.ended_at is None:
            raise SessionNotFound(reference)
        session = LiveSession.of(record)
        if record.ended_at < self._oldest() or not may_see(caller, session):
            raise SessionNotFound(reference)
        session.next_statement = await self._store.statement_count(session.id)
        return session

    async def past(self, caller: Caller, size: int) -> list[LiveSession]:
        """The sessions that are no longer shown, the latest first."""
        found: list[LiveSession] = []
        async for session in self._past():
            if may_see(caller, session):
                found.append(session)
                if len(found) >= size:
                    break
        return found

    async def statements(self, session: LiveSession, size: int) -> list[LiveStatement]:
        """The last statements, the latest first."""
        end = session.next_statement
        begin = max(0, end - size)
        kept = session.statements
        records = (
            await self._store.statement_range(session.id, begin, end)
            if any(number not in kept for number in range(begin, end))
            else []
        )
        found = {record.id: LiveStatement.of(record) for record in records}
        found.update({number: each for number, each in kept.items() if number >= begin})
        return [found[number] for number in sorted(found, reverse=True)]

    async def events(self, session: LiveSession) -> list[Event]:
        """What happened to a session, in order."""
        return await self._store.session_events(session.id)

    async def _past(self) -> AsyncIterator[LiveSession]:
        before, looked = LARGEST_ID + 1, 0
        while looked < MOST_LOOKED_AT:
            batch = await self._store.past_sessions(self._oldest(), before, BATCH)
            for record in batch:
                yield LiveSession.of(record)
            if len(batch) < BATCH:
                return
            before, looked = batch[-1].id, looked + len(batch)

    def _oldest(self) -> int:
        return now_ms() - int(self._settings.log_retention_seconds * 1000)
