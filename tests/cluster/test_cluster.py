"""The test cluster itself: pods run, names resolve, memory limits kill, volumes hold, policies cut off."""

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.cluster import archives, lifecycle, settings, using
from support.cluster.place import Place

SERVING = ("sh", "-c", "mkdir -p /tmp/www && echo hello >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www")


def fetched(cluster: using.Cluster, namespace: str, pod: str, address: str, seconds: int = 5) -> str:
    """What a pod gets from an address; empty where it gets no connection."""
    try:
        return cluster.inside(
            namespace, pod, "timeout", str(seconds), "wget", "-q", "-O", "-", f"http://{address}/"
        ).strip()
    except using.RefusedError:
        return ""


def reaches(cluster: using.Cluster, namespace: str, pod: str, address: str) -> None:
    """The pod gets an answer there, now or as soon as a change has been noticed."""
    cluster.until(lambda: {"got": fetched(cluster, namespace, pod, address)}, lambda seen: seen["got"] == "hello")


def is_cut_off(cluster: using.Cluster, namespace: str, pod: str, address: str) -> None:
    """The pod gets no answer there, twice in a row, now or as soon as a change has been noticed."""
    cluster.until(
        lambda: {"got": [fetched(cluster, namespace, pod, address, 2) for _ in range(2)]},
        lambda seen: seen["got"] == ["", ""],
    )


def policy(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {"podSelector": {}} | spec,
    }


