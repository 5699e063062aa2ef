"""Who reaches whom: the chart's NetworkPolicies on a real cluster, proved by connecting.

Pods of busybox stand for hub, proxy, gateway, notebooks, drivers and executors: policies know them by their labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.chart import Chart
from support.cluster import binaries
from support.cluster.using import Cluster
from support.waiting import until

METADATA = "169.254.169.254"
GATEWAY = {"app.kubernetes.io/name": "sparkyard-gateway", "app.kubernetes.io/instance": "sparkyard"}
NOTEBOOK = {"component": "singleuser-server"}


@dataclass(frozen=True)
class Somebody:
    """A pod that stands for a kind of pod."""

    namespace: str
    name: str
    labels: dict[str, str]
    port: int


@dataclass
class Place:
    """The pods, and how one tries to reach others."""

    cluster: Cluster
    pods: dict[str, Somebody]
    addresses: dict[str, str]

    def reached(self, by: str, targets: dict[str, tuple[str, int]]) -> set[str]:
        """Which of the targets a pod can connect to, all tried at once."""
        tries = " ".join(
            f"(nc -w 5 {address} {port} </dev/null >/dev/null && echo {name}) &"
            for name, (address, port) in sorted(targets.items())
        )
        pod = self.pods[by]
        return set(self.cluster.inside(pod.namespace, pod.name, "sh", "-c", f"{tries} wait").split())

    def everybody(self) -> dict[str, tuple[str, int]]:
        found = {name: (self.addresses[name], pod.port) for name, pod in self.pods.items()}
        return found | {"metadata": (METADATA, 80)}


# Whom each reaches, of all. A pod always reaches itself.
REACHED: dict[str, set[str]] = {
    "hub": {"gateway", "ada", "bob"},
    "proxy": {"gateway", "ada", "bob"},
    "gateway": {"hub", "driver-a", "driver-b", "batch-b", "history-a"},
    "ada": {"hub", "gateway"},
    "bob": {"hub", "gateway"},
    "driver-a": {"gateway", "executor-a"},
    "executor-a": {"driver-a"},
    "driver-b": {"gateway", "batch-b"},
    "batch-b": {"gateway", "driver-b"},
    "history-a": set(),
    "stranger": set(),
    "stranger-a": set(),
}


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    chart = Chart(tmp_path_factory.mktemp("chart"), binaries.built(binaries.HELM) / "helm")
    with cluster.namespace() as main, cluster.namespace() as team_a, cluster.namespace() as team_b:
        policies = [
            it
            for it in chart.render(namespace=main, spark={"namespaces": [team_a, team_b], "createNamespaces": False})
            if it["kind"] == "NetworkPolicy"
        ]
        for policy in policies:
            policy["metadata"].setdefault("namespace", main)
        # Before any pod is there: as an install brings them.
        cluster.apply(*policies)
        people = [
            Somebody(main, "hub", {"component": "hub"}, 8081),
            Somebody(main, "proxy", {"component": "proxy"}, 8000),
            Somebody(main, "gateway", GATEWAY, 8711),
            Somebody(main, "ada", NOTEBOOK, 8888),
            Somebody(main, "bob", NOTEBOOK, 8888),
            Somebody(main, "stranger", {"app": "stranger"}, 8080),
            Somebody(team_a, "driver-a", {"sparkyard/role": "driver", "sparkyard/session": "1"}, 7078),
            Somebody(team_a, "executor-a", {"sparkyard/role": "executor"}, 7079),
            Somebody(team_a, "stranger-a", {"app": "stranger"}, 8080),
            Somebody(team_a, "history-a", {"sparkyard/role": "history"}, 4440),
            Somebody(team_b, "driver-b", {"sparkyard/role": "driver", "sparkyard/session": "2"}, 7078),
            Somebody(team_b, "batch-b", {"sparkyard/role": "driver", "sparkyard/attempt": "1"}, 7078),
        ]
        cluster.apply(zero_to_jupyterhubs_own(main))
        addresses = {}
        for pod in people:
            port: dict[str, Any] = {"containerPort": pod.port}
            if pod.labels == NOTEBOOK:
                port["name"] = "notebook-port"
            made = cluster.run_pod(
                pod.namespace, pod.name, "httpd", "-f", "-p", str(pod.port), "-h", "/tmp",
                labels=pod.labels, container={"ports": [port]},
            )  # fmt: skip
            addresses[pod.name] = made["status"]["podIP"]
        yield Place(cluster, {pod.name: pod for pod in people}, addresses)


def zero_to_jupyterhubs_own(namespace: str) -> dict[str, Any]:
    """What that chart lets its hub and proxy do, as far as it matters here: the policies' sum is what holds."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hub-and-proxy", "namespace": namespace},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "component", "operator": "In", "values": ["hub", "proxy"]}]},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": NOTEBOOK}}, {"podSelector": {"matchLabels": GATEWAY}}],
                    "ports": [{"port": 8081}],
                }
            ],
            "egress": [{"to": [{"podSelector": {"matchLabels": NOTEBOOK}}], "ports": [{"port": 8888}]}],
        },
    }


@pytest.fixture(scope="module")
def metadata(cluster: Cluster, place: Place) -> Iterator[None]:
    """Something that listens where a cloud gives out its machine's credentials: the node, at that address."""
    root = {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}}
    add = f"ip address add {METADATA}/32 dev lo; exec httpd -f -p {METADATA}:80 -h /tmp"
    remove = {"preStop": {"exec": {"command": ["ip", "address", "del", f"{METADATA}/32", "dev", "lo"]}}}
    with cluster.namespace() as namespace:
        cluster.run_pod(
            namespace, "metadata", "sh", "-c", add,
            hostNetwork=True, container={"securityContext": root, "lifecycle": remove},
            terminationGracePeriodSeconds=10,
        )  # fmt: skip
        cluster.run_pod(namespace, "anybody")
        # Without a policy it is reached, so that what follows proves something.
        until(
            lambda: (
                "ok"
                in cluster.inside(
                    namespace, "anybody", "sh", "-c", f"nc -w 5 {METADATA} 80 </dev/null && echo ok; true"
                )
            )
        )
        yield
        cluster.delete("pod", "metadata", namespace)


@pytest.mark.parametrize("by", sorted(REACHED))
def test_each_reaches_whom_it_needs_and_nobody_else(place: Place, metadata: None, by: str) -> None:
    expected = REACHED[by] | {by}
    seen: list[set[str]] = []

    def right() -> bool:
        seen.append(place.reached(by, place.everybody()))
        # One that is not let through is never reached, however often it is tried; one that is may be slow.
        assert seen[-1] <= expected, f"{by} reaches {seen[-1] - expected}"
        return seen[-1] == expected

    until(right, pause=0.5)


def test_names_are_looked_up_by_notebooks_and_drivers(place: Place) -> None:
    for by in ("ada", "driver-a", "executor-a", "gateway"):
        pod = place.pods[by]
        until(
            lambda pod=pod: "Address" in place.cluster.inside(
                pod.namespace, pod.name, "sh", "-c", "nslookup kubernetes.default.svc.cluster.local 2>&1; true"
            ),
            pause=0.5,
        )  # fmt: skip
