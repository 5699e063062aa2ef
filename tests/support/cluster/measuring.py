"""metrics-server, which measures what pods use, for the tests that show it: no cluster has it from its start."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.cluster import archives, binaries
from support.cluster.using import Cluster
from support.waiting import until

IMAGE = "localhost/metrics-server:test"
NAME = "metrics-server"
NAMESPACE = "kube-system"
RESOLUTION_SECONDS = 15
"""How often it measures: it takes no less."""
_RBAC = "rbac.authorization.k8s.io"
_PORT = 4443


@contextmanager
def running(cluster: Cluster) -> Iterator[None]:
    """The cluster measures; afterwards it does not any more."""
    assert cluster.place is not None, "the image is loaded into a cluster of this machine"
    with tempfile.TemporaryDirectory() as folder:
        program = binaries.program(NAME)
        content = archives.layer({NAME: (program.read_bytes(), 0o755)}, {}, {"tmp": 0o1777})
        config = {"Entrypoint": [f"/{NAME}"], "User": "65534:65534"}
        archives.load(cluster.place, archives.write(Path(folder) / "image.tar", IMAGE, content, config))
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()})
    cluster.kubectl("apply", "-f", "-", standard_input=objects)
    try:
        until(lambda: _answers(cluster), 120, pause=1.0)
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "-f", "-", standard_input=objects)


def _answers(cluster: Cluster) -> bool:
    service = cluster.get("apiservice", "v1beta1.metrics.k8s.io")
    conditions = service.get("status", {}).get("conditions", [])
    return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)


def _objects() -> list[dict[str, Any]]:
    def made(version: str, kind: str, name: str = NAME, namespace: str = "", **rest: Any) -> dict[str, Any]:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}

    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}

    def bound(name: str, kind: str, role: str, namespace: str = "") -> dict[str, Any]:
        bind = "RoleBinding" if namespace else "ClusterRoleBinding"
        reference = {"apiGroup": _RBAC, "kind": kind, "name": role}
        return made(f"{_RBAC}/v1", bind, f"{NAME}-{name}", namespace, roleRef=reference, subjects=[account])

    labels = {"app": NAME}
    return [
        made("v1", "ServiceAccount", namespace=NAMESPACE),
        made(
            f"{_RBAC}/v1", "ClusterRole",
            rules=[
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            ],
        ),
        bound("looks", "ClusterRole", NAME),
        bound("asks", "ClusterRole", "system:auth-delegator"),
        bound("reads", "Role", "extension-apiserver-authentication-reader", NAMESPACE),
        made("apps/v1", "Deployment", namespace=NAMESPACE, spec={
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod()},
        }),
        made("v1", "Service", namespace=NAMESPACE, spec={
            "selector": labels, "ports": [{"port": 443, "targetPort": _PORT}],
        }),
        made("apiregistration.k8s.io/v1", "APIService", "v1beta1.metrics.k8s.io", spec={
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": NAME, "namespace": NAMESPACE}, "insecureSkipTLSVerify": True,
        }),
    ]  # fmt: skip


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": NAME,
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "args": [
                    "--cert-dir=/tmp", f"--secure-port={_PORT}", f"--metric-resolution={RESOLUTION_SECONDS}s",
                    "--kubelet-preferred-address-types=InternalIP", "--kubelet-insecure-tls",
                ],
                "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            }
        ],
    }  # fmt: skip
