"""Notebook servers as pods of a real cluster: a person signs in and lands in one, and who can't is told why.

The namespace enforces the Pod Security level `restricted`, so the API server itself judges every pod that is made.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from load import simulated
from support.chart import CHART
from support.cluster.using import Cluster, RefusedError
from support.cluster_hub import ClusterHub, running_hub
from support.hub_session import HubSession
from support.pod_security import containers, violations
from support.waiting import until

CATALOG = Path(__file__).parent / "notebook_catalog.yaml"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[str]:
    """The namespace of the notebook pods."""
    with cluster.namespace(**RESTRICTED) as name:
        yield name


@pytest.fixture(scope="module")
def as_the_hub(cluster: Cluster, place: str, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster with the hub's own rights alone: zero-to-jupyterhub's role for its hub, and our chart's for logs."""
    rights = [
        {"apiGroups": [""], "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
         "verbs": ["get", "watch", "list", "create", "delete"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
        *yaml_of("hub-logs.yaml")["rules"],
    ]  # fmt: skip
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": "hub", "namespace": place}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rights},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "hub"},
            "subjects": [{"kind": "ServiceAccount", "name": "hub", "namespace": place}],
        },
    )
    config = YAML(typ="safe", pure=True).load(cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": cluster.kubectl("create", "token", "hub", "-n", place, "--duration=4h").strip()}
    path = tmp_path_factory.mktemp("rights") / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return replace(cluster, kubeconfig=path)


def yaml_of(template: str) -> dict[str, Any]:
    """The first object of a template of the chart that has no logic in what matters here."""
    text = (CHART / "templates" / template).read_text().split("---")[0]
    plain = "\n".join(line for line in text.splitlines() if "{{" not in line)
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(plain)
    return found


@pytest.fixture(scope="module")
def hub(
    cluster: Cluster, as_the_hub: Cluster, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterHub]:
    cluster.load("notebook")
    folder = tmp_path_factory.mktemp("hub")
    catalog = folder / "catalog.yaml"
    shutil.copy(CATALOG, catalog)
    with running_hub(cluster, place, folder, catalog, kubeconfig=as_the_hub.kubeconfig) as found:
        yield found


@pytest.fixture
def dana(hub: ClusterHub) -> Iterator[HubSession]:
    """A data scientist whose server is not running, before and after."""
    with hub.sign_in("dana") as session:
        yield session
        session.stop_server()
    until(lambda: not hub.pods())


def claim(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }


def claims(cluster: Cluster, namespace: str) -> list[str]:
    return [found["metadata"]["name"] for found in cluster.get("pvc", namespace=namespace)["items"]]


def test_a_person_signs_in_and_lands_in_a_pod(hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession) -> None:
    outcome = hub.outcome(dana, profile="small")

    assert outcome.ready, f"{outcome}\n{hub.log[-3000:]}"
    assert outcome.steps[-1] == "Starting JupyterLab"
    page = dana.get("/user/dana/lab", follow_redirects=True)
    assert page.status_code == 200
    assert "JupyterLab" in page.text
    (pod,) = hub.pods()
    assert {key: value for key, value in pod["metadata"]["labels"].items() if key.startswith("sparkyard/")} == {
        "sparkyard/user": "dana",
        "sparkyard/team": "science",
        "sparkyard/profile": "small",
    }
    assert violations(pod["spec"]) == []
    for container in containers(pod["spec"]):
        assert container["resources"]["limits"]["memory"]
    name = pod["metadata"]["name"]
    assert cluster.inside(place, name, "sh", "-c", "ls /var/run/secrets 2>&1; id -u; pwd; echo $HOME").split("\n")[
        -4:
    ] == [
        "1000",
        "/home/jovyan",
        "/home/jovyan",
        "",
    ]
    with pytest.raises(RefusedError):
        cluster.inside(place, name, "ls", "/var/run/secrets/kubernetes.io")
    environment = cluster.inside(place, name, "env")
    assert "KUBERNETES_SERVICE_HOST" in environment  # which everything in a cluster is told
    assert "SPARKYARD_PROFILE=small" in environment


def test_a_home_outlives_its_server(hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession) -> None:
    assert hub.outcome(dana, profile="small").ready
    (pod,) = hub.pods()
    cluster.inside(place, pod["metadata"]["name"], "sh", "-c", "echo kept > ~/note")
    dana.stop_server()
    until(lambda: not hub.pods())

    assert hub.outcome(dana, profile="small").ready
    (pod,) = hub.pods()
    assert cluster.inside(place, pod["metadata"]["name"], "sh", "-c", "cat ~/note") == "kept\n"
    assert "home-dana" in claims(cluster, place)


def test_a_team_shares_a_folder_and_nothing_more(
    hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession
) -> None:
    cluster.apply(claim("teams", place))
    prepared = cluster.run_pod(
        place,
        "prepare",
        "sleep",
        "infinity",
        container={"volumeMounts": [{"name": "teams", "mountPath": "/teams"}]},
        volumes=[{"name": "teams", "persistentVolumeClaim": {"claimName": "teams"}}],
        securityContext={"fsGroup": 1000},
    )
    assert prepared
    outcome = hub.outcome(dana, profile="shared")
    assert outcome.ready, f"{outcome}\n{hub.log[-3000:]}"
    (pod,) = hub.pods()

    def run(command: str) -> str:
        return cluster.inside(place, pod["metadata"]["name"], "sh", "-c", command)

    assert run("cat ~/greeting") == "hello {username}\n"
    assert run("stat -c '%a %g' /shared/team") == "2770 2000\n"
    # A process of the server's, as a kernel is one: what it writes the team can change.
    umask = run("grep Umask /proc/1/status; for p in /proc/[0-9]*; do grep -s Umask $p/status; done | sort | uniq")
    assert "0007" in umask
    run("touch /shared/team/a /scratch/b")
    assert run("stat -c %g /shared/team/a") == "2000\n"
    with pytest.raises(RefusedError, match="Read-only file system"):
        run("touch /shared/library/a")
    # The volume's top and the other folders in it are nowhere in this pod.
    assert run("ls /shared").split() == ["library", "team"]
    with pytest.raises(RefusedError):
        run("ls /claims")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "reserved"}, "Profile 'reserved' is not open to you"),
        ({"profile": "small", "driver_memory": "64g"}, "512m to 1g"),
        ({"image--unlisted-choice": "evil.io/x:1"}, "no option 'image--unlisted-choice'"),
        ({"profile": "small", "extra_pod_config": {"hostNetwork": True}}, "no option 'extra_pod_config'"),
    ],
)
def test_what_is_not_granted_is_refused_and_nothing_is_made(
    hub: ClusterHub, dana: HubSession, options: dict[str, Any], words: str
) -> None:
    answer = hub.ask(dana, **options)
    assert answer.status_code == 403, answer.text
    assert words in answer.json()["message"]
    assert hub.pods() == []


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("huge", r"No machine of the cluster can take your server: of 1 machine, 1 has too little free CPU\. Choose a"),
        ("elsewhere", r"of 1 machine, 1 is not of the kind that the profile asks for"),
        ("gpu", r"of 1 machine, 1 has too few free GPUs \(nvidia\.com/gpu\)\. Choose a"),
        ("arm", r"of 1 machine, 1 is not of the kind that the profile asks for"),
        ("nowhere", r"The image An image that is nowhere \(localhost:5999/nowhere:1\) could not be fetched"),
        ("no-lab", r"The image An image without JupyterLab \(localhost/busybox:1\) has no jupyterhub-singleuser"),
        ("fails", r"The step 'Breaking' failed \(exit status 3\)"),
        ("no-claim", r"A folder that the profile mounts is missing: there is no volume claim no-such-claim"),
    ],
)
def test_a_start_that_cannot_succeed_says_why_and_leaves_nothing(
    hub: ClusterHub, dana: HubSession, profile: str, words: str
) -> None:
    outcome = hub.outcome(dana, profile=profile)

    assert not outcome.ready
    assert re.search(words, outcome.message), f"{outcome}\n{hub.log[-3000:]}"
    if profile == "fails":
        page = dana.get("/hub/spawn-pending/dana", follow_redirects=True).text
        assert "the reason is here" in page
    until(lambda: not hub.pods())
    assert not dana.get("/hub/api/users/dana").json()["servers"]
    page = dana.get("/hub/spawn-pending/dana").text
    assert "did not start" in page or "Choose a profile" in page


