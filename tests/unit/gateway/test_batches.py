"""A batch's life, told by what a client sees of it. The batches are plain Python, run as spark-submit would be."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from .conftest import client
from .test_sessions import alive, until

LIVY_FIELDS = ["id", "name", "owner", "proxyUser", "state", "appId", "appInfo", "log"]
PLACES = "addresses under home://, s3a://bucket/alice/"
SCRIPTS = {
    "prints.py": "import sys\nprint('hello from', *sys.argv[1:])\n",
    "fails.py": "def f():\n    return {}['absent']\n\nprint('begins')\nf()\n",
    "exits.py": "import sys\nprint('half way')\nsys.exit(7)\n",
    "waits.py": (
        "import os, sys, time\nprint('pid', os.getpid())\nuntil = time.time() + float(sys.argv[1])\n"
        "while time.time() < until: time.sleep(0.02)\n"
    ),
    "dies.py": "import os\nos.kill(os.getpid(), 9)\n",
    "environment.py": (
        "import json, os\nfrom pathlib import Path\n"
        "print(json.dumps({'environment': dict(os.environ), 'folder': os.getcwd(), 'fds': os.listdir('/proc/self/fd'),"
        " 'arguments': Path(f'/proc/{os.getppid()}/cmdline').read_text()}))\n"
    ),
    "escapes.py": (
        "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.chdir('/')\n        print('escaped', os.getpid(), flush=True)\n        time.sleep(600)\n"
        "    os._exit(0)\nos.wait()\ntime.sleep(float(sys.argv[1]))\n"
    ),
    "deaf.py": (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('pid', os.getpid())\n"
        "time.sleep(600)\n"
    ),
}


def write_scripts(folder: Path, *people: str) -> Path:
    """Homes with everybody's copy of the scripts."""
    for name in people:
        (folder / name / "jobs").mkdir(parents=True)
        for script, text in SCRIPTS.items():
            (folder / name / "jobs" / script).write_text(text)
    return folder


@pytest.fixture(scope="module")
def gateway(start_gateway, tmp_path_factory):
    homes = write_scripts(tmp_path_factory.mktemp("homes"), "alice", "bob")
    return start_gateway("--homes-dir", str(homes), "--stop-grace-seconds", "0.5")


def submit(client: httpx.Client, script: str, *args: str, headers: dict[str, str] | None = None, **more: object) -> int:
    wish = {"file": f"home://jobs/{script}", "args": list(args), **more}
    answer = client.post("/batches", json=wish, headers=headers)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def ended(client: httpx.Client, number: int) -> dict:
    for state in ("starting", "running"):
        answer = client.get(f"/batches/{number}?wait=60&state={state}").json()
    assert answer["ended"] is not None, answer
    return answer


def said(client: httpx.Client, number: int, word: str) -> str:
    """What the batch has printed after a word, as soon as it has."""

    def found() -> str | None:
        lines = client.get(f"/batches/{number}/log?size=-1").json()["log"]
        return next((line.removeprefix(word).strip() for line in lines if line.startswith(word)), None)

    return until(found, 30)


def test_a_batch_runs_and_succeeds_with_its_log(as_alice):
    made = as_alice.post("/batches", json={"file": "home://jobs/prints.py", "args": ["a", "b c"], "name": "first"})
    assert made.status_code == 201
    batch = made.json()
    assert made.headers["Location"] == f"/batches/{batch['id']}"
    assert list(batch)[:8] == LIVY_FIELDS
    assert batch["appInfo"] == {"driverLogUrl": None, "sparkUiUrl": None, "executorLogUrls": None}
    assert (batch["owner"], batch["proxyUser"], batch["name"]) == ("alice", "alice", "first")
    assert batch["state"] in {"starting", "running"}
    done = ended(as_alice, batch["id"])
    assert (done["state"], done["exitCode"], done["stateReason"], done["phase"]) == ("success", 0, None, None)
    assert done["created"] <= done["started"] <= done["ended"]
    assert done["log"][-1] == "hello from a b c"
    log = as_alice.get("/batches/first/log?from=0&size=2").json()
    assert (log["id"], log["from"], log["total"]) == (batch["id"], 0, 4)
    assert log["log"] == ["stdout: ", "\nstderr: "]
    assert as_alice.get(f"/batches/{batch['id']}/state").json() == {"id": batch["id"], "state": "success"}
    # The name is free again.
    assert ended(as_alice, submit(as_alice, "prints.py", name="first"))["state"] == "success"


