"""zero-to-jupyterhub's own chart under ours: what a person gets by it, and that nothing of ours is opened by it.

Everywhere else a stand-in is in its place (tests/support/z2jh), as it can't be fetched everywhere. Here it is the real
one, which SPARKYARD_Z2JH names; with that set, test_stories has it too.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import installation, z2jh_real
from support.chart import Chart
from support.cluster import binaries
from support.cluster.using import Cluster, RefusedError
from support.hub_session import HubSession
from support.installation import Installation
from support.waiting import until

pytestmark = [
    pytest.mark.spark,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get(z2jh_real.VARIABLE),
        reason=f"needs zero-to-jupyterhub's own chart: name its folder or package by {z2jh_real.VARIABLE}",
    ),
]
CATALOG = Path(__file__).parent / "stories_catalog.yaml"
LONG = 240.0
Object = dict[str, Any]


# Rendered -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    folder = tmp_path_factory.mktemp("chart")
    return Chart(folder, binaries.program("helm"), z2jh_real.chart(folder))


@pytest.fixture(scope="module")
def rendered(chart: Chart) -> list[Object]:
    """A first install, with room kept for two people."""
    placeholders = {"userPlaceholder": {"replicas": 2, "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}}
    return chart.render(jupyterhub={"scheduling": placeholders})


def test_that_chart_takes_a_first_install(chart: Chart) -> None:
    """By its own schema of values too."""
    said = chart.run("lint", chart.folder, "--values", chart.values_file({}))
    assert "0 chart(s) failed" in said
    assert re.search(r"/hub.*imagination", chart.refusal(jupyterhub={"hub": {"imagination": 1}}))


def test_drivers_are_placed_by_the_scheduler_that_it_brings(rendered: list[Object]) -> None:
    env = {it["name"]: it.get("value") for it in container(rendered, "StatefulSet", "sparkyard-gateway")["env"]}
    configured = the(rendered, "ConfigMap", "user-scheduler")["data"]["config.yaml"]
    assert f"schedulerName: {env['SPARKYARD_GATEWAY_KUBERNETES_SCHEDULER']}\n" in configured


def test_placeholders_stand_back_for_servers_and_drivers(rendered: list[Object]) -> None:
    stateful = the(rendered, "StatefulSet", "user-placeholder")["spec"]
    assert stateful["replicas"] == 2
    pod = stateful["template"]["spec"]
    assert pod["schedulerName"] == "sparkyard-user-scheduler"
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "2Gi"}
    classes = {it["metadata"]["name"]: it["value"] for it in rendered if it["kind"] == "PriorityClass"}
    assert classes[pod["priorityClassName"]] < classes["sparkyard-default-priority"] == 0  # 0 is a driver's


def test_its_policies_let_nobody_reach_the_metadata_address(rendered: list[Object]) -> None:
    """And notebooks, whose policy is ours, not even port 53 of it."""
    policies = {it["metadata"]["name"]: it["spec"] for it in rendered if it["kind"] == "NetworkPolicy"}
    assert "singleuser" not in policies
    for name in ("hub", "proxy"):
        for rule in policies[name]["egress"]:
            blocks = [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer]
            assert not any(block.startswith("169.254.") for block in blocks), name


def the(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [it for it in objects if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


def container(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = the(objects, kind, name)["spec"]["template"]["spec"]["containers"]
    return dict(found)


# Installed ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation.running(cluster, tmp_path_factory.mktemp("installation"), CATALOG) as found:
        yield found


@pytest.fixture(scope="module")
def dana(place: Installation) -> Iterator[HubSession]:
    with place.sign_in("dana") as session:
        yield session


@pytest.fixture(scope="module")
def server(place: Installation, dana: HubSession) -> Object:
    """Her server's pod, which answers."""
    asked = dana.send("POST", "/hub/api/users/dana/server", json={"profile": "small"})
    assert asked.status_code in (201, 202), asked.text
    until(lambda: dana.get("/hub/api/users/dana").json()["servers"].get("", {}).get("ready"), LONG, pause=0.5)
    (pod,) = place.pods(component="singleuser-server")
    return pod


def test_the_hub_is_ours_and_runs_the_culler_of_that_chart(place: Installation) -> None:
    def log() -> str:
        return place.cluster.kubectl("logs", "-n", place.namespace, "deployment/hub")

    assert "Loading extra config: sparkyard" in log()
    # It asks for the servers as it starts, and would end if that were refused.
    until(lambda: re.search(r"200 GET /hub/api/users\S* \(jupyterhub-idle-culler@", log()), LONG, pause=0.5)


def test_a_server_is_a_pod_of_our_spawner(place: Installation, server: Object, dana: HubSession) -> None:
    assert server["spec"]["schedulerName"] == f"{place.namespace}-user-scheduler"
    assert server["spec"]["priorityClassName"] == f"{place.namespace}-default-priority"
    assert server["metadata"]["labels"]["sparkyard/profile"] == "small"
    assert "JupyterLab" in dana.get("/user/dana/lab", follow_redirects=True).text


