"""Where drivers run that are not this machine's, put together from the settings: an upstream Livy, a Kubernetes."""

import hashlib
import socket
from functools import partial

from sparkyard_gateway.backends.carried_logs import CarriedLogs
from sparkyard_gateway.backends.cluster import Cluster
from sparkyard_gateway.backends.history_pods import HistoryPods
from sparkyard_gateway.backends.kubernetes import KubernetesBackend
from sparkyard_gateway.backends.livy import LivyBackend
from sparkyard_gateway.backends.livy_batches import LivyBatches
from sparkyard_gateway.backends.pod_batches import PodBatches
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import Terms as PodTerms
from sparkyard_gateway.backends.pod_uis import PodUis
from sparkyard_gateway.backends.submission import Terms
from sparkyard_gateway.backends.upstream import UpstreamLivy
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.config import Settings
from sparkyard_gateway.driver_file import NAME as DRIVER_FILE
from sparkyard_gateway.driver_file import write_driver_file
from sparkyard_gateway.event_intake import Carriages
from sparkyard_gateway.pod_history import PodHistory
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.store.database import Database
from sparkyard_gateway.store.engines import is_sqlite
from sparkyard_gateway.store.repository import Store
from sparkyard_gateway.ui_keys import UiKeys


def upstream_terms(settings: Settings, database: Database) -> Terms:
    """What holds for all that the upstream Livy runs for this installation."""
    driver_file = settings.livy_driver_file or ""
    if not driver_file and settings.backend == "livy":
        written = settings.state_dir.absolute() / "driver" / DRIVER_FILE
        write_driver_file(written)
        # Whoever the upstream runs drivers as must be able to read it, whatever this process's umask.
        written.parent.chmod(0o755)
        driver_file = written.as_uri()
    return Terms(
        driver_file=driver_file,
        impersonate=settings.livy_impersonate,
        images=settings.livy_images,
        queue=settings.livy_queue,
        ca_file=settings.driver_ca_file,
        namespace=settings.livy_namespace or _namespace(database),
        homes=settings.livy_homes,
    )


def upstream(settings: Settings, terms: Terms, sessions: Sessions) -> LivyBackend:
    """The upstream Livy; also where new sessions run elsewhere, for those that it still has."""

    def on_the_line(number: int) -> bool:
        session = sessions.live.get(number)
        return session is not None and session.line is not None

    return LivyBackend(
        _there(settings),
        terms,
        settings.sessions_dir,
        partial(sessions.driver_ended, backend="livy"),
        on_the_line,
        sessions.tell_phase,
        poll_seconds=settings.livy_poll_seconds,
    )


def upstream_batches(settings: Settings, terms: Terms, batches: Batches) -> LivyBatches:
    """Likewise for batches."""
    return LivyBatches(
        _there(settings),
        terms,
        settings.batches_dir,
        batches.attempt_ended,
        batches.news.waits,
        batches.news.known,
        poll_seconds=settings.livy_poll_seconds,
    )


def _there(settings: Settings) -> UpstreamLivy:
    return UpstreamLivy(
        settings.livy_url,
        timeout_seconds=settings.livy_timeout_seconds,
        authorization_file=settings.livy_authorization_file,
        ca_file=settings.livy_ca_file,
    )


def cluster(
    settings: Settings, database: Database, sessions: Sessions, store: Store, ui_keys: UiKeys
) -> KubernetesBackend:
    """The Kubernetes cluster; also where new sessions run elsewhere, for those that it still has."""
    terms = _pod_terms(settings, database)
    there = Cluster(settings.kubernetes_config)

    async def wanted(number: int) -> bool:
        record = await store.session(number)
        return record is not None and record.ended_at is None

    return KubernetesBackend(
        there,
        terms,
        settings.sessions_dir,
        PodObjects(there, terms, ui_keys),
        partial(sessions.driver_ended, backend="kubernetes"),
        sessions.tell_phase,
        wanted,
    )


def cluster_batches(
    settings: Settings,
    database: Database,
    batches: Batches,
    store: BatchStore,
    ui_keys: UiKeys,
    history: PodHistory,
) -> PodBatches:
    """The same for batches; also where new ones run elsewhere, for those that the cluster still has."""
    terms = _pod_terms(settings, database)
    there = Cluster(settings.kubernetes_config)
    return PodBatches(
        there,
        terms,
        settings.batches_dir,
        PodObjects(there, terms, ui_keys, history.carriages.of),
        PodUis(ui_keys),
        batches.attempt_ended,
        batches.news.waits,
        store.may_run,
    )


def pod_history(settings: Settings, database: Database, ui_keys: UiKeys, carriages: Carriages) -> PodHistory:
    """Where the history of what ran there is kept, and shown."""
    terms = _pod_terms(settings, database)
    there = Cluster(settings.kubernetes_config)
    # Each gateway's own, where several run.
    name = "pod-events" if is_sqlite(database.url) else f"pod-events-{settings.instance}"
    logs = CarriedLogs(
        settings.state_dir.absolute() / name, settings.event_log_limit_bytes, settings.pod_event_logs_limit_bytes
    )
    pods = HistoryPods(
        there,
        terms,
        PodObjects(there, terms, ui_keys),
        ui_keys,
        settings.instance,
        most=settings.history_pods,
        idle_seconds=settings.history_idle_seconds,
    )
    return PodHistory(logs, pods, carriages)


def _pod_terms(settings: Settings, database: Database) -> PodTerms:
    authorities = settings.kubernetes_driver_ca_file
    return PodTerms(
        installation=settings.kubernetes_installation or _namespace(database),
        namespace=settings.kubernetes_namespace,
        api_url=settings.kubernetes_api_url,
        account=settings.kubernetes_service_account,
        executor_account=settings.kubernetes_executor_service_account,
        uid=settings.kubernetes_uid,
        scheduler=settings.kubernetes_scheduler,
        event_logs=settings.event_logs,
        ca=authorities.read_text(encoding="ascii") if authorities else None,
    )


def _namespace(database: Database) -> str:
    """The same for all gateways on one database, and another for another's."""
    where = database.url.render_as_string(hide_password=True)
    host = "" if database.url.get_backend_name() != "sqlite" else socket.gethostname()
    return hashlib.sha256(f"{host} {where}".encode()).hexdigest()[:8]
