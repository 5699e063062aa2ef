"""The one place where the parts are put together, and taken apart again."""

import asyncio
import contextlib
import hashlib
import socket
from dataclasses import dataclass
from functools import partial

import httpx
import structlog

from sparkyard_catalog import CatalogFile
from sparkyard_gateway.auth import Identities
from sparkyard_gateway.backends.base import Backend, Ended
from sparkyard_gateway.backends.livy import LivyBackend
from sparkyard_gateway.backends.local import DRIVER_PROGRAM, LocalBackend
from sparkyard_gateway.backends.submission import Terms
from sparkyard_gateway.backends.upstream import UpstreamLivy
from sparkyard_gateway.browser_login import BrowserLogin
from sparkyard_gateway.claims import Claims
from sparkyard_gateway.config import Settings
from sparkyard_gateway.driver_file import NAME as DRIVER_FILE
from sparkyard_gateway.driver_file import write_driver_file
from sparkyard_gateway.drivers import Drivers
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.reconciler import Reconciler
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.spark_ui import SparkUi
from sparkyard_gateway.statements import Statements
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.repository import Store

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
    drivers: Drivers
    claims: Claims
    reconciler: Reconciler
    metrics: Metrics
    browser_login: BrowserLogin | None
    spark_ui: SparkUi | None
    closing: bool = False
    _sweep: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take up what runs, and begin."""
        self.database.open()
        await self.reconciler.recover()
        self._sweep = asyncio.create_task(self.reconciler.run(), name="sweep")

    def begin_to_close(self) -> None:
        """Let go of everyone who waits, so that a stop takes no longer than an answer."""
        self.closing = True
        for session in self.sessions.live.values():
            session.changed.close()
            for statement in session.statements.values():
                statement.changed.close()

    async def close(self) -> None:
        """End in order; the drivers run on unless told otherwise."""
        if self._sweep is not None:
            self._sweep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweep
        if self.settings.stop_drivers_on_exit:
            running = [each for each in self.sessions.live.values() if not each.ended.is_set()]
            endings = [self.sessions.end(each, "The gateway was stopped.") for each in running]
            if endings:
                # An upstream that is away cannot end its drivers; they stay written down for the next gateway.
                await asyncio.wait(endings, timeout=self.settings.stop_grace_seconds + ENDING_SECONDS)
        for backend in self.backends.values():
            if isinstance(backend, LivyBackend):
                await backend.close()
        await self.database.close()
        await self.hub.aclose()
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
    backends["livy"] = _upstream(settings, database, sessions)
    statements = Statements(settings, store, sessions, metrics)
    drivers = Drivers(settings, store, sessions, statements, metrics)
    secret = settings.hub_token_file.read_text(encoding="utf-8").strip() if settings.hub_token_file else ""
    reconciler = Reconciler(settings, store, sessions, backends)

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
        claims=Claims(settings, store, sessions),
        reconciler=reconciler,
        metrics=metrics,
        browser_login=BrowserLogin(settings, hub, identities, secret) if secret else None,
        spark_ui=SparkUi(sessions, backends, secret) if secret else None,
    )


def _upstream(settings: Settings, database: Database, sessions: Sessions) -> LivyBackend:
    """The upstream Livy; also where new sessions run elsewhere, for those that it still has."""
    driver_file = settings.livy_driver_file or ""
    if not driver_file and settings.backend == "livy":
        written = settings.state_dir.absolute() / "driver" / DRIVER_FILE
        write_driver_file(written)
        # Whoever the upstream runs drivers as must be able to read it, whatever this process's umask.
        written.parent.chmod(0o755)
        driver_file = written.as_uri()
    terms = Terms(
        driver_file=driver_file,
        impersonate=settings.livy_impersonate,
        images=settings.livy_images,
        queue=settings.livy_queue,
        ca_file=settings.driver_ca_file,
        namespace=settings.livy_namespace or _namespace(database),
    )
    upstream = UpstreamLivy(
        settings.livy_url,
        timeout_seconds=settings.livy_timeout_seconds,
        authorization_file=settings.livy_authorization_file,
        ca_file=settings.livy_ca_file,
    )

    def on_the_line(number: int) -> bool:
        session = sessions.live.get(number)
        return session is not None and session.line is not None

    return LivyBackend(
        upstream,
        terms,
        settings.sessions_dir,
        partial(sessions.driver_ended, backend="livy"),
        on_the_line,
        sessions.tell_phase,
        poll_seconds=settings.livy_poll_seconds,
    )


def _namespace(database: Database) -> str:
    """The same for all gateways on one database, and another for another's."""
    where = database.url.render_as_string(hide_password=True)
    host = "" if database.url.get_backend_name() != "sqlite" else socket.gethostname()
    return hashlib.sha256(f"{host} {where}".encode()).hexdigest()[:8]
