"""A Spark session on driver and executor pods of a real Kubernetes, by a gateway that has the chart's rights there.

spark       the gateway, its namespace, and Ann who uses it
session     a session of Ann's that is ready, one for all tests that do it no harm
"""

import ast
import json
from collections.abc import Iterator

import pytest

from support.cluster.using import Cluster, RefusedError
from support.spark_pods import PodsGateway, decoded, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
PATIENCE = 180.0


@pytest.fixture(scope="module")
def spark(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    """A gateway on the cluster."""
    with running(cluster, tmp_path_factory.mktemp("gateway"), ("spark-3.5", "spark-3.5-pandas-2.1")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def session(spark: PodsGateway) -> Iterator[int]:
    """A session that is ready, with one executor."""
    number = spark.new_session()
    spark.until_idle(number)
    yield number
    spark.delete(number)


# A session


def test_a_cell_runs_in_the_drivers_pod(spark, session):
    assert spark.text(session, "1 + 1") == "2"
    pod = spark.driver_pod(session)
    assert spark.text(session, "import socket; socket.gethostname()") == repr(pod["metadata"]["name"])
    assert spark.text(session, "spark.sparkContext.getConf().get('spark.driver.host')") == repr(pod["status"]["podIP"])


def test_a_job_runs_on_executors_and_its_numbers_are_right(spark, session):
    code = """
import socket
def work(numbers):
    yield socket.gethostname(), sum(n * n for n in numbers)
parts = sc.parallelize(range(10_000), 4).mapPartitions(work).collect()
sorted({host for host, _ in parts}), sum(part for _, part in parts)
"""
    told = spark.text(session, code)
    executors = [pod["metadata"]["name"] for pod in spark.pods(session, "executor")]
    assert str(sum(n * n for n in range(10_000))) in told
    assert len(executors) == 1
    assert repr(executors) in told
    frame = "spark.range(1000).selectExpr('id % 7 AS k', 'id').groupBy('k').sum('id').orderBy('k')"
    assert spark.text(session, f"{frame}.collect()[3]['sum(id)']") == str(sum(n for n in range(1000) if n % 7 == 3))


def test_a_task_has_the_libraries_of_the_executors_image(spark, session):
    code = """
def version(_):
    import pandas
    return pandas.__version__
import pandas
pandas.__version__, sc.parallelize([0], 1).map(version).first()
"""
    driver, executor = ast.literal_eval(spark.text(session, code))
    assert driver.startswith("2.3")
    assert executor.startswith("2.1")


def test_what_the_pods_are(spark, session):
    driver = spark.driver_pod(session)
    (executor,) = spark.pods(session, "executor")
    cost = {"sparkyard/user": "ann", "sparkyard/team": "crew", "sparkyard/profile": "small"}
    for pod in (driver, executor):
        assert cost.items() <= pod["metadata"]["labels"].items()
        assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "896Mi"
        assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "100m"
    (owner,) = executor["metadata"]["ownerReferences"]
    assert owner["uid"] == driver["metadata"]["uid"]
    assert executor["spec"]["serviceAccountName"] == "spark-executor"
    mounted = [mount["mountPath"] for mount in executor["spec"]["containers"][0]["volumeMounts"]]
    assert not [path for path in mounted if "serviceaccount" in path]


def test_no_secret_is_where_others_could_read_it(spark, session):
    """Whoever may list pods sees their environment and arguments."""
    driver = spark.driver_pod(session)
    secret = spark.cluster.get("secret", driver["metadata"]["name"], spark.namespace)
    shared = spark.cluster.get("secret", f"{driver['metadata']['name']}-executors", spark.namespace)
    bootstrap = decoded(secret, "bootstrap.json")
    words = [decoded(shared, "secret"), json.loads(bootstrap)["token"]]
    pods = str(spark.objects("pods", session))
    assert not [word for word in words if word in pods]
    assert "_SPARK_AUTH_SECRET" not in pods


def test_the_drivers_log_is_here(spark, session):
    spark.run(session, "import sys; sys.__stderr__.write('a line of Ann\\'s own\\n'); sys.__stderr__.flush()")
    until(lambda: "a line of Ann's own" in spark.driver_log(session), PATIENCE, pause=0.3)


def test_another_gateway_takes_it_up_after_a_kill(spark, session):
    assert spark.text(session, "kept = 40 + 2; kept") == "42"
    before = spark.driver_pod(session)["metadata"]["uid"]
    spark.run(session, "import sys; sys.__stderr__.write('before the kill\\n'); sys.__stderr__.flush()")
    until(lambda: "before the kill" in spark.driver_log(session), PATIENCE, pause=0.3)
    spark.kill()
    spark.start()
    assert spark.text(session, "kept") == "42"
    assert spark.driver_pod(session)["metadata"]["uid"] == before
    assert spark.session(session)["state"] == "idle"
    spark.run(session, "import sys; sys.__stderr__.write('after the kill\\n'); sys.__stderr__.flush()")
    until(lambda: "after the kill" in spark.driver_log(session), PATIENCE, pause=0.3)
    lines = spark.driver_log(session)
    assert lines.index("before the kill") < lines.index("after the kill")


# What code in a driver tries


ATTACKER = """
import json, ssl, urllib.error, urllib.request
FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN = open(f"{FOLDER}/token").read()
NAMESPACE = open(f"{FOLDER}/namespace").read()
TRUST = ssl.create_default_context(cafile=f"{FOLDER}/ca.crt")
def ask(method, path, body=None):
    merge = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": merge}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"https://kubernetes.default.svc{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, context=TRUST, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
import socket
ME = ask("GET", f"{PODS}/{socket.gethostname()}")[1]
"""
EXECUTOR = """
TOKEN_SOURCE = {"serviceAccountToken": {"path": "t"}}
SECRET_SOURCE = {"secretKeyRef": {"name": "other", "key": "k"}}
def executor():
    template = json.load(open("/run/sparkyard/executor.json"))
    template["metadata"]["name"] = ME["metadata"]["name"] + "-exec-77"
    me = {"name": ME["metadata"]["name"], "uid": ME["metadata"]["uid"]}
    template["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", **me, "controller": True}]
    template["spec"]["containers"][0]["image"] = spark.conf.get("spark.kubernetes.executor.container.image")
    return template
"""


@pytest.fixture(scope="module")
def attacker(spark: PodsGateway, session: int) -> Iterator[int]:
    """A session whose code holds its driver's token, where nothing but the chart's policies stands in its way."""
    output = spark.run(session, ATTACKER + EXECUTOR)
    assert output["status"] == "ok", output
    level = "pod-security.kubernetes.io/enforce"
    spark.cluster.kubectl("label", "namespace", spark.namespace, f"{level}-")
    yield session
    spark.cluster.kubectl("label", "namespace", spark.namespace, f"{level}=restricted")


def answered(spark: PodsGateway, session: int, before: str, question: str) -> tuple[int, str]:
    """Status and words of the API server's answer."""
    status, said = ast.literal_eval(
        spark.text(session, f"{before}\nanswer = {question}\nanswer[0], str(answer[1])[:600]")
    )
    return status, said


def tried(spark: PodsGateway, session: int, change: str) -> tuple[int, str]:
    """What the API server says to an executor's pod that was changed so."""
    return answered(spark, session, f"pod = executor()\n{change}", "ask('POST', PODS + '?dryRun=All', pod)")


def test_an_executor_as_spark_makes_it_is_let(spark, attacker):
    status, said = tried(spark, attacker, "")
    assert status == 201, said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "pod['spec']['containers'][0]['securityContext'] |= {'privileged': True, 'allowPrivilegeEscalation': True}",
            "not privileged",
        ),
        ("pod['spec']['containers'][0]['securityContext']['allowPrivilegeEscalation'] = True", "not privileged"),
        ("pod['spec']['containers'][0]['securityContext']['capabilities']['add'] = ['NET_RAW']", "not privileged"),
        ("pod['spec']['containers'][0]['securityContext']['runAsUser'] = 0", "not privileged"),
        ("del pod['spec']['containers'][0]['securityContext']", "not privileged"),
        ("pod['spec']['volumes'].append({'name': 'h', 'hostPath': {'path': '/'}})", "mount empty folders"),
        ("pod['spec']['volumes'].append({'name': 's', 'secret': {'secretName': 'other'}})", "mount empty folders"),
        (
            "pod['spec']['volumes'].append({'name': 's', 'secret': {'secretName': ME['metadata']['name']}})",
            "mount empty",
        ),
        (
            "pod['spec']['volumes'].append({'name': 't', 'projected': {'sources': [TOKEN_SOURCE]}})",
            "mount empty folders",
        ),
        ("pod['spec']['volumes'].append({'name': 'p', 'persistentVolumeClaim': {'claimName': 'bobs'}})", "mount empty"),
        ("pod['spec']['volumes'].append({'name': 'c', 'configMap': {'name': 'kube-root-ca.crt'}})", "mount empty"),
        ("pod['spec']['hostNetwork'] = True", "share nothing with their node"),
        ("pod['spec']['hostPID'] = True", "share nothing with their node"),
        ("pod['spec']['containers'][0]['ports'] = [{'containerPort': 80, 'hostPort': 80}]", "no port of their node"),
        ("pod['spec']['serviceAccountName'] = 'spark'", "under the service account spark-executor"),
        ("pod['spec']['serviceAccountName'] = 'default'", "under the service account spark-executor"),
        ("pod['spec']['automountServiceAccountToken'] = True", "without its token"),
        ("pod['spec']['containers'][0]['image'] = 'docker.io/library/alpine:3'", "grants no such image"),
        ("pod['spec']['containers'][0]['image'] += '-evil'", "grants no such image"),
        (
            "pod['spec']['initContainers'] = [dict(pod['spec']['containers'][0], name='i')]",
            "one container, and none before",
        ),
        (
            "pod['spec']['containers'].append(dict(pod['spec']['containers'][0], name='i'))",
            "one container, and none before",
        ),
        (
            "pod['spec']['containers'][0]['env'].append({'name': 'X', 'valueFrom': SECRET_SOURCE})",
            "no Secret or ConfigMap into their environment",
        ),
        ("pod['spec']['containers'][0]['envFrom'] = [{'secretRef': {'name': 'other'}}]", "into their environment"),
        ("pod['spec']['nodeName'] = 'node-1'", "the scheduler that finds their node"),
        ("pod['spec']['priorityClassName'] = 'system-node-critical'", "priority class"),
        ("del pod['metadata']['ownerReferences']", "must belong to it"),
        ("pod['metadata']['ownerReferences'][0]['uid'] = '00000000-0000-0000-0000-000000000000'", "must belong to it"),
        ("pod['metadata']['labels']['sparkyard/role'] = 'driver'", "must bear its labels"),
        ("pod['metadata']['labels']['sparkyard/session'] = '99999'", "must bear its labels"),
    ],
)
def test_other_pods_are_refused(spark, attacker, change, words):
    status, said = tried(spark, attacker, change)
    assert status in {403, 422}, said
    assert words in said


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/{namespace}/secrets"),
        ("GET", "/api/v1/namespaces/{namespace}/secrets/{pod}"),
        ("GET", "/api/v1/namespaces/{namespace}/configmaps"),
        ("GET", "/api/v1/namespaces/{namespace}/pods/{pod}/log"),
        ("GET", "/api/v1/namespaces/default/pods"),
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/nodes"),
        ("POST", "/api/v1/namespaces/{namespace}/serviceaccounts/spark/token"),
        ("POST", "/api/v1/namespaces/{namespace}/pods/{pod}/exec?command=id"),
        ("PATCH", "/api/v1/namespaces/{namespace}/pods/{pod}"),
        ("PUT", "/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"),
    ],
)
def test_a_drivers_token_opens_nothing_else(spark, attacker, method, path):
    pod = spark.driver_pod(attacker)["metadata"]["name"]
    where = path.format(namespace=spark.namespace, pod=pod)
    body = "{'kind': 'X', 'apiVersion': 'v1'}" if method in {"POST", "PUT"} else None
    if method == "PATCH":
        body = "{'metadata': {'labels': {'a': 'b'}}}"
    status, said = answered(spark, attacker, "", f"ask({method!r}, {where!r}, {body})")
    assert status in {403, 405, 415, 422}, said


