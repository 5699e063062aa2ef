"""Takes up the batches that an earlier gateway left, and hides what ended long ago: `reconciler`'s twin."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from sparkyard_gateway.backends.base import BatchBackend
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.config import Settings
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.store.batch_models import BatchRecord
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.times import now_ms

HOUSEKEEPING_SECONDS = 60.0
FAR = (
    "The gateway on the machine where this batch ran has been away for too long, and nobody else can see what became "
    "of it: its end is not known."
)

log = structlog.get_logger(__name__)


class BatchReconciler:
    """The sweep over batches."""

    def __init__(
        self,
        settings: Settings,
        store: BatchStore,
        batches: Batches,
        backends: dict[str, BatchBackend],
        membership: Membership | None = None,
    ) -> None:
        self._membership = membership
        self._settings = settings
        self._store = store
        self._batches = batches
        self._backends = backends
        self._housekept = 0.0

    async def recover(self) -> None:
        """Take up what an earlier gateway left."""
        await self.take_up([*await self._store.shown(), *await self._store.removed_and_running()])

    async def take_up(self, records: Sequence[BatchRecord], far: frozenset[int] = frozenset()) -> None:
        """Make these batches live, and see to them. `far` are those of a gateway on another machine: what ran there as
        processes nobody here can look at."""
        self._store.lost.difference_update(each.id for each in records)
        found = [LiveBatch.of(each) for each in records]
        self._batches.live.update((each.id, each) for each in found if not each.removed)
        unfinished = [each for each in found if not each.ended.is_set()]
        for batch in unfinished:
            if batch.id in far and batch.handle is not None and batch.backend == "local":
                self._batches.give_up(batch, FAR)
            elif batch.removed:
                self._batches.running[batch.attempt] = batch
                self._batches.end(batch, "The batch was deleted.")
            else:
                await self._take_up(batch)
        if unfinished:
            log.info("batches_recovered", batches=len(unfinished))

    async def _take_up(self, batch: LiveBatch) -> None:
        backend = self._backends[batch.backend]
        if batch.handle is None:
            self._batches.running[batch.attempt] = batch
            self._batches.start_again(batch)
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
        if self._membership is not None and self._membership.suspended:
            return  # whose the batches are, this gateway cannot tell
        now = now_ms()
        for batch in list(self._batches.live.values()):
            old = now - (batch.ended_at or now) > self._settings.batch_retention_seconds * 1000
            if batch.ended.is_set() and old and not batch.removed:
                self._batches.hide(batch)
        if time.monotonic() - self._housekept > HOUSEKEEPING_SECONDS:
            self._housekept = time.monotonic()
            running = await self._running()
            for backend in self._backends.values():
                await asyncio.to_thread(
                    backend.tidy,
                    self._settings.driver_log_limit_bytes,
                    self._settings.log_retention_seconds,
                    running,
                )

    async def _running(self) -> frozenset[int]:
        """The attempts that may still run, also those of other gateways that share the folder."""
        if self._membership is not None:
            return (await self._membership.living()).attempts
        return frozenset(self._batches.running)
