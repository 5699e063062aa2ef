"""All pods of this installation in one namespace, as they change: one list, then one watch, for however many sessions.
What happens to them, Kubernetes' events, is watched in the same way.

Whoever asks for it is told of each object at first and at each change, and once when it is gone. What happened while
nobody watched (the API server was away, the watch had expired) is found by comparing the new list with what was known.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused

Object = dict[str, Any]
Seen = Callable[[Object, bool], None]
"""Called with a pod or event, and whether it is gone."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
GONE = 410

log = structlog.get_logger(__name__)


def essential(pod: Object) -> Object:
    """What of a pod is worth keeping: a thousand whole ones take a hundred megabytes."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    kept = ("name", "namespace", "uid", "labels", "deletionTimestamp", "creationTimestamp", "ownerReferences")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {
            "nodeName": spec.get("nodeName"),
            "schedulingGates": spec.get("schedulingGates"),
            "containers": [
                {key: each[key] for key in ("name", "image", "resources") if key in each}
                for each in spec.get("containers") or ()
            ],
        },
        "status": pod.get("status") or {},
    }


class PodWatch:
    """One namespace."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        selector: Mapping[str, str],
        seen: Seen,
        all_listed: Callable[[float], None],
        *,
        kind: str = "pods",
        kept: Callable[[Object], Object] = essential,
        holds: bool = True,
    ) -> None:
        """`selector` are the queries by which it is listed, `kept` what is kept of an object, `holds` whether all are
        held, and told as gone; `all_listed` is called after each list with when it was asked for, by the steady
        clock."""
        self._cluster = cluster
        self._selector = dict(selector)
        self._seen = seen
        self._all_listed = all_listed
        self._kind = kind
        self._kept = kept
        self._holds = holds
        self._task: asyncio.Task[None] | None = None
        self.namespace = namespace
        self.pods: dict[str, Object] = {}
        """By uid."""
        self.listed = asyncio.Event()
        """Set once what exists is known."""
        self.trouble: str | None = None
        """Why it does not see anything at the moment."""

    def open(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"{self._kind}-of-{self.namespace}")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                version = await self._list()
                pause, self.trouble = FIRST_PAUSE, None
                while True:
                    version = await self._follow(version)
            except ClusterRefused as refused:
                if refused.status != GONE:
                    self._complain(refused.sentence)
            except ClusterAway as away:
                self._complain(str(away))
            except Exception:  # the watch must outlive one bad event
                log.exception("pod_watch_failed", namespace=self.namespace, kind=self._kind)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
            pause = min(2 * pause, LONGEST_PAUSE)

    def _complain(self, sentence: str) -> None:
        if self.trouble != sentence:
            log.warning("pods_not_seen", namespace=self.namespace, kind=self._kind, error=sentence)
        self.trouble = sentence

    async def _list(self) -> str:
        asked = time.monotonic()
        answer = await self._cluster.all(self.namespace, self._kind, **self._selector)
        found = {pod["metadata"]["uid"]: pod for pod in map(self._kept, answer.get("items") or ())}
        for uid in self.pods.keys() - found.keys():
            self._seen(self.pods.pop(uid), True)
        if self._holds:
            self.pods.update(found)
        for pod in found.values():
            self._seen(pod, False)
        self.listed.set()
        self._all_listed(asked)
        return str(answer["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        async for event in self._cluster.watch(self.namespace, self._kind, self._selector, version):
            metadata = event["object"]["metadata"]
            version = metadata["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            pod = self._kept(event["object"])
            if event["type"] == "DELETED":
                self.pods.pop(metadata["uid"], None)
                self._seen(pod, True)
            else:
                if self._holds:
                    self.pods[metadata["uid"]] = pod
                self._seen(pod, False)
        return version
