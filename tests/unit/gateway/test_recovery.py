"""A gateway that is killed loses nothing, repeats nothing, and leaves nothing behind."""

import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from sparkyard_gateway.backends import processes
from support.running_gateway import RunningGateway

from .conftest import client, new_session, run
from .test_sessions import alive, driver_pid, until


@pytest.fixture
def mortal(start_mortal, request):
    """A gateway on SQLite, or on PostgreSQL, or with the options that a test names."""
    options = getattr(request, "param", ())
    if options == "postgresql":
        postgres = request.getfixturevalue("postgres")
        return start_mortal("--database-url", postgres.url(postgres.new_database()))
    return start_mortal(*options)


on_both = pytest.mark.parametrize("mortal", [(), "postgresql"], indirect=True, ids=["sqlite", "postgresql"])
as_command = pytest.mark.parametrize("forked", [False], ids=["command"])
"""Where the process itself is the point, it is begun as an administrator begins it, not forked."""


@pytest.fixture
def alice(mortal):
    with client(mortal, "token-of-alice") as made:
        yield made


def kill(gateway: RunningGateway) -> None:
    gateway.kill()


@as_command
@on_both
def test_killed_while_idle_finds_its_sessions_again(mortal, alice):
    session = new_session(alice, name="kept")
    run(alice, session, "sys.__dict__.setdefault('marked', 41)")
    pid = driver_pid(alice, session)
    kill(mortal)
    mortal.start()
    assert alice.get("/sessions/kept").json()["state"] == "idle"
    assert driver_pid(alice, session) == pid
    after = run(alice, session, "sys.marked + 1")
    assert (after["output"]["data"]["text/plain"], after["id"]) == ("42", 3)
    assert alice.get(f"/sessions/{session}/statements/0").json()["output"]["data"]["text/plain"] == "41"


@as_command
@on_both
def test_statements_in_flight_are_delivered_once_and_run_once(mortal, alice):
    session = new_session(alice)
    count = "sys.__dict__.update(count=sys.__dict__.get('count', 0) + 1) or sys.count"
    running = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 1.5"}).json()["id"]
    waiting = [alice.post(f"/sessions/{session}/statements", json={"code": count}).json()["id"] for _ in range(3)]
    until(lambda: alice.get(f"/sessions/{session}/statements/{running}").json()["state"] == "running")
    kill(mortal)
    mortal.start()
    slept = alice.get(f"/sessions/{session}/statements/{running}?wait=10").json()
    assert slept["output"]["data"]["text/plain"] == "slept"
    results = [alice.get(f"/sessions/{session}/statements/{each}?wait=10").json() for each in waiting]
    assert [each["output"]["data"]["text/plain"] for each in results] == ["1", "2", "3"]


def test_a_result_that_comes_while_no_gateway_is_there_is_not_lost(mortal, alice):
    session = new_session(alice)
    number = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 0.5"}).json()["id"]
    until(lambda: alice.get(f"/sessions/{session}/statements/{number}").json()["state"] == "running")
    kill(mortal)
    time.sleep(1)
    mortal.start()
    done = alice.get(f"/sessions/{session}/statements/{number}?wait=10").json()
    assert done["output"]["data"]["text/plain"] == "slept"
    assert done["completed"] - done["started"] < 900


@on_both
def test_killed_while_a_driver_starts_takes_it_over(mortal, alice):
    made = alice.post("/sessions", json={"kind": "pyspark"}).json()["id"]
    kill(mortal)
    mortal.start()
    assert alice.get(f"/sessions/{made}?wait=10&state=starting").json()["state"] == "idle"
    assert run(alice, made, "1")["output"]["data"]["text/plain"] == "1"


@pytest.mark.parametrize("mortal", [("--concurrent-starts", "1")], indirect=True)
def test_killed_while_starts_are_queued_starts_each_once(mortal, alice):
    numbers = [alice.post("/sessions", json={"kind": "pyspark"}).json()["id"] for _ in range(4)]
    kill(mortal)
    mortal.start()
    assert [each["id"] for each in alice.get("/sessions").json()["sessions"]] == numbers
    for number in numbers:
        until(lambda number=number: alice.get(f"/sessions/{number}/state").json()["state"] == "idle", 120)
        pid = driver_pid(alice, number)
        assert processes.working_in(mortal._folder / "state" / "sessions" / str(number) / "work") == [pid]


def test_a_session_written_down_whose_driver_was_never_started_is_started(mortal, alice):
    session = new_session(alice)
    old = driver_pid(alice, session)
    kill(mortal)
    with sqlite3.connect(mortal._folder / "state" / "gateway.sqlite") as connection:
        connection.execute("UPDATE sessions SET handle = NULL, state = 'starting', ready_at = NULL, acked = 0")
        connection.execute("DELETE FROM statements")
    os.kill(old, signal.SIGKILL)
    mortal.start()
    until(lambda: alice.get(f"/sessions/{session}/state").json()["state"] == "idle", 60)
    assert driver_pid(alice, session) != old


