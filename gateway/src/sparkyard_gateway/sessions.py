"""Sessions: who may reach which, how one is made, and how it ends.

Ownership is decided in one place, `Sessions.find` by the rules of `ownership`: whoever may not see a session gets the
very answer of one that does not exist. A session is written down before its driver is started, and its driver's handle
as soon as there is one, so that a gateway that dies at any point leaves nothing that the next one cannot find and
finish.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from sparkyard_catalog import CatalogFile, SessionSpec
from sparkyard_gateway import ownership, policy
from sparkyard_gateway.admission import Admission, Room
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.backends.base import Backend, BackendError, DriverOrder, Ended
from sparkyard_gateway.config import Settings
from sparkyard_gateway.credentials import credentials
from sparkyard_gateway.driver_logs import DriverLogs, with_exception
from sparkyard_gateway.failures import Failure
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.orders import granted, order
from sparkyard_gateway.outcomes import not_run
from sparkyard_gateway.places import check_place
from sparkyard_gateway.starts import LAUNCHING, Starts, launched, too_late
from sparkyard_gateway.states import SessionState, StatementState
from sparkyard_gateway.store.models import NOBODY, Event, NewSession
from sparkyard_gateway.store.repository import Limits, Store
from sparkyard_gateway.times import now_ms, steady_ms
from sparkyard_gateway.warm import WarmDrivers
from sparkyard_gateway.wire import SessionRequest

DELETE_WAIT_SECONDS = 0.25
"""How long a DELETE waits to see the driver gone; what remains goes on behind it."""
HANG_UP_SECONDS = 2.0
"""How long after a driver's end its last messages may still be read from its connection."""

log = structlog.get_logger(__name__)


