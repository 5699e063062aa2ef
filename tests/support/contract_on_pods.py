"""The contract's people at a gateway whose drivers are pods of a real cluster, where it has the chart's rights."""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support import hub_stand_in, quick_java
from support.cluster.using import Cluster
from support.contract_backends import CATALOG, PEOPLE, admit_everybody, client_of
from support.spark_pods import PATIENCE_SECONDS, PodsGateway, apply_chart, kubeconfig_of, remove_policies

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass
class OnPods:
    """The people, and how a driver is killed there."""

    people: dict[str, httpx.Client]
    gateway: PodsGateway

    def kill(self, session: int, _pid: int) -> None:
        """End a driver's pod at once. The number of its process is its pod's own, and means nothing here."""
        name = self.gateway.driver_pod(session)["metadata"]["name"]
        self.gateway.cluster.kubectl("delete", "pod", name, "-n", self.gateway.namespace, "--grace-period=0", "--force")


def catalog(files: tuple[str, ...]) -> str:
    """The contract's, with pods that ask for little, and files that batches may name."""
    text = CATALOG
    granted = f"      files: {{allow: {json.dumps(files)}}}\n      user_conf:\n"
    granted += "        spark.sql.shuffle.partitions: {type: integer, min: 1, max: 100}\n"
    for before, after in (
        ("max: 1g}}\n      executor", "max: 1g}, pod: {cpu: 50m}}\n      executor"),
        ("count: {default: 2, max: 2}}", "count: {default: 1, max: 2}, pod: {cpu: 50m}}"),
        ("      user_conf:\n", granted),
    ):
        assert before in text
        text = text.replace(before, after)
    return quick_java.in_pods(text)


@contextmanager
def running(
    cluster: Cluster, folder: Path, *options: str, simulated: bool, files: tuple[str, ...] = ()
) -> Iterator[OnPods]:
    """A gateway on the cluster."""
    with ExitStack() as stack:
        main = stack.enter_context(cluster.namespace())
        namespace = stack.enter_context(cluster.namespace(**RESTRICTED))
        text = catalog(files)
        (folder / "catalog.yaml").write_text(text)
        apply_chart(cluster, folder, main, [namespace], text)
        stack.callback(remove_policies, cluster, main)
        kubeconfig = kubeconfig_of(cluster, folder, main, "gateway")
        hub = stack.enter_context(hub_stand_in.running())
        admit_everybody(hub)
        with socket.socket() as probe:
            probe.bind((cluster.host, 0))
            port = probe.getsockname()[1]
        gateway = PodsGateway(
            folder, hub.url, cluster, namespace,
            "--catalog", str(folder / "catalog.yaml"), "--host", cluster.host,
            "--driver-url", f"ws://{cluster.host}:{port}", "--backend", "kubernetes",
            "--kubernetes-config", str(kubeconfig), "--kubernetes-namespace", namespace,
            "--kubernetes-installation", secrets.token_hex(4), "--start-timeout-seconds", str(PATIENCE_SECONDS),
            "--stop-drivers-on-exit", "--stop-grace-seconds", "1", "--metrics-from", f"{cluster.host}/32", *options,
        )  # fmt: skip
        if simulated:
            gateway.module = "support.simulated_pods"
        stack.callback(gateway.stop)
        gateway.start_at(port)
        yield OnPods({name: stack.enter_context(client_of(name, gateway.url)) for name in PEOPLE}, gateway)
