"""A batch on driver and executor pods of a real Kubernetes, by a gateway that has the chart's rights there.

jobs      where the batches' files come from, and who hears that they ran
spark     the gateway, its namespace, and Ann who uses it
batches   Ann's batches by their file's name, all asked for at once, as most of their time is Spark's start
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support import job_server
from support.cluster.using import Cluster, RefusedError
from support.job_server import PRELUDE, JobServer
from support.running_gateway import ROOT
from support.spark_pods import ANN, BOB, PATIENCE_SECONDS, PodsGateway, decoded, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

HOSTILE = """
import json, os, ssl, urllib.error, urllib.request
FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN = open(f"{FOLDER}/token").read()
NAMESPACE = open(f"{FOLDER}/namespace").read()
TRUST = ssl.create_default_context(cafile=f"{FOLDER}/ca.crt")
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
def try_it(what, method, path, body=None, kind="application/json"):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"https://kubernetes.default.svc{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, context=TRUST, timeout=30) as answer:
            status, said = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, said = error.code, json.load(error)["message"]
    print("TRIED", json.dumps([what, status, str(said)[:600]]), flush=True)
    return said
def changed(change):
    pod = json.loads(TEMPLATE)
    change(pod)
    return pod
ME = try_it("itself", "GET", f"{PODS}/{os.environ['HOSTNAME']}")
template = json.load(open("/run/sparkyard/executor.json"))
template["metadata"]["name"] = ME["metadata"]["name"] + "-exec-77"
owner = {"name": ME["metadata"]["name"], "uid": ME["metadata"]["uid"]}
template["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", **owner, "controller": True}]
template["spec"]["containers"][0]["image"] = "sparkyard/spark:3.5-pandas-2.1"
TEMPLATE = json.dumps(template)
DRY = f"{PODS}?dryRun=All"
SESSION = {"sparkyard/session": "1", "sparkyard/epoch": "1"}
ATTEMPT = template["metadata"]["labels"]["sparkyard/attempt"]
try_it("an executor", "POST", DRY, template)
try_it("privileged", "POST", DRY, changed(
    lambda pod: pod["spec"]["containers"][0]["securityContext"].update(privileged=True)))
try_it("a session's", "POST", DRY, changed(lambda pod: pod["metadata"]["labels"].update(SESSION)))
try_it("another's", "POST", DRY, changed(
    lambda pod: pod["metadata"]["labels"].update({"sparkyard/attempt": ATTEMPT + "0"})))
try_it("as a session", "POST", DRY, changed(lambda pod: pod["metadata"]["labels"].update(
    {"sparkyard/attempt": None, "sparkyard/session": "attempt", "sparkyard/epoch": ATTEMPT})))
try_it("another driver", "POST", DRY, changed(
    lambda pod: pod["metadata"]["labels"].update({"sparkyard/role": "driver"})))
try_it("its own gate", "PATCH", f"{PODS}/{ME['metadata']['name']}", {"metadata": {"labels": {"a": "b"}}},
    "application/merge-patch+json")
try_it("secrets", "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")
"""
FILES = {
    "good.py": PRELUDE + (
        "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
        "import socket\nhosts = spark.sparkContext.parallelize(range(4), 2).map(lambda _: socket.gethostname())\n"
        "print('ran on', sorted(set(hosts.collect())))\n"
        "print('count', spark.range(1000).repartition(2).count(), *sys.argv[2:])\n"
        "wait_for('good')\nspark.stop()\n"
    ),
    "failing.py": PRELUDE + "say('failing')\nprint('begins')\n{}['absent']\n",
    "hungry.py": "much = [bytearray(b'x') * (256 << 20) for _ in range(16)]\n",
    "long.py": PRELUDE + "print('it runs', flush=True)\nsay('long')\ntime.sleep(3600)\n",
    "never.py": PRELUDE + "say('never')\n",
    "once.py": PRELUDE + "say('once')\nprint('it ran')\n",
    "through.py": PRELUDE + "print('before', flush=True)\nsay('through')\nwait_for('through')\nprint('after')\n",
    "unseen.py": PRELUDE + "say('unseen')\nwait_for('unseen')\nprint('nobody looks')\nsys.exit(5)\n",
    "hostile.py": HOSTILE,
}  # fmt: skip


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[JobServer]:
    with job_server.running(cluster.host, FILES) as found:
        yield found


@pytest.fixture(scope="module")
def spark(cluster: Cluster, jobs: JobServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(
        cluster, folder, ("spark-3.5", "spark-3.5-pandas-2.1"), (f"{jobs.url}/jobs/", "local:///opt/spark/", "home://")
    ) as gateway:
        yield gateway


def submit(spark: PodsGateway, jobs: JobServer, file: str, *args: str, profile: str = "small", **more: Any) -> int:
    """Ask for a batch in Ann's name."""
    body = {"file": f"{jobs.url}/jobs/{file}", "args": [jobs.url, *args], "profile": profile, **more}
    made: int = spark.ask("POST", "/batches", **body)["id"]
    return made


