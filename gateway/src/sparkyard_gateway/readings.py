"""What is counted at the moment Prometheus asks: the sessions, the queue, and how the parts do."""

from collections import Counter

from sparkyard_catalog import CatalogFile
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.pool import Pool
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import BatchState, SessionState, StatementState
from sparkyard_gateway.store.models import NOBODY
from sparkyard_gateway.store.repository import Store


def register(
    metrics: Metrics, sessions: Sessions, batches: Batches, store: Store, catalog: CatalogFile, pool: Pool
) -> None:
    """Have them counted at each reading."""

    def states() -> dict[str, float]:
        counts = Counter(session.state for session in sessions.live.values() if session.owner != NOBODY)
        return {state: counts[state] for state in SessionState}

    def warm_wanted() -> dict[str, float]:
        return pool.asked_for()

    def batch_states() -> dict[str, float]:
        counts = Counter(batch.state for batch in batches.live.values())
        return {state: counts[state] for state in BatchState}

    def statements() -> dict[str, float]:
        counts: Counter[StatementState] = Counter()
        for session in sessions.live.values():
            counts.update(each.state for each in session.statements.values() if not each.state.final)
        return {state: counts[state] for state in StatementState if not state.final}

    metrics.reading("sessions", "Sessions that clients can see, by state.", "state", states)
    metrics.reading("batches", "Batches that clients can see, by state.", "state", batch_states)
    metrics.reading("statements_unfinished", "Statements that have no outcome yet, by state.", "state", statements)
    metrics.reading(
        "start_queue_length",
        "Sessions and batches that wait for their turn to start.",
        None,
        lambda: {"": sessions.starts.waiting},
    )
    metrics.reading(
        "warm_drivers_idle", "Warm drivers that may be taken.", "profile", lambda: pool.counts(SessionState.IDLE)
    )
    metrics.reading(
        "warm_drivers_starting", "Warm drivers that start.", "profile", lambda: pool.counts(SessionState.STARTING)
    )
    metrics.reading("warm_drivers_wanted", "Warm drivers that the catalog asks for.", "profile", warm_wanted)
    metrics.reading("store_healthy", "1 while the database takes writes.", None, lambda: {"": store.healthy})
    metrics.reading(
        "catalog_in_force",
        "1 while the catalog on disk is the one in force; 0 where it is refused and the last good one is.",
        None,
        lambda: {"": catalog.problem is None},
    )
