"""Takes up the batches that an earlier gateway left, and hides what ended long ago: `reconciler`'s twin."""

import asyncio
import time

import structlog

from sparkyard_gateway.backends.base import BatchBackend
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.config import Settings
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.times import now_ms

HOUSEKEEPING_SECONDS = 60.0

log = structlog.get_logger(__name__)


class BatchReconciler:
    """The sweep over batches."""

    def __init__(
        self, settings: Settings, store: BatchStore, batches: Batches, backends: dict[str, BatchBackend]
    ) -> None:
        self._settings = settings
        self._store = store
        self._batches = batches
        self._backends = backends
        self._housekept = 0.0

    async def recover(self) -> None:
        """Take up what an earlier gateway left."""
        for record in await self._store.shown():
            batch = LiveBatch.of(record)
            self._batches.live[batch.id] = batch
        unfinished = [each for each in self._batches.live.values() if not each.ended.is_set()]
        for batch in unfinished:
            await self._take_up(batch)
        for record in await self._store.removed_and_running():
            batch = LiveBatch.of(record)
            self._batches.running[batch.attempt] = batch
            self._batches.end(batch, "The batch was deleted.")
        if unfinished:
            log.info("batches_recovered", batches=len(unfinished))

    async def _take_up(self, batch: LiveBatch) -> None:
        backend = self._backends[batch.backend]
        if batch.handle is None:
            self._batches.start(batch)
            return
        self._batches.running[batch.attempt] = batch
        if await backend.adopt(batch.attempt, batch.handle) is None:
            self._batches.attempt_ended(batch.attempt, await backend.end_of(batch.attempt))
        else:
            self._batches.watch_adopted(batch)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self.sweep()
            except Exception:  # the loop must outlive one bad round
                log.exception("batch_sweep_failed")

    async def sweep(self) -> None:
        """One round."""
        now = now_ms()
        for batch in list(self._batches.live.values()):
            old = now - (batch.ended_at or now) > self._settings.batch_retention_seconds * 1000
            if batch.ended.is_set() and old and not batch.removed:
                self._batches.hide(batch)
        if time.monotonic() - self._housekept > HOUSEKEEPING_SECONDS:
            self._housekept = time.monotonic()
            for backend in self._backends.values():
                await asyncio.to_thread(
                    backend.tidy,
                    self._settings.driver_log_limit_bytes,
                    self._settings.log_retention_seconds,
                    frozenset(self._batches.running),
                )