def test_a_driver_ends_its_own_executors_alone(spark, attacker):
    spark.cluster.run_pod(spark.namespace, "bobs", "sleep", "600")
    try:
        for name in ("bobs", spark.driver_pod(attacker)["metadata"]["name"]):
            status, said = answered(spark, attacker, "", f"ask('DELETE', PODS + '/{name}')")
            assert status in {403, 422}, said
            assert "ends its own executors alone" in said
        status, said = answered(spark, attacker, "", "ask('DELETE', PODS)")
        assert status in {403, 422}, said
        assert spark.cluster.get("pod", "bobs", spark.namespace)["status"]["phase"] == "Running"
    finally:
        spark.cluster.delete("pod", "bobs", spark.namespace)


@pytest.mark.parametrize(
    ("pod", "change", "words"),
    [
        ("own", {"metadata": {"labels": {"spark-exec-inactive": "true"}}}, ""),
        ("own", {"metadata": {"labels": {"sparkyard/session": "99999"}}}, "changes no other"),
        ("own", {"metadata": {"labels": {"sparkyard/role": None}}}, "changes no other"),
        ("own", {"metadata": {"annotations": {"a": "b"}}}, "changes nothing else"),
        ("own", {"metadata": {"finalizers": ["evil.example/stays"]}}, "changes nothing else"),
        ("own", {"metadata": {"ownerReferences": []}}, "changes nothing else"),
        ("own", {"spec": {"activeDeadlineSeconds": 1}}, "changes nothing else"),
        ("bobs", {"metadata": {"labels": {"spark-exec-inactive": "true"}}}, "marks its own executors alone"),
        ("driver", {"metadata": {"labels": {"spark-exec-inactive": "true"}}}, "marks its own executors alone"),
    ],
)
def test_a_driver_marks_its_own_executors_and_changes_nothing_else(spark, attacker, bobs_pod, pod, change, words):
    names = {
        "bobs": bobs_pod,
        "driver": spark.driver_pod(attacker)["metadata"]["name"],
        "own": spark.pods(attacker, "executor")[0]["metadata"]["name"],
    }
    question = f"ask('PATCH', PODS + '/{names[pod]}?dryRun=All', {change!r})"
    status, said = answered(spark, attacker, "", question)
    assert status in ({403, 422} if words else {200}), said
    assert words in said


