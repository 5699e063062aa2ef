"""A gateway whose drivers are pods: a process of this machine with the chart's rights on a real cluster, and its user.

What the chart makes where drivers run is rendered by `helm` and applied to namespaces of the test's own. The gateway
knows the cluster by a token of its service account, so that a right that the chart forgot is missed here too.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support import hub_stand_in, quick_java
from support.chart import Chart
from support.cluster import binaries
from support.cluster.using import Cluster
from support.running_gateway import TOKEN, RunningGateway
from support.waiting import until

PATIENCE_SECONDS = 240.0
GATEWAYS_RIGHTS = ("templates/spark-accounts.yaml", "templates/spark-admission.yaml")
BOBS_TOKEN = "token-of-bobs-notebook-server"
ANN, BOB = ({"Authorization": f"token {token}"} for token in (TOKEN, BOBS_TOKEN))
CATALOG = """\
version: 1
groups: {data-science: Data scientists}
default_profile: small
teams:
  crew: {title: Crew, groups: [data-science], namespace: NAMESPACE}
images:
  notebook: {kind: notebook, ref: sparkyard/notebook:0.1}
  spark-3.5: {kind: spark, spark: "3.5", ref: sparkyard/spark:3.5}
  pandas-2.1: {kind: spark, spark: "3.5", ref: sparkyard/spark:3.5-pandas-2.1}
  spark-4: {kind: spark, spark: "4.1", ref: sparkyard/spark:4.1}
  absent: {kind: spark, spark: "3.5", ref: sparkyard/absent:1}
profiles:
  small: &small
    title: Small
    everyone: true
    notebook: {image: notebook, cpu: {guarantee: 0.1, limit: 1}, memory: {guarantee: 256Mi, limit: 1Gi}}
    spark: &spark
      version: "3.5"
      driver: &driver {image: spark-3.5, cores: 1, memory: 512m, pod: {cpu: 100m}}
      executor: &executor {image: pandas-2.1, cores: 1, memory: 512m, count: {default: 1, max: 2}, pod: {cpu: 100m}}
      conf: {spark.sql.shuffle.partitions: 2, spark.task.maxFailures: 1}
      files: {allow: FILES}
  four:
    <<: *small
    spark:
      <<: *spark
      version: "4.1"
      driver: {<<: *driver, image: spark-4}
      executor: {<<: *executor, image: spark-4}
  dynamic:
    <<: *small
    spark:
      <<: *spark
      executor: {<<: *executor, dynamic: {min: 0, idle_timeout: 5s}}
  nowhere:
    <<: *small
    spark:
      <<: *spark
      driver: {<<: *driver, pod: {node_selector: {disktype: moon}}}
  arm-driver:
    <<: *small
    spark:
      <<: *spark
      driver:
        <<: *driver
        pod: &arm {architecture: arm64, tolerations: [{key: simulated, operator: Exists}], cpu: 100m}
  arm-executors:
    <<: *small
    spark:
      <<: *spark
      executor: {<<: *executor, count: 2, pod: *arm}
  crowded:
    <<: *small
    spark:
      <<: *spark
      driver: {<<: *driver, cores: 4, pod: {<<: *arm, cpu: "4"}}
  absent:
    <<: *small
    spark:
      <<: *spark
      driver: {<<: *driver, image: absent}
"""


class PodsGateway(RunningGateway):
    """A gateway that pods reach, and what Ann does by it."""

    def __init__(self, folder: Path, hub_url: str, cluster: Cluster, namespace: str, *options: str) -> None:
        super().__init__(folder, hub_url, *options)
        self.cluster = cluster
        self.namespace = namespace
        self.own_kubeconfig = folder / "gateway.kubeconfig"

    @property
    def url(self) -> str:
        """At the address that is this machine to pods."""
        return f"http://{self.cluster.host}:{self.port}"

    def start_at(self, port: int) -> None:
        """On a port that its drivers are told before it listens."""
        self.port = port
        self.start()

    # What Ann does

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Ask the gateway in Ann's name."""
        answer = httpx.request(method, f"{self.url}{path}", json=body or None, headers=ANN, timeout=60)
        assert answer.status_code < 300, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def new_session(self, profile: str = "small", **body: Any) -> int:
        """Start a session."""
        body["conf"] = {"spark.sparkyard.profile": profile, **body.get("conf", {})}
        made: int = self.ask("POST", "/sessions", kind="pyspark", **body)["id"]
        return made

    def session(self, number: int) -> dict[str, Any]:
        """How a session is."""
        found: dict[str, Any] = self.ask("GET", f"/sessions/{number}")
        return found

    def until_idle(self, number: int) -> dict[str, Any]:
        """Return when a session is ready."""

        def looked_at() -> dict[str, Any] | None:
            seen = self.session(number)
            assert seen["state"] in {"starting", "idle"}, (seen, self.driver_log(number)[-60:])
            return seen if seen["state"] == "idle" else None

        return until(looked_at, PATIENCE_SECONDS, pause=0.3)

    def until_dead(self, number: int) -> dict[str, Any]:
        """Return when a session has ended."""

        def looked_at() -> dict[str, Any] | None:
            seen = self.session(number)
            return seen if seen["state"] == "dead" else None

        return until(looked_at, PATIENCE_SECONDS, pause=0.3)

    def run(self, number: int, code: str) -> dict[str, Any]:
        """What a cell gives."""
        statement = self.ask("POST", f"/sessions/{number}/statements", code=code)["id"]
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = self.ask("GET", f"/sessions/{number}/statements/{statement}?wait=20")
            if found["state"] in {"available", "cancelled"}:
                output: dict[str, Any] = found["output"]
                return output
            assert time.monotonic() < end, (found, self.driver_log(number)[-60:])

    def text(self, number: int, code: str) -> str:
        """What a cell prints."""
        output = self.run(number, code)
        assert output["status"] == "ok", output
        shown: str = output["data"]["text/plain"]
        return shown

    def driver_log(self, number: int) -> list[str]:
        """A session's log."""
        lines: list[str] = self.ask("GET", f"/sessions/{number}/log?from=0&size=-1")["log"]
        return lines

    # What an administrator sees

    def objects(self, kind: str, session: int | None = None) -> list[dict[str, Any]]:
        """Objects of a session, or of all."""
        labels = {} if session is None else {"sparkyard/session": str(session)}
        found: list[dict[str, Any]] = self.cluster.get(kind, namespace=self.namespace, **labels)["items"]
        return found

    def as_gateway(self, *arguments: str) -> str:
        """What kubectl prints for the gateway's own account."""
        return dataclasses.replace(self.cluster, kubeconfig=self.own_kubeconfig).kubectl(*arguments)

    def driver_pod(self, session: int) -> dict[str, Any]:
        """A session's driver."""
        (pod,) = self.pods(session, "driver")
        return pod

    def pods(self, session: int, role: str) -> list[dict[str, Any]]:
        """A session's driver, or its executors."""
        found = self.objects("pods", session)
        return [each for each in found if each["metadata"]["labels"]["sparkyard/role"] == role]