def batch(spark: PodsGateway, number: int) -> dict[str, Any]:
    found: dict[str, Any] = spark.ask("GET", f"/batches/{number}")
    return found


def until_ended(spark: PodsGateway, number: int) -> dict[str, Any]:
    def looked_at() -> dict[str, Any] | None:
        found = batch(spark, number)
        return found if found["ended"] is not None else None

    return until(looked_at, PATIENCE_SECONDS, pause=0.3)


def log(spark: PodsGateway, number: int) -> list[str]:
    lines: list[str] = spark.ask("GET", f"/batches/{number}/log?from=0&size=-1")["log"]
    return lines


def attempt_of(spark: PodsGateway, number: int) -> int:
    """Which attempt is a batch's last, as the database says."""
    with sqlite3.connect(spark.state) as connection:
        query = "SELECT max(id) FROM attempts WHERE batch_id = ?"
        return int(connection.execute(query, (number,)).fetchone()[0])


def handle_of(spark: PodsGateway, number: int) -> dict[str, Any]:
    with sqlite3.connect(spark.state) as connection:
        query = "SELECT handle FROM attempts WHERE id = ?"
        found: dict[str, Any] = json.loads(
            connection.execute(query, (attempt_of(spark, number),)).fetchone()[0] or "{}"
        )
        return found


def objects(spark: PodsGateway, kind: str, number: int, role: str | None = None) -> list[dict[str, Any]]:
    """A batch's pods or Secrets."""
    labels = {"sparkyard/attempt": str(attempt_of(spark, number))} | ({"sparkyard/role": role} if role else {})
    found: list[dict[str, Any]] = spark.cluster.get(kind, namespace=spark.namespace, **labels)["items"]
    return found


def until_nothing_is_left(spark: PodsGateway, number: int) -> None:
    until(lambda: not objects(spark, "pods", number) and not objects(spark, "secrets", number), PATIENCE_SECONDS, 0.5)


@pytest.fixture(scope="module")
def batches(spark: PodsGateway, jobs: JobServer) -> dict[str, int]:
    made = {
        "good": submit(spark, jobs, "good.py", "20", "b c", name="good"),
        "failing": submit(spark, jobs, "failing.py", name="failing"),
        "hungry": submit(spark, jobs, "hungry.py"),
        "hostile": submit(spark, jobs, "hostile.py"),
        "absent": submit(spark, jobs, "never.py", profile="absent"),
        "nowhere": submit(spark, jobs, "never.py", profile="nowhere"),
    }
    made["local"] = spark.ask("POST", "/batches", file="local:///opt/spark/absent.py", profile="small")["id"]
    return made


# What ends by itself


def test_a_batch_runs_on_pods_and_says_what_it_is(spark, jobs, batches):
    number = batches["good"]
    until(lambda: batch(spark, number)["appId"], PATIENCE_SECONDS, pause=0.3)
    running = batch(spark, number)
    assert running["state"] == "running"
    assert running["appId"].startswith("spark-")
    (driver,) = objects(spark, "pods", number, "driver")
    cost = {"sparkyard/user": "ann", "sparkyard/team": "crew", "sparkyard/profile": "small"}
    assert cost.items() <= driver["metadata"]["labels"].items()
    until(lambda: any("count 1000 20 b c" in line for line in log(spark, number)), PATIENCE_SECONDS, pause=0.3)
    (executor,) = objects(spark, "pods", number, "executor")
    assert [owner["uid"] for owner in executor["metadata"]["ownerReferences"]] == [driver["metadata"]["uid"]]
    assert f"ran on ['{executor['metadata']['name']}']" in log(spark, number)
    # What pods know each other by is nowhere that others could read it.
    shared = spark.cluster.get("secret", f"{driver['metadata']['name']}-executors", spark.namespace)
    assert decoded(shared, "secret") not in str(objects(spark, "pods", number))
    jobs.go.add("good")
    ended = until_ended(spark, number)
    assert (ended["state"], ended["exitCode"], ended["stateReason"]) == ("success", 0, None)
    until_nothing_is_left(spark, number)
    assert "count 1000 20 b c" in log(spark, number)
    # Its executor and what happened to its pods are known after its end too.
    (known,) = spark.ask("GET", f"/batches/{number}/executors")["executors"]
    assert (known["uid"], known["state"]) == (executor["metadata"]["uid"], "ended")
    until(lambda: spark.ask("GET", f"/batches/{number}/executors")["executors"][0]["log"] == "whole", PATIENCE_SECONDS)
    lines = spark.ask("GET", f"/batches/{number}/executors/1/log?from=0&size=-1")["log"]
    assert "Executor: Finished task" in " ".join(lines)
    told = spark.ask("GET", f"/batches/{number}/pod-events")["events"]
    assert {("driver", "Started"), ("executor 1", "Started")} <= {(each["who"], each["reason"]) for each in told}


