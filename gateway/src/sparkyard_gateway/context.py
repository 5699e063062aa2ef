"""The one place where the parts are put together, and taken apart again."""

import asyncio
import contextlib
from dataclasses import dataclass

import httpx
import structlog

from sparkyard_catalog import CatalogFile
from sparkyard_gateway.auth import Identities
from sparkyard_gateway.backends.base import Backend, Ended
from sparkyard_gateway.backends.local import DRIVER_PROGRAM, LocalBackend
from sparkyard_gateway.browser_login import BrowserLogin
from sparkyard_gateway.config import Settings
from sparkyard_gateway.drivers import Drivers
from sparkyard_gateway.forwarding import Forwarding
from sparkyard_gateway.handover import Handover
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.reconciler import Reconciler
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.spark_ui import SparkUi
from sparkyard_gateway.statements import Statements
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.engines import is_sqlite
from sparkyard_gateway.store.gateways import GatewayRows
from sparkyard_gateway.store.repository import Limits, Store

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
    drivers: Drivers
    reconciler: Reconciler
    metrics: Metrics
    membership: Membership | None
    forwarding: Forwarding | None
    browser_login: BrowserLogin | None
    spark_ui: SparkUi | None
    closing: bool = False
    _tasks: tuple[asyncio.Task[None], ...] = ()

    def reachable_at(self, address: str) -> None:
        """Where it listens, for drivers and other gateways, unless the settings say otherwise."""
        if self.settings.driver_url is None:
            self.sessions.driver_url = f"ws://{address}"
        if self.membership is not None:
            self.membership.reachable_at(f"http://{address}", self.sessions.driver_url)

    async def open(self) -> None:
        """Take up what runs, and begin."""
        self.database.open()
        await self.reconciler.recover()
        self._tasks = (asyncio.create_task(self.reconciler.run(), name="sweep"),)
        if self.membership is not None:
            self._tasks += (asyncio.create_task(self.membership.run(), name="membership"),)

    def begin_to_close(self) -> None:
        """Let go of everyone who waits, so that a stop takes no longer than an answer."""
        self.closing = True
        for session in self.sessions.live.values():
            session.changed.close()
            for statement in session.statements.values():
                statement.changed.close()

    async def close(self) -> None:
        """End in order; the drivers run on unless told otherwise."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.settings.stop_drivers_on_exit:
            running = [each for each in self.sessions.live.values() if not each.ended.is_set()]
            endings = [self.sessions.end(each, "The gateway was stopped.") for each in running]
            if endings:
                await asyncio.wait(endings)
        if self.membership is not None:
            await self.membership.leave()
        await self.database.close()
        await self.hub.aclose()
        if self.forwarding is not None:
            await self.forwarding.close()
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
    )
    identities = Identities(
        hub,
        settings.hub_api_url,
        settings.hub_service_name,
        settings.identity_ttl_seconds,
        settings.identity_cache_size,
    )
    backends: dict[str, Backend] = {}
    sessions = Sessions(settings, store, backends, catalog, metrics)

    def when_ended(number: int, ended: Ended) -> None:
        sessions.driver_ended(number, ended)

    backends["local"] = LocalBackend(
        settings.sessions_dir,
        when_ended,
        homes_dir=settings.homes_dir,
        drop_privileges=settings.drop_privileges,
        java_home=settings.local_java_home,
        memory_limit_mib=settings.driver_memory_limit_mib,
        program=(settings.driver_program or DRIVER_PROGRAM).absolute(),
    )
    statements = Statements(settings, store, sessions, metrics)
    drivers = Drivers(settings, store, sessions, statements, metrics)
    secret = settings.hub_token_file.read_text(encoding="utf-8").strip() if settings.hub_token_file else ""
    membership = None if is_sqlite(database.url) else Membership(settings, GatewayRows(database), database)
    reconciler = Reconciler(settings, store, sessions, backends, identities, membership)
    if membership is not None:
        _join(membership, settings, store, sessions, drivers, reconciler, backends)

    def count_states() -> dict[str, int]:
        counts: dict[str, int] = {}
        for session in sessions.live.values():
            counts[session.state] = counts.get(session.state, 0) + 1
        return counts

    metrics.count_states(count_states)
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
        drivers=drivers,
        reconciler=reconciler,
        metrics=metrics,
        membership=membership,
        forwarding=None if membership is None else _forwarding(settings, database, membership, sessions, identities),
        browser_login=BrowserLogin(settings, hub, identities, secret) if secret else None,
        spark_ui=SparkUi(sessions, backends, secret) if secret else None,
    )


def _join(
    membership: Membership,
    settings: Settings,
    store: Store,
    sessions: Sessions,
    drivers: Drivers,
    reconciler: Reconciler,
    backends: dict[str, Backend],
) -> None:
    """Wire a gateway to the others on its database."""
    handover = Handover(membership, sessions, store, backends)
    membership.take_up = reconciler.take_up
    membership.when_lost = handover.let_go
    membership.when_suspended = handover.hang_up
    membership.when_changed = handover.tell_drivers
    sessions.gateways = membership.driver_addresses
    sessions.until_held = membership.until_held
    if settings.max_sessions is not None or settings.max_sessions_per_user is not None:
        sessions.limits = Limits(settings.max_sessions, settings.max_sessions_per_user)
    drivers.suspended = lambda: membership.suspended
    drivers.addresses = membership.driver_addresses


def _forwarding(
    settings: Settings, database: Database, membership: Membership, sessions: Sessions, identities: Identities
) -> Forwarding:
    rows = GatewayRows(database)
    return Forwarding(settings.max_body_bytes, rows, membership, sessions, identities, settings.prefix)
