"""The gateway's side of the drivers' connections: who may connect, what they report, what they are told.

One session has one connection. A driver proves itself with its session's token, and is then believed about that
session only. Its durable messages take effect in memory at once, which wakes whoever waits, and are acknowledged when
their effect is committed; what is not acknowledged the driver says again, and saying it again has no effect.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from sparkyard_gateway import driver_messages as say
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import Forbidden, Unauthenticated, Unavailable
from sparkyard_gateway.live import LiveSession, LiveStatement, Printed, finish
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.pieces import Pieces
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.statements import Statements
from sparkyard_gateway.states import SessionState, StatementState
from sparkyard_gateway.store.models import NOBODY, Event
from sparkyard_gateway.store.repository import Store
from sparkyard_gateway.times import now_ms, steady_ms
from sparkyard_gateway.warm import taken_message

HELLO_SECONDS = 10.0
BEGUN_SECONDS = 0.1
"""After which a statement that still runs is written down as running."""
LONGEST_REASON = 4000
MOST_STAGES = 200
"""How many of a statement's stages are shown; one with more is told by the first of them."""
LONGEST_NAME = 500
LARGEST_OUTBOX = 64 * 1024 * 1024
"""How many characters may wait to be sent to a driver before it is taken to be deaf and hung up on."""

Durable = say.Ready | say.Failed | say.Begin | say.Done

log = structlog.get_logger(__name__)


class Frames(Protocol):
    """A connection that carries text frames; both raise ConnectionError when it is gone."""

    async def receive(self) -> str:
        """The next frame."""

    async def send(self, text: str) -> None:
        """Send a frame."""


