"""Brings what is in step with what should be: at start, and at a steady pace after.

At start every session in the database is taken up again: its driver is looked for, adopted where it lives, declared
dead where it does not. After that the sweep ends what nobody uses, hides what ended long ago, and keeps logs in
bounds. Deaths are not found here: a backend reports them as they happen.

Whatever lasts is measured by the steady clock, and only while clients could be heard: no session ends because the hub,
the database or this process was away for a while, or because somebody set the clock.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from sparkyard_gateway.auth import Identities
from sparkyard_gateway.backends.base import Backend, BackendAway, Ended
from sparkyard_gateway.backends.local import LocalBackend
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import SessionState
from sparkyard_gateway.store.gateways import Living
from sparkyard_gateway.store.models import SessionRecord
from sparkyard_gateway.store.repository import Store
from sparkyard_gateway.times import now_ms, steady_ms

HOUSEKEEPING_SECONDS = 60.0
INATTENTIVE_SECONDS = 5.0
"""A sweep that comes so much late tells that this process was stopped, and heard nobody."""
AWAY_SECONDS = 5.0
"""How long after a backend gave no answer about a session it is asked again."""

log = structlog.get_logger(__name__)


class Reconciler:
    """The sweep."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        sessions: Sessions,
        backends: dict[str, Backend],
        identities: Identities,
        membership: Membership | None = None,
    ) -> None:
        self._settings = settings
        self._identities = identities
        self._membership = membership
        self._store = store
        self._sessions = sessions
        self._backends = backends
        self._housekept = 0.0
        self._swept_at = steady_ms()
        self._heard_since = self._swept_at
        self._tasks: set[asyncio.Task[None]] = set()
        self.chores: list[Callable[[Living], None]] = []
        """What else is looked after once a minute, each on a thread, and told what may still run anywhere."""

    async def recover(self) -> None:
        """Take up what an earlier gateway left."""
        await self.take_up([*await self._store.shown_sessions(), *await self._store.removed_with_driver()])

    async def take_up(self, records: Sequence[SessionRecord], still: Callable[[], bool] = lambda: True) -> None:
        """Make these sessions live, and see to their drivers; nothing where they are this gateway's no more."""
        shown = [each for each in records if each.removed_at is None]
        counts = await self._store.statement_counts(each.id for each in shown)
        found = []
        for record in shown:
            session = LiveSession.of(record)
            session.next_statement = counts.get(session.id, 0)
            found.append(session)
        running = [each for each in found if not each.ended.is_set()]
        by_id = {each.id: each for each in found}
        for statement in await self._store.unfinished_statements(each.id for each in running):
            session = by_id[statement.session_id]
            session.statements[statement.id] = LiveStatement.of(statement)
            if statement.idempotency_key is not None:
                session.keys[statement.idempotency_key] = statement.id
        if not still():
            return
        # Whole, and at once: a driver that calls in the midst of this must find its statements.
        self._store.lost.difference_update(each.id for each in records)
        self._sessions.live.update(by_id)
        for session in running:
            await self._take_up_surely(session)
        for record in (each for each in records if each.removed_at is not None):
            # Beside all else: a driver that does not heed takes its time, and nobody shall wait for it.
            self._behind(self._end_removed(record))
        if running:
            log.info("sessions_recovered", sessions=len(running))

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it behind the start: a place that is away must not hold it up."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_removed(self, record: SessionRecord) -> None:
        backend, handle = self._backends[record.backend], record.handle
        if handle is None:
            with contextlib.suppress(BackendAway):
                handle = await backend.adopt(record.id, None)
        await backend.stop(record.id, handle, self._settings.stop_grace_seconds)
        await backend.forget(record.id, keep_log=True)
        self._store.update_session_soon(record.id, ended_at=now_ms())

    async def _take_up_later(self, session: LiveSession) -> None:
        await asyncio.sleep(AWAY_SECONDS)
        if session.state.active:
            await self._take_up_surely(session)

    async def _take_up_surely(self, session: LiveSession) -> None:
        try:
            await self._take_up(session)
        except StoreUnavailable:
            self._behind(self._take_up_later(session))

    async def _take_up(self, session: LiveSession) -> None:
        backend = self._backends[session.backend]
        known = session.handle is not None
        try:
            session.handle = await backend.adopt(session.id, session.handle)
        except BackendAway as away:
            if session.state is SessionState.SHUTTING_DOWN:
                self._sessions.end(session, session.reason)
            else:
                session.phase = str(away)
                self._behind(self._take_up_later(session))
            return
        if session.current is not None and session.handle is not None:
            session.current.sent = True  # or not: until its driver has called again nobody knows
        if session.handle is None and not known and session.state is SessionState.STARTING:
            await self._sessions.start_again(session)
        elif session.handle is None:
            why = "The driver process ended while no gateway watched it."
            self._sessions.driver_ended(session.id, Ended(why, clean=False))
        elif session.state is SessionState.SHUTTING_DOWN:
            self._sessions.end(session, session.reason)
        elif session.ready_at is None:
            session.phase = "The driver process is up; Spark is starting."
            self._store.update_session_soon(session.id, handle=session.handle)
            self._sessions.await_ready(session)
        else:
            busy = session.current is not None
            session.state = SessionState.BUSY if busy else SessionState.IDLE

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self.sweep()
            except Exception:  # the loop must outlive one bad round
                log.exception("sweep_failed")

    async def sweep(self) -> None:
        """One round."""
        now = steady_ms()
        suspended = self._membership is not None and self._membership.suspended
        if now - self._swept_at > self._settings.sweep_seconds * 1000 + INATTENTIVE_SECONDS * 1000:
            self._heard_since = now  # this process was stopped for a while
        if suspended or not self._store.healthy:
            self._heard_since = now
        self._swept_at = now
        if suspended:
            return  # whose the sessions are, this gateway cannot tell
        heard_since = max(self._heard_since, self._identities.unreachable_at)
        for session in list(self._sessions.live.values()):
            if session.ended.is_set():
                if not session.removed and now - session.gone_at > self._settings.finished_retention_seconds * 1000:
                    self._sessions.hide(session)
            elif session.state.active and (reason := overdue(session, now, heard_since)) is not None:
                self._sessions.end(session, reason)
        if time.monotonic() - self._housekept > HOUSEKEEPING_SECONDS:
            self._housekept = time.monotonic()
            await self._keep_house()

    async def _keep_house(self) -> None:
        """Keep what lies on the disk in bounds."""
        living = await self._living()
        for chore in self.chores:
            await asyncio.to_thread(chore, living)
        for backend in self._backends.values():
            if isinstance(backend, LocalBackend):
                limit, retention = self._settings.driver_log_limit_bytes, self._settings.log_retention_seconds
                await asyncio.to_thread(backend.tidy, limit, retention, living.sessions)

    async def _living(self) -> Living:
        if self._membership is not None:
            return await self._membership.living()
        running = [each for each in self._sessions.live.values() if not each.ended.is_set()]
        applications = [(each.owner, each.app_id) for each in running if each.app_id is not None]
        return Living(frozenset(each.id for each in running), applications=applications)


def overdue(session: LiveSession, now: int, heard_since: int = 0) -> str | None:
    """Why an active session must end now, if it must; all clients could be heard since `heard_since`."""
    silent, unused = now - max(session.heard_at, heard_since), now - max(session.used_at, heard_since)
    age = now - session.born_at
    heartbeat, lifetime, idle = session.heartbeat_seconds, session.lifetime_seconds, session.idle_timeout_seconds
    if heartbeat > 0 and not session.waiting and silent > heartbeat * 1000:
        return f"No client asked about the session for {heartbeat} s, its heartbeat timeout."
    if lifetime and age > lifetime * 1000:
        return f"The session reached its longest lifetime, {lifetime:g} s."
    if idle and session.state is SessionState.IDLE and not session.waiting and unused > idle * 1000:
        return f"The session was idle for {idle:g} s, its idle timeout."
    return None
