"""Batches and pages where two gateways share one PostgreSQL: either answers for all, and losing one loses nothing."""

import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sparkyard_gateway.backends import processes

from .conftest import client, new_session, run
from .test_batch_recovery import COUNTS
from .test_batches import ended, said, submit, write_scripts
from .test_outages import submit as submit_statement
from .test_pages import SECRET, browser, page_token
from .test_records import events
from .test_sessions import alive, driver_pid, until
from .test_two_gateways import LEASE, PATIENCE, freeze, start_pair, thaw, undisturbed

IN_FLIGHT = "sparkyard_gateway_http_requests_in_flight "
TELL = "os.write(2, b'{}\\n') and None"


@pytest.fixture
def gateways(start_mortal, postgres, tmp_path, request):
    """Two with one folder, one database, pages, and homes of Alice and Bob."""
    write_scripts(tmp_path / "homes", "alice", "bob")
    (tmp_path / "homes" / "alice" / "jobs" / "counts.py").write_text(COUNTS)
    (tmp_path / "token").write_text(SECRET)
    yield start_pair(
        start_mortal, postgres, "--homes-dir", str(tmp_path / "homes"), "--stop-grace-seconds", "0.5",
        "--concurrent-starts", "8", "--hub-token-file", str(tmp_path / "token"), lease=getattr(request, "param", LEASE),
    )  # fmt: skip
    for folder in tmp_path.glob("state/batches/*"):
        for pid in processes.working_in(folder) + processes.working_in(folder / "work"):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def people(gateways):
    with client(gateways[0], "token-of-alice") as at_a, client(gateways[1], "token-of-alice") as at_b:
        yield at_a, at_b


def taken_over(gateway) -> None:
    until(lambda: '"sessions_taken_over"' in gateway.log, PATIENCE)


@undisturbed
def test_either_answers_for_all_batches(gateways, people):
    at_a, at_b = people
    first, second = submit(at_a, "waits.py", "600", name="first"), submit(at_b, "waits.py", "600", name="second")
    pids = {number: said(at_b, number, "pid") for number in (first, second)}
    for alice in people:
        listed = alice.get("/batches").json()
        assert ([each["id"] for each in listed["sessions"]], listed["total"]) == ([first, second], 2)
        assert [each["id"] for each in alice.get("/batches?from=1&size=1").json()["sessions"]] == [second]
        for number, name in ((first, "first"), (second, "second")):
            assert alice.get(f"/batches/{name}").json()["id"] == number
            assert alice.get(f"/batches/{number}/state").json() == {"id": number, "state": "running"}
            assert alice.get(f"/services/gateway/batches/{number}/log").json()["log"][-1] == f"pid {pids[number]}"
        again = alice.post("/batches", json={"file": "home://jobs/waits.py", "name": "first"})
        assert (again.status_code, "Duplicate session name" in again.json()["msg"]) == (400, True)
    with client(gateways[0], "token-of-bob") as bob, client(gateways[0], None) as nobody:
        for method, path in (("GET", ""), ("GET", "/state"), ("GET", "/log"), ("DELETE", "")):
            theirs = bob.request(method, f"/batches/{second}{path}")
            none = bob.request(method, f"/batches/999999{path}")
            assert theirs.status_code == none.status_code == 404
            assert theirs.text.replace(str(second), "N") == none.text.replace("999999", "N")
            assert nobody.request(method, f"/batches/{second}{path}").status_code == 401
        assert bob.get("/batches/second").status_code == 404
        assert bob.get("/batches").json()["total"] == 0
    # A reader who waits at one is woken by what happens at the other.
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(at_a.get, f"/batches/{second}?wait=60&state=running")
        os.kill(int(pids[second]), signal.SIGTERM)
        assert waiting.result().json()["state"] == "killed"
    assert at_b.delete("/batches/first").json() == {"msg": "deleted"}
    until(lambda: not alive(int(pids[first])), PATIENCE)
    assert at_a.get(f"/batches/{first}").status_code == at_b.get(f"/batches/{first}").status_code == 404
    assert [each["id"] for each in at_a.get("/batches").json()["sessions"]] == [second]


@undisturbed
def test_the_same_key_at_both_makes_one_batch(people, tmp_path):
    mark = tmp_path / "mark"
    with ThreadPoolExecutor(8) as threads:
        key = {"Idempotency-Key": "once"}
        made = set(threads.map(lambda n: submit(people[n % 2], "counts.py", str(mark), headers=key), range(8)))
    (number,) = made
    assert ended(people[0], number)["state"] == "success"
    assert mark.read_text() == "x"
    assert people[1].get("/batches").json()["total"] == 1


def test_limits_count_the_batches_of_all(start_mortal, postgres, tmp_path):
    homes = write_scripts(tmp_path / "homes", "alice")
    both = start_pair(start_mortal, postgres, "--homes-dir", str(homes), "--max-batches-per-user", "2", lease=100)

    def post(number: int) -> httpx.Response:
        with client(both[number % 2], "token-of-alice") as alice:
            return alice.post("/batches", json={"file": "home://jobs/waits.py", "args": ["600"]})

    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(post, range(6)))
    assert sorted(each.status_code for each in made) == [201, 201, 400, 400, 400, 400]
    assert all("at most 2" in each.json()["msg"] for each in made if each.status_code == 400)
    with client(both[0], "token-of-alice") as alice:
        for each in alice.get("/batches").json()["sessions"]:
            alice.delete(f"/batches/{each['id']}")