class Sessions:
    """All sessions that clients may see, and those that are nobody's yet (`pool`), in memory."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        backends: Mapping[str, Backend],
        catalog: CatalogFile,
        metrics: Metrics,
        logs: DriverLogs,
    ) -> None:
        self._logs = logs
        self._settings = settings
        self._store = store
        self._backends = backends
        self._catalog = catalog
        self._metrics = metrics
        self.starts = Starts(settings.concurrent_starts, metrics.start_queue_seconds.observe)
        self._tasks: set[asyncio.Task[None]] = set()
        self.live: dict[int, LiveSession] = {}
        limits = Limits(settings.max_sessions, settings.max_sessions_per_user)
        self.admission = Admission("session", Room("sessions", limits, "delete one first"), store, self.live)
        self.warm: WarmDrivers | None = None
        """Asked for a driver before one is started; set where the parts are wired."""
        # Where several run: drivers know all, and none is ended before it is surely one's own.
        self.gateways: Callable[[], list[str]] = list
        self.until_held: Callable[[], Awaitable[None]] = _at_once
        self.recall: Callable[[LiveSession], Awaitable[None]] | None = None
        """Hears what a driver that is gone had to say; set where the parts are wired."""
        self.driver_url = settings.driver_url or f"ws://{settings.host}:{settings.port}"

    # Who may see what

    def find(self, caller: Caller, reference: str) -> LiveSession:
        """The session of this id or name, if the caller may see it.

        Raises SessionNotFound in the same way for one that is unknown and one that is somebody else's.
        """
        session = ownership.find(caller, reference, self.live)
        if session.owner == caller.name:
            # Somebody who looks in doesn't keep a session alive that its owner's client has left.
            session.heard_at = steady_ms()
        return session

    def visible(self, caller: Caller) -> list[LiveSession]:
        """What the caller may see, oldest first."""
        return ownership.visible(caller, self.live.values())

    # Creation

    async def create(self, caller: Caller, request: SessionRequest, key: str | None) -> LiveSession:
        """Write down a session and begin to start its driver."""

        async def add(spec: SessionSpec, limits: Limits | None) -> LiveSession:
            taken = await self.warm.take(caller.name, request, key, spec, limits) if self.warm is not None else None
            return taken or await self._create(caller, request, key, spec, limits)

        return await self.admission.admit(caller.name, request.name, key, lambda: self.judge(caller, request), add)

    async def _create(
        self, caller: Caller, request: SessionRequest, key: str | None, spec: SessionSpec, limits: Limits | None
    ) -> LiveSession:
        backend, now = self._settings.backend, now_ms()
        proof = credentials(backend)
        new = NewSession(
            owner=caller.name,
            team=spec.team,
            name=request.name,
            kind=request.kind,
            profile=spec.profile,
            backend=backend,
            request=request.model_dump(mode="json", by_alias=True, exclude_unset=True),
            spec={**granted(spec, backend, self._settings.livy_images), **proof.kept},
            state=SessionState.STARTING,
            token_hash=proof.token_hash,
            gateway=self._settings.instance,
            idempotency_key=key,
            created_at=now,
            active_at=now,
        )
        session = await self.add(new, proof.secret, limits)
        self._metrics.created.labels(session.profile).inc()
        return session

    async def add(self, new: NewSession, secret: str, limits: Limits | None = None) -> LiveSession:
        """Write a session down and begin to start its driver. Raises DuplicateError and FullError."""
        number = await self._store.add_session(new, "created", limits)
        session = self.live[number] = LiveSession.begun(number, new)
        self._begin(session, secret)
        log.info("session_created", session=number, user=session.owner, profile=session.profile)
        return session

    async def judge(self, caller: Caller, request: SessionRequest) -> SessionSpec:
        """What this request is granted; starts nothing. Raises Rejected or RefusedByPolicy.

        Also for a client that means to replace a session: how many run now is no matter, as the old one is about to go.
        """
        # On a thread: a catalog that has just been edited is read and checked anew.
        await asyncio.to_thread(self._catalog.refresh)
        spec = policy.decide(self._catalog.catalog, caller, request)
        check_place(self._settings, caller, spec)
        return spec

    async def start_again(self, session: LiveSession) -> None:
        """Start the driver of a session whose gateway died before it had started one.

        With a new token and the next epoch: should that driver come up after all, it is not let in. What may be left
        of it is ended first: the two would share a folder.
        """
        await self._backends[session.backend].stop(session.id, None, 0)
        await self._backends[session.backend].forget(session.id, keep_log=True)
        proof = credentials(session.backend)
        session.token_hash, session.epoch = proof.token_hash, session.epoch + 1
        session.spec = {**session.spec, **proof.kept}
        await self._store.update_session(
            session.id, token_hash=session.token_hash, epoch=session.epoch, spec=session.spec
        )
        self._begin(session, proof.secret)

    def _begin(self, session: LiveSession, secret: str) -> None:
        wanted = order(session, secret, self._settings, self.driver_url, self.gateways())
        self._spawn(self._start(session, wanted), f"start-{session.id}")

    async def _start(self, session: LiveSession, wanted: DriverOrder) -> None:
        def say(phase: str) -> None:
            session.phase = phase
            session.changed.fire()

        async with self.starts.turn(say):
            if not session.state.active:
                return
            session.phase, session.launching = LAUNCHING, True
            session.changed.fire()
            try:
                session.handle = await self._backends[session.backend].start(wanted)
            except BackendError as error:
                self._finish(session, Ended(str(error), clean=False))
                return
            finally:
                session.launching = False
                session.changed.fire()
            if session.moved:
                await self._backends[session.backend].discard(session.handle)
                return
            self._store.update_session_soon(
                session.id, handle=session.handle, event=Event(at=now_ms(), session_id=session.id, event="started")
            )
            say(launched(session.phase))
            await self._until_ready(session)

    def await_ready(self, session: LiveSession) -> None:
        """See to it that an adopted driver that was starting does not start for ever."""
        self._spawn(self._until_ready(session), f"start-{session.id}")

    async def _until_ready(self, session: LiveSession) -> None:
        await session.changed.wait_until(
            lambda: session.state is not SessionState.STARTING, self._settings.start_timeout_seconds
        )
        await self.until_held()
        if session.state is SessionState.STARTING:
            session.late = True
            self.end(session, too_late(self._settings.start_timeout_seconds, session.phase))

    # What happens to it

    def set_state(self, session: LiveSession, state: SessionState) -> None:
        """Between idle and busy: in memory alone, as it follows from the statements."""
        if session.state is not state:
            session.state = state
            session.changed.fire()

    def tell_phase(self, number: int, phase: str) -> None:
        """A backend knows better what a driver that is starting waits for."""
        session = self.live.get(number)
        if session is not None and session.state is SessionState.STARTING and session.phase != phase:
            session.phase = phase
            session.changed.fire()

    def driver_ended(self, number: int, ended: Ended, backend: str = "local") -> None:
        """A backend saw a driver's end."""
        if number in self._store.lost:
            return
        session = self.live.get(number)
        if session is None:
            self._store.update_session_soon(number, ended_at=now_ms())
            self._spawn(self._forget(number, backend), f"forget-{number}")
            return
        self._spawn(self._after_end(session, ended), f"ended-{number}")

    async def _after_end(self, session: LiveSession, ended: Ended) -> None:
        # Its last words may still be on the way to us.
        await session.changed.wait_until(lambda: session.line is None, HANG_UP_SECONDS)
        if self.recall is not None:
            await self.recall(session)
        expected = session.state is SessionState.SHUTTING_DOWN or session.ended.is_set()
        self._finish(session, ended, None if expected else await self._logs.last_words(session))
        await self._forget(session.id, session.backend)

    async def _forget(self, number: int, backend: str) -> None:
        await self._backends[backend].stop(number, None, 0)
        await self._backends[backend].forget(number, keep_log=True)

    def _finish(self, session: LiveSession, ended: Ended, failure: Failure | None = None) -> None:
        """The driver is gone for good."""
        if session.ended.is_set() or session.moved:
            return
        if session.state is not SessionState.SHUTTING_DOWN:
            told = None if ended.decisive else session.reason
            reason = told or (ended.reason if failure else self._logs.with_last_line(session, ended))
            session.reason = with_exception(reason, None if ended.decisive else failure)
            # What the backend saw, not the driver's own words: these may be anything its user wrote.
            log.warning("session_died", session=session.id, user=session.owner, reason=ended.reason)
            if session.owner != NOBODY:
                self._metrics.died.labels(session.profile).inc()
        if session.ready_at is None and session.owner != NOBODY:
            asked = session.state is SessionState.SHUTTING_DOWN
            outcome = "timed_out" if session.late else "stopped" if asked else "failed"
            self._metrics.starts.labels(session.profile, outcome).inc()
        session.state = SessionState.DEAD
        session.phase = None
        session.ended_at, session.gone_at = now_ms(), steady_ms()
        for statement in session.statements.values():
            if not statement.state.final:
                self.fail_statement(session, statement, session.reason or ended.reason, self._logs.last_lines(session))
        session.ended.set()
        session.changed.fire()
        self._store.update_session_soon(
            session.id,
            state=session.state,
            reason=session.reason,
            ended_at=session.ended_at,
            event=Event(
                at=session.ended_at, session_id=session.id, event="ended", detail={"reason": session.reason or ""}
            ),
        )

    def fail_statement(
        self, session: LiveSession, statement: LiveStatement, reason: str, last_words: Sequence[str] = ()
    ) -> None:
        """A statement that its driver can no longer answer."""
        statement.output = not_run(statement, reason, last_words)
        statement.state = StatementState.AVAILABLE
        statement.progress = 1.0
        statement.completed_at = now_ms()
        statement.touch()
        self._store.finish_statement_soon(statement.record(session.id))

    # The end

    def end(self, session: LiveSession, reason: str | None, grace_seconds: float | None = None) -> asyncio.Task[None]:
        """Begin to end a session; it stays listed as dead. The task ends when its driver is gone."""
        if session.task is not None and session.state is SessionState.SHUTTING_DOWN and not session.task.done():
            return session.task
        if not session.state.ended:
            session.state = SessionState.SHUTTING_DOWN
            # A reason that stands already may be the driver's own words, which the log must not hold.
            told = reason if reason != session.reason else None
            session.reason = reason or session.reason
            session.changed.fire()
            self._store.update_session_soon(session.id, state=session.state, reason=session.reason)
            log.info("session_ending", session=session.id, user=session.owner, reason=told)
        grace = self._settings.stop_grace_seconds if grace_seconds is None else grace_seconds
        session.task = self._spawn(self._end(session, grace), f"end-{session.id}")
        return session.task

    async def _end(self, session: LiveSession, grace_seconds: float) -> None:
        backend = self._backends[session.backend]
        # A process that is just being made has no handle yet to end it by.
        await session.changed.wait_until(lambda: not session.launching, self._settings.start_timeout_seconds)
        if session.line is not None and not session.ended.is_set():
            session.line.send({"t": "shutdown"})
            # A driver that heeds takes a few hundred ms to stop Spark in order.
            await session.changed.wait_until(session.ended.is_set, grace_seconds)
        await self.until_held()
        if session.moved:
            return
        await backend.stop(session.id, session.handle, grace_seconds)
        self._finish(session, Ended("The session was stopped.", clean=True))
        await backend.forget(session.id, keep_log=True)

    async def stop(self, session: LiveSession, reason: str) -> None:
        """Begin to end a session, and return when that is written down; it stays listed as dead."""
        if session.state.active:
            await self._store.update_session(session.id, state=SessionState.SHUTTING_DOWN, reason=reason)
        self.end(session, reason)

    async def delete(self, session: LiveSession, by: str | None = None) -> None:
        """End a session and show it no more; `by` whom, where that is known."""
        if not session.removed:
            await self._store.remove_session(session.id, now_ms(), by)
            session.removed = True
        ending = self.end(session, session.reason)
        await asyncio.wait({ending}, timeout=DELETE_WAIT_SECONDS)
        ending.add_done_callback(lambda _task: self.live.pop(session.id, None))

    def hide(self, session: LiveSession) -> None:
        """Show an ended session no more."""
        session.removed = True
        self.live.pop(session.id, None)
        self._store.update_session_soon(session.id, removed_at=now_ms())

    def log_tail(self, session: LiveSession, lines: int) -> list[str]:
        """The end of the driver's log."""
        return self._backends[session.backend].log_tail(session.id, lines)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task_failed", task=task.get_name(), exc_info=task.exception())


async def _at_once() -> None:
    """With one gateway there is no doubt."""
