"""How long a batch may wait for a place to run: as long as a session's driver may take to start.

It ends with the reason that it waited for. At an upstream Livy it waits in the queue of the cluster's manager, which is
there for waiting, for however long.
"""

from collections.abc import Callable

from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.states import BatchState

BACKEND = "kubernetes"


async def give_up_late(batch: LiveBatch, seconds: float, end: Callable[[LiveBatch, str], object]) -> None:
    """End a batch that was told to begin and does not run in time."""
    if batch.backend != BACKEND:
        return
    handle = batch.handle
    await batch.changed.wait_until(
        lambda: batch.state is not BatchState.STARTING or batch.ending or batch.handle is not handle, seconds
    )
    if batch.state is BatchState.STARTING and batch.handle is handle and not (batch.ending or batch.moved):
        batch.late = True
        end(batch, too_late(seconds, batch.phase))


def too_late(seconds: float, phase: str | None) -> str:
    """Why it is ended."""
    return f"The batch did not start within {seconds:g} s. {phase or 'It is not known what it waited for.'}"
