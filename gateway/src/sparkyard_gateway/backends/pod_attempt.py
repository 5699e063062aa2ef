"""One attempt at a batch whose pod is looked after, and how it ended as far as anybody can know."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

from sparkyard_gateway.backends import pod_reasons
from sparkyard_gateway.backends.base import AttemptEnd, Handle
from sparkyard_gateway.backends.pod_log import PodLog

Object = dict[str, Any]

NEVER = AttemptEnd(None, began=False)
LOST = AttemptEnd(
    None,
    verdict="The batch's pod is gone, and no gateway saw how it ended: somebody deleted it, or it went with its node.",
)


@dataclass(slots=True)
class Attempt:
    """An attempt that is looked after.

    `begun` once its gate is known to be gone, `tried` once somebody may have removed it, `stopping` once it is to end;
    `withholding` is held while it is being deleted at its gate.
    """

    number: int
    namespace: str
    pod: str
    uid: str
    kept: PodLog
    begun: bool = False
    tried: bool = False
    stopping: bool = False
    withholding: asyncio.Lock = field(default_factory=asyncio.Lock)
    since: float = field(default_factory=time.monotonic)
    seen: Object | None = None
    app_id: str | None = None
    """Of its Spark application, as Spark has labelled an executor."""
    reporting: asyncio.Task[None] | None = None
    settling: asyncio.Task[bool] | None = None

    async def let_go(self) -> None:
        """Look no more."""
        if self.settling is not None and self.settling is not asyncio.current_task():
            self.settling.cancel()
            await asyncio.wait({self.settling})
        await self.kept.stop()

    @property
    def address(self) -> str | None:
        """Its pod's, once it has one."""
        found = ((self.seen or {}).get("status") or {}).get("podIP")
        return found if isinstance(found, str) else None

    @property
    def handle(self) -> Handle:
        """What the attempt's row keeps."""
        return {"namespace": self.namespace, "pod": self.pod, "uid": self.uid}


def ended(held: Attempt, pod: Object | None, *, gone: bool) -> AttemptEnd:
    """How an attempt ended whose pod is over, or gone and was last seen so."""
    if not held.begun:
        # Where somebody may have removed the gate, nobody can say that it never began.
        return LOST if held.tried or pod is None else NEVER
    if pod is None:
        return LOST
    end = pod_reasons.attempt_end(pod, gone=gone)
    return replace(end, asked=end.code != 0, verdict=None) if held.stopping else end