@pytest.fixture(scope="module")
def bobs_pod(spark: PodsGateway) -> Iterator[str]:
    """A pod in the same namespace that is no executor of the attacker's."""
    spark.cluster.run_pod(spark.namespace, "bobs-other", "sleep", "600")
    yield "bobs-other"
    spark.cluster.delete("pod", "bobs-other", spark.namespace)


# Ends


def test_a_deleted_session_leaves_nothing(spark):
    number = spark.new_session()
    spark.until_idle(number)
    assert spark.objects("secrets", number)
    spark.delete(number)
    until(lambda: not spark.objects("pods", number) and not spark.objects("secrets", number), PATIENCE, pause=0.5)


def test_a_driver_pod_that_is_killed_is_a_dead_session_with_reason_and_log(spark):
    number = spark.new_session()
    spark.until_idle(number)
    spark.run(number, "import sys; sys.__stderr__.write('its last words\\n'); sys.__stderr__.flush()")
    until(lambda: "its last words" in spark.driver_log(number), PATIENCE, pause=0.3)
    name = spark.driver_pod(number)["metadata"]["name"]
    spark.cluster.kubectl("delete", "pod", name, "-n", spark.namespace, "--grace-period=0", "--force")
    dead = spark.until_dead(number)
    assert f"The driver's pod {name} was deleted" in dead["stateReason"]
    assert "its last words" in spark.driver_log(number)
    # Its executors end with it.
    until(lambda: not spark.objects("pods", number), PATIENCE, pause=0.5)


