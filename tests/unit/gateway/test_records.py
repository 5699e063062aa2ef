"""Logs paged, searched, followed and kept: what an owner can still read when Livy's routes have forgotten a session."""

import json
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from sparkyard_gateway.backends.driver_log import DriverLog
from support.running_gateway import RunningGateway

from .conftest import StartGateway, client, new_session, run
from .test_sessions import driver_pid, until

TRACEBACK = (Path(__file__).parent / "logs" / "start.log").read_text()
TELL = """[os.write(2, b'line %d of the log\\n' % n) for n in range(50)] and None"""
FLOOD = "[os.write(2, b'x' * 99 + b'\\n') for _ in range({})] and None"


@pytest.fixture(scope="module")
def forgetful(start_gateway: StartGateway) -> RunningGateway:
    """A gateway that shows an ended session for no time."""
    return start_gateway("--finished-retention-seconds", "0.01", "--identity-ttl-seconds", "0")


@pytest.fixture(scope="module")
def as_alice(forgetful):
    with client(forgetful, "token-of-alice") as made:
        yield made


@pytest.fixture(scope="module")
def as_bob(forgetful):
    with client(forgetful, "token-of-bob") as made:
        yield made


@pytest.fixture(scope="module")
def as_ada(forgetful):
    with client(forgetful, "token-of-ada") as made:
        yield made


def events(lines):
    """Server-sent events off lines: (name, id, document)."""
    name, identity = "", None
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            identity = int(line[4:])
        elif line.startswith("data: "):
            yield name, identity, json.loads(line[6:])


class Follower(threading.Thread):
    """Reads a log's events on a thread of its own, until they end."""

    def __init__(self, client: httpx.Client, path: str, **headers: str) -> None:
        super().__init__(daemon=True)
        self.client, self.path, self.headers = client, path, headers
        self.found: list = []
        self.start()

    def run(self) -> None:
        with self.client.stream("GET", self.path, headers=self.headers, timeout=60) as answer:
            self.status = answer.status_code
            for each in events(answer.iter_lines()):
                self.found.append(each)

    @property
    def text(self) -> str:
        return "".join(document["text"] for name, _, document in self.found if name == "log")


@pytest.fixture(scope="module")
def ended(as_alice):
    """A session of Alice's that died with an exception in its log, and that Livy's routes know no more."""
    session = new_session(as_alice, name="gone")
    run(as_alice, session, TELL)
    run(as_alice, session, "1 / 0")
    run(as_alice, session, f"os.write(2, {TRACEBACK.encode()!r}) and None")
    os.kill(driver_pid(as_alice, session), signal.SIGKILL)
    until(lambda: as_alice.get(f"/sessions/{session}").status_code == 404)
    return session


def test_a_log_is_paged_and_searched(as_alice):
    session = new_session(as_alice)
    run(as_alice, session, TELL)
    whole = as_alice.get(f"/sessions/{session}/log?size=-1").json()
    first = whole["log"].index("line 0 of the log")
    found = as_alice.get(f"/sessions/{session}/log", params={"search": "LINE 4", "from": 1, "size": 3}).json()
    assert (found["id"], found["from"], found["total"]) == (session, 1, 11)
    assert found["log"] == ["line 40 of the log", "line 41 of the log", "line 42 of the log"]
    assert found["numbers"] == [first + 40, first + 41, first + 42]
    assert (
        as_alice.get(f"/sessions/{session}/log", params={"from": first + 40, "size": 1}).json()["log"]
        == found["log"][:1]
    )
    assert "numbers" not in whole
    assert as_alice.get(f"/sessions/{session}/log", params={"search": "x" * 201}).status_code == 400
    as_alice.delete(f"/sessions/{session}")