@on_both
def test_a_cancel_that_was_acknowledged_holds_after_a_kill(mortal, alice):
    session = new_session(alice)
    running, waiting = (
        alice.post(f"/sessions/{session}/statements", json={"code": code}).json()["id"]
        for code in ("sleep 60", "sys.__dict__.update(ran=True)")
    )
    until(lambda: alice.get(f"/sessions/{session}/statements/{running}").json()["state"] == "running")
    assert alice.post(f"/sessions/{session}/statements/{waiting}/cancel").json() == {"msg": "canceled"}
    kill(mortal)
    mortal.start()
    assert alice.get(f"/sessions/{session}/statements/{waiting}").json()["state"] == "cancelled"
    assert alice.post(f"/sessions/{session}/statements/{running}/cancel").json() == {"msg": "canceled"}
    kill(mortal)
    mortal.start()
    ended = alice.get(f"/sessions/{session}/statements/{running}?wait=30").json()
    assert (ended["state"], ended["output"]["ename"]) == ("cancelled", "KeyboardInterrupt")
    assert run(alice, session, "hasattr(sys, 'ran')")["output"]["data"]["text/plain"] == "False"


def test_a_cancel_before_the_driver_has_called_back_waits_for_its_word(mortal, alice):
    session = new_session(alice)
    pid = driver_pid(alice, session)
    number = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()["id"]
    until(lambda: alice.get(f"/sessions/{session}/statements/{number}").json()["state"] == "running")
    os.kill(pid, signal.SIGSTOP)
    kill(mortal)
    mortal.start()
    try:
        alice.post(f"/sessions/{session}/statements/{number}/cancel")
        # Whether it still runs, the gateway cannot know yet.
        assert alice.get(f"/sessions/{session}/statements/{number}").json()["state"] == "cancelling"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert alice.get(f"/sessions/{session}/statements/{number}?wait=30").json()["state"] == "cancelled"


def test_a_stop_that_was_acknowledged_holds_after_a_kill(mortal, alice):
    session = new_session(alice, name="deaf")
    pid = driver_pid(alice, session)
    assert alice.post(f"/sessions/{session}/stop").status_code == 204
    kill(mortal)
    mortal.start()
    until(lambda: not alive(pid), 60)
    dead = until(lambda: (s := alice.get(f"/sessions/{session}").json())["state"] == "dead" and s, 60)
    assert dead["stateReason"] == "The session was stopped on request."


def test_a_driver_whose_handle_was_never_written_is_found_by_its_folder(mortal, alice):
    session = new_session(alice)
    pid = driver_pid(alice, session)
    kill(mortal)
    database = next(Path(mortal._folder).glob("state/gateway.sqlite"))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE sessions SET handle = NULL WHERE id = ?", (session,))
    mortal.start()
    assert driver_pid(alice, session) == pid


def test_a_driver_that_died_meanwhile_is_dead_with_a_reason(mortal, alice):
    session = new_session(alice)
    pid = driver_pid(alice, session)
    number = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()["id"]
    until(lambda: alice.get(f"/sessions/{session}/statements/{number}").json()["state"] == "running")
    kill(mortal)
    os.kill(pid, signal.SIGKILL)
    mortal.start()
    dead = until(lambda: (s := alice.get(f"/sessions/{session}").json())["state"] == "dead" and s)
    assert "while no gateway watched it" in dead["stateReason"]
    assert alice.get(f"/sessions/{session}/statements/{number}").json()["output"]["status"] == "error"


@on_both
def test_what_a_driver_finished_before_it_died_too_is_delivered_once(mortal, alice):
    """Killed are the gateway, then the driver: one statement is done and nobody heard, another has waited behind it."""
    session = new_session(alice)
    done, waiting = (
        alice.post(f"/sessions/{session}/statements", json={"code": code}).json()["id"] for code in ("sleep 1", "never")
    )
    until(lambda: alice.get(f"/sessions/{session}/statements/{done}").json()["state"] == "running")
    pid = int(driver_of(mortal, session))
    kill(mortal)
    journal = mortal._folder / "state" / "sessions" / str(session) / "work" / "journal.jsonl"
    until(lambda: f'"t": "done", "statement": {done}' in journal.read_text(), 60)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), 30)
    mortal.start()
    until(lambda: alice.get(f"/sessions/{session}/state").json()["state"] == "dead", 30)
    outputs = [alice.get(f"/sessions/{session}/statements/{each}").json() for each in (done, waiting)]
    assert [each["output"]["status"] for each in outputs] == ["ok", "error"]
    assert outputs[0]["output"]["data"]["text/plain"] == "slept"
    assert "while no gateway watched it" in outputs[1]["output"]["evalue"]
    assert outputs[0]["completed"] - outputs[0]["started"] >= 900
    # Written down, and the same after one more restart, when the journal is long gone.
    until(lambda: not journal.exists(), 30)
    kill(mortal)
    mortal.start()
    assert [alice.get(f"/sessions/{session}/statements/{each['id']}").json()["output"] for each in outputs] == [
        each["output"] for each in outputs
    ]


