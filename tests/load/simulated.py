"""Nodes that are not there: kwok says for them that they are ready, and of each pod there that it runs."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.cluster import binaries
from support.cluster.using import Cluster

NODE = {"cpu": "7910m", "memory": "60Gi", "pods": "110"}
"""What is left to pods of 8 cores and 64 GiB."""
POD_READY = "pod/fast/pod-ready"
STAGES = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease", POD_READY)
"""What becomes of nodes and pods: files of kwok's own module."""
READY = {"type": "Ready", "status": "True"}


@contextlib.contextmanager
def nodes(
    cluster: Cluster, count: int, *, labels: Mapping[str, str] | None = None, pods_run: bool = True
) -> Iterator[None]:
    """So many of them, with the label and the taint `simulated`; without `pods_run` pods stay as they were bound."""
    kwok = [
        binaries.program("kwok"), "--kubeconfig", cluster.kubeconfig, "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--cidr=10.250.0.1/16",
        "--node-lease-duration-seconds=40", *(f"--config={path}" for path in _stages(pods_run=pods_run)),
    ]  # fmt: skip
    with process(*map(str, kwok)):
        try:
            cluster.apply(*(_node(f"simulated-{number}", labels or {}) for number in range(count)))
            cluster.until(
                lambda: cluster.get("nodes", namespace="", simulated="yes"),
                lambda found: all(map(_is_ready, found["items"])) and len(found["items"]) == count,
            )
            yield
        finally:
            cluster.kubectl("delete", "nodes", "-l", "simulated=yes")


def _stages(*, pods_run: bool) -> list[Path]:
    told = subprocess.run(
        ["go", "mod", "download", "-json", "sigs.k8s.io/kwok"],
        cwd=binaries.SOURCES / "kwok", capture_output=True, text=True, check=True,
    )  # fmt: skip
    stages = Path(json.loads(told.stdout)["Dir"]) / "kustomize" / "stage"
    chosen = [each for each in STAGES if pods_run or each != POD_READY]
    return [stages / f"{each}.yaml" for each in (*chosen, "pod/fast/pod-delete")]


def _is_ready(node: dict[str, Any]) -> bool:
    # The taint of a node that is not ready goes a moment after it is.
    kept_free = [taint["key"] for taint in node["spec"]["taints"]] != ["simulated"]
    return not kept_free and any(READY.items() <= each.items() for each in node["status"].get("conditions", ()))


def _node(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"simulated": "yes", "kubernetes.io/hostname": name, **labels},
        },
        "spec": {"taints": [{"key": "simulated", "effect": "NoSchedule"}]},
        "status": {"allocatable": NODE, "capacity": {"cpu": "8", "memory": "64Gi", "pods": "110"}},
    }


@contextlib.contextmanager
def process(*command: str) -> Iterator[None]:
    """A program beside, which must not end by itself."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        assert running.poll() is None, f"{command[0]} ended by itself"
    finally:
        running.terminate()
        running.wait()
