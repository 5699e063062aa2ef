"""What a session or batch is on Kubernetes, as objects: the driver's pod, its Secrets, its executors' template.

    pod               the driver: as the restricted Pod Security level wants it, with its service account's token, as
                      Spark asks the API server for executors
    Secret <pod>      the bootstrap, of a session with the driver's token, and the executors' template; mounted by the
                      driver alone
    Secret <pod>-executors
                      what driver and executors know each other by
    ConfigMap         the driver program and what starts an executor: the same for all, named by its content

Everything belongs to the pod by owner references, so that nothing outlives it. Pure functions: from an order and the
operator's terms to JSON, never by way of text.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sparkyard_gateway.backends import pod_names, submission
from sparkyard_gateway.backends.base import BatchOrder, Carriage, DriverOrder, SparkOrder
from sparkyard_gateway.backends.pod_conf import (
    BLOCK_MANAGER_PORT,
    DRIVER_IMAGE,
    DRIVER_PORT,
    UI_PORT,
    carries,
    cpu_text,
    driver_memory,
    namespace,
    spark_conf,
)
from sparkyard_gateway.backends.pod_places import (
    BOOTSTRAP,
    CA_FILE,
    DRIVER_CONTAINER,
    EVENTS,
    EXECUTOR_CONTAINER,
    GATE,
    PROGRAM_FOLDER,
    SCRATCH,
    SECRET_FOLDER,
    SHARED_FOLDER,
    Terms,
)
from sparkyard_gateway.driver_file import NAME as PROGRAM

Object = dict[str, Any]

GRACE_SECONDS = 30
LOCAL_DIR = "spark-local-dir-1"
"""What Spark calls a volume for its local files: where there is one of this name it makes no other."""
PYTHON = "python3"
"""By the path of each image: driver and executors may have it in different places."""
_OWN_TEXT = "sparkyard/for"


def program_map(program: bytes, executor_script: bytes, terms: Terms) -> Object:
    """The ConfigMap that pods get our programs from, and a name for their uid: Hadoop's login fails without one."""
    home = f"spark:x:{terms.uid}:{terms.uid}:Spark:{SCRATCH}:/bin/sh"
    data = {
        "executor.sh": executor_script.decode(),
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{home}\n",
        "group": f"root:x:0:\nspark:x:{terms.uid}:\n",
    }
    encoded = base64.b64encode(program).decode()
    digest = hashlib.sha256(json.dumps([data, encoded], sort_keys=True).encode()).hexdigest()[:12]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"sparkyard-driver-{digest}",
            "labels": {"app.kubernetes.io/managed-by": "sparkyard", pod_names.INSTALLATION: terms.installation},
        },
        "immutable": True,
        "data": data,
        "binaryData": {PROGRAM: encoded},
    }


def driver_pod(order: SparkOrder, terms: Terms, program: str) -> Object:
    """The driver's pod; `program` is the name of the ConfigMap."""
    name = pod_names.pod_of(terms.installation, order)
    driver = order.pods.get("driver") or {}
    memory = f"{driver_memory(order.conf)}Mi"
    cores = float(order.conf.get("spark.driver.cores", "1"))
    container = {
        "name": DRIVER_CONTAINER,
        "image": order.conf[DRIVER_IMAGE],
        "imagePullPolicy": "IfNotPresent",
        "command": _command(order),
        "workingDir": SCRATCH,
        "env": [
            *_environment(
                order,
                SPARK_USER=order.owner,
                SPARK_LOCAL_DIRS=SCRATCH,
                PYSPARK_PYTHON=PYTHON,
                PYSPARK_DRIVER_PYTHON=PYTHON,
            ),
            # By these Spark calls itself what executors can reach.
            {"name": "SPARK_LOCAL_HOSTNAME", "valueFrom": field_ref("status.podIP")},
            {"name": "SPARK_LOCAL_IP", "valueFrom": field_ref("status.podIP")},
        ],
        "ports": [
            {"name": name, "containerPort": port}
            for name, port in (("driver", DRIVER_PORT), ("blocks", BLOCK_MANAGER_PORT), ("spark-ui", UI_PORT))
        ],
        "resources": {
            "requests": {"cpu": cpu_text(driver.get("cpu") or cores), "memory": memory},
            "limits": {"memory": memory},
        },
        "securityContext": container_security(),
        # The log's last lines come with the news of a bad end, even where the pod is gone the moment after.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *program_mounts(),
            {"name": "session", "mountPath": SECRET_FOLDER, "readOnly": True},
            {"name": "shared", "mountPath": SHARED_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH},
            *_mounts(driver),
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace(order, terms),
            "labels": _labels(order, terms, pod_names.DRIVER),
            "annotations": {
                **_annotations(order),
                # A driver that is moved is a session or batch that is lost.
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
            },
        },
        "spec": {
            **pod_spec(driver, terms),
            # A batch runs at most once: its pod is made, that is written down, and then its gate is removed.
            **({"schedulingGates": [{"name": GATE}]} if isinstance(order, BatchOrder) else {}),
            "serviceAccountName": terms.account,
            "automountServiceAccountToken": True,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [container],
            "volumes": [
                program_volume(program),
                {"name": "session", "secret": {"secretName": name, "defaultMode": 0o440}},
                {"name": "shared", "secret": {"secretName": pod_names.executors_secret(name), "defaultMode": 0o440}},
                {"name": "scratch", "emptyDir": _size(driver)},
                *_volumes(driver),
            ],
        },
    }