@pytest.mark.parametrize(
    ("script", "state", "code", "reason"),
    [
        ("fails.py", "dead", 1, "The batch ended with exit code 1. KeyError: 'absent'"),
        ("exits.py", "dead", 7, "The batch ended with exit code 7. Its last line: half way"),
        ("dies.py", "killed", -9, "The batch was killed (SIGKILL): most often because the machine ran out of memory."),
        ("absent.py", "dead", 2, "can't open file"),
    ],
)
def test_a_batch_that_fails_says_why(as_alice, script, state, code, reason):
    done = ended(as_alice, submit(as_alice, script))
    assert (done["state"], done["exitCode"]) == (state, code)
    assert reason in done["stateReason"]


def test_the_list_is_paged_and_deleting_takes_out_of_it(as_bob):
    numbers = [submit(as_bob, "prints.py") for _ in range(3)]
    listed = as_bob.get("/batches").json()
    assert (listed["from"], listed["total"]) == (0, 3)
    assert [each["id"] for each in listed["sessions"]] == numbers
    page = as_bob.get("/batches?from=1&size=1").json()
    assert (page["from"], page["total"], [each["id"] for each in page["sessions"]]) == (1, 3, numbers[1:2])
    for number in numbers:
        ended(as_bob, number)
        assert as_bob.delete(f"/batches/{number}").json() == {"msg": "deleted"}
        assert as_bob.get(f"/batches/{number}").status_code == 404
        assert as_bob.delete(f"/batches/{number}").json() == {"msg": f"Session '{number}' not found."}
    assert as_bob.get("/batches/").json() == {"from": 0, "total": 0, "sessions": []}


@pytest.mark.parametrize(("script", "word"), [("waits.py", "pid"), ("escapes.py", "escaped"), ("deaf.py", "pid")])
def test_deleting_a_running_batch_ends_all_its_processes(as_alice, script, word):
    number = submit(as_alice, script, "600", name="doomed")
    pid = int(said(as_alice, number, word))
    assert alive(pid)
    assert as_alice.delete(f"/batches/{number}").json() == {"msg": "deleted"}
    assert as_alice.get(f"/batches/{number}/state").status_code == 404
    until(lambda: not alive(pid), 30)
    assert ended(as_alice, submit(as_alice, "prints.py", name="doomed"))["state"] == "success"


def test_what_a_batch_leaves_running_ends_with_it(as_alice):
    number = submit(as_alice, "escapes.py", "0.2")
    pid = int(said(as_alice, number, "escaped"))
    assert ended(as_alice, number)["state"] == "success"
    assert not alive(pid)


def test_a_batch_sees_nothing_of_the_gateways(as_alice, gateway):
    number = submit(as_alice, "environment.py", name="bare")
    ended(as_alice, number)
    (line,) = (each for each in as_alice.get(f"/batches/{number}/log").json()["log"] if each.startswith("{"))
    told = json.loads(line)
    assert set(told["environment"]) <= {
        "PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "SPARK_USER", "HADOOP_USER_NAME", "PYSPARK_PYTHON",
        "PYSPARK_DRIVER_PYTHON", "SPARK_LOCAL_DIRS", "SPARK_LOCAL_IP", "JAVA_HOME", "LC_CTYPE",
    }  # fmt: skip
    assert told["environment"]["SPARK_USER"] == "alice"
    assert told["folder"].startswith(str(gateway._folder / "state" / "batches"))
    # Its own, standard ones and the one it lists them by: not the pipe to the supervisor nor anything else.
    assert len(told["fds"]) <= 4
    assert "home://" not in told["arguments"]
    until(lambda: not Path(told["folder"]).exists())


def test_a_name_is_unique_among_the_running_ones_of_its_owner(as_alice, as_bob):
    number = submit(as_alice, "waits.py", "600", name="nightly")
    again = as_alice.post("/batches", json={"file": "home://jobs/prints.py", "name": "nightly"})
    assert (again.status_code, again.json()) == (400, {"msg": "Rejected, Reason: Duplicate session name: nightly"})
    other = submit(as_bob, "prints.py", name="nightly")
    assert as_bob.get("/batches/nightly").json()["id"] == other
    # A session may have the name of a batch: they are told apart by their path.
    session = as_alice.post("/sessions", json={"kind": "pyspark", "name": "nightly"}).json()["id"]
    assert as_alice.get("/batches/nightly").json()["id"] == number
    as_alice.delete(f"/sessions/{session}")
    as_alice.delete(f"/batches/{number}")


