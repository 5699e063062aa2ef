"""Two gateways on one PostgreSQL share the work, and losing either loses nothing and repeats nothing."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sparkyard_gateway.backends import processes
from support.running_gateway import RunningGateway

from .conftest import client, new_session, run
from .test_outages import COUNT, statement, submit, value
from .test_sessions import alive, driver_pid, until

LEASE = 4.0
PATIENCE = 90.0


def start_pair(start_mortal, postgres, *options: str, lease: float) -> tuple[RunningGateway, RunningGateway]:
    """Two, `a` and `b`, with one folder and one database."""
    shared = ("--database-url", postgres.url(postgres.new_database()), "--lease-seconds", str(lease), *options)
    both = tuple(start_mortal(*shared, "--instance", name, log=name) for name in ("a", "b"))
    # Each has seen the other.
    for each, other in (both, both[::-1]):
        until(lambda each=each, other=other: knows(each, other), PATIENCE)
    return both


undisturbed = pytest.mark.parametrize("gateways", [100.0], indirect=True)
"""For a test in which nobody dies, nor shall be taken for dead because the machine is busy."""


@pytest.fixture
def gateways(start_mortal, postgres, request):
    return start_pair(start_mortal, postgres, lease=getattr(request, "param", LEASE))


def knows(gateway: RunningGateway, other: RunningGateway) -> bool:
    """Whether a session made at the other one can be had here."""
    with client(other, "token-of-bob") as there, client(gateway, "token-of-bob") as here:
        made = there.post("/sessions", json={"kind": "pyspark", "name": "never-ready"})
        try:
            return here.get(f"/sessions/{made.json()['id']}").status_code == 200
        finally:
            there.delete(f"/sessions/{made.json()['id']}")


@pytest.fixture
def people(gateways):
    """Alice at `a`, and Alice at `b`."""
    with client(gateways[0], "token-of-alice") as at_a, client(gateways[1], "token-of-alice") as at_b:
        yield at_a, at_b


def freeze(gateway: RunningGateway) -> None:
    gateway.process.send_signal(signal.SIGSTOP)


def thaw(gateway: RunningGateway) -> None:
    gateway.process.send_signal(signal.SIGCONT)


def taken_over(gateway: RunningGateway, session: int) -> None:
    until(
        lambda: any('"sessions_taken_over"' in line and str(session) in line for line in gateway.log.splitlines()),
        PATIENCE,
    )


@undisturbed
def test_either_answers_for_all(gateways, people):
    at_a, at_b = people
    first, second = new_session(at_a, name="first"), new_session(at_b, name="second")
    for alice in people:
        listed = alice.get("/sessions").json()
        assert ([each["id"] for each in listed["sessions"]], listed["total"]) == ([first, second], 2)
        assert [each["id"] for each in alice.get("/sessions?from=1&size=1").json()["sessions"]] == [second]
        assert alice.get("/sessions?from=2").json() == {"from": 2, "total": 2, "sessions": []}
        for session, name in ((first, "first"), (second, "second")):
            assert alice.get(f"/sessions/{name}").json()["id"] == session
            assert alice.get(f"/sessions/{session}").json() == at_a.get(f"/sessions/{name}").json()
            assert value(run(alice, session, "40 + 2")) == "42"
            assert alice.get(f"/services/gateway/sessions/{session}/state").json()["state"] == "idle"
            assert alice.get(f"/sessions/{session}/log").json()["log"][-1] == "the simulated driver is up"
        # Names and keys are the database's to keep.
        again = alice.post("/sessions", json={"kind": "pyspark", "name": "first"})
        assert (again.status_code, "Duplicate session name" in again.json()["msg"]) == (400, True)
    made = at_a.post(f"/sessions/{second}/statements", json={"code": "1"})
    assert made.headers["Location"] == f"/sessions/{second}/statements/{made.json()['id']}"
    waited = at_a.post(f"/sessions/{second}/statements?wait=20", json={"code": "sleep 0.3"}).json()
    assert value(waited) == "slept"
    assert at_a.delete("/sessions/second").json() == {"msg": "deleted"}
    assert [each["id"] for each in at_b.get("/sessions").json()["sessions"]] == [first]
    assert at_a.get(f"/sessions/{second}").status_code == at_b.get(f"/sessions/{second}").status_code == 404


@undisturbed
def test_the_same_key_at_both_makes_one(gateways, people):
    with ThreadPoolExecutor(8) as threads:
        key = {"Idempotency-Key": "once"}
        made = list(
            threads.map(
                lambda number: people[number % 2].post("/sessions", json={"kind": "pyspark"}, headers=key), range(8)
            )
        )
    assert {each.status_code for each in made} == {201}
    (session,) = {each.json()["id"] for each in made}
    assert {each.headers["Location"] for each in made} == {f"/sessions/{session}"}
    assert people[0].get("/sessions").json()["total"] == 1


@undisturbed
def test_the_wrong_person_is_refused_by_either(gateways, people):
    session = new_session(people[1], name="alices")
    run(people[1], session, "1")
    unknown = 999_999
    with (
        client(gateways[0], "token-of-bob") as bob,
        client(gateways[0], None) as nobody,
        client(gateways[0], "token-of-eve") as eve,
        client(gateways[0], "token-of-ada") as ada,
    ):
        for method, path in (
            ("GET", ""), ("GET", "/state"), ("GET", "/log"), ("GET", "/statements"), ("GET", "/statements/0"),
            ("POST", "/statements"), ("POST", "/stop"), ("POST", "/statements/0/cancel"), ("DELETE", ""),
        ):  # fmt: skip
            body = '{"code": "1"}' if path == "/statements" and method == "POST" else None
            theirs = bob.request(method, f"/sessions/{session}{path}", content=body)
            none = bob.request(method, f"/sessions/{unknown}{path}", content=body)
            assert theirs.status_code == none.status_code == 404
            assert theirs.text.replace(str(session), "N") == none.text.replace(str(unknown), "N")
            hidden = {"date", "content-length", "x-request-id"}
            assert {k: v for k, v in theirs.headers.items() if k not in hidden} == {
                k: v for k, v in none.headers.items() if k not in hidden
            }
            assert nobody.request(method, f"/sessions/{session}{path}", content=body).status_code == 401
            assert eve.request(method, f"/sessions/{session}{path}", content=body).status_code == 403
        assert bob.get("/sessions/alices").status_code == 404
        assert bob.get("/sessions").json()["total"] == 0
        assert nobody.get("/sessions").status_code == 401
        assert ada.get(f"/sessions/{session}").status_code == 200
        assert [each["id"] for each in ada.get("/sessions").json()["sessions"]] == [session]
    # A driver's door opens to its token alone, and shows the way to nobody else.
    for token in ("guessed", "token-of-alice"):
        address = f"{gateways[0].url.replace('http', 'ws')}/driver/v1/{session}"
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(address, additional_headers={"Authorization": f"Bearer {token}"}),
        ):
            pass
        assert refused.value.response.status_code == 403
        assert "Location" not in refused.value.response.headers
    assert people[0].get(f"/sessions/{session}/state").json()["state"] == "idle"


def test_limits_count_what_all_run(start_mortal, postgres):
    database = postgres.url(postgres.new_database())
    options = ("--database-url", database, "--max-sessions-per-user", "2", "--max-sessions", "3")
    both = [start_mortal(*options, "--instance", name, log=name) for name in ("a", "b")]
    with ThreadPoolExecutor(6) as threads:

        def post(number: int) -> httpx.Response:
            with client(both[number % 2], "token-of-alice") as alice:
                return alice.post("/sessions", json={"kind": "pyspark"})

        made = list(threads.map(post, range(6)))
    assert sorted(each.status_code for each in made) == [201, 201, 400, 400, 400, 400]
    assert all("at most 2" in each.json()["msg"] for each in made if each.status_code == 400)
    with client(both[0], "token-of-bob") as bob, client(both[1], "token-of-ada") as ada:
        assert bob.post("/sessions", json={"kind": "pyspark"}).status_code == 201
        assert "at most 3" in ada.post("/sessions", json={"kind": "pyspark"}).json()["msg"]


def test_killing_the_owner_in_the_midst_of_everything(gateways, people):
    a, b = gateways
    at_a, at_b = people
    session, deaf = new_session(at_b), new_session(at_b, name="deaf")
    pids = driver_pid(at_a, session), driver_pid(at_a, deaf)
    running = submit(at_a, session, "sleep 2")
    waiting = [submit(at_a, session, COUNT) for _ in range(2)]
    starting = at_b.post("/sessions", json={"kind": "pyspark"}).json()["id"]
    assert at_b.delete(f"/sessions/{deaf}").json() == {"msg": "deleted"}
    assert alive(pids[1])
    answers = []

    def wait() -> None:
        with client(a, "token-of-alice") as alice:
            answers.append(alice.get(f"/sessions/{session}/statements/{waiting[1]}?wait=60").json())
            answers.append(alice.post(f"/sessions/{session}/statements?wait=60", json={"code": COUNT}).json())

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: statement(at_b, session, running)["state"] == "running")
    b.kill()
    # Nothing is gone, not even before anybody has taken over.
    assert {each["id"] for each in at_a.get("/sessions").json()["sessions"]} == {session, starting}
    taken_over(a, session)
    assert value(statement(at_a, session, running, wait=30)) == "slept"
    assert [value(statement(at_a, session, each, wait=30)) for each in waiting] == ["1", "2"]
    waiter.join()
    assert [value(each) for each in answers] == ["2", "3"]
    assert driver_pid(at_a, session) == pids[0]
    until(lambda: at_a.get(f"/sessions/{starting}/state").json()["state"] == "idle", PATIENCE)
    until(lambda: not alive(pids[1]), PATIENCE)
    # A driver that dies under its new owner is noticed at once.
    os.kill(pids[0], signal.SIGKILL)
    assert at_a.get(f"/sessions/{session}?wait=30&state=idle").json()["state"] == "dead"
    # The killed one comes back, with nothing of its own, and answers for all again.
    b.start()
    assert {each["id"] for each in at_b.get("/sessions").json()["sessions"]} == {session, starting}
    assert value(run(at_b, starting, COUNT)) == "1"


def test_an_owner_that_was_frozen_finds_out_before_it_does_harm(gateways, people):
    a, b = gateways
    at_a, at_b = people
    session = new_session(at_b, heartbeatTimeoutInSecond=600)
    pid = driver_pid(at_b, session)
    running = submit(at_b, session, "sleep 1")
    waiting = submit(at_b, session, COUNT)
    stale = []

    def ask_the_frozen_one() -> None:
        with client(b, "token-of-alice") as alice:
            stale.append(alice.get(f"/sessions/{session}/statements/{waiting}?wait=60").json())

    freeze(b)
    asking = threading.Thread(target=ask_the_frozen_one)
    asking.start()
    try:
        taken_over(a, session)
        # The driver hangs on its line to the frozen one until its pings stay unanswered, or somebody cuts it.
        os.kill(pid, signal.SIGUSR1)
        assert value(statement(at_a, session, running, wait=60)) == "slept"
        assert value(statement(at_a, session, waiting, wait=60)) == "1"
        during = submit(at_a, session, COUNT)
        assert value(statement(at_a, session, during, wait=60)) == "2"
    finally:
        thaw(b)
    asking.join()
    # Whoever had asked it got the truth, which is the new owner's.
    assert [value(each) for each in stale] == ["1"]
    until(lambda: "gateway_lost_its_lease" in b.log, PATIENCE)
    assert driver_pid(at_b, session) == pid
    assert value(run(at_b, session, COUNT)) == "3"
    assert [each["id"] for each in at_b.get("/sessions").json()["sessions"]] == [session]
    # It works on as a gateway of its own.
    until(lambda: b.log.count("gateway_registered") >= 2, PATIENCE)
    own = new_session(at_b)
    assert value(run(at_a, own, COUNT)) == "1"
    assert alive(pid)


def test_a_gateway_frozen_while_it_starts_drivers_leaves_one_each(start_mortal, postgres):
    database = postgres.url(postgres.new_database())
    options = ("--database-url", database, "--lease-seconds", str(LEASE), "--concurrent-starts", "1")
    a, b = (start_mortal(*options, "--instance", name, log=name) for name in ("a", "b"))
    with client(a, "token-of-alice") as at_a, client(b, "token-of-alice") as at_b:
        numbers = [at_b.post("/sessions", json={"kind": "pyspark"}).json()["id"] for _ in range(4)]
        freeze(b)
        try:
            for number in numbers:
                until(lambda number=number: at_a.get(f"/sessions/{number}/state").json()["state"] == "idle", PATIENCE)
        finally:
            thaw(b)
        until(lambda: "gateway_lost_its_lease" in b.log, PATIENCE)
        for number in numbers:
            pid = driver_pid(at_b, number)
            work = a._folder / "state" / "sessions" / str(number) / "work"
            until(lambda pid=pid, work=work: processes.working_in(work) == [pid], PATIENCE)
            assert value(run(at_a, number, COUNT)) == "1"


@undisturbed
def test_a_gateway_that_is_stopped_in_order_hands_over_at_once(gateways, people):
    a, b = gateways
    at_a, _ = people
    session = new_session(at_a)
    with client(b, "token-of-alice") as at_b:
        moved = new_session(at_b)
        pid = driver_pid(at_b, moved)
        number = submit(at_b, moved, "sleep 2")
        b.stop()
    assert value(statement(at_a, moved, number, wait=30)) == "slept"
    assert driver_pid(at_a, moved) == pid
    assert "gateway_declared_dead" not in a.log
    assert {each["id"] for each in at_a.get("/sessions").json()["sessions"]} == {session, moved}


def test_two_of_one_name_cannot_run_on_one_folder_and_one_elsewhere_gives_way(start_mortal, postgres, tmp_path):
    database = ("--database-url", postgres.url(postgres.new_database()), "--lease-seconds", "2")
    first = start_mortal(*database)
    second = RunningGateway(tmp_path, first.hub_url, *database, log="second")
    second.launch()
    assert second.process.wait(60) == 2
    assert "another gateway uses" in second.log
    elsewhere = start_mortal(*database, "--state-dir", str(tmp_path / "elsewhere"), log="elsewhere")
    assert first.process.wait(60) in {0, -signal.SIGTERM}
    assert "gateway_name_taken" in first.log
    assert elsewhere.process.poll() is None


def test_the_database_gone_for_longer_than_a_lease(gateways, people, postgres):
    at_a, at_b = people
    mine, theirs = new_session(at_a), new_session(at_b)
    running = [submit(at_a, mine, f"__import__('time').sleep(1) or {COUNT}"), submit(at_b, theirs, COUNT)]
    postgres.stop()
    try:
        time.sleep(LEASE + 2)
        # Nobody can tell any more whose a session is, so nobody pretends to.
        for alice, session in ((at_a, mine), (at_b, theirs)):
            refused = alice.get(f"/sessions/{session}")
            assert refused.status_code == 503
            assert "Try again" in refused.json()["msg"]
    finally:
        postgres.start()
    for alice, session, number in ((at_a, mine, running[0]), (at_b, theirs, running[1])):
        until(lambda alice=alice, session=session: alice.get(f"/sessions/{session}").status_code == 200, PATIENCE)
        assert value(statement(alice, session, number, wait=60)) == "1"
        assert value(run(alice, session, COUNT)) == "2"
