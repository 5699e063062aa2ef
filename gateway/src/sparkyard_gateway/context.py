"""The one place where the parts are put together, and taken apart again."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from sparkyard_catalog import CatalogFile
from sparkyard_gateway import memory, readings, remote_places
from sparkyard_gateway.auth import Identities
from sparkyard_gateway.authorities import authorities_for
from sparkyard_gateway.backends.base import Backend, BatchBackend, Ended
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.fences import Fences, fences_for
from sparkyard_gateway.backends.history_servers import HistoryServers
from sparkyard_gateway.backends.kubernetes import KubernetesBackend
from sparkyard_gateway.backends.livy import LivyBackend
from sparkyard_gateway.backends.local import DRIVER_PROGRAM, LocalBackend
from sparkyard_gateway.backends.local_batches import LocalBatches
from sparkyard_gateway.backends.pod_batches import PodBatches
from sparkyard_gateway.batch_reconciler import BatchReconciler
from sparkyard_gateway.batch_records import BatchRecords
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.browser_login import BrowserLogin
from sparkyard_gateway.claims import Claims
from sparkyard_gateway.config import Settings
from sparkyard_gateway.driver_logs import DriverLogs
from sparkyard_gateway.drivers import Drivers
from sparkyard_gateway.elsewhere import Elsewhere
from sparkyard_gateway.event_intake import Carriages, EventIntake, EventTokens
from sparkyard_gateway.forwarding import Forwarding
from sparkyard_gateway.handover import Handover
from sparkyard_gateway.history import History
from sparkyard_gateway.holdings import BatchHolding, SessionHolding
from sparkyard_gateway.journals import Journals
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.overview import Overview
from sparkyard_gateway.pieces import Pieces
from sparkyard_gateway.pod_history import PodHistory
from sparkyard_gateway.pool import Pool
from sparkyard_gateway.reconciler import Reconciler
from sparkyard_gateway.records import Records
from sparkyard_gateway.sealing import Seal
from sparkyard_gateway.session_pods import SessionPods
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.spark_ui import SparkUi
from sparkyard_gateway.statements import Statements
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.engines import is_sqlite
from sparkyard_gateway.store.gateways import GatewayRows
from sparkyard_gateway.store.repository import Store
from sparkyard_gateway.ui_keys import UiKeys

ENDING_SECONDS = 60.0
"""How long beyond their grace drivers may take to end when the gateway stops with them."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Gateway:
    """Everything a running gateway consists of. Routes take from it what they need."""

    settings: Settings
    catalog: CatalogFile
    database: Database
    store: Store
    hub: httpx.AsyncClient
    identities: Identities
    backends: dict[str, Backend]
    sessions: Sessions
    statements: Statements
    pieces: Pieces
    drivers: Drivers
    batches: Batches
    batch_backends: dict[str, BatchBackend]
    claims: Claims
    reconciler: Reconciler
    pool: Pool
    batch_reconciler: BatchReconciler
    metrics: Metrics
    logs: DriverLogs
    records: Records
    pods: SessionPods
    history_servers: HistoryServers
    pod_history: PodHistory
    event_intake: EventIntake | None
    overview: Overview
    page_tokens: Seal | None
    browser_login: BrowserLogin | None
    spark_ui: SparkUi | None
    membership: Membership | None
    forwarding: Forwarding | None
    elsewhere: Elsewhere | None
    closing: bool = False
    _tasks: tuple[asyncio.Task[None], ...] = ()

    def owner_of(self, number: int) -> str | None:
        """Whose session this is; None where it is not known any more."""
        session = self.sessions.live.get(number)
        return session.owner if session is not None else None

    def reachable_at(self, address: str) -> None:
        """Where it listens, for drivers and other gateways, unless the settings say otherwise."""
        if self.settings.driver_url is None:
            self.sessions.driver_url = f"ws://{address}"
        if self.membership is not None:
            self.membership.reachable_at(f"http://{address}", self.sessions.driver_url)

    async def open(self) -> None:
        """Take up what runs, and begin."""
        self.database.open()
        await self.history_servers.open()
        await asyncio.to_thread(self.pod_history.logs.open)
        if self.settings.backend == "kubernetes":
            self._watch_pods()
        if self.membership is not None:
            await self.membership.begin()
        else:
            await self.reconciler.recover()
            await self.batch_reconciler.recover()
        self._tasks = (
            asyncio.create_task(self.reconciler.run(), name="sweep"),
            asyncio.create_task(self.pool.run(), name="sweep-warm-drivers"),
            asyncio.create_task(self.batch_reconciler.run(), name="sweep-batches"),
        )
        if self.membership is not None:
            self._tasks += (asyncio.create_task(self.membership.run(), name="membership"),)

    def _watch_pods(self) -> None:
        """Look at every namespace where drivers may be, before any is looked for."""
        teams = {team.namespace for team in self.catalog.catalog.teams.values() if team.namespace}
        namespaces = frozenset({self.settings.kubernetes_namespace, *teams})
        for backend in (self.backends["kubernetes"], self.batch_backends["kubernetes"]):
            assert isinstance(backend, KubernetesBackend | PodBatches)
            backend.open(namespaces)
        self.pod_history.pods.open(namespaces)

    def begin_to_close(self) -> None:
        """Let go of everyone who waits, so that a stop takes no longer than an answer."""
        self.closing = True
        for session in self.sessions.live.values():
            session.changed.close()
            for statement in session.statements.values():
                statement.changed.close()
        for batch in self.batches.live.values():
            batch.changed.close()

    async def close(self) -> None:
        """End in order; the drivers run on unless told otherwise."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.settings.stop_drivers_on_exit:
            running = [each for each in self.sessions.live.values() if not each.ended.is_set()]
            endings = [self.sessions.end(each, "The gateway was stopped.") for each in running]
            batches = list(self.batches.running.values())
            endings += [self.batches.end(each, "The gateway was stopped.") for each in batches]
            if endings:
                # An upstream that is away cannot end its drivers; they stay written down for the next gateway.
                await asyncio.wait(endings, timeout=self.settings.stop_grace_seconds + ENDING_SECONDS)
        for backend in self.backends.values():
            if isinstance(backend, LivyBackend | KubernetesBackend):
                await backend.close()
        for each in self.batch_backends.values():
            await each.close()
        if self.membership is not None:
            await self.membership.leave()
        await self.database.close()
        await self.hub.aclose()
        if self.forwarding is not None:
            await self.forwarding.close()
        self.logs.close()
        await self.history_servers.close()
        await self.pod_history.pods.close()
        if self.spark_ui is not None:
            await self.spark_ui.close()


def build(settings: Settings) -> Gateway:
    """Wire a gateway; nothing runs yet."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    # Drivers under their users' uids pass through it to their folders; the database itself is this process's alone.
    settings.state_dir.chmod(0o711)
    metrics = Metrics()
    catalog = CatalogFile(settings.catalog)
    database = Database(database_url(settings.database_url, settings.state_dir, settings.database_password_file))
    store = Store(database)
    hub = httpx.AsyncClient(
        timeout=settings.hub_timeout_seconds,
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
        follow_redirects=False,
        trust_env=False,
        verify=authorities_for(settings.hub_api_url),
    )
    identities = Identities(
        hub,
        settings.hub_api_url,
        settings.hub_service_name,
        settings.identity_ttl_seconds,
        settings.identity_cache_size,
        catalog,
    )
    secret = settings.hub_token_file.read_text(encoding="utf-8").strip() if settings.hub_token_file else ""
    ui_keys = UiKeys(secret)
    backends: dict[str, Backend] = {}
    logs = DriverLogs(backends)
    sessions = Sessions(settings, store, backends, catalog, metrics, logs)

    def when_ended(number: int, ended: Ended) -> None:
        sessions.driver_ended(number, ended)

    event_logs = EventLogs(settings.state_dir.absolute() / "events")
    local = backends["local"] = LocalBackend(
        settings.sessions_dir,
        when_ended,
        homes_dir=settings.homes_dir,
        drop_privileges=settings.drop_privileges,
        java_home=settings.local_java_home,
        fences=_fences(settings, settings.sessions_dir),
        program=(settings.driver_program or DRIVER_PROGRAM).absolute(),
        event_logs=event_logs if settings.event_logs else None,
        ui_keys=ui_keys,
    )
    upstream_terms = remote_places.upstream_terms(settings, database)
    backends["livy"] = remote_places.upstream(settings, upstream_terms, sessions)
    backends["kubernetes"] = remote_places.cluster(settings, database, sessions, store, ui_keys)
    batch_backends: dict[str, BatchBackend] = {}
    batch_store = BatchStore(database)
    batches = Batches(settings, batch_store, batch_backends, catalog, metrics, sessions.starts)

    batch_backends["local"] = LocalBatches(
        settings.batches_dir,
        batches.attempt_ended,
        homes_dir=settings.homes_dir,
        drop_privileges=settings.drop_privileges,
        java_home=settings.local_java_home,
        fences=_fences(settings, settings.batches_dir),
        program=(settings.driver_program or DRIVER_PROGRAM).absolute(),
        event_logs=event_logs if settings.event_logs else None,
        ui_keys=ui_keys,
    )
    pod_history = remote_places.pod_history(
        settings,
        database,
        ui_keys,
        Carriages(EventTokens(secret), lambda: sessions.gateways() or [sessions.driver_url]),
    )
    batch_backends.update(
        livy=remote_places.upstream_batches(settings, upstream_terms, batches),
        kubernetes=remote_places.cluster_batches(settings, database, batches, batch_store, ui_keys, pod_history),
    )
    history_servers = HistoryServers(
        # Each ends what an earlier life of its own left, and no server of another's.
        settings.state_dir.absolute() / ("history" if is_sqlite(database.url) else f"history-{settings.instance}"),
        event_logs,
        local.identity_of,
        java_home=settings.local_java_home,
        most=settings.history_servers,
        idle_seconds=settings.history_idle_seconds,
        memory_mib=settings.history_memory_mib,
    )
    history = History(settings, event_logs, history_servers, pod_history)
    records = Records(settings, store, sessions)
    statements = Statements(settings, store, sessions, metrics)
    pieces = Pieces()
    drivers = Drivers(settings, store, sessions, statements, metrics, pieces)
    sessions.recall = Journals(backends, drivers).recall
    membership = None if is_sqlite(database.url) else Membership(settings, GatewayRows(database), database)
    reconciler = Reconciler(settings, store, sessions, backends, identities, membership)
    reconciler.chores.append(lambda living: history.tidy(living, batches.applications()))
    pool = Pool(settings, store, sessions, catalog, metrics, local, event_logs, memory.available)
    sessions.warm = pool
    readings.register(metrics, sessions, batches, store, catalog, pool)
    batch_reconciler = BatchReconciler(settings, batch_store, batches, batch_backends, membership)
    overview = Overview(sessions, backends, settings.prefix)
    forwarding = elsewhere = None
    if membership is not None:
        _join(
            membership,
            Handover(membership, sessions, batches, store, backends, (reconciler, batch_reconciler)),
            sessions,
            batches,
            drivers,
        )
        pool.suspended = drivers.suspended
        rows = GatewayRows(database)
        held = SessionHolding(rows, sessions, settings.prefix)
        forwarding = Forwarding(settings, membership, identities, (held, BatchHolding(rows, batches, settings.prefix)))
        elsewhere = Elsewhere(membership.name, forwarding.listing, held, overview)
    return Gateway(
        settings=settings,
        catalog=catalog,
        database=database,
        store=store,
        hub=hub,
        identities=identities,
        backends=backends,
        sessions=sessions,
        statements=statements,
        pieces=pieces,
        drivers=drivers,
        batches=batches,
        batch_backends=batch_backends,
        claims=Claims(settings, store, sessions),
        reconciler=reconciler,
        pool=pool,
        batch_reconciler=batch_reconciler,
        metrics=metrics,
        logs=logs,
        records=records,
        pods=SessionPods(backends, batch_backends),
        history_servers=history_servers,
        pod_history=pod_history,
        event_intake=EventIntake(pod_history.logs, drivers, batches, pod_history.carriages.tokens)
        if settings.event_logs
        else None,
        overview=overview,
        page_tokens=Seal(secret, "page-token") if secret else None,
        membership=membership,
        forwarding=forwarding,
        elsewhere=elsewhere,
        browser_login=BrowserLogin(settings, hub, identities, secret) if secret else None,
        spark_ui=SparkUi(
            records=records,
            batches=BatchRecords(batch_store, batches),
            identities=identities,
            backends=backends,
            batch_backends=batch_backends,
            history=history,
            secret=secret,
            keys=ui_keys,
        )
        if secret
        else None,
    )


def _fences(settings: Settings, folder: Path) -> Callable[[Callable[[int], None]], Fences]:
    return fences_for(
        folder, settings.driver_memory_limit_mib, settings.driver_process_limit, cgroups=settings.driver_cgroups
    )


def _join(membership: Membership, handover: Handover, sessions: Sessions, batches: Batches, drivers: Drivers) -> None:
    """Wire a gateway to the others on its database."""
    membership.take_up = handover.take_up
    membership.when_lost = handover.let_go
    membership.when_suspended = handover.hang_up
    membership.when_changed = handover.tell_drivers
    sessions.gateways = drivers.addresses = membership.driver_addresses
    sessions.until_held = batches.until_held = membership.until_held
    batches.shared = sessions.admission.shared = batches.admission.shared = True
    drivers.suspended = lambda: membership.suspended