def test_the_same_idempotency_key_answers_with_the_same_batch(as_alice, as_bob):
    key = {"Idempotency-Key": "nightly-2026-11-25"}
    first = submit(as_alice, "prints.py", headers=key)
    assert submit(as_alice, "prints.py", headers=key) == first
    assert submit(as_bob, "prints.py", headers=key) != first
    assert [line for line in ended(as_alice, first)["log"] if line.startswith("hello")] == ["hello from"]
    as_alice.delete(f"/batches/{first}")
    gone = as_alice.post("/batches", json={"file": "home://jobs/prints.py"}, headers=key)
    assert gone.status_code == 400
    assert f"batch {first} that was created with this Idempotency-Key is gone" in gone.json()["msg"]


@pytest.mark.parametrize(
    ("wish", "key", "allowed"),
    [
        ({"file": "file:///etc/passwd"}, "file", PLACES),
        ({"file": "home://../bob/jobs/prints.py"}, "file", PLACES),
        ({"file": "home:/etc/passwd"}, "file", PLACES),
        ({"file": "home:///etc/passwd"}, "file", PLACES),
        ({"file": "s3a://bucket/bob/x.py"}, "file", PLACES),
        ({"file": "--conf"}, "file", PLACES),
        ({"file": "home://x.py", "jars": ["/x.jar"]}, "jars", PLACES),
        ({"file": "home://x.py", "conf": {"spark.master": "local"}}, "spark.master", None),
        ({"file": "home://x.py", "conf": {"spark.submit.deployMode": "cluster"}}, "spark.submit.deployMode", None),
        ({"file": "home://x.py", "driverMemory": "64g"}, "driverMemory", "512m to 1g"),
        ({"file": "home://x.py", "numExecutors": 9}, "numExecutors", None),
        ({"file": "home://x.py", "proxyUser": "bob"}, "proxyUser", "alice"),
        ({"file": "home://x.py", "queue": "fast"}, "queue", "default"),
        ({"file": "home://x.py", "profile": "huge"}, "profile", "small"),
    ],
)
def test_what_the_catalog_does_not_grant_is_refused_and_leaves_nothing(as_alice, wish, key, allowed):
    before = as_alice.get("/batches").json()["total"]
    refused = as_alice.post("/batches", json={"name": "ghost", **wish})
    assert refused.status_code == 400, refused.text
    assert refused.json()["key"] == key
    assert allowed is None or refused.json()["allowed"] == allowed
    assert as_alice.get("/batches").json()["total"] == before
    assert as_alice.get("/batches/ghost").status_code == 404


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({}, "requirement failed: File is required."),
        ({"file": ""}, "requirement failed: File is required."),
        ({"file": "home://x.jar", "className": "--master"}, "className '--master' is not the name of a class"),
        ({"file": "home://x.py", "args": ["a\0b"]}, "args hold a NUL character"),
        ({"file": "home://x.py", "name": "42"}, "Invalid session name: 42"),
        ({"file": "home://x.py", "name": "<script>"}, "Invalid session name: <script>"),
    ],
)
def test_what_no_profile_could_grant_is_rejected(as_alice, wish, message):
    refused = as_alice.post("/batches", json=wish)
    assert refused.status_code == 400
    assert refused.json()["msg"].startswith(f"Rejected, Reason: {message}")


def test_validate_says_whether_it_would_be_granted_and_starts_nothing(as_alice):
    before = as_alice.get("/batches").json()["total"]
    granted = as_alice.post("/batches?validate=true", json={"file": "home://jobs/prints.py"})
    assert (granted.status_code, granted.json()) == (200, {"msg": "would be granted"})
    assert as_alice.post("/batches?validate=true", json={"file": "file:///x"}).status_code == 400
    assert as_alice.get("/batches").json()["total"] == before


def test_a_batch_killed_from_outside_is_told_at_once(as_alice):
    number = submit(as_alice, "waits.py", "600")
    os.kill(int(said(as_alice, number, "pid")), signal.SIGTERM)
    done = ended(as_alice, number)
    assert (done["state"], done["exitCode"]) == ("killed", -15)
    assert done["stateReason"] == "The batch was ended by SIGTERM."


