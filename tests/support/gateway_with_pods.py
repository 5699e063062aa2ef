"""The gateway whose local drivers have executors on record: `python -m support.gateway_with_pods`.

What it knows of a session's pods stands in the session's folder, where a test puts it, as a gateway on Kubernetes does.
"""

from typing import Any

from sparkyard_gateway.backends.local import LocalBackend
from sparkyard_gateway.backends.pod_records import PodRecords
from sparkyard_gateway.command import main
from support.scripted_cluster import ScriptedCluster


class _Kept:
    """A backend's records, made with its folder."""

    def __get__(self, backend: Any, _owner: type) -> Any:
        return PodRecords(ScriptedCluster(), backend._dir) if backend is not None else self  # type: ignore[arg-type]


LocalBackend.records = _Kept()  # type: ignore[attr-defined]
LocalBackend.memory_limit = lambda _self, _number: 1879 << 20  # type: ignore[attr-defined]

if __name__ == "__main__":
    main()
