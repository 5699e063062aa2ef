"""What the chart says about drivers' tokens, as `helm` renders it: rights, and what the catalog grants executors."""

import json
from typing import Any

import pytest

from support.chart import Chart
from support.cluster import binaries

CATALOG = {
    "version": 1,
    "images": {
        "spark": {"kind": "spark", "spark": "3.5", "ref": "registry.example.com/spark:3.5"},
        "geo": {"kind": "spark", "spark": "3.5", "ref": "registry.example.com/geo:1"},
        "driver": {"kind": "spark", "spark": "3.5", "ref": "registry.example.com/driver:1"},
    },
    "profiles": {
        "small": {"spark": {"driver": {"image": "driver"}, "executor": {"image": "spark"}}},
        "large": {
            "spark": {
                "driver": {"image": "driver"},
                "executor": {
                    "image": "spark",
                    "choices": ["geo"],
                    "own_images": {"prefixes": ["registry.example.com/own"], "digest": "required"},
                    "pod": {"priority_class": "batch", "volumes": [{"claim": "data", "mount": "/data"}]},
                },
            }
        },
        "loose": {
            "spark": {
                "driver": {"image": "driver"},
                "executor": {
                    "image": "spark",
                    "own_images": {"prefixes": ["registry.example.com/any/"], "digest": "optional"},
                },
            }
        },
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the chart makes for two namespaces."""
    chart = Chart(tmp_path_factory.mktemp("chart"), binaries.program("helm"))
    return chart.render(spark={"namespaces": ["spark", "spark-crew"]}, catalog=json.dumps(CATALOG))


def of(rendered: list[dict[str, Any]], kind: str, name: str) -> list[dict[str, Any]]:
    return [each for each in rendered if each["kind"] == kind and each["metadata"]["name"] == name]


def test_policies_hold_for_the_accounts_and_namespaces_of_drivers(rendered):
    for name in (f"hub.sparkyard.spark-{each}" for each in ("executors", "ends", "marks", "begins")):
        (policy,) = of(rendered, "ValidatingAdmissionPolicy", name)
        (binding,) = of(rendered, "ValidatingAdmissionPolicyBinding", name)
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert binding["spec"] == {"policyName": name, "validationActions": ["Deny"]}
        # Whatever they don't match they can't harm.
        (chosen,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        assert chosen["values"] == ["spark", "spark-crew"]
        (condition,) = policy["spec"]["matchConditions"]
        expression = "request.userInfo.username in "
        expression += '["system:serviceaccount:spark:spark","system:serviceaccount:spark-crew:spark"]'
        if name == "hub.sparkyard.spark-begins":
            expression = "request.userInfo.username == 'system:serviceaccount:hub:gateway'"
        assert condition["expression"] == expression


def test_executors_are_granted_what_the_catalog_says(rendered):
    (policy,) = of(rendered, "ValidatingAdmissionPolicy", "hub.sparkyard.spark-executors")
    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    lists = ("images", "prefixes", "pinnedPrefixes", "claims", "priorityClasses")
    assert {name: json.loads(variables[name]) for name in lists} == {
        "images": ["registry.example.com/geo:1", "registry.example.com/spark:3.5"],
        "prefixes": ["registry.example.com/any/"],
        "pinnedPrefixes": ["registry.example.com/own/"],
        "claims": ["data"],
        "priorityClasses": ["batch"],
    }


def test_a_driver_has_pods_and_nothing_else(rendered):
    for role in of(rendered, "Role", "sparkyard-driver"):
        verbs = ["create", "get", "list", "watch", "delete", "deletecollection", "patch"]
        assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]
    bindings = of(rendered, "RoleBinding", "sparkyard-driver")
    assert [each["subjects"][0]["namespace"] for each in bindings] == ["spark", "spark-crew"]
    assert all(each["subjects"][0]["namespace"] == each["metadata"]["namespace"] for each in bindings)


def test_the_gateway_reads_no_secret(rendered):
    for role in of(rendered, "Role", "sparkyard-gateway"):
        verbs = {resource: rule["verbs"] for rule in role["rules"] for resource in rule["resources"]}
        assert verbs["secrets"] == ["create"]
        assert verbs["configmaps"] == ["create"]