def apply_chart(cluster: Cluster, folder: Path, hub: str, namespaces: list[str], catalog: str) -> None:
    """What the chart makes where drivers run, with the gateway's account in the namespace `hub`."""
    chart = Chart(folder, binaries.program("helm"))
    changed = {"spark": {"namespaces": namespaces}, "catalog": catalog}
    chosen = [word for name in GATEWAYS_RIGHTS for word in ("--show-only", name)]
    text = chart.run(
        "template",
        hub,
        chart.folder,
        "--namespace",
        hub,
        "--kube-version",
        "1.34.4",
        "--values",
        chart.values_file(changed),
        *chosen,
    )
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", standard_input=text)
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gateway", "namespace": hub}})


def remove_policies(cluster: Cluster, hub: str) -> None:
    """What of the chart goes with no namespace."""
    for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
        for name in ("executors", "ends", "marks", "begins"):
            cluster.kubectl("delete", kind, f"{hub}.{hub}.spark-{name}", "--ignore-not-found")


def kubeconfig_of(cluster: Cluster, folder: Path, namespace: str, account: str) -> Path:
    """The cluster as a service account knows it."""
    token = cluster.kubectl("create", "token", account, "-n", namespace, "--duration", "12h").strip()
    known = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    known["users"] = [{"name": account, "user": {"token": token}}]
    known["contexts"][0]["context"]["user"] = account
    path = folder / f"{account}.kubeconfig"
    path.write_text(json.dumps(known))
    return path


@dataclasses.dataclass(frozen=True)
class Ground:
    """Where drivers run, and how a gateway gets there with the chart's rights."""

    cluster: Cluster
    namespace: str
    catalog: Path
    kubeconfig: Path
    installation: str

    def options(self, port: int) -> tuple[str, ...]:
        """What a gateway on that port is started with."""
        host = self.cluster.host
        return (
            "--catalog", str(self.catalog), "--host", host, "--driver-url", f"ws://{host}:{port}",
            "--backend", "kubernetes", "--kubernetes-config", str(self.kubeconfig),
            "--kubernetes-namespace", self.namespace, "--kubernetes-installation", self.installation,
            "--start-timeout-seconds", str(PATIENCE_SECONDS),
        )  # fmt: skip


@contextmanager
def prepared(cluster: Cluster, folder: Path, files: tuple[str, ...] = ()) -> Iterator[Ground]:
    """Namespaces of one's own with what the chart makes there; `files` are prefixes that profiles grant."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    with cluster.namespace() as hub_namespace, cluster.namespace(**restricted) as namespace:
        catalog = folder / "catalog.yaml"
        text = CATALOG.replace("NAMESPACE", namespace).replace("FILES", json.dumps(files))
        catalog.write_text(quick_java.in_pods(text))
        apply_chart(cluster, folder, hub_namespace, [namespace], catalog.read_text())
        kubeconfig = kubeconfig_of(cluster, folder, hub_namespace, "gateway")
        try:
            yield Ground(cluster, namespace, catalog, kubeconfig, secrets.token_hex(4))
        finally:
            remove_policies(cluster, hub_namespace)


@contextmanager
def running(
    cluster: Cluster,
    folder: Path,
    images: tuple[str, ...],
    files: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> Iterator[PodsGateway]:
    """A gateway on ground of its own, with these images and options beside, and Ann and Bob of the crew."""
    for image in images:
        cluster.load(image)
    with socket.socket() as probe:
        probe.bind((cluster.host, 0))
        port = probe.getsockname()[1]
    with prepared(cluster, folder, files) as ground, hub_stand_in.running() as hub:
        hub.admit(TOKEN, "ann", ("data-science",))
        hub.admit(BOBS_TOKEN, "bob", ("data-science",))
        gateway = PodsGateway(folder, hub.url, cluster, ground.namespace, *ground.options(port), *options)
        gateway.start_at(port)
        try:
            yield gateway
        finally:
            gateway.stop()


def decoded(secret: dict[str, Any], key: str) -> str:
    """A Secret's content."""
    return base64.b64decode(secret["data"][key]).decode()