def test_a_machine_with_gpus_takes_a_server_that_asks_for_one(
    hub: ClusterHub, cluster: Cluster, dana: HubSession
) -> None:
    """The machine offers one as a device plugin does: by its status."""
    (node,) = cluster.get("nodes", namespace="")["items"]

    def offer(operation: str) -> None:
        paths = [f"/status/{part}/nvidia.com~1gpu" for part in ("capacity", "allocatable")]
        patch = json.dumps([{"op": operation, "path": path, "value": "1"} for path in paths])
        cluster.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "-p", patch)

    offer("add")
    try:
        outcome = hub.outcome(dana, profile="gpu")
        assert outcome.ready, f"{outcome}\n{hub.log[-3000:]}"
        (pod,) = hub.pods()
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        dana.stop_server()
    finally:
        offer("remove")


@contextlib.contextmanager
def home_of_any_machine(cluster: Cluster, place: str) -> Iterator[None]:
    """A home of Dana's that every machine reaches, as a cloud's is; those of the test cluster are its one node's."""
    cluster.delete("pvc", "home-dana", place)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"home-{place}"},
        "spec": {
            "capacity": {"storage": "100Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"name": "home-dana", "namespace": place},
            "hostPath": {"path": "/nowhere"},
        },
    }
    home = claim("home-dana", place)
    home["spec"] |= {"storageClassName": "", "volumeName": f"home-{place}"}
    cluster.apply(volume, home)
    cluster.until(lambda: cluster.get("pvc", "home-dana", place), lambda it: it["status"].get("phase") == "Bound")
    try:
        yield
    finally:
        cluster.delete("pvc", "home-dana", place)
        cluster.delete("pv", f"home-{place}", place)


