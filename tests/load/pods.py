"""Pods, measured on the test cluster: a driver's start against a bare pod's, and how few nodes executors fill.

- A session with a driver pod, from POST to idle, against a pod of the same image, account and size in which Python
  starts the same Spark by itself. They are taken in turn.
- A thousand people's servers: `load.scale`.
- EMR Studio's example: 70 executors of 1 core and 6 GiB on nodes of 8 cores and 64 GiB. A node keeps a little for
  itself, so 7 fit, and 10 nodes are the optimum. Nodes and pods are simulated by kwok; the scheduler is Kubernetes'
  own with what the chart configures for `RELEASE-user-scheduler`.
"""

import contextlib
import json
import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from load import scale
from load.measure import Figure, print_table, spread
from load.simulated import nodes, process
from support import chart
from support.cluster import binaries, machine, using
from support.cluster.using import RESTRICTED, Cluster
from support.spark_pods import PodsGateway
from support.spark_pods import running as gateway_on_pods

PATIENCE_SECONDS = 300
EXECUTORS = 70
NODES = 30
OPTIMUM = 10
PER_EXECUTOR = {"cpu": "1", "memory": "6Gi"}
BARE = """
import os, socket
from pyspark.sql import SparkSession
conf = {
    "spark.kubernetes.driver.pod.name": os.environ["POD"], "spark.driver.host": os.environ["ADDRESS"],
    "spark.kubernetes.namespace": os.environ["NAMESPACE"], "spark.kubernetes.container.image": os.environ["IMAGE"],
    "spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.minExecutors": "0", "spark.driver.memory": "512m",
    # Its account may make pods and nothing else.
    "spark.kubernetes.executor.disableConfigMap": "true",
    "spark.kubernetes.driver.service.deleteOnTermination": "false",
}
builder = SparkSession.builder.master("k8s://https://kubernetes.default.svc")
for key, value in conf.items():
    builder = builder.config(key, value)
builder.getOrCreate()
host, port = os.environ["READY"].split(":")
socket.create_connection((host, int(port)))
"""


def figures() -> list[Figure]:
    """All of them; none, and a sentence, where this machine can run no cluster or another one is to be used."""
    if os.environ.get("SPARKYARD_CLUSTER") == "existing":
        print(
            "pods are left out: SPARKYARD_CLUSTER=existing names a cluster of others, and these figures put hundreds of"
            " simulated nodes into theirs. Unset it to measure on one that this machine starts for itself.",
            flush=True,
        )
        return []
    obstacles = machine.obstacles()
    if obstacles:
        print(f"pods are left out: {'; '.join(obstacles)}", flush=True)
        return []
    with using.running() as cluster, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return [start(cluster, place, 5), placement(cluster, place), *scale.figures(cluster, place)]


def start(cluster: Cluster, folder: Path, times: int) -> Figure:
    """POST to idle against a bare pod, in turn, as the ratio of the medians."""
    print("a driver pod's start against a bare pod's:", flush=True)
    image = cluster.load("spark-3.5")
    ours, bare = [], []
    with gateway_on_pods(cluster, folder, ("spark-3.5", "spark-3.5-pandas-2.1")) as gateway:
        for turn in range(times + 1):
            bare_seconds = _bare(gateway, image)
            began = time.perf_counter()
            number = gateway.new_session("dynamic")
            state = "starting"
            while state != "idle":
                state = gateway.ask("GET", f"/sessions/{number}?wait=30&state={state}")["state"]
                assert state in {"starting", "idle"}, state
            our_seconds = time.perf_counter() - began
            gateway.ask("DELETE", f"/sessions/{number}")
            cluster.until(lambda: {"left": gateway.objects("pods")}, lambda found: not found["left"])
            print(f"  session {our_seconds:.2f} s, bare {bare_seconds:.2f} s", flush=True)
            if turn:  # the first of each warms the disk's cache
                ours.append(our_seconds)
                bare.append(bare_seconds)
    detail = f"ours {spread(ours, scale=1, unit='s')}; bare {spread(bare, scale=1, unit='s')}"
    ratio = statistics.median(ours) / statistics.median(bare)
    return Figure("driver pod, POST to idle / bare pod with the same Spark", ratio, "x", 1.2, detail)