def _command(order: SparkOrder) -> list[str]:
    batch = ["batch"] if isinstance(order, BatchOrder) else []
    return [PYTHON, "-u", f"{PROGRAM_FOLDER}/{PROGRAM}", *batch, "--bootstrap-file", BOOTSTRAP]


def ungated(uid: str) -> Object:
    """What is merged into a batch's pod for it to begin. Gates of others, such as a queue's, stay."""
    return {"metadata": {"uid": uid}, "spec": {"schedulingGates": [{"name": GATE, "$patch": "delete"}]}}


def executor_template(order: SparkOrder, terms: Terms, program: str) -> Object:
    """What Spark makes each executor's pod of; image, memory, cores and environment it adds itself.

    The owner reference to the driver is Spark's as well.
    """
    pod = pod_names.pod_of(terms.installation, order)
    executor = order.pods.get("executor") or {}
    container: Object = {
        "name": EXECUTOR_CONTAINER,
        "command": ["sh", f"{PROGRAM_FOLDER}/executor.sh"],
        "workingDir": SCRATCH,
        "env": _environment(order),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *program_mounts(),
            {"name": "shared", "mountPath": SHARED_FOLDER, "readOnly": True},
            {"name": LOCAL_DIR, "mountPath": SCRATCH},
            *_mounts(executor),
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": _labels(order, terms, pod_names.EXECUTOR),
            "annotations": _annotations(order),
        },
        "spec": {
            **pod_spec(executor, terms),
            "serviceAccountName": terms.executor_account,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [container],
            "volumes": [
                program_volume(program),
                {"name": "shared", "secret": {"secretName": pod_names.executors_secret(pod), "defaultMode": 0o440}},
                {"name": LOCAL_DIR, "emptyDir": _size(executor)},
                *_volumes(executor),
            ],
        },
    }


def driver_secret(
    order: SparkOrder,
    terms: Terms,
    program: str,
    pod: Object,
    conf: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    carriage: Carriage | None = None,
) -> Object:
    """What the driver alone may know; it belongs to its pod, which exists already.

    `files` are put beside it, and `conf` are the settings that name them; `carriage` is how a batch sends its event
    log.
    """
    told = bootstrap(order, terms, pod["metadata"]["name"], carriage)
    told["conf"].update(conf or {})
    dials_out = isinstance(order, DriverOrder) or "events" in told
    texts = {
        "bootstrap.json": json.dumps(told),
        "executor.json": json.dumps(executor_template(order, terms, program)),
        **({"ca.pem": terms.ca} if terms.ca and dials_out else {}),
    }
    return owned_secret(
        pod, pod["metadata"]["name"], {key: text.encode() for key, text in texts.items()} | dict(files or {})
    )


def shared_secret(pod: Object, secret: str) -> Object:
    """What driver and executors know each other by."""
    return owned_secret(pod, pod_names.executors_secret(pod["metadata"]["name"]), {"secret": secret.encode()})


