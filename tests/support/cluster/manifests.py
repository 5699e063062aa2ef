"""What a cluster has from its start: DNS, and a storage class for users' volumes."""

from __future__ import annotations

from typing import Any

from support.cluster.place import Addresses
from support.cluster.settings import COREDNS_IMAGE

STORAGE_CLASS = "folders"
# Two zones, because a query meets `template` before `kubernetes`.
COREFILE = """cluster.local:53 in-addr.arpa:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa {
        pods insecure
        ttl 5
    }
    cache 5
}
.:53 {
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""
_LABELS = {"k8s-app": "kube-dns"}


def _object(kind: str, name: str, version: str = "v1", namespace: str = "", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _dns_rights() -> list[dict[str, Any]]:
    rbac = "rbac.authorization.k8s.io/v1"
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    look = ["list", "watch"]
    return [
        _object("ServiceAccount", "coredns", namespace="kube-system"),
        _object(
            "ClusterRole", "system:coredns", rbac,
            rules=[
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": look},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": look},
            ],
        ),
        _object("ClusterRoleBinding", "system:coredns", rbac, roleRef=role, subjects=[account]),
    ]  # fmt: skip


def _dns_pod() -> dict[str, Any]:
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"operator": "Exists"}],
        "dnsPolicy": "Default",
        "containers": [
            {
                "name": "coredns",
                "image": COREDNS_IMAGE,
                "imagePullPolicy": "Never",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                "resources": {"requests": {"memory": "20Mi", "cpu": "10m"}},
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def everything(addresses: Addresses) -> dict[str, Any]:
    """All of it as one list."""
    ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    storage = _object(
        "StorageClass", STORAGE_CLASS, "storage.k8s.io/v1",
        provisioner="sparkyard.test/folders", reclaimPolicy="Delete", volumeBindingMode="Immediate",
    )  # fmt: skip
    storage["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    items = [
        *_dns_rights(),
        _object("ConfigMap", "coredns", namespace="kube-system", data={"Corefile": COREFILE}),
        _object(
            "Deployment", "coredns", "apps/v1", "kube-system",
            spec={
                "replicas": 1,
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": _dns_pod()},
            },
        ),
        _object(
            "Service", "kube-dns", namespace="kube-system",
            spec={"clusterIP": addresses.dns, "selector": _LABELS, "ports": ports},
        ),
        storage,
    ]  # fmt: skip
    return {"apiVersion": "v1", "kind": "List", "items": items}
