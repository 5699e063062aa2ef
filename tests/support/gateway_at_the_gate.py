"""A gateway that is stopped for ever just before it lets a batch begin: `python -m support.gateway_at_the_gate`.

What a kill at that moment leaves is a pod at its gate, whose handle is written down.
"""

import asyncio

from sparkyard_gateway.backends.pod_batches import PodBatches
from sparkyard_gateway.command import main


async def _begin(_self: PodBatches, _attempt: int) -> None:
    await asyncio.Event().wait()


PodBatches.begin = _begin  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
