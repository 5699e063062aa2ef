"""Finds the Spark application of a batch that runs, which alone knows when it has one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from sparkyard_gateway.backends.base import Application, BatchBackend
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.store.batch_models import BatchEvent
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.times import now_ms

LOOK_SECONDS = (0.3, 10.0)
"""How often a batch is asked for its Spark application: at first, and in the end."""
LOOK_SHARE = 0.05
"""In between, as a share of how long it was asked already: many a batch is done soon after it has one."""


Carried = Callable[[LiveBatch], Awaitable[Application | None]]
"""Asked of which application a batch that is over has left an event log here."""


async def nothing_carried(_batch: LiveBatch) -> Application | None:
    """Nothing is kept that could tell."""
    return None


async def look_for_application(batch: LiveBatch, backend: BatchBackend, store: BatchStore) -> None:
    """Ask until there is one, or the attempt is over."""
    shortest, longest = LOOK_SECONDS
    handle, loop = batch.handle, asyncio.get_running_loop()
    began = loop.time()
    while handle is not None and batch.handle is handle and not batch.ended.is_set():
        found = await backend.application(batch.attempt, handle)
        if found is not None:
            note(batch, found, store)
            return
        with contextlib.suppress(TimeoutError):
            pause = min(max(shortest, LOOK_SHARE * (loop.time() - began)), longest)
            await asyncio.wait_for(batch.ended.wait(), pause)


async def look_at_last(batch: LiveBatch, backend: BatchBackend, carried: Carried, store: BatchStore) -> None:
    """It is over, and may have been before anybody could ask it."""
    if batch.app_id is None and batch.handle is not None:
        found = await backend.application(batch.attempt, batch.handle) or await carried(batch)
        if found is not None:
            note(batch, found, store)


def note(batch: LiveBatch, found: Application, store: BatchStore) -> None:
    """It has one."""
    batch.app_id, batch.spark_ui = found.id, found.ui
    batch.changed.fire()
    store.update_soon(
        batch.id,
        attempt=batch.attempt,
        attempted={"app_id": found.id, "spark_ui": found.ui},
        event=BatchEvent(at=now_ms(), batch_id=batch.id, event="application", detail={"id": found.id}),
    )