def test_one_that_fails_says_why(spark, jobs, batches):
    ended = until_ended(spark, batches["failing"])
    assert (ended["state"], ended["exitCode"]) == ("dead", 1)
    assert ended["stateReason"] == "The batch ended with exit code 1. KeyError: 'absent'"
    assert {"begins", "KeyError: 'absent'"} <= set(log(spark, batches["failing"]))
    assert jobs.said.count("failing") == 1
    until_nothing_is_left(spark, batches["failing"])


def test_one_that_takes_too_much_memory_is_told_so(spark, batches):
    ended = until_ended(spark, batches["hungry"])
    assert ended["state"] == "dead"
    assert "ran out of memory: it took more than its pod may have (896Mi)" in ended["stateReason"]


def test_a_file_of_the_image(spark, batches):
    ended = until_ended(spark, batches["local"])
    assert ended["state"] == "dead"
    assert "/opt/spark/absent.py" in ended["stateReason"]


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("nowhere", "Waiting for a node that can take the driver: 0/1 nodes are available"),
        ("absent", "The driver's image sparkyard/absent:1 cannot be pulled"),
    ],
)
def test_one_that_does_not_start_says_what_it_waits_for(spark, jobs, batches, which, words):
    number = batches[which]
    until(lambda: words in (batch(spark, number)["phase"] or ""), PATIENCE_SECONDS, pause=0.3)
    assert batch(spark, number)["state"] == "starting"
    spark.ask("DELETE", f"/batches/{number}")
    until_nothing_is_left(spark, number)
    assert "never" not in jobs.said


def test_what_a_hostile_batch_tries(spark, batches):
    ended = until_ended(spark, batches["hostile"])
    lines = [line for line in log(spark, batches["hostile"]) if line.startswith("TRIED ")]
    tried = {what: (status, said) for what, status, said in (json.loads(line.removeprefix("TRIED ")) for line in lines)}
    assert ended["state"] == "success", log(spark, batches["hostile"])[-20:]
    assert tried["itself"][0] == 200
    assert tried["an executor"][0] == 201, tried
    for what, words in {
        "privileged": "rivileged",
        "a session's": "must bear its labels",
        "another's": "must bear its labels",
        "as a session": "must bear its labels",
        "another driver": "must bear its labels",
        "its own gate": "marks its own executors alone",
        "secrets": "cannot list resource",
    }.items():
        status, said = tried[what]
        assert status in {403, 422}, (what, said)
        assert words in said, (what, said)


# Who may what


def test_a_home_folder_is_refused_with_a_sentence(spark):
    answer = httpx.post(f"{spark.url}/batches", json={"file": "home://jobs/etl.py"}, headers=ANN, timeout=60)
    assert answer.status_code == 400
    assert "lies in a home folder" in answer.json()["msg"]


# What waits in vain


def test_one_that_waits_too_long_ends_with_what_it_waited_for(spark, jobs):
    """As long as a session may take to start, also where another gateway has it by then."""
    nowhere, absent = (submit(spark, jobs, "never.py", profile=profile) for profile in ("nowhere", "absent"))
    words = {nowhere: "0/1 nodes are available", absent: "The driver's image sparkyard/absent:1 cannot be pulled"}
    for number, said in words.items():
        until(lambda n=number, s=said: s in (batch(spark, n)["phase"] or ""), PATIENCE_SECONDS, pause=0.3)
        until(lambda n=number, s=said: s in " ".join(log(spark, n)), PATIENCE_SECONDS, pause=0.3)
    spark.kill()
    options = spark._options
    spark._options += ("--start-timeout-seconds", "3")
    spark.start()
    for number, said in words.items():
        ended = until_ended(spark, number)
        assert ended["state"] == "error"
        assert ended["stateReason"].startswith("The batch did not start within 3 s. ")
        assert said in ended["stateReason"]
        until_nothing_is_left(spark, number)
        told = spark.ask("GET", f"/batches/{number}/pod-events")["events"]
        assert [each for each in told if each["who"] == "driver" and each["type"] == "Warning"]
    assert "never" not in jobs.said
    spark.kill()
    spark._options = options
    spark.start()


# Deleted while it runs, and seen by its owner alone


