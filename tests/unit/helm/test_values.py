"""The chart's values: their schema, their documentation, and what they come to for whom they feed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from sparkyard_gateway.config import Settings
from sparkyard_hub.chart import settings_of
from support import chart

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "helm.md"


@pytest.fixture(scope="module")
def ours() -> Draft7Validator:
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def test_the_defaults_and_a_first_install_are_valid(ours: Draft7Validator, values: Any) -> None:
    for found in (values, chart.first_install()):
        assert [error.message for error in ours.iter_errors(found)] == []


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"gatway": {}}, ""),
        ({"gateway": {"replica": 3}}, "gateway"),
        ({"gateway": {"replicas": 0}}, "gateway.replicas"),
        ({"gateway": {"uid": 0}}, "gateway.uid"),
        ({"gateway": {"backend": "local"}}, "gateway.backend"),
        ({"gateway": {"resources": {"limits": {"cpu": None, "memory": None}}}}, "gateway.resources.limits"),
        ({"gateway": {"state": {"size": "10 GB"}}}, "gateway.state.size"),
        ({"gateway": {"settings": {"Max-Sessions": 1}}}, "gateway.settings"),
        ({"spark": {"namespaces": ["Team_A"]}}, "spark.namespaces.0"),
        ({"spark": {"namespaces": ["a", "a"]}}, "spark.namespaces"),
        ({"networkPolicies": {"apiServer": {"addresses": ["kubernetes"]}}}, "networkPolicies.apiServer.addresses.0"),
        ({"networkPolicies": {"metadataAddresses": []}}, "networkPolicies.metadataAddresses"),
        ({"catalog": {"images": {}}}, "catalog"),
        ({"traefik": {"uid": 0}}, "traefik.uid"),
        ({"traefik": {"service": {"type": "External"}}}, "traefik.service.type"),
        ({"traefik": {"store": {"maxMemory": "200Mi"}}}, "traefik.store.maxMemory"),
    ],
)
def test_mistakes_are_found_where_they_are(ours: Draft7Validator, values: Any, changed: Any, key: str) -> None:
    (error,) = ours.iter_errors(chart.merged(values, changed))
    assert ".".join(map(str, error.absolute_path)) == key


def test_what_is_given_to_zero_to_jupyterhub_is_what_it_takes(shared_facts: Path, values: Any) -> None:
    schema = shared_facts / "z2jh" / "values.schema.json"
    if not schema.is_file():
        pytest.skip("needs ../shared/z2jh/values.schema.json, the schema of the chart that ours is on")
    validator = Draft7Validator(json.loads(schema.read_text()))
    for found in (values, chart.first_install()):
        complaints = [
            f"{list(error.absolute_path)}: {error.message}"
            for error in validator.iter_errors(found["jupyterhub"])
            if error.validator != "required"  # what ours leaves out, that chart's own defaults give
        ]
        assert complaints == []


def test_the_hub_takes_its_settings_from_a_first_install() -> None:
    custom = chart.first_install()["jupyterhub"]["custom"]["sparkyard"]
    settings = settings_of(lambda key, default=None: custom if key == "custom.sparkyard" else default)
    assert settings.spawner == "kubernetes"
    assert settings.callback_url == "https://spark.example.com/hub/oauth_callback"


def test_the_hubs_configuration_is_one_line(values: Any) -> None:
    (line,) = values["jupyterhub"]["hub"]["extraConfig"].values()
    assert "\n" not in line.strip()
    compile(line, "extraConfig", "exec")


def test_the_hub_mounts_what_its_settings_name(values: Any) -> None:
    """And as folders: a file that is mounted by subPath is never changed again."""
    hub, custom = values["jupyterhub"]["hub"], values["jupyterhub"]["custom"]["sparkyard"]
    mounts = {mount["mountPath"]: mount for mount in hub["extraVolumeMounts"]}
    files = ("okta_client_secret_file", "gateway_token_file", "redis_password_file", "traefik_api_password_file")
    for key in ("catalog", *files):
        assert str(Path(custom[key]).parent) in mounts
    assert not any("subPath" in mount for mount in mounts.values())
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in hub["extraVolumes"]}
    secrets = {volume["secret"]["secretName"] for volume in hub["extraVolumes"] if "secret" in volume}
    assert secrets == {"sparkyard-okta", "sparkyard-gateway", "sparkyard-traefik"}


def test_every_value_is_documented(values: Any) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    missing = [
        f"{section}.{key}"
        for section in ("secrets", "gateway", "spark", "prePuller", "networkPolicies", "metrics", "traefik")
        for key in values[section]
        if f"`{section}.{key}`" not in guide
    ]
    assert missing == []


def test_no_template_reads_a_value_that_does_not_exist(values: Any, templates: dict[str, str]) -> None:
    for name, text in templates.items():
        for path in re.findall(r"\.Values((?:\.[A-Za-z0-9]+)+)", text):
            found: Any = values
            for part in path.strip(".").split("."):
                assert isinstance(found, dict), f"{name}: .Values{path}"
                assert part in found, f"{name}: .Values{path}"
                found = found[part]


def test_no_value_is_without_effect(values: Any, templates: dict[str, str]) -> None:
    text = "".join(templates.values())
    for section in ("secrets", "gateway", "spark", "prePuller", "networkPolicies", "metrics", "traefik"):
        for key in values[section]:
            assert re.search(rf"(\.Values\.{section}|policies)\.{key}\b", text), f"{section}.{key}"


def test_every_setting_that_the_chart_makes_is_the_gateways(templates: dict[str, str]) -> None:
    """A misspelt variable would go unnoticed: nobody reads it."""
    names = re.findall(r"SPARKYARD_GATEWAY_([A-Z_]+)\b", templates["gateway.yaml"])
    assert len(names) > 10
    assert {name.lower() for name in names if name.strip("_")} <= set(Settings.model_fields)


def test_what_the_chart_decides_cannot_be_set_beside_it(templates: dict[str, str]) -> None:
    (reserved,) = re.findall(r"\$reserved := list ([^}]*) }}", templates["gateway.yaml"])
    made = {name.lower() for name in re.findall(r"SPARKYARD_GATEWAY_([A-Z_]+[A-Z])\b", templates["gateway.yaml"])}
    assert set(re.findall(r'"(\w+)"', reserved)) == made | {"base_path"}
