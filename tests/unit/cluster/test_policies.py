"""NetworkPolicies as nftables rules, by table."""

from typing import Any

import pytest

from support.cluster.policies import Pod, Rules, ruleset, selects, types_of

WEB = Pod("shop", "web", "10.0.0.1", {"app": "web"}, {("http", "TCP"): 8080})
DATABASE = Pod("shop", "database", "10.0.0.2", {"app": "database", "tier": "back"}, {("sql", "TCP"): 5432})
OTHER = Pod("lab", "other", "10.0.0.3", {"app": "web"}, {("http", "TCP"): 9090})
NAMESPACES = {"shop": {"team": "a"}, "lab": {"team": "b"}}


def rules(**spec: Any) -> Rules:
    policy = {
        "metadata": {"namespace": "shop", "name": "it"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}} | spec,
    }
    return Rules((WEB, DATABASE, OTHER), NAMESPACES, (policy,))


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ({}, {"a": "1"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1"}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_selectors(selector: dict[str, Any], labels: dict[str, str], selected: bool) -> None:
    assert selects(selector, labels) is selected


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {"Ingress"}),
        ({"ingress": []}, {"Ingress"}),
        ({"egress": [{}]}, {"Ingress", "Egress"}),
        ({"policyTypes": ["Egress"]}, {"Egress"}),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, {"Egress"}),
    ],
)
def test_which_directions_a_policy_isolates(spec: dict[str, Any], directions: set[str]) -> None:
    assert types_of({"spec": spec}) == directions


@pytest.mark.parametrize(
    ("ingress", "matches"),
    [
        ([], []),
        ([{}], [""]),
        ([{"from": [{"podSelector": {"matchLabels": {"tier": "back"}}}]}], ["ip saddr 10.0.0.2"]),
        # A podSelector alone is of the policy's own namespace.
        ([{"from": [{"podSelector": {}}]}], ["ip saddr 10.0.0.1", "ip saddr 10.0.0.2"]),
        ([{"from": [{"namespaceSelector": {}}]}], ["ip saddr 10.0.0.1", "ip saddr 10.0.0.2", "ip saddr 10.0.0.3"]),
        ([{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}], ["ip saddr 10.0.0.3"]),
        # Both in one peer: both must hold.
        (
            [
                {
                    "from": [
                        {
                            "namespaceSelector": {"matchLabels": {"team": "b"}},
                            "podSelector": {"matchLabels": {"app": "x"}},
                        }
                    ]
                }
            ],
            [],
        ),
        (
            [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}}]}],
            ["ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ip saddr != 10.2.0.0/16"],
        ),
        ([{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}], []),
        ([{"ports": [{"port": 80}]}], ["tcp dport 80"]),
        (
            [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 90, "endPort": 99}]}],
            ["udp dport 53", "tcp dport 90-99"],
        ),
        ([{"ports": [{"protocol": "UDP"}]}], ["meta l4proto udp"]),
        # A named port is the receiver's.
        ([{"ports": [{"port": "http"}]}], ["tcp dport 8080"]),
        ([{"ports": [{"port": "unknown"}]}], []),
        (
            [{"from": [{"podSelector": {"matchLabels": {"tier": "back"}}}], "ports": [{"port": "http"}, {"port": 1}]}],
            ["ip saddr 10.0.0.2 tcp dport 8080", "ip saddr 10.0.0.2 tcp dport 1"],
        ),
    ],
)
def test_what_may_come_in(ingress: list[Any], matches: list[str]) -> None:
    assert sorted(rules(ingress=ingress).matches(WEB, "Ingress")) == sorted(matches)


@pytest.mark.parametrize(
    ("egress", "matches"),
    [
        ([], []),
        ([{}], [""]),
        ([{"to": [{"podSelector": {"matchLabels": {"tier": "back"}}}]}], ["ip daddr 10.0.0.2"]),
        # A named port is that of each pod that is reached.
        (
            [{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}],
            ["ip daddr 10.0.0.1 tcp dport 8080", "ip daddr 10.0.0.3 tcp dport 9090"],
        ),
        ([{"ports": [{"port": "sql"}]}], ["ip daddr 10.0.0.2 tcp dport 5432"]),
        ([{"ports": [{"port": 443}]}], ["tcp dport 443"]),
    ],
)
def test_what_may_go_out(egress: list[Any], matches: list[str]) -> None:
    assert sorted(rules(policyTypes=["Egress"], egress=egress).matches(WEB, "Egress")) == sorted(matches)


def test_a_policy_isolates_its_own_namespace_and_the_pods_that_it_selects() -> None:
    denied = rules()
    assert [pod.name for pod in denied.pods if denied.policies_of(pod, "Ingress")] == ["web"]
    assert not [pod for pod in denied.pods if denied.policies_of(pod, "Egress")]


def test_the_table_drops_what_is_not_named_and_whoever_is_not_known() -> None:
    text = ruleset(rules(ingress=[{"ports": [{"port": 80}]}]), "10.0.0.0/22")
    lines = ["  chain ingress_10_0_0_1 {", "    # shop/web", "    ip saddr 10.0.0.1 return"]
    assert "\n".join([*lines, "    tcp dport 80 return", "    drop", "  }"]) in text
    assert "ip daddr 10.0.0.1 jump ingress_10_0_0_1" in text
    assert "ip saddr 10.0.0.0/22 ip saddr != @known drop" in text
    assert "elements = { 10.0.0.1, 10.0.0.2, 10.0.0.3 }" in text
    assert "egress_10_0_0_1" not in text


def test_a_table_without_pods_knows_nobody() -> None:
    assert "elements" not in ruleset(Rules((), {}, ()), "10.0.0.0/22")
