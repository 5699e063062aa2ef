"""Which machines drivers and executors land on: of the architecture that the profile says, and before placeholders.

The machines are simulated (`load.simulated`), so that is seen where a pod is bound, and nothing runs there.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from load import simulated
from support.cluster.using import RESTRICTED, TOOLS, Cluster
from support.spark_pods import PodsGateway, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
LONG = 240.0
MACHINES = {"simulated-0", "simulated-1"}


@pytest.fixture(scope="module")
def machines(cluster: Cluster) -> Iterator[None]:
    """Two of 8 cores with ARM processors."""
    with simulated.nodes(cluster, len(MACHINES), labels={"kubernetes.io/arch": "arm64"}, pods_run=False):
        yield


@pytest.fixture(scope="module")
def spark(cluster: Cluster, machines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    del machines  # they outlive the gateway's pods
    with running(cluster, tmp_path_factory.mktemp("gateway"), ("spark-3.5", "spark-3.5-pandas-2.1")) as gateway:
        yield gateway


def nodes_of(spark: PodsGateway, session: int, role: str, count: int) -> set[str]:
    """Where its pods are bound, once all of them are."""

    def bound() -> set[str]:
        pods = spark.pods(session, role)
        found = [pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]]
        return set(found) if len(found) == count else set()

    return until(bound, LONG, pause=0.2)


def test_a_driver_lands_on_the_architecture_that_its_profile_says(spark: PodsGateway) -> None:
    number = spark.new_session("arm-driver")
    assert nodes_of(spark, number, "driver", 1) <= MACHINES
    spark.ask("DELETE", f"/sessions/{number}")


def test_executors_land_on_theirs_whatever_the_drivers_is(spark: PodsGateway) -> None:
    number = spark.new_session("arm-executors")
    (there,) = nodes_of(spark, number, "driver", 1)
    assert there not in MACHINES
    # The session is not waited for: Spark gives its executors half a minute to come.
    assert nodes_of(spark, number, "executor", 2) <= MACHINES
    spark.ask("DELETE", f"/sessions/{number}")


def test_a_placeholder_stands_back_for_a_driver(spark: PodsGateway, cluster: Cluster) -> None:
    """As zero-to-jupyterhub makes its own: of a priority below the default, on machines that they fill."""
    name = f"placeholders-{secrets.token_hex(4)}"
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": -10}
    cluster.apply(priority)
    try:
        with cluster.namespace() as kept_free:
            for number in range(len(MACHINES)):
                cluster.apply(_placeholder(kept_free, f"user-placeholder-{number}", name))

            def bound() -> bool:
                found = cluster.get("pods", namespace=kept_free)["items"]
                return {pod["spec"].get("nodeName") for pod in found} == MACHINES

            until(bound, LONG, pause=0.2)
            session = spark.new_session("crowded")
            (there,) = nodes_of(spark, session, "driver", 1)
            assert there in MACHINES
            left = cluster.get("pods", namespace=kept_free)["items"]
            assert there not in {pod["spec"]["nodeName"] for pod in left if "deletionTimestamp" not in pod["metadata"]}
            spark.ask("DELETE", f"/sessions/{session}")
    finally:
        cluster.delete("priorityclass", name)


def _placeholder(namespace: str, name: str, priority: str) -> dict[str, Any]:
    container = {
        "name": "pause",
        "image": TOOLS,
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "6"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "priorityClassName": priority,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "nodeSelector": {"simulated": "yes"},
            "tolerations": [{"key": "simulated", "operator": "Exists"}],
            "automountServiceAccountToken": False,
        },
    }
