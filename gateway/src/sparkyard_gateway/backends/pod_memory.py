"""How much memory pods hold, where the cluster measures that (metrics.k8s.io), and how much they may take.

One question for a whole namespace, however many sessions: kept for as long as the cluster takes to measure anew.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import Any

from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused

Object = dict[str, Any]

METRICS = "metrics.k8s.io/v1beta1"
MEASURED_SECONDS = 15.0
PATIENCE_SECONDS = 3.0
ABSENT_SECONDS = 300.0
"""How long a cluster that measures nothing is not asked again."""

_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([A-Za-z]*)")


def quantity(text: object) -> int | None:
    """Bytes, in whatever way the API server writes them."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None or found[2] not in _UNITS:
        return None
    return int(float(found[1]) * _UNITS[found[2]])


def limit_of(container: Object) -> int | None:
    """How much memory a container may take."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else quantity(limit)


def used(metrics: Object) -> dict[str, int]:
    """Bytes by pod, of a list of PodMetrics."""
    found: dict[str, int] = {}
    for pod in metrics.get("items") or ():
        sizes = [quantity((each.get("usage") or {}).get("memory")) for each in pod.get("containers") or ()]
        found[str(pod["metadata"]["name"])] = sum(size for size in sizes if size is not None)
    return found


class PodMemory:
    """Asks the cluster."""

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self._cluster = cluster
        self._selector = selector
        self._asked: dict[str, tuple[float, dict[str, int]]] = {}
        """Of each namespace: when to ask again, and what was told."""

    async def of(self, namespaces: Iterable[str]) -> dict[tuple[str, str], int]:
        """Bytes by namespace and pod, as far as the cluster tells."""
        found: dict[tuple[str, str], int] = {}
        for namespace in namespaces:
            until, known = self._asked.get(namespace, (float("-inf"), {}))
            if time.monotonic() >= until:
                known = await self._ask(namespace)
            found.update({(namespace, pod): size for pod, size in known.items()})
        return found

    async def _ask(self, namespace: str) -> dict[str, int]:
        known: dict[str, int] = {}
        pause = MEASURED_SECONDS
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                known = used(await self._cluster.all(namespace, "pods", api=METRICS, labelSelector=self._selector))
        except (ClusterAway, TimeoutError):
            pass  # nobody knows for now, and whoever looks at a page shall not wait for it
        except ClusterRefused:
            pause = ABSENT_SECONDS
        self._asked[namespace] = (time.monotonic() + pause, known)
        return known