def test_a_supervisor_killed_from_outside_takes_the_batch_with_it_and_says_what_is_known(as_alice):
    number = submit(as_alice, "waits.py", "600")
    pid = int(said(as_alice, number, "pid"))
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    done = ended(as_alice, number)
    assert (done["state"], done["exitCode"]) == ("error", None)
    assert "nobody saw how" in done["stateReason"]
    until(lambda: not alive(pid))


def test_batches_wait_their_turn_are_bounded_in_number_and_hidden_after_a_time(start_gateway, tmp_path_factory):
    homes = write_scripts(tmp_path_factory.mktemp("homes"), "alice")
    gateway = start_gateway(
        "--homes-dir", str(homes), "--concurrent-starts", "1", "--max-batches", "3", "--max-batches-per-user", "2",
        "--batch-retention-seconds", "0.5",
    )  # fmt: skip
    with client(gateway, "token-of-alice") as alice, client(gateway, "token-of-bob") as bob:
        session = alice.post("/sessions", json={"kind": "pyspark", "name": "never-ready"}).json()["id"]
        numbers = [submit(alice, "prints.py") for _ in range(2)]
        phases = [until(lambda n=n: alice.get(f"/batches/{n}").json()["phase"]) for n in numbers]
        assert phases == ["Waiting behind 1 other starts.", "Waiting behind 2 other starts."]
        mine = alice.post("/batches", json={"file": "home://jobs/prints.py"})
        assert (mine.status_code, "you may run at most 2" in mine.json()["msg"]) == (400, True)
        submit(bob, "prints.py")
        everybodys = bob.post("/batches", json={"file": "home://jobs/prints.py"})
        assert (everybodys.status_code, "runs at most 3" in everybodys.json()["msg"]) == (400, True)
        # One that waits can be deleted.
        alice.delete(f"/batches/{numbers[0]}")
        alice.delete(f"/sessions/{session}")
        until(lambda: alice.get(f"/batches/{numbers[1]}").status_code == 404, 60)
        metrics = httpx.get(f"{gateway.url}/metrics").text
        assert 'sparkyard_gateway_batches_ended_total{profile="small",state="success"}' in metrics
        assert 'sparkyard_gateway_batches_ended_total{profile="small",state="killed"} 1.0' in metrics
        assert (gateway._folder / "state" / "batches" / str(numbers[1]) / "driver.log").is_file()


def test_at_an_upstream_livy_nothing_comes_from_a_home_that_it_does_not_reach(start_gateway, tmp_path_factory):
    homes = write_scripts(tmp_path_factory.mktemp("homes"), "alice")
    elsewhere = ("--homes-dir", str(homes), "--backend", "livy", "--livy-url", "http://127.0.0.1:1")
    with client(start_gateway(*elsewhere), "token-of-alice") as alice:
        for question in ("", "?validate=true"):
            refused = alice.post(f"/batches{question}", json={"file": "home://jobs/prints.py"})
            assert (refused.status_code, refused.json()["key"]) == (400, "file")
            assert "which the cluster behind the upstream Livy does not reach" in refused.json()["msg"]
        refused = alice.post("/sessions", json={"kind": "pyspark", "pyFiles": ["home://jobs/prints.py"]})
        assert (refused.status_code, refused.json()["key"]) == (400, "pyFiles")
        assert alice.get("/batches").json()["total"] == alice.get("/sessions").json()["total"] == 0
    named = start_gateway(*elsewhere, "--livy-homes", "hdfs:///user/{user}", "--livy-driver-file", "s3a://b/d.py")
    with client(named, "token-of-alice") as alice, client(named, "token-of-etl") as etl:
        assert alice.post("/batches?validate=true", json={"file": "home://jobs/prints.py"}).status_code == 200
        refused = etl.post("/batches?validate=true", json={"file": "home://jobs/prints.py"})
        assert refused.status_code == 400
        assert "a user of this name has none where the upstream Livy runs batches" in refused.json()["msg"]
        # It waits for the upstream, and is ended while that one is away.
        number = submit(alice, "prints.py")
        until(lambda: "does not answer" in str(alice.get(f"/batches/{number}").json()["phase"]))
        assert alice.get(f"/batches/{number}").json()["state"] == "starting"