@pytest.fixture(scope="module")
def gateway(place: Installation, dana: HubSession) -> Iterator[httpx.Client]:
    """The gateway as a script of hers reaches it."""
    headers = {"Authorization": f"token {dana.token()}"}
    with httpx.Client(base_url=place.gateway, headers=headers, timeout=120) as client:
        yield client


def new_session(gateway: httpx.Client) -> int:
    made = gateway.post("/sessions", json={"kind": "pyspark", "profile": "small"})
    assert made.status_code == 201, made.text
    number: int = made.json()["id"]

    def ready() -> bool:
        seen = gateway.get(f"/sessions/{number}").json()
        assert seen["state"] in {"starting", "idle"}, seen
        return bool(seen["state"] == "idle")

    until(ready, LONG, pause=0.5)
    return number


def test_a_statement_runs_on_pods_that_it_placed(place: Installation, server: Object, gateway: httpx.Client) -> None:
    del server
    number = new_session(gateway)
    path = f"/sessions/{number}/statements"
    statement = gateway.post(path, json={"code": "sc.parallelize(range(1000), 2).sum()"}).json()
    while statement["state"] != "available":
        statement = gateway.get(f"{path}/{statement['id']}", params={"wait": 20}).json()
    assert statement["output"]["data"]["text/plain"] == "499500", statement
    pods = place.pods(place.teams["science"])
    assert {pod["metadata"]["labels"]["sparkyard/role"] for pod in pods} == {"driver", "executor"}
    assert {pod["spec"]["schedulerName"] for pod in pods} == {f"{place.namespace}-user-scheduler"}
    gateway.delete(f"/sessions/{number}")
    until(lambda: not place.pods(place.teams["science"]), LONG, pause=0.5)


def test_its_placeholders_stand_back_for_a_driver(place: Installation, gateway: httpx.Client) -> None:
    """One that takes all of the machine but a little less than a driver asks for."""
    cpu = place.cluster.get("nodes", namespace="")["items"][0]["status"]["allocatable"]["cpu"]
    left = thousandths(cpu) - sum(map(requested, all_pods(place)))
    size = {"requests": {"cpu": f"{left - 20}m", "memory": "16Mi"}}

    def placeholders() -> list[Object]:
        return place.pods(component="user-placeholder")

    place.helm("upgrade", jupyterhub={"scheduling": {"userPlaceholder": {"replicas": 1, "resources": size}}})
    until(lambda: [pod["status"]["phase"] for pod in placeholders()] == ["Running"], LONG, pause=0.5)
    (before,) = placeholders()
    number = new_session(gateway)
    after = placeholders()
    assert before["metadata"]["uid"] not in [pod["metadata"]["uid"] for pod in after]
    assert "Running" not in [pod["status"]["phase"] for pod in after]
    gateway.delete(f"/sessions/{number}")
    place.helm("upgrade")
    until(lambda: not placeholders(), LONG, pause=0.5)


def all_pods(place: Installation) -> list[Object]:
    found: list[Object] = json.loads(place.cluster.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return [pod for pod in found if pod["status"]["phase"] in ("Pending", "Running")]


def requested(pod: Object) -> int:
    sizes = [it["resources"].get("requests", {}).get("cpu", "0") for it in pod["spec"]["containers"]]
    return sum(map(thousandths, sizes))


def thousandths(cpu: str) -> int:
    """A quantity of CPU in thousandths of a core."""
    return int(cpu[:-1]) if cpu.endswith("m") else 1000 * int(cpu)


def test_a_server_reaches_no_port_that_only_that_chart_would_open(place: Installation, server: Object) -> None:
    """Its own policy would let it ask the proxy, and port 53 of any private address, which this machine has one of."""
    name = server["metadata"]["name"]
    proxy = place.cluster.get("service", "proxy-public", place.namespace)["spec"]["clusterIP"]
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    hub = place.cluster.get("service", "hub", place.namespace)["spec"]["clusterIP"]
    place.cluster.inside(place.namespace, name, "python3", "-c", code, hub, "8081")
    for address, port in ((proxy, "80"), (place.cluster.host, "53")):
        with pytest.raises(RefusedError, match="timed out"):
            place.cluster.inside(place.namespace, name, "python3", "-c", code, address, port)


def test_an_upgrade_leaves_servers_and_keys_as_they_are(place: Installation, server: Object, dana: HubSession) -> None:
    def keys() -> Object:
        found: Object = place.cluster.get("secret", "hub", place.namespace)["data"]
        return {name: value for name, value in found.items() if name.startswith("hub.config")}

    before = keys()
    place.helm("upgrade", gateway={"settings": {"max_sessions_per_user": 7}})
    assert keys() == before
    (pod,) = place.pods(component="singleuser-server")
    assert pod["metadata"]["uid"] == server["metadata"]["uid"]
    until(lambda: "JupyterLab" in dana.get("/user/dana/lab", follow_redirects=True).text, LONG, pause=0.5)