def test_killing_the_owner_loses_no_batch_and_runs_none_twice(gateways, people, tmp_path):
    b = gateways[1]
    at_a, at_b = people
    done = submit(at_b, "prints.py", "before")
    assert ended(at_b, done)["state"] == "success"
    long, doomed, deaf = (submit(at_b, script, "600") for script in ("waits.py", "waits.py", "deaf.py"))
    pids = {number: int(said(at_b, number, "pid")) for number in (long, doomed, deaf)}
    assert at_a.delete(f"/batches/{deaf}").json() == {"msg": "deleted"}
    # Eight in eight moments of their start, each under a key that its client will repeat.
    marks = [tmp_path / f"mark-{number}" for number in range(8)]
    key = [{"Idempotency-Key": f"once-{number}"} for number in range(8)]
    starting = [submit(at_b, "counts.py", str(mark), headers=each) for mark, each in zip(marks, key, strict=True)]
    waited: list[dict] = []

    def wait() -> None:
        # Whoever waits is told to ask again where that takes longer than a request may.
        asking = f"/batches/{doomed}?wait=60&state=running"
        waited.append(until(lambda: (found := at_a.get(asking)).status_code == 200 and found.json(), PATIENCE))

    waiter = threading.Thread(target=wait)
    waiter.start()
    b.kill()
    os.kill(pids[doomed], signal.SIGKILL)
    # Nothing is gone, not even before anybody has taken over.
    assert {each["id"] for each in at_a.get("/batches").json()["sessions"]} == {done, long, doomed, *starting}
    taken_over(gateways[0])
    again = [submit(at_a, "counts.py", str(mark), headers=each) for mark, each in zip(marks, key, strict=True)]
    assert again == starting
    found = [ended(at_a, number) for number in starting]
    assert [each["state"] for each in found] == ["success"] * 8, found
    assert [mark.read_text() for mark in marks] == ["x"] * 8
    over = ended(at_a, doomed)
    assert (over["state"], over["exitCode"], over["log"][-1]) == ("killed", -9, f"pid {pids[doomed]}")
    waiter.join()
    assert waited[0]["id"] == doomed
    # The one that was being ended is ended, and the one that runs is watched by its new owner, to its exit code.
    until(lambda: not alive(pids[deaf]), PATIENCE)
    assert at_a.get(f"/batches/{long}/state").json()["state"] == "running"
    assert at_a.get(f"/batches/{done}/log").json()["log"][-1] == "hello from before"
    os.kill(pids[long], signal.SIGTERM)
    over = ended(at_a, long)
    assert (over["state"], over["exitCode"]) == ("killed", -15)
    # The killed one comes back, with nothing of its own, and answers for all again.
    b.start()
    assert {each["id"] for each in at_b.get("/batches").json()["sessions"]} == {done, long, doomed, *starting}
    assert [mark.read_text() for mark in marks] == ["x"] * 8


def test_a_gateway_frozen_while_it_starts_batches_runs_none_twice(gateways, people, tmp_path):
    b = gateways[1]
    at_a, at_b = people
    marks = [tmp_path / f"mark-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda mark: submit(at_b, "counts.py", str(mark)), marks))
    freeze(b)
    try:
        taken_over(gateways[0])
        found = [ended(at_a, number) for number in numbers]
        assert [each["state"] for each in found] == ["success"] * 8, found
    finally:
        thaw(b)
    until(lambda: "gateway_lost_its_lease" in b.log, PATIENCE)
    until(lambda: b.log.count("gateway_registered") >= 2, PATIENCE)
    # Whatever it was about to do, it did not do; and it works on as a gateway of its own.
    own = submit(at_b, "prints.py", "after")
    assert ended(at_a, own)["state"] == "success"
    assert [mark.read_text() for mark in marks] == ["x"] * 8
    assert [at_b.get(f"/batches/{number}").json()["state"] for number in numbers] == ["success"] * 8


@undisturbed
def test_a_log_is_followed_through_the_other_and_a_reader_who_leaves_is_let_go(gateways, people):
    at_a, at_b = people
    session = new_session(at_b)
    path = f"/sessions/{session}/record/log/events"
    with client(gateways[0], "token-of-bob") as bob:
        assert bob.get(path).status_code == 404
    with at_a.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.iter_lines())
        text = ""
        for word in ("one", "two"):
            submit_statement(at_a, session, TELL.format(word))
            while word not in text:
                text += next(told)[2]["text"]

    def in_flight(gateway) -> float:
        lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("sparkyard_gateway_http_requests_in_flight")
        )

    # What is left is the question itself.
    for gateway in gateways:
        until(lambda gateway=gateway: in_flight(gateway) == 1, PATIENCE)
    with at_a.stream("GET", path) as answer:
        told = events(answer.iter_lines())
        next(told)
        assert at_a.delete(f"/sessions/{session}").json() == {"msg": "deleted"}
        assert [name for name, _, _ in told][-1] == "end"