def test_a_driver_that_takes_too_much_memory_is_told_so(spark):
    number = spark.new_session()
    spark.until_idle(number)
    output = spark.run(number, "much = [bytearray(b'x') * (256 * 1024 * 1024) for _ in range(16)]")
    assert output["status"] == "error"
    dead = spark.until_dead(number)
    assert "The driver ran out of memory: it took more than its pod may have (896Mi)" in dead["stateReason"]
    until(lambda: not spark.objects("pods", number), PATIENCE, pause=0.5)


def test_an_executor_that_takes_too_much_memory_is_told_in_the_log(spark):
    number = spark.new_session(conf={})
    spark.until_idle(number)
    # With cgroups of version 2 the kernel ends all of a container. With version 1 it ends one process, the largest:
    # here that shall be the executor itself, and not a Python that Spark would start again.
    code = """
def take_too_much(_):
    import os, time
    with open("/proc/1/oom_score_adj", "w") as wish:
        wish.write("1000")
    for _ in range(16):
        if os.fork() == 0:
            much = bytearray(b"x") * (64 << 20)
            time.sleep(120)
            os._exit(0)
    time.sleep(120)
sc.parallelize([0], 1).map(take_too_much).first()
"""
    assert spark.run(number, code)["status"] == "error"
    words = "ran out of memory: it took more than its pod may have (896Mi)"
    until(lambda: [line for line in spark.driver_log(number) if "EXECUTOR" in line and words in line], PATIENCE)
    assert spark.text(number, "sc.parallelize(range(10), 2).sum()") == "45"
    spark.delete(number)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("nowhere", "Waiting for a node that can take the driver: 0/1 nodes are available"),
        ("absent", "The driver's image sparkyard/absent:1 cannot be pulled"),
    ],
)
def test_a_driver_that_does_not_start_says_what_it_waits_for(spark, profile, words):
    number = spark.new_session(profile)
    until(lambda: words in (spark.session(number).get("phase") or ""), PATIENCE, pause=0.3)
    spark.delete(number)
    until(lambda: not spark.objects("pods", number), PATIENCE, pause=0.5)


