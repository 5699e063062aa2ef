"""What a namespace's drivers may make their executors of, in a ConfigMap that the chart's admission policy reads.

A driver runs its user's code with a token that may make pods. What keeps that code to the catalog's images is the API
server, which compares each such pod with these lists. They have what the catalog grants to anybody; which of it a
session gets is decided when it is made. Pure functions.
"""

from collections.abc import Iterable
from typing import Any

from sparkyard_catalog import Catalog
from sparkyard_catalog.profiles import OwnImages

NAME = "sparkyard-grants"


def grants(catalog: Catalog) -> dict[str, Any]:
    """The ConfigMap. Its lists are one entry a line, sorted, so that the same catalog gives the same object."""
    executors = [profile.spark.executor for profile in catalog.profiles.values()]
    own = [each.own_images for each in executors if each.own_images is not None]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "sparkyard"}},
        "data": {
            "images": _lines(catalog.images[name].ref for each in executors for name in each.images),
            "pinned-prefixes": _prefixes(own, "required"),
            "prefixes": _prefixes(own, "optional"),
            "claims": _lines(volume.claim for each in executors for volume in each.pod.volumes),
            "priority-classes": _lines(each.pod.priority_class or "" for each in executors),
        },
    }


def _prefixes(own: Iterable[OwnImages], digest: str) -> str:
    return _lines(f"{prefix.rstrip('/')}/" for each in own if each.digest == digest for prefix in each.prefixes)


def _lines(entries: Iterable[str]) -> str:
    return "\n".join(sorted(set(entries) - {""}))
