"""Ends all pods of a session or an attempt at a batch, and returns when Kubernetes has none of them any more.

Nothing else can end them: so it asks for as long as Kubernetes gives no answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from sparkyard_gateway.backends import pod_names
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.stray_pods import role_of

Object = dict[str, Any]
PodsOf = Callable[[int], Awaitable[list[tuple[str, Object]]]]
"""Looks for the pods of a number: (namespace, pod)."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
LONGEST_AWAY = 60.0

log = structlog.get_logger(__name__)


class PodEnds:
    """Ends them. Numbers are sessions, or attempts: `word` says which."""

    def __init__(self, cluster: Cluster, word: str, pods_of: PodsOf) -> None:
        self._cluster = cluster
        self._word = word
        self._pods_of = pods_of
        self._gone: dict[int, asyncio.Event] = {}

    def seen_gone(self, number: int) -> None:
        """One of its pods is gone: look again at once, if somebody waits."""
        if (waiter := self._gone.get(number)) is not None:
            waiter.set()

    async def end(self, number: int, grace_seconds: float) -> None:
        """Delete the driver's pod, and then what is left of its executors."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._end(number, grace_seconds)
            except ClusterAway as away:
                log.warning("pod_not_ended_yet", **{self._word: number}, error=str(away))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_AWAY)
            except ClusterRefused as refused:
                log.warning("pod_not_ended", **{self._word: number}, said=refused.sentence)
                return
            else:
                return

    async def _end(self, number: int, grace_seconds: float) -> None:
        changed = self._gone[number] = asyncio.Event()
        told: set[str] = set()
        pause = FIRST_PAUSE
        try:
            while found := await self._pods_of(number):
                drivers = [each for each in found if role_of(each[1]) == pod_names.DRIVER]
                # Executors go by themselves when their driver ends Spark in order; those that did not are told after.
                for namespace, pod in drivers or found:
                    metadata = pod["metadata"]
                    if metadata["uid"] not in told:
                        told.add(metadata["uid"])
                        await self._cluster.delete(
                            namespace, "pods", metadata["name"], uid=metadata["uid"],
                            grace_seconds=max(0, round(grace_seconds)),
                        )  # fmt: skip
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), pause)
                changed.clear()
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._gone.pop(number, None)
