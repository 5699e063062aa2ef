"""What a backend tells of an attempt at a batch between its beginning and its end."""

from collections.abc import Mapping

from sparkyard_gateway.backends.base import Handle
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.states import BatchState
from sparkyard_gateway.store.batch_models import BatchEvent
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.times import now_ms


class BatchNews:
    """Takes it down."""

    def __init__(self, running: Mapping[int, LiveBatch], store: BatchStore) -> None:
        """`running` are those whose end was not seen, by attempt."""
        self._running = running
        self._store = store

    def waits(self, attempt: int, phase: str | None) -> None:
        """What an attempt that has begun waits for; None: it runs."""
        batch = self._running.get(attempt)
        if batch is None or batch.state is not BatchState.STARTING:
            return
        if phase is not None:
            if batch.phase != phase:
                batch.say(phase)
            return
        now = now_ms()
        batch.state, batch.started_at = BatchState.RUNNING, now
        batch.say(None)
        self._store.update_soon(
            batch.id,
            state=batch.state,
            attempt=batch.attempt,
            attempted={"started_at": now},
            event=BatchEvent(at=now, batch_id=batch.id, event="started"),
        )

    def known(self, attempt: int, handle: Handle) -> None:
        """By what it is found again, now that more of that is known."""
        batch = self._running.get(attempt)
        if batch is not None and batch.handle is not None:
            batch.handle.update(handle)
            self._store.update_soon(batch.id, attempt=attempt, attempted={"handle": dict(batch.handle)})
