"""Traefik in replicas: our hub, the chart's Traefik and store in pods, and what people notice of faults: nothing.

The hub's chart stands in a few lines, as in `test_hub_pod`. What is behind the routes is a pod that says its name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.chart import Chart
from support.cluster import binaries, images
from support.cluster.using import RESTRICTED, Cluster, RefusedError

HUB = """
import sys
from sparkyard_hub.chart import configure
from traitlets.config import get_config as traitlets_config
VALUES = __import__("json").load(open("/usr/local/etc/jupyterhub/values.json"))
def get_config(key, default=None):
    found = VALUES
    for part in key.split("."):
        found = found.get(part, {})
    return found or default
c = traitlets_config()
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.db_url = "sqlite:////tmp/hub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex("ab" * 32)
c.CryptKeeper.keys = ["cd" * 32]
c.JupyterHub.services = [{"name": "tester", "api_token": "t" * 40}]
c.JupyterHub.load_roles = [{"name": "tester", "services": ["tester"], "scopes": ["proxy"]}]
configure(c, get_config)
"""
BEHIND = "/services/gateway/"
SMALL = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}


@dataclass
class Proxied:
    """What runs, in a namespace of its own."""

    cluster: Cluster
    namespace: str
    api_password: str

    def pods(self, name: str) -> dict[str, str]:
        """The addresses of those pods of this name that are ready."""
        found = self.cluster.get("pods", namespace=self.namespace, **{"app.kubernetes.io/name": name})
        return {
            pod["metadata"]["name"]: pod["status"]["podIP"]
            for pod in found["items"]
            if "deletionTimestamp" not in pod["metadata"]
            and any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", ()))
        }

    def until_ready(self, name: str, count: int, *, without: str = "") -> dict[str, str]:
        return self.cluster.until(
            lambda: self.pods(name), lambda ready: len(ready) == count and without not in ready, 300
        )

    def kill(self, pod: str) -> None:
        self.cluster.kubectl("delete", "pod", pod, "-n", self.namespace, "--grace-period=0", "--force")

    def get(self, address: str, path: str) -> httpx.Response:
        return httpx.get(f"http://{address}:8000{path}", timeout=30)

    def through_all(self) -> set[tuple[int, str]]:
        """What each Traefik answers."""
        addresses = self.until_ready("sparkyard-traefik", 2).values()
        return {(said.status_code, said.text.strip()) for said in (self.get(each, BEHIND) for each in addresses)}

    def hub_says(self, code: str) -> str:
        return self.cluster.inside(self.namespace, "hub", "python3", "-c", code)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Chart:
    del cluster  # where it is left out, nothing is built for it either
    return Chart(tmp_path_factory.mktemp("chart"), binaries.program("helm"))


@pytest.fixture(scope="module")
def rendered(chart: Chart) -> list[dict[str, Any]]:
    name, _, tag = images.TRAEFIK.name.rpartition(":")
    image = {"name": name, "tag": tag}
    store = {"image": image, "command": "redis-server", "size": "50Mi", "resources": SMALL}
    traefik = {"enabled": True, "image": image, "resources": SMALL, "store": store}
    return chart.render(traefik=traefik, jupyterhub={"custom": {"sparkyard": {"proxy": "traefik-redis"}}})


@pytest.fixture(scope="module")
def proxied(cluster: Cluster, chart: Chart, rendered: list[dict[str, Any]]) -> Iterator[Proxied]:
    """Everything up, and a route to what is behind."""
    assert chart
    hub_image = cluster.load("hub")
    cluster.load_image(images.TRAEFIK)
    secret = next(
        it["stringData"] for it in rendered if it["metadata"]["name"] == "sparkyard-traefik" and "stringData" in it
    )
    with cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        ours = [it for it in rendered if it["kind"] == "NetworkPolicy" or {"traefik", "redis"} & _words(it)]
        for each in ours:
            each["metadata"]["namespace"] = namespace
        values = json.loads((chart.folder.parent / "values.json").read_text())["jupyterhub"]
        config = {"jupyterhub_config.py": HUB, "values.json": json.dumps(values)}
        cluster.apply(
            *ours,
            _plain(namespace, "ConfigMap", "chart", data=config),
            _plain(namespace, "ConfigMap", "sparkyard-catalog", data={"catalog.yaml": _catalog()}),
            _plain(namespace, "Secret", "sparkyard-okta", stringData={"client_secret": "none"}),
            _plain(namespace, "Secret", "sparkyard-gateway", stringData={"token": "g" * 64}),
            _service(namespace, "hub", {"component": "hub"}, 8081),
            # What the hub's own chart lets it do.
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "hub", "namespace": namespace},
                "spec": {
                    "podSelector": {"matchLabels": {"component": "hub"}},
                    "policyTypes": ["Egress"],
                    "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}],
                },
            },
            _service(namespace, "sparkyard-gateway", {"app.kubernetes.io/name": "sparkyard-gateway"}, 8711),
        )
        behind = {"app.kubernetes.io/name": "sparkyard-gateway", "app.kubernetes.io/instance": "sparkyard"}
        pages = f"echo behind > /tmp{BEHIND}index.html && echo the hub is away > /tmp/proxy-errors/502"
        serve = f"mkdir -p /tmp{BEHIND} /tmp/proxy-errors && {pages} && httpd -f -p 8711 -h /tmp"
        cluster.run_pod(
            namespace, "behind", "sh", "-c", serve, labels=behind, container={"volumeMounts": [_TMP]},
            volumes=[{"name": "tmp", "emptyDir": {}}],
        )  # fmt: skip
        _start_hub(cluster, namespace, hub_image, values)
        found = Proxied(cluster, namespace, secret["api_password"])
        found.until_ready("hub", 1)
        yield found


_TMP = {"name": "tmp", "mountPath": "/tmp"}


def _words(it: dict[str, Any]) -> set[str]:
    return set(it["metadata"]["name"].split("-"))


def _plain(namespace: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def _service(namespace: str, name: str, selector: dict[str, str], port: int) -> dict[str, Any]:
    return _plain(namespace, "Service", name, spec={"selector": selector, "ports": [{"port": port}]})


def _catalog() -> str:
    return (Path(__file__).parent / "notebook_catalog.yaml").read_text()


def _start_hub(cluster: Cluster, namespace: str, image: str, values: Any) -> None:
    container = {
        "image": image,
        "command": None,
        "securityContext": RESTRICTED | {"runAsUser": 1000},
        "resources": SMALL | {"limits": {"cpu": "1", "memory": "512Mi"}},
        "readinessProbe": {"httpGet": {"path": "/hub/health", "port": 8081}, "periodSeconds": 2},
        "volumeMounts": [
            *values["hub"]["extraVolumeMounts"],
            {"name": "chart", "mountPath": "/usr/local/etc/jupyterhub"},
        ],
    }
    volumes = [*values["hub"]["extraVolumes"], {"name": "chart", "configMap": {"name": "chart"}}]
    labels = {"component": "hub", "app.kubernetes.io/name": "hub"}
    cluster.run_pod(
        namespace, "hub", container=container, volumes=volumes, labels=labels, ready=False,
        securityContext={"fsGroup": 1000},
    )  # fmt: skip


def test_each_of_them_has_the_routes(proxied: Proxied) -> None:
    # The hub answers before it has written them down.
    proxied.cluster.until(lambda: {"said": proxied.through_all()}, lambda it: it["said"] == {(200, "behind")})
    for address in proxied.pods("sparkyard-traefik").values():
        # The hub is ready a moment before its Service leads to it.
        proxied.cluster.until(
            lambda at=address: {"said": proxied.get(at, "/hub/health").status_code}, lambda it: it["said"] == 200
        )
        assert proxied.get(address, BEHIND).headers["x-content-type-options"] == "nosniff"


def test_who_has_no_password_learns_nothing_of_the_routes(proxied: Proxied) -> None:
    code = (
        "import base64, urllib.request as u, urllib.error as e\n"
        "def get(user):\n"
        "    r = u.Request('http://sparkyard-traefik-api:8099/api/http/routers')\n"
        "    if user: r.add_header('Authorization', 'Basic ' + base64.b64encode(user.encode()).decode())\n"
        "    try: return u.urlopen(r).status\n"
        "    except e.HTTPError as error: return error.code\n"
        f"print([get(it) for it in ('', 'hub:' + 'x' * 64, 'hub:{proxied.api_password}')])"
    )
    assert proxied.hub_says(code).strip() == "[401, 401, 200]"


@pytest.mark.parametrize("whose", ["singleuser-server", "stranger"])
def test_neither_their_api_nor_the_store_is_reached_from_elsewhere(proxied: Proxied, whose: str) -> None:
    proxied.cluster.run_pod(proxied.namespace, whose, labels={"component": whose})
    for host, port in (("sparkyard-traefik-api", 8099), ("sparkyard-redis", 6379)):
        address = proxied.cluster.get("service", host, proxied.namespace)["spec"]["clusterIP"]
        with pytest.raises(RefusedError):
            proxied.cluster.inside(
                proxied.namespace, whose, "timeout", "5", "nc", "-w", "3", address, str(port), "-e", "true"
            )


def test_the_store_is_closed_to_who_has_no_password_and_does_nothing_dangerous(proxied: Proxied) -> None:
    code = (
        "import redis\n"
        "def said(command, **how):\n"
        "    try: return redis.Redis(host='sparkyard-redis', **how).execute_command(*command)\n"
        "    except redis.RedisError as error: return type(error).__name__\n"
        "password = open('/etc/sparkyard/traefik/redis_password').read()\n"
        "print(said(['GET', 'a']), *(said(it, password=password)"
        " for it in (['FLUSHALL'], ['CONFIG', 'GET', '*'], ['KEYS', '*'], ['GET', 'a'])))"
    )
    assert proxied.hub_says(code).split() == ["AuthenticationError", *["NoPermissionError"] * 3, "None"]


def test_one_of_them_is_killed(proxied: Proxied) -> None:
    first, second = sorted(proxied.until_ready("sparkyard-traefik", 2).items())
    proxied.kill(first[0])
    said = proxied.get(second[1], BEHIND)
    assert (said.status_code, said.text.strip()) == (200, "behind")
    proxied.until_ready("sparkyard-traefik", 2, without=first[0])
    assert proxied.through_all() == {(200, "behind")}


def test_the_store_is_killed_and_comes_back_with_all_routes(proxied: Proxied) -> None:
    before = proxied.cluster.get("pod", "sparkyard-redis-0", proxied.namespace)["metadata"]["uid"]
    proxied.kill("sparkyard-redis-0")
    assert proxied.through_all() == {(200, "behind")}
    proxied.cluster.until(
        lambda: proxied.cluster.get("pod", "sparkyard-redis-0", proxied.namespace),
        lambda pod: pod["metadata"]["uid"] != before and proxied.pods("sparkyard-redis"),
    )
    # One that starts now has nothing but what was on the store's disk.
    first = min(proxied.pods("sparkyard-traefik"))
    proxied.kill(first)
    proxied.until_ready("sparkyard-traefik", 2, without=first)
    assert proxied.through_all() == {(200, "behind")}


def test_the_hub_writes_a_route_again_that_is_gone(proxied: Proxied) -> None:
    proxied.hub_says(
        "import redis\n"
        "store = redis.Redis(host='sparkyard-redis', password=open('/etc/sparkyard/traefik/redis_password').read())\n"
        "store.delete(*[key for key in store.scan_iter() if b'gateway' in key])"
    )
    proxied.cluster.until(lambda: {"said": proxied.through_all()}, lambda it: it["said"] != {(200, "behind")})
    proxied.hub_says(
        "import urllib.request as u\n"
        "who = {'Authorization': 'token ' + 't' * 40}\n"
        "ask = u.Request('http://127.0.0.1:8081/hub/api/proxy', method='POST', headers=who)\n"
        "u.urlopen(ask)"
    )
    proxied.cluster.until(lambda: {"said": proxied.through_all()}, lambda it: it["said"] == {(200, "behind")})


def test_the_hub_is_gone_and_what_is_routed_stays_so(proxied: Proxied) -> None:
    proxied.cluster.delete("pod", "hub", proxied.namespace)
    assert proxied.through_all() == {(200, "behind")}
    for address in proxied.pods("sparkyard-traefik").values():
        said = proxied.get(address, "/hub/home")
        assert (said.status_code, said.text.strip()) == (502, "the hub is away")
