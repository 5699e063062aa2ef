"""Sessions and batches that come from another gateway, and those that go to one.

What comes is taken up as at a start (``sparkyard_gateway.reconciler`` and its twin). What goes is let go of in one
step, without an await: after it no coroutine of this process can write for such a session or batch (`Store.lost`),
send to its driver, begin or end it.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from sparkyard_gateway.backends.base import Backend
from sparkyard_gateway.batch_reconciler import BatchReconciler
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.reconciler import Reconciler
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import SessionState
from sparkyard_gateway.store.gateways import Claimed
from sparkyard_gateway.store.repository import Store

log = structlog.get_logger(__name__)


class Handover:
    """Lets go, and keeps drivers told of where gateways are."""

    def __init__(
        self,
        membership: Membership,
        sessions: Sessions,
        batches: Batches,
        store: Store,
        backends: Mapping[str, Backend],
        reconcilers: tuple[Reconciler, BatchReconciler],
    ) -> None:
        self._batches = batches
        self._reconcilers = reconcilers
        self._membership = membership
        self._sessions = sessions
        self._store = store
        self._backends = backends
        self._looking_away: set[asyncio.Task[None]] = set()

    async def take_up(self, claimed: Claimed, still: Callable[[], bool]) -> None:
        """These are this gateway's now, for as long as `still` says so."""
        sessions, batches = self._reconcilers
        await sessions.take_up(claimed.sessions, still)
        if still():
            await batches.take_up(claimed.batches, claimed.far)

    def let_go(self) -> None:
        """All sessions and batches are another gateway's now."""
        self._batches.let_go()
        sessions = list(self._sessions.live.values())
        self._store.lost.update(each.id for each in sessions)
        self._sessions.live.clear()
        for session in sessions:
            self._let_go(session)
        log.warning("sessions_let_go", sessions=len(sessions))

    def _let_go(self, session: LiveSession) -> None:
        session.moved = True
        session.state = SessionState.DEAD  # for whoever still holds it: nothing is sent, and nothing started
        if session.task is not None:
            session.task.cancel()
        if session.line is not None:
            session.line.close()
            session.line = None
        # Whoever waits is let go of as well, and asks the new owner.
        session.changed.close()
        for statement in session.statements.values():
            statement.changed.close()
        task = asyncio.create_task(self._backends[session.backend].let_go(session.id))
        self._looking_away.add(task)
        task.add_done_callback(self._looking_away.discard)

    def hang_up(self) -> None:
        """Have the drivers look for a gateway that may speak for their sessions: this one cannot tell."""
        for session in self._sessions.live.values():
            if session.line is not None:
                session.line.close()

    def tell_drivers(self) -> None:
        """Let those on the line know where else they may call."""
        message = {"t": "gateways", "urls": self._membership.driver_addresses()}
        for session in self._sessions.live.values():
            if session.line is not None:
                session.line.send(message)
