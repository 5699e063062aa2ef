"""What a session is on Kubernetes: pods, Secrets and settings, from an order to objects."""

import base64
import dataclasses
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import pod_manifests
from sparkyard_gateway.backends.base import BatchOrder, Carriage, DriverOrder
from sparkyard_gateway.backends.pod_conf import driver_memory, dynamic_allocation, spark_conf
from sparkyard_gateway.backends.pod_objects import EXECUTOR_SCRIPT
from sparkyard_gateway.backends.pod_places import Terms
from sparkyard_gateway.driver_file import driver_file

TERMS = Terms(installation="prod", namespace="spark")
CONF = {
    "spark.driver.memory": "1g",
    "spark.driver.cores": "1",
    "spark.executor.memory": "1g",
    "spark.executor.instances": "4",
    "spark.kubernetes.driver.container.image": "registry.example.com/driver:1",
    "spark.kubernetes.executor.container.image": "registry.example.com/executor:1",
}
PLACE: dict[str, Any] = {
    "nodes": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "priority_class": "high",
    "cpu": 0.25,
    "scratch": 1024,
    "volumes": [{"claim": "data", "mount": "/data", "folder": "crew", "access": "read"}],
}
MIB = 1024 * 1024


def order(**pods: Any) -> DriverOrder:
    return DriverOrder(
        session_id=12, epoch=3, owner="ann@example.com", url="ws://gateway:8711/driver/v1/12", token="the-token",
        kind="pyspark", app_name="sparkyard-12", cores=1, conf=CONF,
        pods={"team": "crew", "profile": "small", **pods},
    )  # fmt: skip


def made_pod(**pods: Any) -> dict[str, Any]:
    """As the API server answers it."""
    pod = pod_manifests.driver_pod(order(**pods), TERMS, "program")
    return {**pod, "metadata": {**pod["metadata"], "uid": "u-1"}}


def secrets_of(pod: dict[str, Any], terms: Terms = TERMS, **pods: Any) -> dict[str, str]:
    secret = pod_manifests.driver_secret(order(**pods), terms, "program", pod)
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def both(**pods: Any) -> list[dict[str, Any]]:
    return [made_pod(**pods), pod_manifests.executor_template(order(**pods), TERMS, "program")]


def test_the_operators_scheduler_finds_nodes_for_both() -> None:
    assert not any("schedulerName" in pod["spec"] for pod in both(driver=PLACE, executor=PLACE))
    terms = dataclasses.replace(TERMS, scheduler="packing")
    driver = pod_manifests.driver_pod(order(), terms, "program")
    executor = pod_manifests.executor_template(order(), terms, "program")
    assert [pod["spec"]["schedulerName"] for pod in (driver, executor)] == ["packing", "packing"]


@pytest.mark.parametrize("pod", both(driver=PLACE, executor=PLACE), ids=["driver", "executor"])
def test_the_restricted_level_of_pod_security(pod) -> None:
    spec = pod["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 185
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    kinds = {next(key for key in volume if key != "name") for volume in spec["volumes"]}
    assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}


@pytest.mark.parametrize("pod", both(driver=PLACE, executor=PLACE), ids=["driver", "executor"])
def test_where_it_runs_and_what_it_mounts(pod) -> None:
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert spec["priorityClassName"] == "high"
    assert {"name": "volume-0", "persistentVolumeClaim": {"claimName": "data"}} in spec["volumes"]
    mount = {"name": "volume-0", "mountPath": "/data", "readOnly": True, "subPath": "crew"}
    assert mount in spec["containers"][0]["volumeMounts"]
    assert {"sizeLimit": "1024"} in [volume.get("emptyDir") for volume in spec["volumes"]]


@pytest.mark.parametrize("pod", both(), ids=["driver", "executor"])
def test_nothing_is_said_of_what_the_catalog_does_not_say(pod) -> None:
    assert not {"nodeSelector", "tolerations", "priorityClassName"} & pod["spec"].keys()


def test_only_the_driver_has_a_token_of_kubernetes() -> None:
    driver, executor = both()
    assert (driver["spec"]["serviceAccountName"], driver["spec"]["automountServiceAccountToken"]) == ("spark", True)
    assert executor["spec"]["serviceAccountName"] == "spark-executor"
    assert executor["spec"]["automountServiceAccountToken"] is False


