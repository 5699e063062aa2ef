"""How much memory pods hold, as the cluster tells."""

import pytest

from sparkyard_gateway.backends import pod_memory
from sparkyard_gateway.backends.cluster import ClusterRefused
from sparkyard_gateway.backends.pod_memory import PodMemory, limit_of, quantity, used
from support.scripted_cluster import ScriptedCluster


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128974848", 128974848),
        ("896Mi", 896 << 20),
        ("1.5Gi", 3 << 29),
        ("123456Ki", 123456 << 10),
        ("129M", 129_000_000),
        ("128974848000m", 128974848),
        (5, 5),
        ("", None),
        ("much", None),
        ("-1Mi", None),
        (None, None),
    ],
)
def test_quantities(text, size):
    assert quantity(text) == size


def test_limits_and_use():
    assert limit_of({"resources": {"limits": {"memory": "1Gi"}}}) == 1 << 30
    assert limit_of({"resources": {}}) is limit_of({}) is None
    containers = [{"usage": {"memory": "1Mi"}}, {"usage": {"memory": "?"}}, {}]
    assert used({"items": [{"metadata": {"name": "p"}, "containers": containers}]}) == {"p": 1 << 20}
    assert used({}) == {}


async def test_it_asks_once_in_a_while_and_a_cluster_without_metrics_rarely(monkeypatch):
    cluster = ScriptedCluster()
    cluster.usage = {"p": "2Mi"}
    memory = PodMemory(cluster, "x")  # type: ignore[arg-type]
    assert await memory.of(["spark"]) == {("spark", "p"): 2 << 20}
    cluster.usage = None
    assert await memory.of(["spark"]) == {("spark", "p"): 2 << 20}
    monkeypatch.setattr(pod_memory, "MEASURED_SECONDS", 0.0)
    absent = PodMemory(cluster, "x")  # type: ignore[arg-type]
    assert await absent.of(["spark"]) == {}
    cluster.usage = {"p": "2Mi"}
    assert await absent.of(["spark"]) == {}
    refused = PodMemory(cluster, "x")  # type: ignore[arg-type]
    cluster.refuses["list metrics.k8s.io/v1beta1"] = ClusterRefused(403, "forbidden")
    assert await refused.of(["spark"]) == {}
    cluster.away = True
    assert await PodMemory(cluster, "x").of(["spark"]) == {}  # type: ignore[arg-type]
