"""What NetworkPolicies allow, as nftables rules for one node: a pure function of pods, namespaces and policies.

Done: ingress and egress; podSelector, namespaceSelector and both together; ipBlock with except; ports by number, by
range and by name; policyTypes and their defaults; default deny. A pod may always reach itself, and the node may always
reach its pods (probes). Addresses of services are judged after their translation, as most network plugins do. A pod
whose address is not known yet is cut off rather than open.

Limits: IPv4 alone (IPv6 between pods is dropped); one node; connections that stand when a policy changes stay open;
pods on the node's own network are not judged; a pod's traffic to the node itself (the API server) is judged by its
egress rules, and there by ipBlock alone.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

TABLE = "sparkyard_policies"
Object = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod that has an address."""

    namespace: str
    name: str
    address: str
    labels: Mapping[str, str]
    # The named ports of its containers: (name, protocol) to number.
    ports: Mapping[tuple[str, str], int]


def pod_of(described: Object, address: str) -> Pod:
    """A pod as the API server describes it, with the address that the network plugin gave it."""
    metadata = described["metadata"]
    ports = {
        (port["name"], port.get("protocol") or "TCP"): port["containerPort"]
        for container in described["spec"].get("containers") or []
        for port in container.get("ports") or []
        if port.get("name")
    }
    return Pod(metadata["namespace"], metadata["name"], address, metadata.get("labels") or {}, ports)


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _expression_holds(each, labels) for each in selector.get("matchExpressions") or []
    )


def _expression_holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            message = f"a label selector has no operator {other}"
            raise ValueError(message)


def types_of(policy: Object) -> set[str]:
    """The directions that a policy isolates."""
    spec = policy["spec"]
    return set(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


@dataclasses.dataclass(frozen=True)
class Rules:
    """Everything that decides, with the questions that the rules ask of it."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Mapping[str, str]]  # each namespace's labels
    policies: tuple[Object, ...]

    def policies_of(self, pod: Pod, direction: str) -> list[Object]:
        """The policies that isolate a pod in one direction."""
        return [
            policy
            for policy in self.policies
            if policy["metadata"]["namespace"] == pod.namespace
            and direction in types_of(policy)
            and selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]

    def peers(self, peer: Object, namespace: str) -> list[Pod]:
        """The pods that a peer of a policy means."""
        by_namespace = peer.get("namespaceSelector")
        return [
            pod
            for pod in self.pods
            if selects(peer.get("podSelector") or {}, pod.labels)
            and (
                pod.namespace == namespace
                if by_namespace is None
                else selects(by_namespace, self.namespaces.get(pod.namespace, {}))
            )
        ]

    def matches(self, pod: Pod, direction: str) -> Iterator[str]:
        """The nftables matches of what a pod's policies allow in one direction."""
        key, other = ("ingress", "saddr") if direction == "Ingress" else ("egress", "daddr")
        for policy in self.policies_of(pod, direction):
            for rule in policy["spec"].get(key) or []:
                peers = rule.get("from" if direction == "Ingress" else "to") or []
                yield from self._rule(rule.get("ports") or [], peers, pod, other)

    def _rule(self, ports: list[Object], peers: list[Object], pod: Pod, other: str) -> Iterator[str]:
        for port in ports or [None]:
            if not peers:
                targets = self.pods if other == "daddr" else (pod,)
                yield from _anywhere(port, targets, other)
            for peer in peers:
                if "ipBlock" in peer:
                    address = _block(peer["ipBlock"], other)
                    if address:
                        yield from (f"{address}{match}" for match in _ports(port, pod if other == "saddr" else None))
                    continue
                for each in self.peers(peer, pod.namespace):
                    # A named port is the receiver's: this pod's for ingress, the peer's for egress.
                    receiver = pod if other == "saddr" else each
                    yield from (f"ip {other} {each.address}{match}" for match in _ports(port, receiver))


def _anywhere(port: Object | None, targets: Iterable[Pod], other: str) -> Iterator[str]:
    if port is not None and isinstance(port.get("port"), str) and other == "daddr":
        for each in targets:
            yield from (f"ip daddr {each.address}{match}" for match in _ports(port, each))
    else:
        yield from (match.strip() for match in _ports(port, next(iter(targets), None)))


def _block(block: Object, other: str) -> str:
    network = ipaddress.ip_network(block["cidr"], strict=False)
    if network.version != 4:
        return ""
    excepted = [each for each in block.get("except") or [] if ipaddress.ip_network(each, strict=False).version == 4]
    return " ".join([f"ip {other} {network}", *(f"ip {other} != {each}" for each in excepted)])


def _ports(port: Object | None, receiver: Pod | None) -> list[str]:
    """The match of one port, with a blank before it; none where a name means nothing to the receiver."""
    if port is None:
        return [""]
    protocol = port.get("protocol") or "TCP"
    number = port.get("port")
    if number is None:
        return [f" meta l4proto {protocol.lower()}"]
    if isinstance(number, str):
        found = receiver.ports.get((number, protocol)) if receiver else None
        return [] if found is None else [f" {protocol.lower()} dport {found}"]
    end = port.get("endPort")
    return [f" {protocol.lower()} dport {number}{f'-{end}' if end else ''}"]


def _chain(pod: Pod, direction: str) -> str:
    return f"{direction.lower()}_{pod.address.replace('.', '_')}"


def ruleset(rules: Rules, pods_network: str) -> str:
    """The whole table, as `nft -f` takes it: replaced in one step."""
    chains: list[str] = []
    for direction, mine, other in (("Egress", "saddr", "daddr"), ("Ingress", "daddr", "saddr")):
        jumps = []
        for pod in rules.pods:
            if not rules.policies_of(pod, direction):
                continue
            name = _chain(pod, direction)
            jumps.append(f"ip {mine} {pod.address} jump {name}")
            allowed = dict.fromkeys([f"ip {other} {pod.address}", *rules.matches(pod, direction)])
            lines = [f"    {match} return".replace("     return", "    return") for match in allowed]
            comment = f"    # {pod.namespace}/{pod.name}"
            chains.append("\n".join([f"  chain {name} {{", comment, *lines, "    drop", "  }"]))
        unknown = f"ip {mine} {pods_network} ip {mine} != @known drop"
        chains.append("\n".join([f"  chain {direction.lower()} {{", *(f"    {j}" for j in (unknown, *jumps)), "  }"]))
    elements = ", ".join(pod.address for pod in rules.pods)
    known = f"  set known {{\n    type ipv4_addr\n{f'    elements = {{ {elements} }}' if elements else ''}\n  }}"
    # The node's own network is entered by the hook `input`: what a pod sends to the API server.
    hooks = """  chain forward {
    type filter hook forward priority 10; policy accept;
    meta nfproto ipv6 drop
    ct state established,related accept
    jump egress
    jump ingress
  }
  chain input {
    type filter hook input priority 10; policy accept;
    ct state established,related accept
    jump egress
  }"""
    body = "\n".join([known, *chains, hooks])
    return f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}\n}}\n"