def test_a_server_lands_on_the_architecture_that_its_profile_says(
    hub: ClusterHub, cluster: Cluster, place: str, dana: HubSession
) -> None:
    """On a machine that is simulated, which turns it away once it is there."""
    with (
        home_of_any_machine(cluster, place),
        simulated.nodes(cluster, 1, labels={"kubernetes.io/arch": "arm64"}, pods_run=False),
    ):
        asked = hub.ask(dana, profile="arm")
        assert asked.status_code in (201, 202), asked.text

        def bound() -> Any:
            return [pod for pod in hub.pods() if "nodeName" in pod["spec"]]

        (pod,) = until(bound, pause=0.2)
        assert pod["spec"]["nodeName"] == "simulated-0"
        away = json.dumps({"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no room"}})
        name = pod["metadata"]["name"]
        cluster.kubectl("patch", "pod", name, "-n", place, "--subresource=status", "--type=merge", "-p", away)
        until(lambda: not dana.get("/hub/api/users/dana").json()["servers"], pause=0.2)
        until(lambda: not hub.pods())


def test_an_image_that_its_registry_does_not_have_is_given_up_at_once(
    hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession
) -> None:
    """A registry on the node that has nothing, and answers so."""
    with cluster.namespace() as open_to_all:
        cluster.run_pod(
            open_to_all, "registry", "busybox", "httpd", "-f", "-p", "127.0.0.1:5999", "-h", "/tmp", hostNetwork=True
        )
        outcome = hub.outcome(dana, profile="nowhere")
        assert re.search(r"was not found: there is none of that name", outcome.message), outcome
    until(lambda: not hub.pods())


def test_a_quota_that_is_used_up_is_told_in_numbers(
    hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "servers", "namespace": place},
        "spec": {"hard": {"limits.memory": "512Mi"}},
    }
    cluster.apply(quota)
    cluster.until(lambda: cluster.get("resourcequota", "servers", place), lambda it: it.get("status", {}).get("hard"))
    try:
        outcome = hub.outcome(dana, profile="small")
    finally:
        cluster.delete("resourcequota", "servers", place)
    assert re.search(r"The cluster's quota leaves no room for your server: .* of 512Mi memory in use", outcome.message)
    assert hub.pods() == []


def test_a_hub_that_is_killed_finds_the_pod_again(
    hub: ClusterHub, place: str, cluster: Cluster, dana: HubSession
) -> None:
    assert hub.outcome(dana, profile="small").ready
    (before,) = hub.pods()

    hub.kill()
    hub.start()

    with hub.sign_in("dana") as again:
        until(lambda: again.get("/hub/api/users/dana").json()["servers"].get("", {}).get("ready"), pause=0.3)
        page = again.get("/user/dana/lab", follow_redirects=True)
        assert "JupyterLab" in page.text
        (after,) = hub.pods()
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        again.stop_server()


def test_no_log_of_the_hub_has_a_servers_token(hub: ClusterHub, dana: HubSession, cluster: Cluster, place: str) -> None:
    assert hub.outcome(dana, profile="small").ready
    (pod,) = hub.pods()
    environment = {it["name"]: it.get("value") for it in pod["spec"]["containers"][0]["env"]}
    token = environment["JUPYTERHUB_API_TOKEN"]
    assert token
    assert token not in hub.log