def bootstrap(order: SparkOrder, terms: Terms, pod: str, carriage: Carriage | None = None) -> Object:
    """What the driver program is told."""
    trusted = {"ca_file": CA_FILE} if terms.ca else {}
    if isinstance(order, BatchOrder):
        events: Object = {}
        if carriage is not None and carries(order, terms):
            events = {"events": {"folder": EVENTS, "urls": carriage.urls, "token": carriage.token, **trusted}}
        return {
            **events,
            "file": order.file,
            "class_name": order.class_name,
            "args": list(order.args),
            "conf": spark_conf(order, terms, pod),
            "work_dir": SCRATCH,
        }
    assert isinstance(order, DriverOrder)
    return {
        **submission.bootstrap(order),
        "token": order.token,
        "work_dir": f"{SCRATCH}/work",
        "conf": spark_conf(order, terms, pod),
        **({"events_dir": EVENTS} if carries(order, terms) else {}),
        **trusted,
    }


def owned_secret(pod: Object, name: str, files: Mapping[str, bytes]) -> Object:
    """A Secret that belongs to its pod."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    kept = (pod_names.INSTALLATION, pod_names.SESSION, pod_names.EPOCH, pod_names.ATTEMPT, pod_names.HISTORY)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {key: metadata["labels"][key] for key in kept if key in metadata["labels"]},
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(content).decode() for key, content in files.items()},
    }


def _labels(order: SparkOrder, terms: Terms, role: str) -> dict[str, str]:
    pods = order.pods
    costs = {pod_names.USER: order.owner, pod_names.TEAM: pods.get("team"), pod_names.PROFILE: pods.get("profile")}
    return pod_names.labels(terms.installation, pod_names.whose(order), role, costs)


def _annotations(order: SparkOrder) -> dict[str, str]:
    """The owner's very name, which a label may not be able to hold."""
    return {_OWN_TEXT: order.owner}


def _environment(order: SparkOrder, **more: str) -> list[Object]:
    names = dict.fromkeys(("USER", "LOGNAME", "HADOOP_USER_NAME"), order.owner)
    return [{"name": key, "value": value} for key, value in {"HOME": SCRATCH, **names, **more}.items()]


def field_ref(path: str) -> Object:
    """A word that the pod knows of itself."""
    return {"fieldRef": {"fieldPath": path}}


def pod_spec(place: Mapping[str, Any], terms: Terms) -> Object:
    """What a pod of ours has, whichever it is."""
    spec: Object = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": terms.uid,
            "runAsGroup": terms.uid,
            "fsGroup": terms.uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if terms.scheduler is not None:
        spec["schedulerName"] = terms.scheduler
    if place.get("nodes"):
        spec["nodeSelector"] = dict(place["nodes"])
    if place.get("tolerations"):
        spec["tolerations"] = [dict(each) for each in place["tolerations"]]
    if place.get("priority_class"):
        spec["priorityClassName"] = place["priority_class"]
    return spec


def container_security() -> Object:
    """What each container of ours is held to."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def program_volume(program: str) -> Object:
    """Our programs."""
    return {"name": "program", "configMap": {"name": program, "defaultMode": 0o444}}


def program_mounts() -> list[Object]:
    """Where our programs stand."""
    return [
        {"name": "program", "mountPath": PROGRAM_FOLDER, "readOnly": True},
        {"name": "program", "mountPath": "/etc/passwd", "subPath": "passwd", "readOnly": True},
        {"name": "program", "mountPath": "/etc/group", "subPath": "group", "readOnly": True},
    ]


def _size(place: Mapping[str, Any]) -> Object:
    return {"sizeLimit": str(place["scratch"])} if place.get("scratch") else {}


def _volumes(place: Mapping[str, Any]) -> list[Object]:
    return [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": each["claim"]}}
        for number, each in enumerate(place.get("volumes") or ())
    ]


def _mounts(place: Mapping[str, Any]) -> list[Object]:
    return [
        {
            "name": f"volume-{number}",
            "mountPath": each["mount"],
            "readOnly": each["access"] == "read",
            **({"subPath": each["folder"]} if each.get("folder") else {}),
        }
        for number, each in enumerate(place.get("volumes") or ())
    ]