def test_a_followed_log_tells_all_and_ends_with_the_session(as_alice):
    session = new_session(as_alice)
    follower = Follower(as_alice, f"/sessions/{session}/record/log/events")
    until(lambda: "the simulated driver is up" in follower.text)
    run(as_alice, session, "os.write(2, 'gr\u00fc\u00df <b>dich</b>\\n'.encode()) and None")
    until(lambda: "gr\u00fc\u00df <b>dich</b>\n" in follower.text)
    assert not any(name == "end" for name, _, _ in follower.found)
    as_alice.post(f"/sessions/{session}/stop")
    follower.join(30)
    assert follower.found[-1] == ("end", follower.found[-1][1], {})
    assert follower.text == as_alice.get(f"/sessions/{session}/record/log/text").text


def test_a_follower_goes_on_where_it_was_also_when_the_log_was_cut_meanwhile(as_alice, forgetful):
    session = new_session(as_alice)
    run(as_alice, session, FLOOD.format(100))
    first = Follower(as_alice, f"/sessions/{session}/record/log/events")
    until(lambda: len(first.text) > 10_000)
    _, position, _ = first.found[-1]
    folder = forgetful._folder / "state" / "sessions" / str(session)
    size = (folder / "driver.log").stat().st_size
    run(as_alice, session, FLOOD.format(150))
    os.utime(folder / "driver.log")
    assert DriverLog(folder).rotate(20_000)
    run(as_alice, session, "os.write(2, b'after the cut\\n') and None")
    until(lambda: first.text.endswith("after the cut\n"))
    again = Follower(as_alice, f"/sessions/{session}/record/log/events", **{"Last-Event-ID": str(position)})
    until(lambda: again.text.endswith("after the cut\n"))
    assert again.text == first.text[size:]
    assert again.found[0][2]["from"] == position == size
    tail = Follower(as_alice, f"/sessions/{session}/record/log/events?tail=14")
    until(lambda: tail.text == "after the cut\n")
    as_alice.delete(f"/sessions/{session}")
    for each in (first, again, tail):
        each.join(30)


def test_a_script_follows_plain_text(as_alice):
    session = new_session(as_alice)
    seen: list[str] = []

    def read() -> None:
        path = f"/sessions/{session}/record/log/text?follow=true"
        with as_alice.stream("GET", path, headers={"Accept-Encoding": "gzip"}, timeout=60) as answer:
            seen.extend(iter(answer.iter_lines()))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    run(as_alice, session, "os.write(2, b'hello script\\n') and None")
    until(lambda: "hello script" in seen)
    as_alice.delete(f"/sessions/{session}")
    reader.join(30)
    assert not reader.is_alive()


