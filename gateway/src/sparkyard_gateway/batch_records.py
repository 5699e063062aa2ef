"""Batches as their history is looked for: also those of another gateway, which may not have all that is kept of one."""

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.errors import SessionNotFound
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.ownership import LARGEST_ID, may_see
from sparkyard_gateway.store.batches import BatchStore


class BatchRecords:
    """Batches, whichever gateway has them."""

    def __init__(self, store: BatchStore, batches: Batches) -> None:
        self._store = store
        self._batches = batches

    async def find(self, caller: Caller, reference: str) -> LiveBatch:
        """One of this gateway's by id or name, or one that has ended by id. Raises SessionNotFound."""
        try:
            return self._batches.find(caller, reference)
        except SessionNotFound:
            number = int(reference) if reference.isascii() and reference.isdecimal() and len(reference) < 11 else None
            if number is None or number > LARGEST_ID:
                raise
        record = await self._store.shown_one(number)
        if record is None or record.ended_at is None:
            raise SessionNotFound(reference)
        batch = LiveBatch.of(record)
        if not may_see(caller, batch):
            raise SessionNotFound(reference)
        return batch
