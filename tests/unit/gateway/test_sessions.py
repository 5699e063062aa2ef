"""A session's life, told by what a client sees of it."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from support.running_gateway import RunningGateway
from support.waiting import until

from .conftest import StartGateway, client, new_session, run

LIVY_FIELDS = [
    "id", "name", "appId", "owner", "proxyUser", "state", "kind", "appInfo", "log", "ttl", "idleTimeout",
    "driverMemory", "driverCores", "executorMemory", "executorCores", "conf", "archives", "files",
    "heartbeatTimeoutInSecond", "jars", "numExecutors", "pyFiles", "queue",
]  # fmt: skip


def driver_pid(client: httpx.Client, session: int) -> int:
    return int(run(client, session, "os.getpid()")["output"]["data"]["text/plain"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_session_is_answered_at_once_and_becomes_idle(as_alice):
    made = as_alice.post("/sessions", json={"kind": "pyspark", "name": "first", "heartbeatTimeoutInSecond": 600})
    session = made.json()
    assert made.status_code == 201
    assert made.headers["Location"] == f"/sessions/{session['id']}"
    assert list(session)[:23] == LIVY_FIELDS
    assert (session["state"], session["owner"], session["proxyUser"]) == ("starting", "alice", "alice")
    assert (session["profile"], session["driverImage"]) == ("small", "spark-3.5")
    assert (session["driverCores"], session["conf"], session["jars"], session["ttl"]) == (0, {}, [], None)
    idle = as_alice.get(f"/sessions/{session['id']}?wait=20&state=starting").json()
    assert (idle["state"], idle["appId"], idle["sparkVersion"]) == ("idle", "local-1", "3.5.9")
    assert as_alice.get("/sessions/first").json()["id"] == session["id"]
    assert as_alice.get(f"/sessions/{session['id']}/state").json() == {"id": session["id"], "state": "idle"}
    assert as_alice.delete("/sessions/first").json() == {"msg": "deleted"}


def test_the_location_follows_the_path_the_client_came_by(as_alice):
    made = as_alice.post("/services/gateway/sessions", json={"kind": "pyspark"})
    assert made.headers["Location"] == f"/services/gateway/sessions/{made.json()['id']}"
    as_alice.delete(made.headers["Location"])


def test_deleting_leaves_no_process_and_no_folder_but_the_log(as_alice, gateway: RunningGateway):
    session = new_session(as_alice)
    pid = driver_pid(as_alice, session)
    work = Path(run(as_alice, session, "os.getcwd()")["output"]["data"]["text/plain"].strip("'"))
    assert work.is_dir()
    assert work.stat().st_mode & 0o777 == 0o700
    assert as_alice.delete(f"/sessions/{session}").json() == {"msg": "deleted"}
    assert as_alice.get(f"/sessions/{session}").status_code == 404
    until(lambda: not alive(pid))
    until(lambda: not work.exists())
    assert "the simulated driver is up" in (work.parent / "driver.log").read_text()


def test_a_driver_that_does_not_heed_is_killed(start_gateway: StartGateway):
    gateway = start_gateway("--stop-grace-seconds", "0.3")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice, name="deaf")
        pid = driver_pid(alice, session)
        alice.delete(f"/sessions/{session}")
        until(lambda: not alive(pid))


def test_what_a_driver_started_goes_with_it(as_alice):
    session = new_session(as_alice)
    spawn = "__import__('subprocess').Popen(['sleep', '300'], start_new_session={}).pid"
    child = int(run(as_alice, session, spawn.format(False))["output"]["data"]["text/plain"])
    runaway = int(run(as_alice, session, spawn.format(True))["output"]["data"]["text/plain"])
    assert alive(child)
    assert alive(runaway)
    as_alice.delete(f"/sessions/{session}")
    until(lambda: not alive(child))
    until(lambda: not alive(runaway))


def test_a_killed_driver_is_noticed_at_once_with_the_reason(as_alice):
    session = new_session(as_alice)
    pid = driver_pid(as_alice, session)
    running = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()["id"]
    waiting = as_alice.post(f"/sessions/{session}/statements", json={"code": "1"}).json()["id"]
    until(lambda: as_alice.get(f"/sessions/{session}/statements/{running}").json()["state"] == "running")
    os.kill(pid, signal.SIGKILL)
    dead = as_alice.get(f"/sessions/{session}?wait=10&state=busy").json()
    assert dead["state"] == "dead"
    assert "SIGKILL" in dead["stateReason"]
    assert "the simulated driver is up" in dead["stateReason"]
    failed = as_alice.get(f"/sessions/{session}/statements/{running}").json()
    assert failed["state"] == "available"
    assert failed["output"]["ename"] == "SessionDied"
    assert "SIGKILL" in failed["output"]["evalue"]
    assert failed["output"]["traceback"] == ["the simulated driver is up\n"]
    never = as_alice.get(f"/sessions/{session}/statements/{waiting}").json()
    assert never["output"]["evalue"].startswith("The statement did not run.")
    refused = as_alice.post(f"/sessions/{session}/statements", json={"code": "1"})
    assert refused.status_code == 400
    assert "is in state dead" in refused.json()["msg"]
    refused = as_alice.get(f"/sessions/{session}/statements").json()
    assert refused["msg"] == "requirement failed: Session isn't active."
    assert refused["reason"]


def test_spark_that_cannot_start_says_why(as_alice):
    made = as_alice.post("/sessions", json={"kind": "pyspark", "name": "fails"}).json()
    until(lambda: as_alice.get(f"/sessions/{made['id']}").json()["state"] == "dead")
    dead = as_alice.get(f"/sessions/{made['id']}").json()
    assert dead["stateReason"] == "Spark could not start: the moon is full."


def test_spark_that_never_starts_is_given_up(start_gateway: StartGateway):
    gateway = start_gateway("--start-timeout-seconds", "0.5")
    with client(gateway, "token-of-alice") as alice:
        made = alice.post("/sessions", json={"kind": "pyspark", "name": "never-ready"}).json()
        until(lambda: alice.get(f"/sessions/{made['id']}").json()["state"] == "dead")
        assert "did not start within 0.5 s" in alice.get(f"/sessions/{made['id']}").json()["stateReason"]


def test_stop_leaves_it_listed_as_dead(as_alice):
    session = new_session(as_alice)
    assert as_alice.post(f"/sessions/{session}/stop").status_code == 204
    until(lambda: as_alice.get(f"/sessions/{session}/state").json()["state"] == "dead")
    assert session in [each["id"] for each in as_alice.get("/sessions").json()["sessions"]]


def test_a_session_nobody_asks_about_ends_after_its_heartbeat(as_alice):
    session = new_session(as_alice, heartbeatTimeoutInSecond=1)
    # The list does not count as asking.
    seen = until(
        lambda: next(
            (
                each
                for each in as_alice.get("/sessions").json()["sessions"]
                if each["id"] == session and each["state"] == "dead"
            ),
            None,
        )
    )
    assert "heartbeat timeout" in seen["stateReason"]


def test_a_wait_keeps_the_heartbeat_going(as_alice):
    session = new_session(as_alice, heartbeatTimeoutInSecond=5)
    assert run(as_alice, session, "sleep 7")["output"]["data"]["text/plain"] == "slept"
    assert as_alice.get(f"/sessions/{session}/state").json()["state"] == "idle"
    as_alice.delete(f"/sessions/{session}")


def test_an_idle_session_ends_after_its_idle_timeout(as_alice):
    session = new_session(as_alice, idleTimeout="1s")
    until(lambda: as_alice.get(f"/sessions/{session}/state").json()["state"] == "dead")
    assert "idle timeout" in as_alice.get(f"/sessions/{session}").json()["stateReason"]


def test_an_ended_session_is_shown_for_a_while(start_gateway: StartGateway):
    gateway = start_gateway("--finished-retention-seconds", "0.5")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        alice.post(f"/sessions/{session}/stop")
        until(lambda: alice.get(f"/sessions/{session}").status_code == 404)
        assert alice.get("/sessions").json()["total"] == 0


def test_a_name_is_its_owners_and_free_again_after_the_end(as_alice, as_bob):
    session = new_session(as_alice, name="nightly")
    taken = as_alice.post("/sessions", json={"kind": "pyspark", "name": "nightly"})
    assert (taken.status_code, taken.json()) == (400, {"msg": "Rejected, Reason: Duplicate session name: nightly"})
    bobs = new_session(as_bob, name="nightly")
    assert as_bob.get("/sessions/nightly").json()["id"] == bobs
    assert as_alice.get("/sessions/nightly").json()["id"] == session
    as_alice.delete("/sessions/nightly")
    again = new_session(as_alice, name="nightly")
    assert again != session
    as_alice.delete("/sessions/nightly")
    as_bob.delete("/sessions/nightly")


@pytest.mark.parametrize("name", ["12345", "<script>alert(1)</script>", "a/b", "..\\x", "", "x" * 129, "tab\there"])
def test_a_name_that_could_do_harm_is_refused(as_alice, name):
    refused = as_alice.post("/sessions", json={"kind": "pyspark", "name": name})
    assert refused.status_code == 400
    assert refused.json()["msg"].startswith("Rejected, Reason: Invalid session name")
    assert as_alice.get("/sessions").json()["total"] == len(as_alice.get("/sessions").json()["sessions"])


def test_the_same_idempotency_key_makes_one_session(as_alice, as_bob):
    key = {"Idempotency-Key": "cell-1"}
    first = as_alice.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"]
    again = as_alice.post("/sessions", json={"kind": "pyspark"}, headers=key)
    assert (again.status_code, again.json()["id"]) == (201, first)
    others = as_bob.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"]
    assert others != first
    as_alice.delete(f"/sessions/{first}")
    as_bob.delete(f"/sessions/{others}")


def test_limits_refuse_with_the_number(start_gateway: StartGateway):
    gateway = start_gateway("--max-sessions-per-user", "1", "--max-sessions", "2")
    with client(gateway, "token-of-alice") as alice, client(gateway, "token-of-bob") as bob:
        new_session(alice)
        refused = alice.post("/sessions", json={"kind": "pyspark"})
        assert (refused.status_code, "at most 1" in refused.json()["msg"]) == (400, True)
        new_session(bob)
        with client(gateway, "token-of-ada") as ada:
            assert "at most 2" in ada.post("/sessions", json={"kind": "pyspark"}).json()["msg"]


def test_starts_beyond_the_limit_wait_and_say_so(start_gateway: StartGateway):
    gateway = start_gateway("--concurrent-starts", "1")
    with client(gateway, "token-of-alice") as alice:
        stuck = alice.post("/sessions", json={"kind": "pyspark", "name": "never-ready"}).json()["id"]
        queued = alice.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        third = alice.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        until(lambda: alice.get(f"/sessions/{third}").json()["phase"] == "Waiting behind 2 other starts.")
        # One that waits can be deleted while it waits, and one that is stuck frees its place.
        assert alice.delete(f"/sessions/{third}").json() == {"msg": "deleted"}
        alice.delete(f"/sessions/{stuck}")
        assert alice.get(f"/sessions/{queued}?wait=10&state=starting").json()["state"] == "idle"


def test_the_log_is_paged_as_livys(as_alice):
    session = new_session(as_alice)
    whole = as_alice.get(f"/sessions/{session}/log").json()
    assert whole["log"] == ["stdout: ", "\nstderr: ", "the simulated driver is up"]
    assert (whole["from"], whole["total"]) == (0, 3)
    assert as_alice.get(f"/sessions/{session}/log?from=1&size=1").json()["log"] == ["\nstderr: "]
    assert as_alice.get(f"/sessions/{session}/log?from=-1&size=1").json() == {
        "id": session, "from": 2, "total": 3, "log": ["the simulated driver is up"],
    }  # fmt: skip
    assert as_alice.get(f"/sessions/{session}/log?from=1&size=-1").json()["log"] == whole["log"][1:]
    assert as_alice.get(f"/sessions/{session}/log?from=100").json() == {
        "id": session,
        "from": 100,
        "total": 3,
        "log": [],
    }
    as_alice.delete(f"/sessions/{session}")


def test_a_refusal_of_the_catalogs_names_key_profile_and_what_is_allowed(as_alice):
    refused = as_alice.post("/sessions", json={"kind": "pyspark", "driverMemory": "64g"})
    assert refused.status_code == 400
    body = refused.json()
    assert (body["key"], body["profile"]) == ("driverMemory", "small")
    assert "1g" in body["allowed"]
    assert "driverMemory '64g'" in body["msg"]
    for conf in (
        {"spark.master": "local[9]"},
        {"spark.driver.extraJavaOptions": "-X"},
        {"spark.jars": "http://x/y.jar"},
    ):
        denied = as_alice.post("/sessions", json={"kind": "pyspark", "conf": conf})
        assert (denied.status_code, denied.json()["key"]) == (400, next(iter(conf)))


def test_what_was_granted_reaches_the_driver_and_its_secrets_reach_nobody(as_alice, gateway: RunningGateway):
    session = new_session(as_alice, conf={"spark.sql.shuffle.partitions": "7"}, driverMemory="600m")
    conf = eval(run(as_alice, session, "bootstrap['conf']")["output"]["data"]["text/plain"])
    assert conf["spark.sql.shuffle.partitions"] == "7"
    assert conf["spark.driver.memory"] == "600m"
    assert conf["spark.master"] == "local[1]"
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "127.0.0.1"
    token = run(as_alice, session, "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")
    assert token not in str(conf)
    seen = "open('/proc/self/environ').read() + open('/proc/self/cmdline').read()"
    assert token not in run(as_alice, session, seen)["output"]["data"]["text/plain"]
    assert token not in gateway.log
    assert "token-of-alice" not in gateway.log
    assert token not in as_alice.get(f"/sessions/{session}").text
    as_alice.delete(f"/sessions/{session}")


def test_a_drivers_environment_holds_nothing_of_the_gateways(as_alice):
    session = new_session(as_alice)
    environment = eval(run(as_alice, session, "dict(os.environ)")["output"]["data"]["text/plain"])
    allowed = {
        "PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "SPARK_USER", "HADOOP_USER_NAME", "PYSPARK_PYTHON",
        "PYSPARK_DRIVER_PYTHON", "SPARK_LOCAL_DIRS", "SPARK_LOCAL_IP", "JAVA_HOME", "LC_CTYPE",
    }  # fmt: skip
    assert set(environment) <= allowed
    assert environment["USER"] == "alice"
    assert environment["HOME"].endswith(f"/sessions/{session}/work")
    as_alice.delete(f"/sessions/{session}")