def test_the_whole_log_is_a_file_to_keep(as_alice, ended):
    answer = as_alice.get(f"/sessions/{ended}/record/log/text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="session-{ended}.log"'
    assert "line 49 of the log\n" in answer.text
    assert answer.text.endswith(TRACEBACK[-200:])


def test_the_record_of_a_session_outlives_it(as_alice, ended):
    record = as_alice.get(f"/sessions/{ended}/record").json()
    assert (record["id"], record["owner"], record["name"], record["state"]) == (ended, "alice", "gone", "dead")
    assert record["shown"] is False
    assert record["statements"] == 4
    assert [each["event"] for each in record["events"]] == ["created", "started", "ready", "ended"]
    assert record["exception"]["causes"][0]["name"] == "java.lang.ClassNotFoundException"
    assert as_alice.get(f"/sessions/{ended}/exception").json()["exception"] == record["exception"]
    line = record["exception"]["causes"][0]["line"]
    page = as_alice.get(f"/sessions/{ended}/record/log", params={"from": line, "size": 1}).json()
    assert page["log"] == [": java.lang.ClassNotFoundException: org.example.AuditPlugin"]
    assert as_alice.get(f"/sessions/{ended}/record/log", params={"search": "line 3 of"}).json()["total"] == 1
    assert ended in [each["id"] for each in as_alice.get("/records").json()["records"]]
    follower = Follower(as_alice, f"/sessions/{ended}/record/log/events")
    follower.join(30)
    assert follower.found[-1][0] == "end"


def test_the_reason_of_a_death_names_the_exception(as_alice, ended):
    reason = as_alice.get(f"/sessions/{ended}/record").json()["stateReason"]
    assert "SIGKILL" in reason
    assert "The last exception in its log: java.lang.ClassNotFoundException: org.example.AuditPlugin (line" in reason


def test_the_exception_of_a_statement(as_alice):
    session = new_session(as_alice)
    run(as_alice, session, "1")
    run(as_alice, session, "1 / 0")
    fine, failed = (as_alice.get(f"/sessions/{session}/statements/{n}/exception") for n in (0, 1))
    assert fine.json() == {"exception": None}
    assert failed.json()["exception"]["causes"][0]["name"] == "ZeroDivisionError"
    assert as_alice.get(f"/sessions/{session}/statements/7/exception").status_code == 404
    as_alice.delete(f"/sessions/{session}")


PATHS = ("record", "exception", "record/log", "record/log/text", "record/log/text?follow=true", "record/log/events")


@pytest.mark.parametrize("path", PATHS)
def test_a_record_is_its_owners(as_alice, as_bob, as_ada, ended, path):
    theirs, unknown = as_bob.get(f"/sessions/{ended}/{path}"), as_bob.get(f"/sessions/999999/{path}")
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(str(ended), "N") == unknown.text.replace("999999", "N")
    # A name is nobody's any more.
    assert as_alice.get(f"/sessions/gone/{path}").status_code == 404
    # Whoever might see it while it was shown.
    assert as_ada.get(f"/sessions/{ended}/{path}").status_code == 200


def test_lists_of_records_hold_ones_own(as_bob, as_ada, ended):
    assert as_bob.get("/records").json() == {"records": []}
    assert ended in [each["id"] for each in as_ada.get("/records?size=500").json()["records"]]


def test_a_reader_whose_token_is_revoked_is_let_go(as_alice, forgetful, hub):
    hub.admit("token-to-revoke", "alice", ("people",))
    with client(forgetful, "token-to-revoke") as alice:
        session = new_session(alice)
        follower = Follower(alice, f"/sessions/{session}/record/log/events")
        until(lambda: follower.found)
        del hub.people["token-to-revoke"]
        # Not a line more.
        run(as_alice, session, "os.write(2, b'for the owner alone\\n') and None")
        follower.join(30)
        assert not follower.is_alive()
        assert "for the owner alone" not in follower.text
        assert {name for name, _, _ in follower.found} == {"log"}
        as_alice.delete(f"/sessions/{session}")


def test_one_person_follows_a_bounded_number(as_alice, as_bob):
    mine, theirs = new_session(as_alice), new_session(as_bob)
    path = f"/sessions/{mine}/record/log/events"
    with httpx.Client(
        base_url=as_alice.base_url, headers=as_alice.headers, limits=httpx.Limits(max_connections=100), timeout=60
    ) as many:
        followers = [Follower(many, path) for _ in range(20)]
        until(lambda: all(each.found for each in followers), 60)
        refused = as_alice.get(path)
        assert (refused.status_code, refused.json()["msg"][:26]) == (429, "You follow 20 things at on")
        fine = Follower(as_bob, f"/sessions/{theirs}/record/log/events")
        until(lambda: fine.found)
        as_alice.delete(f"/sessions/{mine}")
        for each in followers:
            each.join(30)
    as_bob.delete(f"/sessions/{theirs}")
    fine.join(30)
    until(lambda: as_alice.get(f"/sessions/{mine}/record/log/text?follow=true").status_code == 200)


def test_a_record_ends_with_its_log_and_readers_with_their_gateway(start_gateway):
    gateway = start_gateway("--finished-retention-seconds", "0.01", "--log-retention-seconds", "1")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        alice.delete(f"/sessions/{session}")
        until(lambda: alice.get(f"/sessions/{session}/record").status_code == 404)
        assert alice.get("/records").json() == {"records": []}
        session = new_session(alice)
        follower = Follower(alice, f"/sessions/{session}/record/log/events")
        until(lambda: follower.found)
        gateway.stop()
        follower.join(30)
        assert not follower.is_alive()
