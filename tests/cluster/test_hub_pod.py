"""The hub as a pod of our image, with what the chart's values give it, as zero-to-jupyterhub would run it.

That chart can't be fetched everywhere, so a few lines stand for it: its function that reads the values, its own
settings before ours, and the line of `hub.extraConfig` that comes from our chart's values.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chart import first_install
from support.cluster.using import RESTRICTED, Cluster

CATALOG = Path(__file__).parent / "notebook_catalog.yaml"
Z2JH = """
import json
from functools import reduce
VALUES = json.load(open("/usr/local/etc/jupyterhub/values.json"))
def get_config(key, default=None):
    try:
        return reduce(lambda found, part: found[part], key.split("."), VALUES)
    except (KeyError, TypeError):
        return default
"""
BEFORE_OURS = """
import sys
sys.path.insert(0, "/usr/local/etc/jupyterhub")
from jupyterhub.proxy import Proxy
from traitlets.config import get_config as get_config_of_traitlets
from z2jh import get_config
class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}
c = get_config_of_traitlets()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.db_url = "sqlite:////tmp/hub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex("ab" * 32)
c.CryptKeeper.keys = ["cd" * 32]
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
c.KubeSpawner.uid = 0
c.JupyterHub.services = [{"name": "tester", "api_token": "t" * 40}]
c.JupyterHub.load_roles = [{"name": "tester", "services": ["tester"], "scopes": ["list:services", "read:services"]}]
for line in get_config("hub.extraConfig").values():
    exec(line)
print("spawner:", c.JupyterHub.spawner_class, "uid:", c.KubernetesSpawner.uid, flush=True)
"""


@pytest.fixture(scope="module")
def hub(cluster: Cluster) -> Iterator[str]:
    """The namespace that the hub's pod runs in."""
    image = cluster.load("hub")
    values: Any = first_install()["jupyterhub"]
    with cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        config = {
            "z2jh.py": Z2JH,
            "jupyterhub_config.py": BEFORE_OURS,
            "values.json": json.dumps(values),
        }
        metadata = {"namespace": namespace}
        cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": "chart"}, "data": config},
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {**metadata, "name": "sparkyard-catalog"},
                "data": {"catalog.yaml": CATALOG.read_text()},
            },
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {**metadata, "name": "sparkyard-okta"},
                "stringData": {"client_secret": "none"},
            },
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {**metadata, "name": "sparkyard-gateway"},
                "stringData": {"token": "g" * 64},
            },
        )
        mounts = [*values["hub"]["extraVolumeMounts"], {"name": "chart", "mountPath": "/usr/local/etc/jupyterhub"}]
        container = {
            "image": image,
            "command": None,
            "securityContext": RESTRICTED | {"runAsUser": 1000},
            "resources": values["hub"]["resources"] | {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/hub/health", "port": 8081}, "periodSeconds": 2},
            "volumeMounts": mounts,
        }
        volumes = [*values["hub"]["extraVolumes"], {"name": "chart", "configMap": {"name": "chart"}}]
        cluster.run_pod(
            namespace, "hub", container=container, volumes=volumes, automountServiceAccountToken=True, ready=False
        )
        cluster.until(
            lambda: cluster.get("pod", "hub", namespace),
            lambda pod: any(
                it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", ())
            ),
        )
        yield namespace


def test_the_hub_runs_from_the_charts_values(cluster: Cluster, hub: str) -> None:
    log = cluster.kubectl("logs", "-n", hub, "hub")
    # What the other chart set before is ours now, where it matters.
    assert "spawner: sparkyard_spawner.kubernetes.KubernetesSpawner uid: 1000" in log
    ask = (
        "import urllib.request as u, json;"
        "r = u.Request('http://127.0.0.1:8081/hub/api/services', headers={'Authorization': 'token ' + 't' * 40});"
        "print(json.load(u.urlopen(r))['gateway']['url'])"
    )
    assert cluster.inside(hub, "hub", "python3", "-c", ask).strip() == "http://sparkyard-gateway:8711"


def test_the_hubs_catalog_changes_with_its_configmap(cluster: Cluster, hub: str) -> None:
    """As hub and gateway read it: through the folder that the kubelet changes under them."""
    changed = CATALOG.read_text().replace("title: Small", "title: Smaller", 1)
    metadata = {"name": "sparkyard-catalog", "namespace": hub}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"catalog.yaml": changed}})
    show = "sparkyard-catalog show /etc/sparkyard/catalog/catalog.yaml --user dana --groups data-science"
    cluster.until(
        lambda: {"said": cluster.inside(hub, "hub", "sh", "-c", show)}, lambda found: "Smaller" in found["said"]
    )
