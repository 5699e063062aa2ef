"""What a pod that shows the history of what has ended is, as objects.

    pod       Spark's history server in the image that wrote the logs, and our program that takes logs from the gateway;
              no service account's token, nothing mounted but its own, and nothing that it may reach (the chart's
              NetworkPolicy for it)
    Secret    keys by which it and the gateway know each other; belongs to the pod

Pure functions. The gateway brings logs and asks for pages; the pod asks nobody for anything.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparkyard_gateway.backends import pod_names
from sparkyard_gateway.backends.pod_manifests import (
    GRACE_SECONDS,
    PYTHON,
    container_security,
    field_ref,
    owned_secret,
    pod_spec,
    program_mounts,
    program_volume,
)
from sparkyard_gateway.backends.pod_places import DRIVER_CONTAINER, PROGRAM_FOLDER, SCRATCH, SECRET_FOLDER, Terms
from sparkyard_gateway.driver_file import NAME as PROGRAM

Object = dict[str, Any]

PORT, BRING_PORT = 4440, 4441
"""Of the history server's pages, and of our program beside it."""
LONGEST_SECONDS = 12 * 3600
"""After which Kubernetes ends it in any case; who still looks gets another."""
_OPEN_PORT = 18080
"""The history server's own port, where it says nothing but that the pages are at the other."""
_MIB = 1024 * 1024
_BESIDE_MIB = 384
"""Of memory, for what is not the heap: the JVM's own, and our program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryOrder:
    """A pod to make: for which user, of which gateway, in which image and place."""

    gateway: str
    owner: str
    mark: str
    namespace: str
    image: str
    memory_mib: int
    idle_seconds: float
    limit: int
    """How many bytes of logs it holds."""
    place: Mapping[str, Any] = field(default_factory=dict)
    """What the catalog says of the pods of this image."""
    costs: Mapping[str, str | None] = field(default_factory=dict)


def name_of(order: HistoryOrder, terms: Terms) -> str:
    """What it is called; its Secret has the same name."""
    return pod_names.history_pod(terms.installation, order.mark)


def history_pod(order: HistoryOrder, terms: Terms, program: str) -> Object:
    """The pod; `program` is the name of the ConfigMap."""
    name = name_of(order, terms)
    belongs = {pod_names.HISTORY: pod_names.label_value(order.gateway)}
    costs = {pod_names.USER: order.owner, **order.costs}
    memory = f"{order.memory_mib + _BESIDE_MIB}Mi"
    container = {
        "name": DRIVER_CONTAINER,
        "image": order.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            PYTHON, "-u", f"{PROGRAM_FOLDER}/{PROGRAM}", "history", "--bootstrap-file", f"{SECRET_FOLDER}/history.json",
        ],
        "workingDir": SCRATCH,
        "env": [
            {"name": "HOME", "value": SCRATCH},
            {"name": "SPARK_USER", "value": "spark"},
            {"name": "SPARK_LOCAL_DIRS", "value": SCRATCH},
            {"name": "SPARK_LOCAL_HOSTNAME", "valueFrom": field_ref("status.podIP")},
            {"name": "SPARK_LOCAL_IP", "valueFrom": field_ref("status.podIP")},
        ],
        "ports": [{"name": "pages", "containerPort": PORT}, {"name": "bring", "containerPort": BRING_PORT}],
        # A log can make the server work for ever; it then does so within this.
        "resources": {"requests": {"cpu": "100m", "memory": memory}, "limits": {"cpu": "1", "memory": memory}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *program_mounts(),
            {"name": "keys", "mountPath": SECRET_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": order.namespace,
            "labels": pod_names.labels(terms.installation, belongs, pod_names.HISTORIAN, costs),
            "annotations": {"sparkyard/for": order.owner},
        },
        "spec": {
            **pod_spec(order.place, terms),
            "serviceAccountName": terms.executor_account,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "containers": [container],
            "volumes": [
                program_volume(program),
                {"name": "keys", "secret": {"secretName": name, "defaultMode": 0o440}},
                # Logs, one that is being brought in place of an older one, and what a JVM leaves about.
                {"name": "scratch", "emptyDir": {"sizeLimit": f"{-(-order.limit // _MIB) + 256}Mi"}},
            ],
        },
    }  # fmt: skip


def history_secret(
    order: HistoryOrder, pod: Object, conf: Mapping[str, str], files: Mapping[str, bytes], pem: tuple[bytes, bytes]
) -> Object:
    """What it is told, and its keys. `conf` names `files` as what guards a Spark UI."""
    guard = {key.replace("spark.ssl.ui.", "spark.ssl.historyServer.", 1): value for key, value in conf.items()}
    own, clients = pem
    told = {
        "folder": f"{SCRATCH}/history",
        "limit": order.limit,
        "port": BRING_PORT,
        "certificate": f"{SECRET_FOLDER}/bring.pem",
        "clients": f"{SECRET_FOLDER}/clients.pem",
        "memory_mib": order.memory_mib,
        # The gateway ends it before; this is for one that is gone.
        "idle_seconds": order.idle_seconds + 180,
        "conf": {
            "spark.history.ui.port": str(_OPEN_PORT),
            "spark.history.fs.update.interval": "2s",
            "spark.history.fs.numReplayThreads": "1",
            "spark.history.retainedApplications": "5",
            # The gateway sees to it, for all users alike.
            "spark.history.fs.cleaner.enabled": "false",
            **guard,
            "spark.ssl.historyServer.port": str(PORT),
        },
    }
    content = {"history.json": json.dumps(told).encode(), "bring.pem": own, "clients.pem": clients, **files}
    return owned_secret(pod, pod["metadata"]["name"], content)