def service(namespace: str, name: str, app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def address_of(pod: dict[str, Any]) -> str:
    return f"{pod['status']['podIP']}:8080"


def test_a_pod_runs_and_its_log_is_read(cluster: using.Cluster, namespace: str) -> None:
    cluster.run_pod(namespace, "speaker", "sh", "-c", "echo hello from $(id -u); sleep 1000")
    cluster.until(lambda: {"log": cluster.kubectl("logs", "-n", namespace, "speaker")}, lambda seen: seen["log"])
    assert cluster.kubectl("logs", "-n", namespace, "speaker") == "hello from 65534\n"


def test_a_service_is_found_by_name_and_reached(cluster: using.Cluster, namespace: str) -> None:
    cluster.run_pod(namespace, "server", *SERVING)
    cluster.run_pod(namespace, "client")
    cluster.apply(service(namespace, "web", "server"))
    found = cluster.inside(namespace, "client", "nslookup", f"web.{namespace}.svc.cluster.local")
    assert cluster.get("service", "web", namespace)["spec"]["clusterIP"] in found
    reaches(cluster, namespace, "client", "web")


def test_no_name_outside_the_cluster_resolves(cluster: using.Cluster, namespace: str) -> None:
    if cluster.place is None:
        pytest.skip("a cluster of one's own may resolve what it likes")
    cluster.run_pod(namespace, "client")
    with pytest.raises(using.RefusedError, match="NXDOMAIN"):
        cluster.inside(namespace, "client", "nslookup", "elsewhere.invalid.")


def test_a_container_over_its_memory_ends_as_oomkilled(cluster: using.Cluster, namespace: str) -> None:
    cluster.run_pod(
        namespace, "greedy", "sh", "-c", "tail /dev/zero", ready=False, restartPolicy="Never",
        container={"resources": {"limits": {"memory": "30Mi"}}},
    )  # fmt: skip
    ended = cluster.until(
        lambda: cluster.get("pod", "greedy", namespace),
        lambda pod: pod["status"].get("phase") in {"Failed", "Succeeded"},
    )
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"


def test_a_claim_gets_a_volume_that_the_next_pod_finds_again(cluster: using.Cluster, namespace: str) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "home", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    mounted: dict[str, Any] = {
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
        "container": {"volumeMounts": [{"name": "home", "mountPath": "/home"}]},
        "securityContext": {"fsGroup": 100},
    }
    cluster.run_pod(namespace, "first", **mounted)
    cluster.inside(namespace, "first", "sh", "-c", "echo kept >/home/file")
    cluster.delete("pod", "first", namespace)
    cluster.run_pod(namespace, "second", **mounted)
    assert cluster.inside(namespace, "second", "cat", "/home/file") == "kept\n"
    assert cluster.inside(namespace, "second", "stat", "-c", "%g", "/home/file") == "100\n"
    volume = cluster.get("pvc", "home", namespace)["spec"]["volumeName"]
    cluster.delete("pod", "second", namespace)
    cluster.delete("pvc", "home", namespace)
    cluster.until(
        lambda: cluster.get("pv"), lambda seen: volume not in [each["metadata"]["name"] for each in seen["items"]]
    )


def test_default_deny_cuts_off_and_a_policy_lets_in_whom_it_names(cluster: using.Cluster, namespace: str) -> None:
    server = address_of(cluster.run_pod(namespace, "server", *SERVING))
    cluster.run_pod(namespace, "friend")
    cluster.run_pod(namespace, "stranger")
    reaches(cluster, namespace, "friend", server)
    reaches(cluster, namespace, "stranger", server)

    cluster.apply(policy(namespace, "deny", policyTypes=["Ingress"]))
    is_cut_off(cluster, namespace, "friend", server)
    is_cut_off(cluster, namespace, "stranger", server)

    friend = {"podSelector": {"matchLabels": {"app": "friend"}}}
    cluster.apply(policy(namespace, "friend", ingress=[{"from": [friend], "ports": [{"port": 8080}]}]))
    reaches(cluster, namespace, "friend", server)
    is_cut_off(cluster, namespace, "stranger", server)

    cluster.delete("networkpolicy", "friend", namespace)
    cluster.delete("networkpolicy", "deny", namespace)
    reaches(cluster, namespace, "stranger", server)


def test_a_policy_reaches_through_a_service_and_across_namespaces(cluster: using.Cluster, namespace: str) -> None:
    cluster.run_pod(namespace, "server", *SERVING)
    cluster.apply(service(namespace, "web", "server"))
    name = f"web.{namespace}.svc.cluster.local"
    with cluster.namespace(team="a") as team_a, cluster.namespace(team="b") as team_b:
        cluster.run_pod(team_a, "client")
        cluster.run_pod(team_b, "client")
        reaches(cluster, team_a, "client", name)
        reaches(cluster, team_b, "client", name)
        only_a = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
        cluster.apply(policy(namespace, "team-a", ingress=[{"from": [only_a]}]))
        is_cut_off(cluster, team_b, "client", name)
        reaches(cluster, team_a, "client", name)


def test_egress_is_held_to_what_is_named_dns_and_a_port_by_name(cluster: using.Cluster, namespace: str) -> None:
    ports = [{"name": "web", "containerPort": 8080}]
    cluster.run_pod(namespace, "server", *SERVING, container={"ports": ports})
    other = address_of(cluster.run_pod(namespace, "other", *SERVING))
    cluster.apply(service(namespace, "web", "server"))
    cluster.run_pod(namespace, "client")
    name = f"web.{namespace}.svc.cluster.local"
    reaches(cluster, namespace, "client", other)

    client = {"podSelector": {"matchLabels": {"app": "client"}}}
    cluster.apply(policy(namespace, "deny", policyTypes=["Egress"], **client))
    is_cut_off(cluster, namespace, "client", other)
    with pytest.raises(using.RefusedError):
        cluster.inside(namespace, "client", "timeout", "3", "nslookup", name)

    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    allowed = [
        {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]},
        {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": "web"}]},
    ]
    cluster.apply(policy(namespace, "some", policyTypes=["Egress"], egress=allowed, **client))
    reaches(cluster, namespace, "client", name)
    is_cut_off(cluster, namespace, "client", other)


def test_a_block_of_addresses_is_allowed_but_for_its_exceptions(cluster: using.Cluster, namespace: str) -> None:
    first = cluster.run_pod(namespace, "first", *SERVING)
    second = cluster.run_pod(namespace, "second", *SERVING)
    cluster.run_pod(namespace, "client")
    block = {"cidr": "0.0.0.0/0", "except": [f"{second['status']['podIP']}/32"]}
    reaches(cluster, namespace, "client", address_of(second))
    cluster.apply(policy(namespace, "but-one", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": block}]}]))
    is_cut_off(cluster, namespace, "client", address_of(second))
    reaches(cluster, namespace, "client", address_of(first))


def test_a_new_pod_is_held_from_its_first_moment(cluster: using.Cluster, namespace: str) -> None:
    server = address_of(cluster.run_pod(namespace, "server", *SERVING))
    deny = {"podSelector": {"matchLabels": {"app": "hasty"}}}
    cluster.apply(policy(namespace, "deny", policyTypes=["Egress"], **deny))
    tries = f"for i in 1 2 3; do timeout 1 wget -q -O - http://{server}/ && break; done; echo tried"
    cluster.run_pod(namespace, "hasty", "sh", "-c", f"{tries}; sleep 1000")
    seen = cluster.until(
        lambda: {"log": cluster.kubectl("logs", "-n", namespace, "hasty")}, lambda seen: "tried" in seen["log"]
    )
    assert "hello" not in seen["log"]


@pytest.mark.alone_on_cluster
@pytest.mark.parametrize("program", ["kubelet", "kube-proxy", "watching", "scheduler"])
def test_a_program_that_is_killed_comes_back(cluster: using.Cluster, namespace: str, program: str) -> None:
    if cluster.place is None:
        pytest.skip("this is about the clusters that this machine starts")
    place = cluster.place
    killed = lifecycle.process(place, program)
    killed.kill()
    psutil.wait_procs([killed], timeout=60)
    cluster.run_pod(namespace, "server", *SERVING)
    cluster.run_pod(namespace, "client")
    cluster.apply(service(namespace, "web", "server"))
    reaches(cluster, namespace, "client", "web")
    assert lifecycle.process(place, program) != killed


# Up and down: of a second cluster, beside the one that the other tests use -------------------------------------
def remains(place: Place) -> dict[str, object]:
    """What is left of a cluster on this machine, by kind; each is empty when it is down."""
    folder = str(place.folder)
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return {
        "processes": [
            p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or [])
        ],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if folder in line],
        "links": [line for line in links.splitlines() if place.link in line],
        "routes": [line for line in routes.splitlines() if place.link in line],
        "control groups": [each for each in place.cgroups() if each.exists()],
        "files": [p.name for p in place.folder.iterdir() if p.name not in lifecycle.KEPT]
        if place.folder.exists()
        else [],
    }


def nothing() -> dict[str, object]:
    kinds = ("processes", "mounts", "links", "routes", "control groups", "files")
    return {kind: [] for kind in kinds}


def test_a_second_cluster_comes_and_goes_and_leaves_nothing_even_when_killed(cluster: using.Cluster) -> None:
    if cluster.place is None:
        pytest.skip("this is about the clusters that this machine starts")
    place = Place(f"{cluster.place.name[:8]}x")
    try:
        lifecycle.up(place)
        own = using.Cluster(place.kubeconfig, lifecycle.addresses_of(place).host, place)
        own.run_pod("default", "here")
        assert lifecycle.addresses_of(place) != lifecycle.addresses_of(cluster.place)
        before = lifecycle.first_process(place)
        lifecycle.up(place)
        assert lifecycle.first_process(place) == before, "up again finds it up"

        assert before is not None
        for process in [before, *before.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # the first one takes the others along
                process.kill()
        psutil.wait_procs([before], timeout=60)
        assert remains(place)["control groups"], "a killed cluster leaves what the kernel cannot take along"

        lifecycle.up(place)
        assert settings.PAUSE_IMAGE in archives.images(place)
        assert "pods" not in own.kubectl("get", "pods")
        own.run_pod("default", "here")
        lifecycle.down(place)
        assert remains(place) == nothing()
        lifecycle.down(place)
    finally:
        lifecycle.forget(place)
    assert not place.folder.exists()
    assert lifecycle.is_ready(cluster.place), "the other cluster is as it was"