def _bare(gateway: PodsGateway, image: str) -> float:
    """Seconds from asking for the pod until its Spark is there."""
    cluster, name = gateway.cluster, f"bare-{secrets.token_hex(4)}"
    with socket.create_server((cluster.host, 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)
        environment = {"READY": f"{cluster.host}:{listener.getsockname()[1]}", "NAMESPACE": gateway.namespace}
        plain = [{"name": key, "value": value} for key, value in (environment | {"POD": name, "IMAGE": image}).items()]
        address = {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        limits = {"requests": {"cpu": "100m", "memory": "896Mi"}, "limits": {"memory": "896Mi"}}
        container = {
            "image": image,
            "command": ["python3", "-c", BARE],
            "env": [*plain, address],
            "securityContext": RESTRICTED | {"runAsUser": 185},
            "resources": limits,
        }
        began = time.perf_counter()
        cluster.run_pod(
            gateway.namespace, name, container=container, ready=False, serviceAccountName="spark",
            automountServiceAccountToken=True, restartPolicy="Never",
        )  # fmt: skip
        connection, _ = listener.accept()
        seconds = time.perf_counter() - began
        connection.close()
    cluster.delete("pod", name, gateway.namespace)
    return seconds


def placement(cluster: Cluster, folder: Path) -> Figure:
    """Nodes that the executors are on, by the chart's scheduler; and by the cluster's own, for comparison."""
    print(f"{EXECUTORS} executors find nodes:", flush=True)
    with nodes(cluster, NODES), _packing(cluster, folder) as packing:
        packed, spread_out = (_nodes_used(cluster, scheduler) for scheduler in (packing, "default-scheduler"))
    print(f"  on {packed} nodes; by the cluster's own scheduler on {spread_out}", flush=True)
    detail = f"the cluster's own scheduler: {spread_out}; the optimum: {OPTIMUM}"
    return Figure(f"nodes for {EXECUTORS} executors, by the chart's scheduler", packed, "nodes", OPTIMUM, detail)


@contextlib.contextmanager
def _packing(cluster: Cluster, folder: Path) -> Iterator[str]:
    """A scheduler with the chart's configuration; gives its name."""
    configured = chart.values()["jupyterhub"]["scheduling"]["userScheduler"]
    name = "sparkyard-user-scheduler"
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig)},
        "profiles": [
            {"schedulerName": name, "plugins": configured["plugins"], "pluginConfig": configured["pluginConfig"]}
        ],
    }
    path = folder / "scheduler.json"
    path.write_text(json.dumps(config))
    with process(str(binaries.program("kube-scheduler")), f"--config={path}", "--secure-port=0"):
        yield name


def _nodes_used(cluster: Cluster, scheduler: str) -> int:
    with cluster.namespace() as namespace:
        cluster.apply(*(_executor(namespace, scheduler, number) for number in range(EXECUTORS)))
        found = cluster.until(
            lambda: cluster.get("pods", namespace=namespace),
            lambda found: all("nodeName" in pod["spec"] for pod in found["items"]),
            PATIENCE_SECONDS,
        )
        assert len(found["items"]) == EXECUTORS
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force")
        return len({pod["spec"]["nodeName"] for pod in found["items"]})


def _executor(namespace: str, scheduler: str, number: int) -> dict[str, Any]:
    container = {"name": "executor", "image": "simulated", "resources": {"requests": PER_EXECUTOR}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"executor-{number}", "namespace": namespace},
        "spec": {
            "schedulerName": scheduler,
            "containers": [container],
            "nodeSelector": {"simulated": "yes"},
            "tolerations": [{"key": "simulated", "operator": "Exists"}],
            "automountServiceAccountToken": False,
        },
    }


if __name__ == "__main__":
    print_table(figures())
