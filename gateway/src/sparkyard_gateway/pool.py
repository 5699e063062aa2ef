"""The warm pool: drivers that profiles keep started, each for the next session that asks for nothing else.

A warm driver is the driver of a session like any other, whose owner is nobody: so its start, its line, its end and what
a restart of the gateway does about it are as with all. Nobody sees such a session. Taking it is one write, which
makes it somebody's and tells its name and its Idempotency-Key; before that write it is still to be had, after it never
again. It is not given back: what somebody has used ends with its session.

Each round brings the pool closer to what the catalog asks for (`warm.plan`); after a taking the next comes at once.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from sparkyard_catalog import Catalog, CatalogFile, SessionSpec
from sparkyard_gateway.backends import warm_logs
from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.local import OWN_PYTHON, LocalBackend
from sparkyard_gateway.backends.warm_uids import is_warm
from sparkyard_gateway.config import Settings
from sparkyard_gateway.credentials import credentials
from sparkyard_gateway.errors import Misdirected, StoreUnavailable
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.orders import granted
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import Kind, SessionState
from sparkyard_gateway.store.models import NOBODY, NewSession, SessionRecord, Taking
from sparkyard_gateway.store.repository import Limits, Store
from sparkyard_gateway.times import now_ms, steady_ms
from sparkyard_gateway.warm import WARM, Kept, Rests, Wanted, essence, plan, taken_message, wanted
from sparkyard_gateway.wire import SessionRequest

MIB = 1024 * 1024
NO_HOME = (
    "The driver was started before it was yours, under a system user of its own: it cannot read your home folder. "
    'A session asked for with "warm": false can.'
)

log = structlog.get_logger(__name__)


class Pool:
    """All warm drivers of this gateway; those of the local backend alone. Each gateway keeps as many as are wanted."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        sessions: Sessions,
        catalog: CatalogFile,
        metrics: Metrics,
        backend: LocalBackend,
        event_logs: EventLogs,
        available: Callable[[], int | None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions
        self._catalog = catalog
        self._metrics = metrics
        self._backend = backend
        self._event_logs = event_logs
        self._available = available
        self._rests = Rests()
        self._read: tuple[Catalog, dict[str, Wanted]] | None = None
        self._reserved: set[int] = set()
        self._asked: set[int] = set()
        self._woken = asyncio.Event()
        self.suspended: Callable[[], bool] = lambda: False
        """Whether other gateways may have taken over what this one knows: then nothing is decided from it."""

    # Taking

    async def take(
        self, owner: str, request: SessionRequest, key: str | None, spec: SessionSpec, limits: Limits | None
    ) -> LiveSession | None:
        """A session with a warm driver, now the owner's; None where one must be started.

        Raises DuplicateError and FullError, as adding one would, and StoreUnavailable.
        """
        if (wish := self._wishes().get(spec.profile)) is None:
            return None
        mine = granted(spec)
        mark = essence(mine)
        if request.warm is False or mark != wish.mark:
            reason = "declined" if request.warm is False else "other_settings"
            self._metrics.warm_misses.labels(spec.profile, reason).inc()
            return None
        began = steady_ms()
        while (session := self._free(mark)) is not None:
            taking = self._taking(owner, request, key, {**mine, WARM: True}, session)
            self._reserved.add(session.id)
            try:
                taken = await self._store.take_session(session.id, taking, limits)
            finally:
                self._reserved.discard(session.id)
            if session.moved:
                raise Misdirected("Another gateway has taken over this session. Try again.")
            if taken:
                self._now_of(session, taking)
                self._metrics.start_seconds.observe((steady_ms() - began) / 1000)
                return session
            self._end(session, "Its row was no longer to be had.")
        self._metrics.warm_misses.labels(spec.profile, "empty").inc()
        return None

    def _free(self, mark: str) -> LiveSession | None:
        """One that is up, and on the line."""
        for session in self._kept():
            if (
                session.state is SessionState.IDLE
                and session.line is not None
                and session.id not in self._reserved
                and essence(session.spec) == mark
            ):
                return session
        return None

    @staticmethod
    def _taking(
        owner: str, request: SessionRequest, key: str | None, spec: dict[str, object], session: LiveSession
    ) -> Taking:
        if is_warm((session.handle or {}).get("uid")):
            spec["notice"] = " ".join(filter(None, (str(spec["notice"] or ""), NO_HOME)))
        now = now_ms()
        return Taking(
            owner=owner,
            team=None if spec["team"] is None else str(spec["team"]),
            name=request.name,
            kind=request.kind,
            request=request.model_dump(mode="json", by_alias=True, exclude_unset=True),
            spec=spec,
            idempotency_key=key,
            created_at=now,
            ready_at=now,
            active_at=now,
        )

    def _now_of(self, session: LiveSession, taking: Taking) -> None:
        """In memory as it is written."""
        session.owner, session.team, session.name = taking.owner, taking.team, taking.name
        session.kind, session.request, session.spec = Kind(taking.kind), taking.request, taking.spec
        session.created_at, session.ready_at = taking.created_at, taking.ready_at
        session.born_at = session.heard_at = session.used_at = steady_ms()
        if session.line is not None and (message := taken_message(session)) is not None:
            session.line.send(message)
        session.changed.fire()
        self._rests.served(essence(session.spec))
        self._metrics.warm_hits.labels(session.profile).inc()
        self._metrics.created.labels(session.profile).inc()
        self._metrics.starts.labels(session.profile, "ready").inc()
        log.info("warm_driver_taken", session=session.id, user=session.owner, profile=session.profile)
        self._woken.set()

    # Keeping

    async def run(self) -> None:
        """Do so for ever. Beside all else: an end that takes its time keeps nobody waiting."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.sweep_seconds):
                    await self._woken.wait()
            self._woken.clear()
            if self.suspended():
                continue
            try:
                await self._sweep()
            except (StoreUnavailable, Misdirected):
                log.warning("warm_pool_not_kept")  # the next round does it
            except Exception:  # the loop must outlive one bad round
                log.exception("warm_pool_round_failed")

    async def _sweep(self) -> None:
        # On a thread: a catalog that has just been edited is read and checked anew.
        await asyncio.to_thread(self._catalog.refresh)
        wishes = self._wishes()
        self._rests.forget_all_but(frozenset(wish.mark for wish in wishes.values()))
        self._bury()
        if wishes or self._kept():
            await self._take_step(wishes)
        await self._hand_over_logs()

    async def _take_step(self, wishes: dict[str, Wanted]) -> None:
        free = await asyncio.to_thread(self._available)
        starts = self._sessions.starts
        step = plan(
            wishes,
            [_as_kept(each) for each in self._kept() if each.id not in self._reserved],
            free=free,
            least=self._settings.warm_memory_free_mib * MIB,
            resting=self._rests.resting(steady_ms() / 1000),
            turn=not starts.busy,
        )
        for number, reason in step.end.items():
            session = self._sessions.live.get(number)
            # Somebody may have taken it while memory was looked at.
            if session is not None and session.owner == NOBODY and number not in self._reserved:
                self._end(session, reason)
        if step.start is not None:
            await self._start(step.start)

    async def _start(self, wish: Wanted) -> None:
        now, proof = now_ms(), credentials(self._backend.name)
        new = NewSession(
            owner=NOBODY,
            team=None,
            name=None,
            kind=Kind.SHARED,
            profile=wish.profile,
            backend=self._backend.name,
            request={},
            spec={**wish.spec, **proof.kept, WARM: True},
            state=SessionState.STARTING,
            token_hash=proof.token_hash,
            gateway=self._settings.instance,
            idempotency_key=None,
            created_at=now,
            active_at=now,
        )
        await self._sessions.add(new, proof.secret)

    def _end(self, session: LiveSession, reason: str) -> None:
        self._asked.add(session.id)
        log.info("warm_driver_ended", session=session.id, profile=session.profile, reason=reason)
        self._sessions.end(session, reason)

    def _bury(self) -> None:
        """Show those that ended no more, and remember which did so unasked."""
        for session in self._all():
            if session.state is SessionState.SHUTTING_DOWN and not session.late:
                self._asked.add(session.id)  # by an earlier gateway, or by the end of this one
            if not session.ended.is_set() or session.id in self._reserved:
                continue  # one that dies in the moment it is taken is its owner's
            if session.id not in self._asked:
                self._metrics.warm_failures.labels(session.profile).inc()
                until = self._rests.failed(essence(session.spec), steady_ms() / 1000)
                pause = round(until - steady_ms() / 1000)
                log.warning("warm_driver_failed", profile=session.profile, reason=session.reason, pause_seconds=pause)
            self._asked.discard(session.id)
            self._sessions.hide(session)

    async def _hand_over_logs(self) -> None:
        for number in await asyncio.to_thread(self._event_logs.warm_numbers):
            session = self._sessions.live.get(number)
            if session is not None and not session.ended.is_set():
                continue
            record = await self._store.session(number) if session is None else session
            if session is None and record is not None and record.ended_at is None:
                continue  # another gateway's, or deleted while its driver is still ending
            await self._backend.stop(number, None, 0)
            try:
                await self._hand_over(number, record)
            except (OSError, BackendError) as error:
                log.debug("event_log_kept_back", session=number, error=str(error))

    async def _hand_over(self, number: int, record: LiveSession | SessionRecord | None) -> None:
        oldest = now_ms() - self._settings.log_retention_seconds * 1000
        uid = (record.handle or {}).get("uid") if record is not None else None
        if record is None or record.owner == NOBODY or uid is None or (record.ended_at or 0) < oldest:
            await asyncio.to_thread(warm_logs.discard, self._event_logs, number)
            return
        python = record.spec.get("python")
        identity = await self._backend.identity_of(record.owner, Path(python) if python else OWN_PYTHON)
        await asyncio.to_thread(warm_logs.hand_over, self._event_logs, number, uid, record.owner, identity)

    # What there is

    def _wishes(self) -> dict[str, Wanted]:
        if self._settings.backend != self._backend.name:
            return {}
        catalog = self._catalog.catalog
        if self._read is None or self._read[0] is not catalog:
            self._read = (catalog, wanted(catalog))
        return self._read[1]

    def _all(self) -> list[LiveSession]:
        return [each for each in self._sessions.live.values() if each.owner == NOBODY]

    def _kept(self) -> list[LiveSession]:
        return [each for each in self._all() if not each.ended.is_set()]

    def asked_for(self) -> dict[str, float]:
        """How many the catalog asks for, by profile."""
        return {name: wish.count for name, wish in self._wishes().items()}

    def counts(self, state: SessionState) -> dict[str, float]:
        """How many are in this state, by profile."""
        counts = Counter(each.profile for each in self._kept() if each.state is state)
        return {name: counts[name] for name in {*self._wishes(), *counts}}


def _as_kept(session: LiveSession) -> Kept:
    return Kept(
        session.id,
        session.profile,
        essence(session.spec),
        starting=session.state is SessionState.STARTING,
        ending=not session.state.active,
    )