def test_the_drivers_own_token_is_in_its_secret_alone() -> None:
    pod = made_pod()
    assert "the-token" not in json.dumps(pod)
    assert "the-token" not in json.dumps(pod_manifests.shared_secret(pod, "shared"))
    told = secrets_of(pod)
    assert json.loads(told["bootstrap.json"])["token"] == "the-token"
    assert "the-token" not in told["executor.json"]
    assert "the-token" not in json.dumps(json.loads(told["bootstrap.json"])["conf"])
    mounted = [
        each["secret"]["secretName"]
        for each in json.loads(told["executor.json"])["spec"]["volumes"]
        if "secret" in each
    ]
    assert mounted == ["sparkyard-prod-12-3-executors"]


def test_secrets_end_with_the_pod() -> None:
    pod = made_pod(namespace="spark-crew")
    for secret in (pod_manifests.driver_secret(order(), TERMS, "program", pod), pod_manifests.shared_secret(pod, "s")):
        (owner,) = secret["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "sparkyard-prod-12-3", "u-1")
        assert secret["metadata"]["namespace"] == "spark-crew"


@pytest.mark.parametrize("pod", both(), ids=["driver", "executor"])
def test_what_it_costs_is_labelled_with_valid_values(pod) -> None:
    labels = pod["metadata"]["labels"]
    assert labels["sparkyard/team"] == "crew"
    assert labels["sparkyard/profile"] == "small"
    assert labels["sparkyard/user"].startswith("ann-example-com---")
    assert pod["metadata"]["annotations"]["sparkyard/for"] == "ann@example.com"


@pytest.mark.parametrize(
    ("conf", "mib"),
    [
        ({}, 1024 + 409),
        ({"spark.driver.memory": "512m"}, 512 + 384),
        ({"spark.driver.memory": "10g"}, 10240 + 4096),
        ({"spark.driver.memoryOverhead": "1g"}, 2048),
        ({"spark.driver.memoryOverhead": "512"}, 1536),
        ({"spark.driver.memoryOverheadFactor": "1.0"}, 2048),
        ({"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "1g"}, 2048 + 409),
        ({"spark.memory.offHeap.enabled": "false", "spark.memory.offHeap.size": "1g"}, 1024 + 409),
        ({"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": str(64 * MIB)}, 1024 + 409 + 64),
    ],
)
def test_memory_of_the_drivers_pod(conf, mib) -> None:
    assert abs(driver_memory({**CONF, **conf}) - mib) <= 1


def test_requests_and_limits() -> None:
    resources = made_pod()["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "1", "memory": "1434Mi"}, "limits": {"memory": "1434Mi"}}
    resources = made_pod(driver=PLACE)["spec"]["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == "250m"


def test_settings_that_spark_needs_whoever_asks() -> None:
    mine = DriverOrder(
        session_id=12, epoch=3, owner="ann", url="ws://g/driver/v1/12", token="t", kind="pyspark", app_name="a",
        cores=1, conf={**CONF, "spark.sql.shuffle.partitions": "8"}, pods={"executor": {"cpu": 0.5}},
    )  # fmt: skip
    conf = spark_conf(mine, TERMS, "the-pod")
    assert conf["spark.master"] == "k8s://https://kubernetes.default.svc"
    assert conf["spark.kubernetes.namespace"] == "spark"
    assert conf["spark.kubernetes.driver.pod.name"] == "the-pod"
    assert conf["spark.kubernetes.executor.container.image"] == "registry.example.com/executor:1"
    assert "spark.kubernetes.driver.container.image" not in conf
    assert conf["spark.kubernetes.executor.request.cores"] == "500m"
    assert conf["spark.executor.instances"] == "4"
    assert conf["spark.sql.shuffle.partitions"] == "8"
    assert conf["spark.executor.memoryOverheadFactor"] == "0.4"
    # The secret that driver and executors share is in no environment, which whoever may list pods could read.
    assert conf["spark.authenticate.secret.file"] == "/run/sparkyard-shared/secret"


def test_executors_that_come_and_go() -> None:
    dynamic = {"min": 1, "idle_timeout": "1m", "cached_idle_timeout": "20m"}
    conf = dynamic_allocation(CONF, dynamic)
    assert "spark.executor.instances" not in conf
    assert {key.removeprefix("spark.dynamicAllocation."): value for key, value in conf.items() if "dynamic" in key} == {
        "enabled": "true",
        "shuffleTracking.enabled": "true",
        "minExecutors": "1",
        "initialExecutors": "1",
        "maxExecutors": "4",
        "executorIdleTimeout": "60s",
        "cachedExecutorIdleTimeout": "1200s",
        "shuffleTracking.timeout": "1200s",
    }
    assert dynamic_allocation(CONF, None) == CONF
    assert dynamic_allocation(CONF, {**dynamic, "min": 9})["spark.dynamicAllocation.minExecutors"] == "4"


def test_authorities_go_to_the_driver() -> None:
    terms = Terms(installation="prod", namespace="spark", ca="-----BEGIN CERTIFICATE-----")
    told = secrets_of(made_pod(), terms)
    assert told["ca.pem"] == "-----BEGIN CERTIFICATE-----"
    assert json.loads(told["bootstrap.json"])["ca_file"] == "/run/sparkyard/ca.pem"
    assert "ca_file" not in json.loads(secrets_of(made_pod())["bootstrap.json"])


def test_the_program_is_named_by_what_it_is() -> None:
    made = pod_manifests.program_map(driver_file(), EXECUTOR_SCRIPT.read_bytes(), TERMS)
    other = pod_manifests.program_map(driver_file() + b"x", EXECUTOR_SCRIPT.read_bytes(), TERMS)
    assert made["metadata"]["name"] != other["metadata"]["name"]
    assert made == pod_manifests.program_map(driver_file(), EXECUTOR_SCRIPT.read_bytes(), TERMS)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(made["binaryData"]["sparkyard_driver.py"]))) as archive:
        assert "__main__.py" in archive.namelist()
    # Kubernetes takes a mebibyte, and there is more to come.
    assert len(json.dumps(made)) < 512 * 1024


def test_an_executor_is_started_from_the_images_own_spark(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path), "SPARK_HOME": "/opt/spark", "SPARK_EXECUTOR_MEMORY": "1g",
        "SPARK_JAVA_OPT_0": "-Da=b c", "SPARK_JAVA_OPT_1": "-Dx=$y", "SPARK_CLASSPATH": "/extra.jar",
        "SPARK_DRIVER_URL": "spark://d", "SPARK_EXECUTOR_ID": "3", "SPARK_EXECUTOR_CORES": "1",
        "SPARK_APPLICATION_ID": "app", "SPARK_EXECUTOR_POD_IP": "10.0.0.1", "SPARK_EXECUTOR_POD_NAME": "exec-3",
    }  # fmt: skip
    ran = subprocess.run(
        ["sh", EXECUTOR_SCRIPT, "executor"], env=environment, capture_output=True, text=True, check=True
    )
    told = ran.stdout.splitlines()
    assert told[:2] == ["-Da=b c", "-Dx=$y"]
    assert told[3:6] == ["-Xms1g", "-Xmx1g", "-cp"]
    assert told[6] == "/opt/spark/conf:/extra.jar:/opt/spark/jars/*"
    assert told[7].endswith("KubernetesExecutorBackend")
    assert told[told.index("--podName") + 1] == "exec-3"


def test_an_image_without_java_says_so(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", EXECUTOR_SCRIPT], env={"PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path), "SPARK_HOME": "/opt/spark"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (64, f"This image has no Java: there is no '{tmp_path}/bin/java'.\n")


# A batch


def batch_order() -> BatchOrder:
    return BatchOrder(
        attempt=9, owner="ann@example.com", app_name="nightly", cores=1, conf=CONF, mark="a1b2c3",
        file="s3a://jobs/etl.py", class_name=None, args=("20", "b c"), pods={"team": "crew", "profile": "small"},
    )  # fmt: skip


def test_a_batchs_pod_stands_at_a_gate_and_tells_whose_it_is() -> None:
    pod = pod_manifests.driver_pod(batch_order(), TERMS, "program")
    assert pod["metadata"]["name"] == "sparkyard-prod-attempt-9-a1b2c3"
    assert pod["spec"]["schedulingGates"] == [{"name": "sparkyard/begin"}]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert "schedulingGates" not in made_pod()["spec"]
    template = pod_manifests.executor_template(batch_order(), TERMS, "program")
    for labels, role in ((pod["metadata"]["labels"], "driver"), (template["metadata"]["labels"], "executor")):
        assert (labels["sparkyard/attempt"], labels["sparkyard/role"]) == ("9", role)
        # What looks after sessions must not take it for one of theirs.
        assert not {"sparkyard/session", "sparkyard/epoch"} & labels.keys()


def test_a_batch_is_told_its_file_and_no_token() -> None:
    terms = Terms(installation="prod", namespace="spark", ca="authorities")
    pod = pod_manifests.driver_pod(batch_order(), terms, "program")
    made = {**pod, "metadata": {**pod["metadata"], "uid": "u-1"}}
    secret = pod_manifests.driver_secret(batch_order(), terms, "program", made)
    assert secret["metadata"]["labels"] == {"sparkyard/installation": "prod", "sparkyard/attempt": "9"}
    assert sorted(secret["data"]) == ["bootstrap.json", "executor.json"]
    told = json.loads(base64.b64decode(secret["data"]["bootstrap.json"]))
    assert (told["file"], told["class_name"], told["args"]) == ("s3a://jobs/etl.py", None, ["20", "b c"])
    assert told["conf"]["spark.kubernetes.driver.pod.name"] == "sparkyard-prod-attempt-9-a1b2c3"
    assert told["conf"]["spark.app.name"] == "nightly"
    assert "token" not in told
    command = pod["spec"]["containers"][0]["command"]
    assert command[-3:] == ["batch", "--bootstrap-file", "/run/sparkyard/bootstrap.json"]


CARRYING = dataclasses.replace(TERMS, event_logs=True)


def test_a_session_whose_event_log_is_carried_is_told_where_it_lies() -> None:
    told = json.loads(secrets_of(made_pod(), CARRYING)["bootstrap.json"])
    assert told["events_dir"] == "/var/sparkyard/events"
    assert told["conf"]["spark.eventLog.dir"] == "file:///var/sparkyard/events"
    assert told["conf"]["spark.eventLog.rolling.enabled"] == "true"
    # In the pod's own scratch folder: with the pod it goes.
    assert {"name": "scratch", "mountPath": "/var/sparkyard"} in made_pod()["spec"]["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("terms", "conf"), [(TERMS, CONF), (CARRYING, {**CONF, "spark.eventLog.dir": "s3a://logs/of-our-own"})]
)
def test_nothing_is_carried_where_that_is_off_or_the_catalog_has_its_own_idea(terms, conf) -> None:
    wanted = dataclasses.replace(order(), conf=conf)
    told = pod_manifests.bootstrap(wanted, terms, "pod")
    assert "events_dir" not in told
    assert told["conf"].get("spark.eventLog.dir") == conf.get("spark.eventLog.dir")
    assert "spark.eventLog.enabled" not in told["conf"]


def test_a_batch_whose_event_log_is_carried_has_a_token_for_that_in_its_secret_alone() -> None:
    carriage = Carriage(("ws://gateway:8711/driver/v1/batches/4",), "event-token")
    pod = pod_manifests.driver_pod(batch_order(), CARRYING, "program")
    pod["metadata"]["uid"] = "u-1"
    terms = dataclasses.replace(CARRYING, ca="PEM")
    secret = pod_manifests.driver_secret(batch_order(), terms, "program", pod, carriage=carriage)
    told = json.loads(base64.b64decode(secret["data"]["bootstrap.json"]))
    assert told["events"] == {
        "folder": "/var/sparkyard/events", "urls": ["ws://gateway:8711/driver/v1/batches/4"], "token": "event-token",
        "ca_file": "/run/sparkyard/ca.pem",
    }  # fmt: skip
    assert base64.b64decode(secret["data"]["ca.pem"]) == b"PEM"
    assert "event-token" not in json.dumps(pod)
    assert "event-token" not in json.dumps(told["conf"])
    assert "event-token" not in base64.b64decode(secret["data"]["executor.json"]).decode()
