"""Drivers' pods that no session wants: of a gateway that died in the midst, or whose database was put back.

A pod that nobody here knows is left alone for a while, as it may be another gateway's, whose row is just being written.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from sparkyard_gateway.backends import pod_names
from sparkyard_gateway.backends.pod_watch import PodWatch

Object = dict[str, Any]

STRAY_SECONDS = 120.0
SWEEP_SECONDS = 30.0

log = structlog.get_logger(__name__)


def role_of(pod: Object) -> str | None:
    """Whether it is a driver or an executor, by its label."""
    role = (pod["metadata"].get("labels") or {}).get(pod_names.ROLE)
    return role if isinstance(role, str) else None


class StrayPods:
    """Finds them; `known` tells a pod that is looked after, and `end` looks closer and ends one."""

    def __init__(
        self,
        watches: Mapping[str, PodWatch],
        known: Callable[[Object], bool],
        end: Callable[[str, Object], Awaitable[None]],
    ) -> None:
        self._watches = watches
        self._known = known
        self._end = end
        self._since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="stray-pods")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._sweep()
            except Exception:  # the loop must outlive one bad round
                log.exception("pod_sweep_failed")

    async def _sweep(self) -> None:
        unknown = [
            (namespace, pod)
            for namespace, watch in self._watches.items()
            for pod in watch.pods.values()
            if role_of(pod) == pod_names.DRIVER and not self._known(pod)
        ]
        now = time.monotonic()
        self._since = {uid: self._since.get(uid, now) for uid in (pod["metadata"]["uid"] for _, pod in unknown)}
        for namespace, pod in unknown:
            if now - self._since[pod["metadata"]["uid"]] > STRAY_SECONDS:
                await self._end(namespace, pod)
