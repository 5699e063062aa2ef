"""The hub's configuration from the values of the zero-to-jupyterhub chart, as its own hub would read them."""

from typing import Any

import bcrypt
import pytest
from jupyterhub.app import JupyterHub
from jupyterhub_traefik_proxy.redis import TraefikRedisProxy
from traitlets.config import Config

from sparkyard_hub.chart import configure, settings_of
from sparkyard_spawner.kubernetes import KubernetesSpawner


class Values:
    """The chart's values, read as its own function reads them: by a dotted key."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __call__(self, key: str, default: object = None) -> object:
        found: Any = self._values
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found


@pytest.fixture
def custom(tmp_path) -> dict[str, Any]:
    for name in ("okta", "token"):
        (tmp_path / name).write_text("ab" * 32)
    return {
        "public_url": "https://spark.example.com",
        "catalog": "/etc/sparkyard/catalog/catalog.yaml",
        "okta_url": "https://example.okta.com",
        "okta_client_id": "0oa1",
        "okta_client_secret_file": str(tmp_path / "okta"),
        "allowed_groups": ["data-science"],
        "gateway_url": "http://sparkyard-gateway:8711",
        "gateway_token_file": str(tmp_path / "token"),
    }


def test_servers_are_pods(custom):
    c = Config()
    configure(c, Values({"custom": {"sparkyard": custom | {"home_size": "20Gi", "notebook_uid": 1234}}}))
    assert JupyterHub(config=c).spawner_class is KubernetesSpawner
    ours = c.KubernetesSpawner
    assert (ours.storage_capacity, ours.uid, ours.home_path) == ("20Gi", 1234, "/home/jovyan")
    assert c.CatalogSpawnerMixin.catalog_path == "/etc/sparkyard/catalog/catalog.yaml"
    assert set(ours) <= set(KubernetesSpawner.class_traits(config=True))


def test_what_the_chart_decides_stays_the_charts(custom):
    """Database, proxy, cookie secret: the chart has set them before its hub comes to us."""
    c = Config()
    c.JupyterHub.db_url = "sqlite:///the-charts.sqlite"
    c.JupyterHub.services = [{"name": "jupyterhub-idle-culler"}]
    c.KubeSpawner.image_pull_secrets = ["regcred"]
    c.KubeSpawner.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
    configure(c, Values({"custom": {"sparkyard": custom}}))
    assert c.JupyterHub.db_url == "sqlite:///the-charts.sqlite"
    assert [service["name"] for service in c.JupyterHub.services] == ["jupyterhub-idle-culler", "gateway"]
    assert c.KubeSpawner.image_pull_secrets == ["regcred"]
    assert not {"image_pull_secrets", "extra_labels"} & set(c.KubernetesSpawner)


def test_traefik_in_replicas_is_the_deployments(custom, tmp_path):
    for name in ("store", "api"):
        (tmp_path / name).write_text("cd" * 32)
    replicas = {
        "proxy": "traefik-redis",
        "redis_url": "redis://sparkyard-redis:6379",
        "redis_password_file": str(tmp_path / "store"),
        "traefik_api_url": "http://sparkyard-traefik-api:8099",
        "traefik_api_password_file": str(tmp_path / "api"),
    }
    c = Config()
    configure(c, Values({"custom": {"sparkyard": custom | replicas}}))
    assert JupyterHub(config=c).proxy_class is TraefikRedisProxy
    ours = c.TraefikRedisProxy
    assert set(ours) <= set(TraefikRedisProxy.class_traits(config=True))
    assert (ours.should_start, ours.redis_url, ours.redis_password) == (False, replicas["redis_url"], "cd" * 32)
    assert bcrypt.checkpw(b"cd" * 32, ours.traefik_api_hashed_password.encode())
    for missing in replicas.keys() - {"proxy"}:
        with pytest.raises(ValueError, match=r"proxy: traefik-redis needs redis_url, redis_password_file"):
            settings_of(Values({"custom": {"sparkyard": custom | replicas | {missing: None}}}))


@pytest.mark.parametrize("values", [{}, {"custom": {}}, {"custom": {"sparkyard": {}}}, {"custom": {"sparkyard": "x"}}])
def test_values_without_ours_are_told(values):
    with pytest.raises(ValueError, match=r"hold no mapping jupyterhub.custom.sparkyard; see docs/helm.md"):
        configure(Config(), Values(values))


def test_what_is_wrong_in_the_values_is_told_by_its_key(custom):
    with pytest.raises(ValueError, match=r"jupyterhub.custom.sparkyard in the chart's values: home_size: .*"):
        settings_of(Values({"custom": {"sparkyard": custom | {"home_size": "10 GB"}}}))
    with pytest.raises(ValueError, match=r"homesize: Extra inputs are not permitted"):
        settings_of(Values({"custom": {"sparkyard": custom | {"homesize": "10Gi"}}}))
    with pytest.raises(ValueError, match="notebook_uid"):
        settings_of(Values({"custom": {"sparkyard": custom | {"notebook_uid": 0}}}))


@pytest.mark.parametrize(
    ("cull", "custom_too", "limits"),
    [
        ({"enabled": True, "timeout": 14400, "maxAge": 0}, {}, (14400, 0, 600)),
        ({"enabled": True, "timeout": 14400, "maxAge": 86400}, {"idle_warning_seconds": 60}, (14400, 86400, 60)),
        ({"enabled": True}, {}, (3600, 0, 600)),
        ({"enabled": False, "timeout": 14400}, {}, (0, 0, 600)),
        (None, {"idle_timeout_seconds": 7200}, (7200, 0, 600)),
    ],
)
def test_servers_are_told_the_limits_of_the_charts_own_culler(custom, cull, custom_too, limits):
    c = Config()
    configure(c, Values({"cull": cull, "custom": {"sparkyard": custom | custom_too}}))
    told = c.CatalogSpawnerMixin
    assert (told.idle_seconds, told.max_age_seconds, told.idle_warning_seconds) == limits
    assert [service["name"] for service in JupyterHub(config=c).services] == ["gateway"]