class Line:
    """One connection, with what is still to be sent on it. There is one for each driver, so it is kept small."""

    __slots__ = ("_frames", "_outbox", "_unsent", "_woken", "deaf", "hung_up")

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._outbox: deque[str] = deque()
        self._unsent = 0
        loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = loop.create_future()
        self.hung_up: asyncio.Future[None] = loop.create_future()
        self.deaf = False

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message. A driver that reads nothing is hung up on; nothing is lost by that, as with any line."""
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        if self._outbox and self._unsent + len(text) > LARGEST_OUTBOX:
            self.deaf = True
            self._outbox.clear()
            self.close()
        if not self.closed:
            self._outbox.append(text)
            self._unsent += len(text)
            finish(self._woken)

    @property
    def waiting(self) -> int:
        """How many messages are still to be sent."""
        return len(self._outbox)

    @property
    def closed(self) -> bool:
        """Whether it was hung up, here."""
        return self.hung_up.done()

    def close(self) -> None:
        """Hang up."""
        finish(self.hung_up)
        finish(self._woken)

    async def send_all(self) -> None:
        """Send what is queued, as it comes, until the end."""
        while not self.closed:
            await self._woken
            self._woken = asyncio.get_running_loop().create_future()
            while self._outbox:
                text = self._outbox.popleft()
                await self._frames.send(text)
                self._unsent -= len(text)


class Drivers:
    """All drivers on the line."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        sessions: Sessions,
        statements: Statements,
        metrics: Metrics,
        pieces: Pieces,
    ) -> None:
        self._pieces = pieces
        self._settings = settings
        self._store = store
        self._sessions = sessions
        self._statements = statements
        self._metrics = metrics
        self.suspended: Callable[[], bool] = lambda: False
        self.addresses: Callable[[], list[str]] = list

    def admit(self, number: int, token: str | None, epoch: str | None, term: str | None = None) -> LiveSession:
        """The session that a driver may connect to. Raises Unauthenticated alike for any that it may not."""
        if self.suspended():
            raise Unavailable("This gateway may no longer speak for its sessions. Call again.")
        session = self._sessions.live.get(number)
        if token is None or session is None or not session.knows_token(token) or session.state.ended:
            raise Unauthenticated("No driver of a session here has this token.")
        if epoch is not None and epoch != str(session.epoch):
            raise Forbidden("Another driver has taken this session over.")
        if term is not None and term.isdecimal() and int(term[:10]) > session.term:
            # It has heard of a later owner: this gateway will hear of it, too.
            raise Unavailable("This gateway owns the session no more. Call again.")
        return session

    def lives(self, number: int) -> bool:
        """Whether a session here may still have a driver."""
        session = self._sessions.live.get(number)
        return session is not None and not session.ended.is_set()

    async def serve(self, session: LiveSession, frames: Frames) -> None:
        """Talk to a driver until the connection ends. Raises ValidationError where it talks nonsense."""
        pid = _greeted(session, await asyncio.wait_for(frames.receive(), HELLO_SECONDS))
        line = Line(frames)
        if session.line is not None:
            session.line.close()
        session.line = line
        self._metrics.drivers.inc()
        log.info("driver_connected", session=session.id, user=session.owner, pid=pid)
        # What is in memory alone the driver shall say again: this gateway may be gone before it is written.
        welcome = {"t": "welcome", "acked": session.acked, "epoch": session.epoch, "term": session.term}
        line.send({**welcome, "gateways": self.addresses()})
        if (taken := taken_message(session)) is not None:
            line.send(taken)  # again, should it have missed it
        for statement in session.statements.values():
            statement.sent = False
        if session.state is SessionState.SHUTTING_DOWN:
            line.send({"t": "shutdown"})
        self._statements.pump(session)
        try:
            await _first(line.send_all(), self._hear(session, line, frames), line.hung_up)
        finally:
            self._metrics.drivers.dec()
            if line.deaf:
                self._metrics.driver_faults.labels("deaf").inc()
            line.close()
            if session.line is line:
                session.line = None
                session.changed.fire()
            log.info("driver_disconnected", session=session.id, user=session.owner)

    async def _hear(self, session: LiveSession, line: Line, frames: Frames) -> None:
        # A message lives no longer than its handling: a driver that is idle says nothing for hours.
        while self._heard(session, line, await frames.receive()):
            pass

    def _heard(self, session: LiveSession, line: Line, text: str) -> bool:
        """Take a message; False where another connection has taken this one's place."""
        message = say.FROM_DRIVER.validate_json(text)
        if line is not session.line:
            return False
        if isinstance(message, say.Printed):
            self._printed(session, message)
        elif isinstance(message, say.Progress):
            self._progress(session, message)
        elif isinstance(message, say.Completion):
            self._statements.completed(session, message)
        elif isinstance(message, say.Piece):
            self._pieces.arrived(session, message)
        elif isinstance(message, Durable):
            self._durable(session, line, message)
        return True

    def _durable(
        self, session: LiveSession, line: Line, message: say.Ready | say.Failed | say.Begin | say.Done
    ) -> None:
        def acknowledge() -> None:
            session.acked = max(session.acked, message.seq)
            line.send({"t": "ack", "seq": message.seq})

        if message.seq <= session.applied:
            # Said again, because our word that it is written did not arrive. A begin is acknowledged with its outcome.
            if not isinstance(message, say.Begin):
                self._store.update_session_soon(session.id, written=acknowledge)
            return
        session.applied = message.seq
        if isinstance(message, say.Ready):
            self._ready(session, message, acknowledge)
        elif isinstance(message, say.Failed):
            self._failed(session, message, acknowledge)
        elif isinstance(message, say.Begin):
            self._begin(session, message)
        else:
            self._done(session, message, acknowledge)

    def _ready(self, session: LiveSession, message: say.Ready, written: Callable[[], None]) -> None:
        now = now_ms()
        session.app_id, session.spark_ui = message.app_id, message.spark_ui
        session.spark_version, session.python_version = message.spark_version, message.python_version
        session.ready_at, session.phase = now, None
        if session.owner == NOBODY:
            log.info("warm_driver_ready", session=session.id, profile=session.profile, ms=now - session.created_at)
        session.used_at = steady_ms()
        if session.state is SessionState.STARTING:
            self._sessions.set_state(session, SessionState.IDLE)
            if session.owner != NOBODY:
                self._metrics.start_seconds.observe(max(0, now - session.created_at) / 1000)
                self._metrics.starts.labels(session.profile, "ready").inc()
                log.info("session_ready", session=session.id, user=session.owner, ms=now - session.created_at)
        self._statements.pump(session)
        self._store.update_session_soon(
            session.id,
            written=written,
            event=Event(at=now, session_id=session.id, event="ready", detail={"startup_ms": message.startup_ms}),
            acked=message.seq,
            app_id=session.app_id,
            spark_ui=session.spark_ui,
            spark_version=session.spark_version,
            python_version=session.python_version,
            ready_at=now,
            state=session.state,
        )

    def _failed(self, session: LiveSession, message: say.Failed, written: Callable[[], None]) -> None:
        session.reason = message.reason[:LONGEST_REASON] or "Spark could not start; the log says more."
        session.phase = None
        session.changed.fire()
        self._store.update_session_soon(session.id, written=written, acked=message.seq, reason=session.reason)

    def _begin(self, session: LiveSession, message: say.Begin) -> None:
        statement = session.statements.get(message.statement)
        if statement is None or statement.state.final:
            return
        statement.started_at = message.at
        if statement.state is StatementState.WAITING:
            statement.state = StatementState.RUNNING
        self._metrics.statement_wait_seconds.observe(max(0, now_ms() - statement.created_at) / 1000)
        statement.touch()
        # Most are done sooner than this is worth a write; of one that goes on a restart shall know that it runs.
        asyncio.get_running_loop().call_later(BEGUN_SECONDS, self._begun, session, statement)

    def _begun(self, session: LiveSession, statement: LiveStatement) -> None:
        if statement.state is StatementState.RUNNING:
            self._store.begin_statement_soon(session.id, statement.id, statement.started_at)

    def _done(self, session: LiveSession, message: say.Done, written: Callable[[], None]) -> None:
        session.used_at = steady_ms()
        statement = session.statements.get(message.statement)
        if statement is None or statement.state.final:
            self._store.update_session_soon(session.id, written=written, acked=message.seq)
            return
        cancelled = message.status == "cancelled"
        statement.state = StatementState.CANCELLED if cancelled else StatementState.AVAILABLE
        if message.output is not None:
            statement.output = json.dumps(message.output, ensure_ascii=False, separators=(",", ":"))
        statement.truncated = message.truncated[:LONGEST_REASON] if message.truncated else None
        statement.progress = 1.0
        statement.started_at = statement.started_at or message.at
        # The driver's clock may have been set back meanwhile.
        statement.completed_at = max(message.at, statement.started_at)
        statement.stages = []
        statement.touch()
        self._statements.pump(session)
        self._store.finish_statement_soon(statement.record(session.id), message.seq, written)
        self._metrics.statements.labels(message.status).inc()
        self._metrics.statement_seconds.observe(max(0, now_ms() - statement.created_at) / 1000)
        self._statements.make_room(session)

    def recalled(self, session: LiveSession, message: say.Begin | say.Done) -> None:
        """What a driver that is gone had written down of a statement, and nobody had heard."""
        if isinstance(message, say.Begin):
            statement = session.statements.get(message.statement)
            if statement is not None and not statement.state.final:
                statement.started_at = statement.started_at or message.at
        else:
            self._done(session, message, lambda: None)

    def _printed(self, session: LiveSession, message: say.Printed) -> None:
        statement = self._running(session, message.statement)
        if statement is None:
            return
        if statement.printed is None:
            statement.printed = Printed(self._settings.stream_limit_chars)
        if statement.printed.add(message.offset, message.text):
            statement.touch()

    def _progress(self, session: LiveSession, message: say.Progress) -> None:
        statement = self._running(session, message.statement)
        if statement is None:
            return
        statement.progress = message.fraction
        statement.stages = [
            {**stage.model_dump(), "name": stage.name[:LONGEST_NAME]} for stage in message.stages[:MOST_STAGES]
        ]
        statement.touch()

    @staticmethod
    def _running(session: LiveSession, number: int) -> LiveStatement | None:
        statement = session.statements.get(number)
        return None if statement is None or statement.state.final else statement


def _greeted(session: LiveSession, text: str) -> int:
    """The process that said hello for this session."""
    hello = say.FROM_DRIVER.validate_json(text)
    if not isinstance(hello, say.Hello) or hello.session != session.id:
        raise ConnectionError("the driver did not say hello")
    return hello.pid


async def _first(*coroutines: Awaitable[object]) -> None:
    """Run all until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


__all__ = ["Drivers", "Frames", "Line", "ValidationError"]