def test_a_namespace_without_room_says_so(spark):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": spark.namespace},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    spark.cluster.apply(quota)
    try:
        number = spark.new_session()
        dead = spark.until_dead(number)
        assert f"namespace {spark.namespace} has no room in its quota" in dead["stateReason"]
    finally:
        spark.cluster.delete("resourcequota", "full", spark.namespace)


def test_executors_come_and_go(spark):
    number = spark.new_session("dynamic")
    spark.until_idle(number)
    assert spark.pods(number, "executor") == []
    assert spark.text(number, "sc.parallelize(range(100), 2).sum()") == "4950"
    assert spark.pods(number, "executor")
    until(lambda: not spark.pods(number, "executor"), PATIENCE, pause=0.5)
    assert spark.text(number, "sc.parallelize(range(100), 2).sum()") == "4950"
    spark.delete(number)


@pytest.mark.parametrize("what", ["get secrets", "get secrets/{pod}", "delete configmap/kube-root-ca.crt", "get nodes"])
def test_the_gateway_itself_reads_no_secret(spark, session, what):
    command = what.format(pod=spark.driver_pod(session)["metadata"]["name"]).split()
    with pytest.raises(RefusedError, match=r"(?i)forbidden"):
        spark.as_gateway(*command, "-n", spark.namespace)
