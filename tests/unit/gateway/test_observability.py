"""What an operator sees: metrics, the log, and health; and what none of them may hold."""

import os
import re
import signal
import sqlite3
from pathlib import Path

from sparkyard_gateway import readings
from sparkyard_gateway.metrics import PREFIX, Metrics
from support.running_gateway import ROOT

from .conftest import client, new_session, run
from .test_connections import events
from .test_sessions import driver_pid, until

SECRET = "s3cr3t"


def metrics_of(gateway) -> dict[str, float]:
    with client(gateway, None) as nobody:
        lines = nobody.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


# Metrics


def documented() -> Metrics:
    metrics = Metrics()
    readings.register(metrics, None, None, None, None)
    return metrics


def test_the_reference_for_operators_is_the_same():
    text = (ROOT / "docs" / "operator.md").read_text()
    shown = text.partition("<!-- metrics -->\n")[2].partition("<!-- /metrics -->")[0]
    assert shown == documented().reference(), "write the list in docs/operator.md anew from Metrics().reference()"


def test_every_metric_is_listed(gateway):
    known = {each.name.removesuffix("_total") for each in documented().listed}
    with client(gateway, None) as nobody:
        text = nobody.get("/metrics").text
    families = set(re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE))
    ours = {name.removesuffix("_total") for name in families if name.startswith(PREFIX)}
    assert ours == known
    assert "process_resident_memory_bytes" in families


def test_starts_are_counted_by_how_they_came_out(start_gateway):
    gateway = start_gateway("--start-timeout-seconds", "10", "--concurrent-starts", "1")
    with client(gateway, "token-of-alice") as alice:
        number = new_session(alice)
        failed = alice.post("/sessions", json={"kind": "pyspark", "name": "fails"}).json()["id"]
        until(lambda: alice.get(f"/sessions/{failed}").json()["state"] == "dead", 60)
        late = alice.post("/sessions", json={"kind": "pyspark", "name": "never-ready"}).json()["id"]
        stopped = alice.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        assert metrics_of(gateway)["sparkyard_gateway_start_queue_length"] == 1
        assert "Waiting behind" in alice.get(f"/sessions/{stopped}").json()["phase"]
        alice.delete(f"/sessions/{stopped}")
        until(lambda: alice.get(f"/sessions/{late}").json()["state"] == "dead", 60)
        assert "did not start within 10 s" in alice.get(f"/sessions/{late}").json()["stateReason"]

        def starts():
            found = metrics_of(gateway)
            name = "sparkyard_gateway_session_starts_total"
            return {
                outcome: found.get(f'{name}{{outcome="{outcome}",profile="small"}}')
                for outcome in ("ready", "failed", "timed_out", "stopped")
            }

        until(lambda: starts() == {"ready": 1, "failed": 1, "timed_out": 1, "stopped": 1}, 60)
        found = metrics_of(gateway)
        assert found["sparkyard_gateway_session_start_seconds_count"] == 1
        assert found["sparkyard_gateway_start_queue_seconds_count"] >= 3
        assert found['sparkyard_gateway_sessions{state="idle"}'] == 1
        assert found['sparkyard_gateway_sessions{state="dead"}'] == 2
        assert found["sparkyard_gateway_start_queue_length"] == 0
        alice.delete(f"/sessions/{number}")


def test_statements_requests_and_refusals_are_counted(start_gateway):
    gateway = start_gateway()
    with client(gateway, "token-of-alice") as alice, client(gateway, None) as nobody:
        session = new_session(alice, name="of-alice")
        run(alice, session, "1")
        run(alice, session, "1/0")
        running = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()["id"]
        until(lambda: metrics_of(gateway)['sparkyard_gateway_statements_unfinished{state="running"}'] == 1)
        alice.post(f"/sessions/{session}/statements/{running}/cancel")
        until(lambda: metrics_of(gateway).get('sparkyard_gateway_statements_total{status="cancelled"}') == 1)
        alice.get("/sessions/999999")
        alice.get("/sessions/of-alice/nosuch")
        for path in ("/a", "/b/c", "/sessions/of-alice/x/y/z"):
            alice.get(path)
        alice.post("/sessions", json={"kind": "pyspark", "conf": {"spark.master": "x"}})
        alice.request("BREW", "/sessions")
        nobody.get("/sessions")
        found = metrics_of(gateway)
    assert found['sparkyard_gateway_statements_total{status="ok"}'] == 1
    assert found['sparkyard_gateway_statements_total{status="error"}'] == 1
    assert found["sparkyard_gateway_statement_seconds_count"] == 3
    assert found["sparkyard_gateway_statement_wait_seconds_count"] == 3
    route = '{method="GET",route="/sessions/{session}",status="404"}'
    assert found[f"sparkyard_gateway_http_requests_total{route}"] == 1
    assert found['sparkyard_gateway_http_requests_total{method="GET",route="none",status="404"}'] == 4
    assert found['sparkyard_gateway_http_request_seconds_count{method="POST",route="/sessions"}'] == 2
    for code in ("session_not_found", "no_such_route", "refused_by_policy", "unauthenticated"):
        assert found[f'sparkyard_gateway_refusals_total{{code="{code}"}}'] >= 1, code
    labels = {value for name in found for value in re.findall(r'"([^"]*)"', name)}
    assert not {"alice", "of-alice", "BREW", "/a", "/b/c", str(session)} & labels