def driver_of(gateway: RunningGateway, session: int) -> str:
    """The pid of a driver that is busy."""
    (pid,) = processes.working_in(gateway._folder / "state" / "sessions" / str(session) / "work")
    return str(pid)


def test_a_journal_that_lies_harms_nobody_else(mortal, alice):
    """Its user's code has written into it: outcomes of what never ran, of others' statements, and rubbish."""
    session, other = new_session(alice), new_session(alice)
    numbers = [
        alice.post(f"/sessions/{each}/statements", json={"code": "sleep 600"}).json()["id"] for each in (session, other)
    ]
    until(lambda: alice.get(f"/sessions/{session}/statements/{numbers[0]}").json()["state"] == "running")
    pid = int(driver_of(mortal, session))
    kill(mortal)
    journal = mortal._folder / "state" / "sessions" / str(session) / "work" / "journal.jsonl"
    lies = [
        {"t": "done", "seq": 2**53, "statement": number, "at": 1, "status": "ok",
         "output": {"status": "ok", "execution_count": 0, "data": {"text/plain": f"lie {number}"}}, "truncated": None}
        for number in (numbers[0], 99, 2**40)
    ]  # fmt: skip
    with journal.open("ab") as file:
        file.write(b"\xff\x00rubbish\n[]\n{}\n" + b"[" * 100_000 + b"\n")
        for lie in (*lies, {"t": "done"}, {**lies[0], "output": "no output", "statement": -1}):
            file.write(json.dumps(lie).encode() + b"\n")
        file.write(b'{"t": "done", "seq": 3, "stat')
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), 30)
    mortal.start()
    until(lambda: alice.get(f"/sessions/{session}/state").json()["state"] == "dead", 30)
    told = alice.get(f"/sessions/{session}/statements/{numbers[0]}").json()
    assert told["output"]["data"]["text/plain"] == f"lie {numbers[0]}", "its own session's statement is its own"
    assert alice.get(f"/sessions/{session}/statements/99").status_code == 404
    assert alice.get(f"/sessions/{other}/statements/{numbers[1]}").json()["state"] == "running"
    assert alice.get("/health/ready").status_code == 200


def test_an_adopted_driver_that_dies_is_noticed_at_once(mortal, alice):
    session = new_session(alice)
    pid = driver_pid(alice, session)
    kill(mortal)
    mortal.start()
    assert alice.get(f"/sessions/{session}/state").json()["state"] == "idle"
    os.kill(pid, signal.SIGKILL)
    assert alice.get(f"/sessions/{session}?wait=10&state=idle").json()["state"] == "dead"


@on_both
def test_killed_in_the_midst_of_a_deletion_finishes_it(mortal, alice):
    session = new_session(alice, name="deaf")
    pid = driver_pid(alice, session)
    with client(mortal, "token-of-alice") as other:
        # The driver does not heed, so the answer comes while it still lives.
        assert other.delete(f"/sessions/{session}").json() == {"msg": "deleted"}
    assert alive(pid)
    kill(mortal)
    mortal.start()
    until(lambda: not alive(pid))
    assert alice.get(f"/sessions/{session}").status_code == 404


@on_both
def test_an_idempotency_key_survives_a_restart(mortal, alice):
    key = {"Idempotency-Key": "once"}
    session = alice.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"]
    alice.get(f"/sessions/{session}?wait=10&state=starting")
    first = alice.post(f"/sessions/{session}/statements?wait=5", json={"code": "1"}, headers=key).json()["id"]
    kill(mortal)
    mortal.start()
    assert alice.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"] == session
    assert alice.post(f"/sessions/{session}/statements", json={"code": "1"}, headers=key).json()["id"] == first


@as_command
def test_a_stop_in_order_leaves_drivers_running_and_lets_waiters_go(mortal, alice):
    session = new_session(alice)
    pid = driver_pid(alice, session)
    number = alice.post(f"/sessions/{session}/statements", json={"code": "sleep 3"}).json()["id"]
    answers: list[dict] = []

    def wait() -> None:
        with client(mortal, "token-of-alice") as mine:
            answers.append(mine.get(f"/sessions/{session}/statements/{number}?wait=30").json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    mortal.stop()
    waiting.join()
    assert answers[0]["state"] == "running"
    assert alive(pid)
    mortal.start()
    done = alice.get(f"/sessions/{session}/statements/{number}?wait=10").json()
    assert done["output"]["data"]["text/plain"] == "slept"


@as_command
@pytest.mark.parametrize("mortal", [("--stop-drivers-on-exit",)], indirect=True)
def test_the_standalone_stop_leaves_no_driver(mortal, alice):
    pids = [driver_pid(alice, new_session(alice)) for _ in range(2)]
    mortal.stop()
    assert not any(alive(pid) for pid in pids)