def test_the_page_shows_the_sessions_of_both_to_who_may_see_them(gateways, people):
    a, b = gateways
    at_a, at_b = people
    first, second = new_session(at_a, name="first"), new_session(at_b, name="second")
    run(at_b, second, "1 / 0")
    with browser(a, "token-of-alice") as page, browser(a, "token-of-bob") as bob:
        with page.stream("GET", "/events") as answer:
            told = events(answer.iter_lines())
            shown: dict[int, dict] = {}

            def look() -> None:
                document = next(told)[2]
                shown.update({each["id"]: each for each in document["changed"]})
                for number in document["gone"]:
                    del shown[number]

            while not {first, second} <= shown.keys():
                look()
            assert shown[second]["name"] == "second"
            submit_statement(at_a, second, "sleep 3")
            while shown[second]["state"] != "busy":
                look()
            # Its owner dies: it is never gone from the page, and alive again with its new owner.
            pid = driver_pid(at_b, first)
            b.kill()
            while (
                not any('"sessions_taken_over"' in line for line in a.log.splitlines())
                or shown[second]["state"] != "idle"
            ):
                look()
                assert {first, second} <= shown.keys()
            b.start()
            until(lambda: at_b.get(f"/sessions/{second}/state").json().get("state") == "idle", PATIENCE)
            assert driver_pid(at_b, first) == pid
        # Now all are at `a`, and asked for at `b`.
        with browser(b, "token-of-alice") as other, browser(b, "token-of-bob") as stranger:
            with other.stream("GET", f"/sessions/{second}/events") as answer:
                document = next(events(answer.iter_lines()))[2]
                assert (document["session"]["id"], document["session"]["name"]) == (second, "second")
            assert f"Session {second}" in other.get(f"/sessions/{second}").text
            assert other.get(f"/sessions/{second}/log?size=1000").status_code == 200
            for path in ("", "/events", "/log", "/log/events", "/log/text"):
                theirs = stranger.get(f"/sessions/{second}{path}")
                none = stranger.get(f"/sessions/999999{path}")
                assert theirs.status_code == none.status_code == 404
                assert re.sub(rf"\b{second}\b", "N", theirs.text) == none.text.replace("999999", "N")
            assert stranger.get("/here").json() == bob.get("/here").json() == {"sessions": []}
            assert other.post(f"/sessions/{second}/stop").status_code == 403
            token = page_token(other)
            assert stranger.post(f"/sessions/{second}/stop", headers={"Sparkyard-Token": token}).status_code == 403
            assert at_a.get(f"/sessions/{second}/state").json()["state"] == "idle"
            assert other.post(f"/sessions/{second}/stop", headers={"Sparkyard-Token": token}).status_code == 204
            until(lambda: at_a.get(f"/sessions/{second}/state").json()["state"] == "dead", PATIENCE)
        assert {each["id"] for each in page.get("/here").json()["sessions"]} == {first, second}
    with browser(b, "guessed") as nobody:
        assert nobody.get("/here").status_code == 401


@undisturbed
def test_a_claim_is_judged_by_the_owner(gateways, people):
    """Whoever asks the other gateway gets the very answer of the one that has the session."""
    session = new_session(people[1])
    wish = {"claim": "guessed", "token": "t" * 43, "driver": ""}
    answers = [httpx.post(f"{each.url}/driver/v1/{session}/bootstrap", json=wish) for each in gateways]
    assert [each.status_code for each in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert "claim_refused" not in gateways[0].log
    assert gateways[1].log.count("claim_refused") == 2
    large = httpx.post(f"{gateways[0].url}/driver/v1/{session}/bootstrap", content=b"x" * 10_000)
    assert large.status_code == 413


def test_a_batch_of_a_machine_that_is_gone_for_good_is_neither_run_again_nor_believed_to_run(
    start_mortal, postgres, tmp_path
):
    """Two folders stand for two machines: what ran in the one cannot be seen from the other."""
    write_scripts(tmp_path / "homes", "alice")
    shared = (
        "--database-url", postgres.url(postgres.new_database()), "--lease-seconds", str(LEASE),
        "--homes-dir", str(tmp_path / "homes"), "--orphan-seconds", "1",
    )  # fmt: skip
    a, b = (
        start_mortal(*shared, "--instance", name, "--state-dir", str(tmp_path / name / "state"), log=name)
        for name in ("a", "b")
    )
    with client(a, "token-of-alice") as at_a, client(b, "token-of-alice") as at_b:
        number = submit(at_b, "waits.py", "600")
        pid = int(said(at_b, number, "pid"))
        b.kill()
        taken_over(a)
        over = ended(at_a, number)
        assert (over["state"], over["exitCode"]) == ("dead", None)
        assert "has been away for too long" in over["stateReason"]
        assert alive(pid)  # which nobody here could know, on another machine
        os.kill(pid, signal.SIGKILL)
        assert at_a.delete(f"/batches/{number}").json() == {"msg": "deleted"}