def test_a_request_that_waits_is_counted_but_not_timed(start_gateway):
    gateway = start_gateway()
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        alice.get(f"/sessions/{session}?wait=0.1&state=idle")
        found = metrics_of(gateway)
    assert found['sparkyard_gateway_http_requests_total{method="GET",route="/sessions/{session}",status="200"}'] == 2
    assert 'sparkyard_gateway_http_request_seconds_count{method="GET",route="/sessions/{session}"}' not in found


# The log


def test_a_request_has_a_number_in_its_answer_and_in_the_log(gateway, as_alice):
    given = as_alice.post("/sessions/nosuch/stop", headers={"X-Request-Id": "proxy-7.a"})
    assert given.headers["X-Request-Id"] == "proxy-7.a"
    (line,) = until(lambda: [each for each in events(gateway) if each.get("request") == "proxy-7.a"])
    assert (line["event"], line["method"], line["status"]) == ("request", "POST", 404)
    assert (line["route"], line["user"]) == ("/sessions/{session}/stop", "alice")
    for junk in ("", "x y", "a" * 65, 'a"b', "é"):
        answer = as_alice.get("/version", headers={"X-Request-Id": junk.encode()})
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["X-Request-Id"])


def test_every_line_about_a_session_names_its_owner_and_who_asked(gateway, as_alice, as_ada):
    session = new_session(as_alice)
    run(as_alice, session, "1")
    pid = driver_pid(as_alice, session)
    assert as_ada.post(f"/sessions/{session}/interrupt").json() == {"msg": "interrupted"}
    os.kill(pid, signal.SIGKILL)
    until(lambda: as_alice.get(f"/sessions/{session}").json()["state"] == "dead")
    told = {"session_created", "driver_connected", "session_ready", "driver_disconnected", "session_died"}

    def lines():
        return [each for each in events(gateway) if each.get("session") == session]

    until(lambda: told <= {each["event"] for each in lines()})
    about = lines()
    assert {each.get("user") for each in about} == {"alice"}
    (asked,) = [each for each in about if each["event"] == "request" and each["route"].endswith("/interrupt")]
    assert asked["by"] == "ada"
    created = next(each for each in about if each["event"] == "session_created")
    assert re.fullmatch(r"[0-9a-f]{16}", created["request"])
    assert "by" not in created
    as_ada.delete(f"/sessions/{session}")


