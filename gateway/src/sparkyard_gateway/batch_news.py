"""What is told of an attempt at a batch from its beginning to its end, as it is written down."""

from collections.abc import Callable

import structlog

from sparkyard_gateway.backends.base import Handle
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.states import BatchState
from sparkyard_gateway.store.batch_models import BatchEvent
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.times import now_ms

log = structlog.get_logger(__name__)


class BatchNews:
    """Takes it down."""

    def __init__(self, running: dict[int, LiveBatch], store: BatchStore, metrics: Metrics) -> None:
        """`running` are those whose end was not seen, by attempt."""
        self._running = running
        self._store = store
        self._metrics = metrics

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

    def over(
        self,
        batch: LiveBatch,
        state: BatchState,
        reason: str | None,
        code: int | None = None,
        written: Callable[[], None] | None = None,
    ) -> bool:
        """Nothing of it runs any more. Returns whether that is news, which is written with the next commit."""
        if batch.ended.is_set() or batch.moved:
            return False
        now = now_ms()
        batch.state, batch.reason, batch.exit_code, batch.ended_at = state, reason, code, now
        batch.phase = None
        batch.ended.set()
        batch.changed.fire()
        self._running.pop(batch.attempt, None)
        detail = {"state": state, "code": code, "reason": reason or "", "app_id": batch.app_id or ""}
        self._store.update_soon(
            batch.id,
            state=state,
            reason=reason,
            ended_at=now,
            attempt=batch.attempt,
            attempted={"exit_code": code, "reason": reason, "ended_at": now},
            event=BatchEvent(at=now, batch_id=batch.id, event="ended", detail=detail),
            written=written,
        )
        self._metrics.batches_ended.labels(batch.profile, state).inc()
        if batch.started_at is not None:
            self._metrics.batch_seconds.observe(max(0, now - batch.started_at) / 1000)
        log.info("batch_ended", batch=batch.id, user=batch.owner, state=state, code=code, reason=reason)
        return True