@pytest.fixture(scope="module")
def waiting(spark: PodsGateway, jobs: JobServer) -> Iterator[int]:
    """One that no node can take."""
    number = submit(spark, jobs, "never.py", profile="nowhere")
    until(lambda: objects(spark, "pods", number, "driver"), PATIENCE_SECONDS, pause=0.3)
    yield number
    spark.ask("DELETE", f"/batches/{number}")


def test_one_that_is_deleted_while_it_runs(spark, jobs):
    number = submit(spark, jobs, "long.py")
    until(lambda: "long" in jobs.said, PATIENCE_SECONDS, pause=0.3)
    for path in ("executors", "pod-events", "executors/1/log", "executors/1/log/text", "executors/1/log/events"):
        answer = httpx.get(f"{spark.url}/batches/{number}/{path}", headers=BOB, timeout=60)
        assert (answer.status_code, answer.json()["msg"]) == (404, f"Session '{number}' not found.")
    for method, path in (("GET", ""), ("GET", "/state"), ("GET", "/log"), ("DELETE", "")):
        mine, absent = (
            httpx.request(method, f"{spark.url}/batches/{each}{path}", headers=BOB, timeout=60)
            for each in (number, 999_999)
        )
        assert mine.status_code == absent.status_code == 404
        assert mine.text == absent.text.replace("999999", str(number))
    spark.ask("DELETE", f"/batches/{number}")
    assert httpx.get(f"{spark.url}/batches/{number}", headers=ANN, timeout=60).status_code == 404
    until_nothing_is_left(spark, number)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"sparkyard/attempt": "1"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"ownerReferences": []}, "spec": {"containers": [{"name": "driver", "image": "evil:1"}]}},
    ],
)
def test_the_gateway_itself_changes_nothing_else_about_a_pod(spark, waiting, change):
    name = objects(spark, "pods", waiting, "driver")[0]["metadata"]["name"]
    with pytest.raises(RefusedError, match="changes nothing else about a pod"):
        spark.as_gateway("patch", "pod", name, "-n", spark.namespace, "-p", json.dumps(change))


# kill -9


def test_a_gateway_killed_before_the_gate_was_removed_runs_it_once(spark, jobs):
    spark.kill()
    spark.module, spark.extra_environment = "support.gateway_at_the_gate", {"PYTHONPATH": str(ROOT / "tests")}
    spark.start()
    number = submit(spark, jobs, "once.py")
    handle = until(lambda: handle_of(spark, number), PATIENCE_SECONDS, pause=0.3)
    (pod,) = objects(spark, "pods", number)
    assert pod["metadata"]["uid"] == handle["uid"]
    assert pod["spec"]["schedulingGates"] == [{"name": "sparkyard/begin"}]
    spark.kill()
    spark.module = "sparkyard_gateway.command"
    spark.start()
    ended = until_ended(spark, number)
    assert (ended["state"], "it ran" in log(spark, number)) == ("success", True)
    assert jobs.said.count("once") == 1
    assert handle_of(spark, number)["uid"] != handle["uid"]
    until_nothing_is_left(spark, number)


def test_a_gateway_killed_while_batches_run_finds_them_and_the_ends_of_those_that_ended(spark, jobs):
    through, unseen = submit(spark, jobs, "through.py"), submit(spark, jobs, "unseen.py")
    until(lambda: {"through", "unseen"} <= set(jobs.said), PATIENCE_SECONDS, pause=0.3)
    before = handle_of(spark, through)
    spark.kill()
    jobs.go.add("unseen")
    name = handle_of(spark, unseen)["pod"]
    until(
        lambda: spark.cluster.get("pod", name, spark.namespace)["status"]["phase"] == "Failed",
        PATIENCE_SECONDS,
        pause=0.5,
    )
    spark.start()
    ended = until_ended(spark, unseen)
    assert (ended["state"], ended["exitCode"]) == ("dead", 5)
    assert "nobody looks" in log(spark, unseen)
    assert batch(spark, through)["state"] == "running"
    jobs.go.add("through")
    assert until_ended(spark, through)["state"] == "success"
    lines = log(spark, through)
    assert lines.index("before") < lines.index("after")
    assert handle_of(spark, through) == before
    assert (jobs.said.count("through"), jobs.said.count("unseen")) == (1, 1)
    for number in (through, unseen):
        until_nothing_is_left(spark, number)


def test_nothing_of_any_batch_is_left(spark, batches):
    for number in batches.values():
        until_nothing_is_left(spark, number)
    names = [each["metadata"]["name"] for each in spark.objects("configmaps")]
    programs = [name for name in names if name != "kube-root-ca.crt"]
    # The driver program is the same for all, and stays for the next.
    assert [name.startswith("sparkyard-driver-") for name in programs] == [True]