def test_no_line_holds_a_token_code_or_a_setting(start_gateway, hub):
    """A busy run with a secret in every place where a user can put one, and every way to fail that there is here."""
    gateway = start_gateway("--log-level", "debug", "--max-waiting-statements", "2", "--start-timeout-seconds", "20")
    token = hub.admit(f"token-{SECRET}-of-zoe", "zoe", ("people",))
    with client(gateway, token) as zoe, client(gateway, f"unknown-{SECRET}") as stranger:
        session = new_session(zoe, conf={"spark.sql.shuffle.partitions": "7"})
        for code in (f"'{SECRET}'", f"1/0 or '{SECRET}'", f"print('{SECRET}')", SECRET, f"nonsense {SECRET}"):
            run(zoe, session, code)
        for _ in range(4):
            zoe.post(f"/sessions/{session}/statements", json={"code": f"sleep 60 # {SECRET}"})
        zoe.post(f"/sessions/{session}/completion", json={"code": SECRET})
        for body in (f'{{"code": "{SECRET}", "{SECRET}": 1}}', f'{{"code": {{"{SECRET}": 1}}}}', SECRET, f'"{SECRET}"'):
            assert zoe.post(f"/sessions/{session}/statements", content=body).status_code == 400
        for wish in (
            {"conf": {f"spark.{SECRET}": SECRET}},
            {"conf": {"spark.sql.shuffle.partitions": SECRET}},
            {"name": f"<{SECRET}>"},
            {"jars": [f"s3a://key:{SECRET}@bucket/x.jar"]},
            {"ttl": SECRET},
            {"driverMemory": SECRET},
            {"proxyUser": SECRET},
            {"queue": SECRET},
        ):
            assert zoe.post("/sessions", json={"kind": "pyspark", **wish}).status_code == 400, wish
        zoe.get(f"/sessions/{SECRET}", params={"token": SECRET, "state": SECRET, "wait": SECRET})
        zoe.get(f"/sessions/{session}", params={"wait": SECRET})
        zoe.get(f"/{SECRET}/x", headers={"Cookie": f"a={SECRET}", "X-Secret": SECRET, "Accept": SECRET})
        zoe.get(f"/spark-ui/{SECRET}/", headers={"Referer": SECRET})
        key = {"Idempotency-Key": SECRET}
        zoe.post("/sessions", json={"kind": "pyspark", "name": "fails"}, headers=key)
        zoe.post(f"/sessions/{session}/statements", json={"code": "1"}, headers={"Idempotency-Key": SECRET * 99})
        assert stranger.get("/sessions").status_code == 401
        # The driver's last words are its user's.
        doomed = new_session(zoe)
        dies = f"print('{SECRET}', flush=True) or print('{SECRET}', file=sys.stderr, flush=True) or os._exit(3)"
        zoe.post(f"/sessions/{doomed}/statements", json={"code": dies})
        until(lambda: zoe.get(f"/sessions/{doomed}").json()["state"] == "dead", 60)
        assert SECRET in zoe.get(f"/sessions/{doomed}/log").text
        own = run(zoe, new_session(zoe), "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")
        hub.status = 200
        hub.people[f"odd-{SECRET}"] = {SECRET: 1}
        with client(gateway, f"odd-{SECRET}") as odd:
            assert odd.get("/sessions").status_code == 503
        hub.status = None
        for each in zoe.get("/sessions").json()["sessions"]:
            zoe.delete(f"/sessions/{each['id']}")
    gateway.stop()
    log = gateway.log
    assert len(log.splitlines()) > 60
    assert {"session_created", "session_died", "driver_talks_nonsense", "hub_answer_not_understood", "request"} <= {
        each["event"] for each in events(gateway)
    }
    assert [line for line in log.splitlines() if SECRET in line or own in line] == []
    assert all(line.startswith("{") for line in log.splitlines())


# Health


def test_a_backend_that_cannot_start_drivers_is_degraded_but_serves(start_gateway):
    gateway = start_gateway()
    with client(gateway, "token-of-alice") as alice, client(gateway, None) as nobody:
        session = new_session(alice)
        folder: Path = gateway._folder / "state" / "sessions"
        folder.rename(folder.with_name("elsewhere"))
        try:
            ready = nobody.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert "cannot be written: No such file or directory" in ready.json()["parts"]["backend local"]
            assert nobody.get("/health/live").json() == {"status": "ok", "parts": {}}
            assert run(alice, session, "40 + 2")["output"]["data"]["text/plain"] == "42"
        finally:
            folder.with_name("elsewhere").rename(folder)
        assert nobody.get("/health/ready").json()["status"] == "ok"


def test_a_database_that_is_locked_is_not_ready(start_gateway):
    gateway = start_gateway()
    with client(gateway, "token-of-alice") as alice, client(gateway, None) as nobody:
        session = new_session(alice)
        with sqlite3.connect(gateway._folder / "state" / "gateway.sqlite", isolation_level=None) as locker:
            locker.execute("BEGIN EXCLUSIVE")
            alice.post(f"/sessions/{session}/statements", json={"code": "1"})
            until(lambda: nobody.get("/health/ready").status_code == 503, 60)
            assert nobody.get("/health/ready").json()["parts"]["database"] != "ok"
            assert metrics_of(gateway)["sparkyard_gateway_store_healthy"] == 0
            locker.execute("ROLLBACK")
        run(alice, session, "2")
        until(lambda: nobody.get("/health/ready").status_code == 200, 60)
