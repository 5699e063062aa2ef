"""Statements: written down, sent to the driver one at a time in order, and waited for without polling.

The row of a statement is committed before the driver hears of it, so no restart can lose it; the driver keeps what it
began and finished until this gateway has written that down, and never runs a statement twice. So each runs at most
once, and its outcome arrives as long as its driver lives.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from sparkyard_gateway.config import Settings
from sparkyard_gateway.driver_messages import Completion
from sparkyard_gateway.errors import BadRequest, Rejected, SessionNotActive, StatementNotFound
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import Kind, SessionState, StatementState
from sparkyard_gateway.store.repository import DuplicateError, Store
from sparkyard_gateway.times import now_ms, steady_ms
from sparkyard_gateway.wire import CompletionRequest, StatementRequest

COMPLETION_SECONDS = 5.0
"""How long a completion may take before it is answered with nothing: a busy driver must not hang an editor."""
LARGEST_PAGE = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a session's statements; `truncated` says why it ends sooner than was asked."""

    total: int
    statements: list[LiveStatement]
    truncated: str | None


class Statements:
    """The statements of live sessions."""

    def __init__(self, settings: Settings, store: Store, sessions: Sessions, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions
        self._metrics = metrics
        self._completions: dict[tuple[int, str], asyncio.Future[Completion]] = {}

    # Asking

    async def submit(self, session: LiveSession, request: StatementRequest, key: str | None) -> LiveStatement:
        """Take a statement: it is written down, and sent as soon as the driver is free."""
        kind = _kind_of(session, request)
        if not session.state.active:
            raise SessionNotActive(_inactive(session))
        if key is not None and (known := await self._of_key(session, key)) is not None:
            return known
        waiting = sum(not each.state.final for each in session.statements.values())
        if waiting >= self._settings.max_waiting_statements:
            raise Rejected(f"{waiting} statements of this session are waiting already; cancel some, or let them finish")
        statement = LiveStatement(
            id=session.next_statement, kind=kind, code=request.code, created_at=now_ms(), idempotency_key=key
        )
        session.next_statement += 1
        try:
            await self._store.add_statement(statement.record(session.id))
        except DuplicateError:
            self._give_back(session, statement.id)
            if key is not None and (known := await self._of_key(session, key)) is not None:
                return known
            raise
        except Exception:
            self._give_back(session, statement.id)
            raise
        session.statements[statement.id] = statement
        if key is not None:
            session.keys[key] = statement.id
        session.used_at = steady_ms()
        if session.state.active:
            self.pump(session)
        else:
            self._sessions.fail_statement(session, statement, _inactive(session))
        return statement

    @staticmethod
    def _give_back(session: LiveSession, number: int) -> None:
        # Only the last number can be taken back: a later one may be on its way to the database already.
        if session.next_statement == number + 1:
            session.next_statement = number

    async def _of_key(self, session: LiveSession, key: str) -> LiveStatement | None:
        number = session.keys.get(key)
        if number is None:
            if len(key) > 255 or not key.isascii() or not key.isprintable():
                raise Rejected("Idempotency-Key must be 1 to 255 visible ASCII characters")
            number = await self._store.statement_of_key(session.id, key)
        return None if number is None else await self.get(session, number)

    def pump(self, session: LiveSession) -> None:
        """Give the driver the next statement, if it is there and free; and see whether the session is busy."""
        if session.ready_at is None or not session.state.active:
            return
        current = session.current
        self._sessions.set_state(session, SessionState.IDLE if current is None else SessionState.BUSY)
        if current is None or current.sent or current.held or session.line is None:
            return
        current.sent = True
        session.line.send({"t": "execute", "statement": current.id, "code": current.code, "kind": current.kind})
        if current.state is StatementState.CANCELLING:
            session.line.send({"t": "cancel", "statement": current.id})

    def make_room(self, session: LiveSession) -> None:
        """Let go of finished statements beyond what is kept in memory; the database has them.

        What the last two have printed is kept for those who are still reading it.
        """
        finished = [each for each in session.statements.values() if each.state.final]
        size = sum(len(each.output or "") + len(each.code) for each in finished)
        for position, each in enumerate(finished):
            left = len(finished) - position
            if left > 2 and each.printed is not None:
                each.printed.forget()
            too_many = len(session.statements) > self._settings.retained_statements
            if left > 1 and (too_many or size > self._settings.retained_chars):
                size -= len(each.output or "") + len(each.code)
                del session.statements[each.id]
                if each.idempotency_key is not None:
                    session.keys.pop(each.idempotency_key, None)

    # Answering

    async def get(self, session: LiveSession, number: int) -> LiveStatement:
        """One statement. Raises StatementNotFound."""
        found = session.statements.get(number)
        if found is not None:
            return found
        if not 0 <= number < session.next_statement:
            raise StatementNotFound
        record = await self._store.statement(session.id, number)
        if record is None:
            raise StatementNotFound
        return LiveStatement.of(record)

    async def page(self, session: LiveSession, first: int, size: int, *, newest_first: bool) -> Page:
        """A page of them; Livy counts the page in the order asked for."""
        if session.state.ended:
            raise SessionNotActive("requirement failed: Session isn't active.", reason=session.reason)
        total = session.next_statement
        # A negative `first` takes from the page, as Livy's does: from -3, a size of 5 are the first two.
        size = min(max(0, size), LARGEST_PAGE)
        begin, end = (total - first - size, total - first) if newest_first else (first, first + size)
        begin, end = max(0, begin), max(0, min(end, total))
        kept = {number: each for number, each in session.statements.items() if begin <= number < end}
        sizes = {number: len(each.code) + len(each.output or "") for number, each in kept.items()}
        if len(kept) < end - begin:
            sizes = {**await self._store.statement_sizes(session.id, begin, end), **sizes}
        numbers = sorted(sizes, reverse=newest_first)
        wanted = within(numbers, sizes, self._settings.max_page_chars)
        missing = [number for number in wanted if number not in kept]
        if missing:
            for record in await self._store.statement_range(session.id, min(missing), max(missing) + 1):
                kept.setdefault(record.id, LiveStatement.of(record))
        cut = f"The page ends here: more than {self._settings.max_page_chars:,} characters are not sent in one answer."
        return Page(
            total=total,
            statements=[kept[number] for number in wanted if number in kept],
            truncated=cut if len(wanted) < len(numbers) else None,
        )

    async def wait(
        self, session: LiveSession, statement: LiveStatement, seconds: float, *, since: int | None, seen: int | None
    ) -> None:
        """Return when the statement is final, or there is news: output beyond `since`, or a version beyond `seen`.

        A caller that says neither waits for the outcome alone.
        """

        def news() -> bool:
            return (
                statement.state.final
                or (since is not None and statement.printed is not None and statement.printed.end > since)
                or (seen is not None and statement.version > seen)
            )

        session.waiting += 1
        try:
            await statement.changed.wait_until(news, seconds)
        finally:
            session.waiting -= 1
            session.heard_at = steady_ms()

    async def cancel(self, session: LiveSession, number: int) -> None:
        """Ask for a statement to stop; one that is unknown or done is left alone, as in Livy."""
        statement = session.statements.get(number)
        if statement is None or statement.state.final:
            return
        if statement.state is StatementState.WAITING and not statement.sent:
            await self._cancel_waiting(session, statement)
            return
        # The driver first: a database that is away must not keep anybody from stopping their code.
        if session.line is not None:
            session.line.send({"t": "cancel", "statement": number})
        await self._store.cancel_statement(session.id, number)
        if not statement.state.final:
            statement.state = StatementState.CANCELLING
            statement.touch()

    async def _cancel_waiting(self, session: LiveSession, statement: LiveStatement) -> None:
        """One that its driver has not seen. The caller is answered when it can no longer be run, whatever happens."""
        statement.held += 1
        now = now_ms()
        try:
            await self._store.update_statement(
                session.id, statement.id, state=StatementState.CANCELLED, progress=1.0, completed_at=now
            )
            if not statement.state.final:
                statement.state, statement.progress, statement.completed_at = StatementState.CANCELLED, 1.0, now
                statement.touch()
        finally:
            statement.held -= 1
            self.pump(session)

    async def interrupt(self, session: LiveSession) -> None:
        """Cancel all that is not done: what waits first, so that none of it begins when what runs has stopped."""
        for statement in reversed(list(session.statements.values())):
            await self.cancel(session, statement.id)

    # Completion

    async def complete(self, session: LiveSession, request: CompletionRequest) -> Completion | None:
        """What could stand at the cursor; None where the driver has no answer in time."""
        kind = request.kind or session.kind
        if kind is Kind.SHARED:
            raise BadRequest("Name the kind of the code to complete, one of spark, pyspark, sparkr, sql.")
        if not session.state.active:
            raise SessionNotActive(_inactive(session))
        if session.line is None or session.ready_at is None:
            return None
        number = secrets.token_hex(8)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._completions[session.id, number] = answer
        cursor = len(request.code) if request.cursor is None else min(request.cursor, len(request.code))
        session.line.send({"t": "complete", "request": number, "code": request.code, "kind": kind, "cursor": cursor})
        session.waiting += 1
        try:
            return await asyncio.wait_for(answer, COMPLETION_SECONDS)
        except TimeoutError:
            return None
        finally:
            session.waiting -= 1
            del self._completions[session.id, number]

    def completed(self, session: LiveSession, message: Completion) -> None:
        """A session's driver has answered; what others were asked is not its to answer."""
        answer = self._completions.get((session.id, message.request))
        if answer is not None and not answer.done():
            answer.set_result(message)


def within(numbers: list[int], sizes: Mapping[int, int], limit: int) -> list[int]:
    """The first of these numbers whose sizes together stay within the limit; always one, if there is one."""
    total = 0
    for position, number in enumerate(numbers):
        total += sizes[number]
        if total > limit and position:
            return numbers[:position]
    return numbers


def _kind_of(session: LiveSession, request: StatementRequest) -> Kind:
    kind = request.kind or session.kind
    if kind is Kind.SHARED:
        raise BadRequest(
            "Code type should be specified if session kind is shared: name the statement's kind, "
            "one of spark, pyspark, sparkr, sql."
        )
    if "\0" in request.code:
        raise BadRequest("The code holds a NUL character, which belongs to no language: take it out.")
    return kind


def _inactive(session: LiveSession) -> str:
    reason = f" {session.reason}" if session.reason else ""
    return f"Session {session.id} is in state {session.state}, so it takes no statement.{reason}"
