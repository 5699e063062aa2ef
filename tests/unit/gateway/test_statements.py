"""Statements: in order, waited for, streamed, cancelled, paged."""

import threading
import time

import pytest

from .conftest import client, new_session, run
from .test_sessions import until


@pytest.fixture(scope="module")
def session(as_alice):
    number = new_session(as_alice)
    yield number
    as_alice.delete(f"/sessions/{number}")


def _statement(client, session, number, query=""):
    return client.get(f"/sessions/{session}/statements/{number}{query}").json()


def test_a_result_as_livy_gives_it(as_alice, session):
    made = as_alice.post(f"/sessions/{session}/statements", json={"code": "40 + 2"})
    assert made.status_code == 201
    first = made.json()
    assert list(first)[:7] == ["id", "code", "state", "output", "progress", "started", "completed"]
    assert made.headers["Location"] == f"/sessions/{session}/statements/{first['id']}"
    done = until(lambda: (s := _statement(as_alice, session, first["id"]))["state"] == "available" and s)
    assert done["output"] == {"status": "ok", "execution_count": first["id"], "data": {"text/plain": "42"}}
    assert done["progress"] == 1.0
    assert first["id"] >= 0
    assert 0 < done["started"] <= done["completed"] <= time.time() * 1000
    assert (done["stream"], done["stages"], done["truncated"]) == ({"from": 0, "next": 0, "text": ""}, [], None)


def test_an_error_is_available_with_its_name(as_alice, session):
    failed = run(as_alice, session, "1/0")
    assert failed["state"] == "available"
    assert failed["output"]["ename"] == "ZeroDivisionError"


def test_statements_run_one_after_another_in_their_order(as_alice, session):
    slow = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 0.4"}).json()
    behind = as_alice.post(f"/sessions/{session}/statements", json={"code": "2"}).json()
    assert behind["id"] == slow["id"] + 1
    assert until(lambda: as_alice.get(f"/sessions/{session}/state").json()["state"] == "busy")
    assert _statement(as_alice, session, behind["id"])["state"] == "waiting"
    done = _statement(as_alice, session, behind["id"], "?wait=5")
    assert done["output"]["data"]["text/plain"] == "2"
    assert _statement(as_alice, session, slow["id"])["completed"] <= done["started"]
    assert as_alice.get(f"/sessions/{session}/state").json()["state"] == "idle"


def test_one_posted_while_the_session_starts_is_queued(as_alice):
    number = as_alice.post("/sessions", json={"kind": "pyspark"}).json()["id"]
    early = as_alice.post(f"/sessions/{number}/statements", json={"code": "3"})
    assert (early.status_code, early.json()["state"]) == (201, "waiting")
    assert _statement(as_alice, number, 0, "?wait=10")["output"]["data"]["text/plain"] == "3"
    as_alice.delete(f"/sessions/{number}")


def test_a_wait_returns_with_the_result_not_after_it(as_alice, session):
    assert run(as_alice, session, "sleep 0.5")["state"] == "available"
    waiting = as_alice.post(f"/sessions/{session}/statements?wait=0.2", json={"code": "sleep 2"}).json()
    assert waiting["state"] in {"waiting", "running"}
    _statement(as_alice, session, waiting["id"], "?wait=5")


def test_what_is_printed_streams_while_it_runs(as_alice, session):
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": "stream one two three"}).json()["id"]
    seen, offset, fractions = [], 0, set()
    for _ in range(20):
        answer = _statement(as_alice, session, number, f"?wait=5&since={offset}")
        seen.append(answer["stream"]["text"])
        assert answer["stream"]["from"] == offset
        offset = answer["stream"]["next"]
        fractions.add(answer["progress"])
        if answer["state"] == "available":
            break
    assert "".join(seen) == "one\ntwo\nthree\n"
    assert len([piece for piece in seen if piece]) >= 2
    assert 0.5 in fractions
    assert answer["output"]["data"]["text/plain"] == "one\ntwo\nthree"


def test_a_wait_for_news_returns_when_stages_change(as_alice, session):
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": "stream a b"}).json()["id"]
    names, version = [], 0
    while (answer := _statement(as_alice, session, number, f"?wait=5&seen={version}"))["state"] != "available":
        assert answer["version"] > version
        version = answer["version"]
        names += [stage["name"] for stage in answer["stages"]]
    assert names.index("a") < names.index("b")
    assert set(answer) >= {"stages", "version"}


def test_cancel_of_one_that_runs(as_alice, session):
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 30"}).json()["id"]
    until(lambda: _statement(as_alice, session, number)["state"] == "running")
    assert as_alice.post(f"/sessions/{session}/statements/{number}/cancel", json={}).json() == {"msg": "canceled"}
    done = _statement(as_alice, session, number, "?wait=5")
    assert done["state"] == "cancelled"
    assert done["output"]["status"] == "error"
    assert run(as_alice, session, "5")["output"]["data"]["text/plain"] == "5"


def test_cancel_of_one_that_waits_leaves_the_others_alone(as_alice, session):
    slow = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 0.5"}).json()["id"]
    doomed = as_alice.post(f"/sessions/{session}/statements", json={"code": "1"}).json()["id"]
    last = as_alice.post(f"/sessions/{session}/statements", json={"code": "'last'"}).json()["id"]
    as_alice.post(f"/sessions/{session}/statements/{doomed}/cancel")
    gone = _statement(as_alice, session, doomed)
    assert (gone["state"], gone["output"], gone["started"], gone["progress"]) == ("cancelled", None, 0, 1.0)
    assert gone["completed"] > 0
    assert _statement(as_alice, session, last, "?wait=5")["output"]["data"]["text/plain"] == "'last'"
    assert _statement(as_alice, session, slow)["state"] == "available"


def test_cancel_of_what_is_done_or_unknown_changes_nothing(as_alice, session):
    done = run(as_alice, session, "1")["id"]
    for number in (done, 99999):
        assert as_alice.post(f"/sessions/{session}/statements/{number}/cancel").json() == {"msg": "canceled"}
    assert _statement(as_alice, session, done)["state"] == "available"


def test_the_same_idempotency_key_runs_once(as_alice, session):
    key = {"Idempotency-Key": "abc"}
    url = f"/sessions/{session}/statements?wait=5"
    first = as_alice.post(url, json={"code": "6"}, headers=key).json()
    again = as_alice.post(url, json={"code": "7"}, headers=key).json()
    assert (again["id"], again["code"]) == (first["id"], "6")


def test_pages_of_statements_and_the_ones_beyond_memory(start_gateway):
    gateway = start_gateway("--retained-statements", "3")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        for number in range(8):
            run(alice, session, str(number))

        def page(query):
            answer = alice.get(f"/sessions/{session}/statements{query}").json()
            return answer["total_statements"], [each["id"] for each in answer["statements"]]

        assert page("") == (8, [0, 1, 2, 3, 4, 5, 6, 7])
        assert page("?from=2&size=2") == (8, [2, 3])
        assert page("?order=desc&size=3") == (8, [7, 6, 5])
        assert page("?order=DESC&from=6&size=9") == (8, [1, 0])
        assert page("?from=-3&size=5") == (8, [0, 1])
        assert page("?order=desc&from=-3&size=5") == (8, [7, 6])
        assert page("?size=-1") == page("?from=-3&size=1") == page("?size=0") == page("?from=100") == (8, [])
        # Long out of memory, answered whole from the database.
        old = _statement(alice, session, 0)
        assert (old["state"], old["output"]["data"]["text/plain"]) == ("available", "0")
        assert alice.get(f"/sessions/{session}/statements/8").status_code == 404


def test_large_outputs_leave_memory_but_not_the_database(start_gateway):
    gateway = start_gateway("--retained-chars", "100000", "--max-waiting-statements", "3")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        for letter in "abc":
            run(alice, session, f"'{letter}' * 80000")
        for number, letter in enumerate("abc"):
            assert _statement(alice, session, number)["output"]["data"]["text/plain"] == f"'{letter * 80000}'"
        for _ in range(3):
            alice.post(f"/sessions/{session}/statements", json={"code": "sleep 30"})
        refused = alice.post(f"/sessions/{session}/statements", json={"code": "1"})
        assert refused.status_code == 400
        assert "3 statements of this session are waiting" in refused.json()["msg"]


def test_the_same_key_at_the_same_moment_runs_once(as_alice, session, gateway):
    made = []

    def post(number):
        with client(gateway, "token-of-alice") as mine:
            key = {"Idempotency-Key": f"race-{number % 2}"}
            made.append(mine.post(f"/sessions/{session}/statements", json={"code": "1"}, headers=key))

    posting = [threading.Thread(target=post, args=(number,)) for number in range(12)]
    for each in posting:
        each.start()
    for each in posting:
        each.join()
    assert {each.status_code for each in made} == {201}
    assert len({each.json()["id"] for each in made}) == 2
    assert run(as_alice, session, "'after'")["output"]["data"]["text/plain"] == "'after'"


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("{}", 'The field "code" is missing'),
        ('{"code": null}', "Cannot deserialize"),
        ('{"code": ["1"]}', "Cannot deserialize"),
        ('{"code": "1", "kind": "cobol"}', "Invalid kind: cobol"),
        ('{"code": "1", "nosuch": 1}', 'Unrecognized field "nosuch"'),
        ('{"code":', "Eof"),
        ("", "No content to map due to end-of-input"),
        ("null", "must be a JSON object"),
        ("[" * 100_000, ""),
    ],
)
def test_a_body_that_is_wrong_is_a_400_and_a_string(as_alice, session, body, shape):
    answer = as_alice.post(f"/sessions/{session}/statements", content=body)
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)
    assert shape.lower() in answer.json().lower()


def test_a_shared_session_wants_the_kind_with_each_statement(as_alice):
    number = as_alice.post("/sessions", json={}).json()["id"]
    assert as_alice.get(f"/sessions/{number}").json()["kind"] == "shared"
    for wish in ({"code": "1"}, {"code": "1", "kind": "shared"}):
        refused = as_alice.post(f"/sessions/{number}/statements", json=wish)
        assert refused.status_code == 400
        assert refused.json()["msg"].startswith("Code type should be specified if session kind is shared")
    assert run(as_alice, number, "8", kind="python")["kind"] == "pyspark"
    as_alice.delete(f"/sessions/{number}")


def test_a_driver_that_talks_nonsense_is_hung_up_on_and_comes_back(as_alice, session):
    done = run(as_alice, session, "nonsense")
    assert done["output"]["data"]["text/plain"] == ""


def test_completion(as_alice, session):
    answer = as_alice.post(f"/sessions/{session}/completion", json={"code": "sp", "kind": "pyspark", "cursor": 2})
    assert answer.json() == {"candidates": ["spark"], "cursorStart": 0, "cursorEnd": 2, "matches": []}


def test_many_who_wait_are_all_answered(as_alice, session, gateway):
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 0.5"}).json()["id"]
    answers = []

    def wait():
        with client(gateway, "token-of-alice") as mine:
            answers.append(_statement(mine, session, number, "?wait=10")["state"])

    waiting = [threading.Thread(target=wait) for _ in range(20)]
    for each in waiting:
        each.start()
    for each in waiting:
        each.join()
    assert answers == ["available"] * 20


def test_an_interrupt_cancels_what_runs_and_what_waits_and_the_session_lives(as_alice, session):
    running = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()["id"]
    waiting = [as_alice.post(f"/sessions/{session}/statements", json={"code": "1"}).json()["id"] for _ in range(3)]
    until(lambda: _statement(as_alice, session, running)["state"] == "running")
    answer = as_alice.post(f"/sessions/{session}/interrupt")
    assert (answer.status_code, answer.json()) == (200, {"msg": "interrupted"})
    assert _statement(as_alice, session, running, "?wait=30")["state"] == "cancelled"
    ended = [_statement(as_alice, session, each) for each in waiting]
    assert {(each["state"], each["started"], each["output"]) for each in ended} == {("cancelled", 0, None)}
    assert run(as_alice, session, "5")["output"]["data"]["text/plain"] == "5"
    # With nothing to interrupt it is no more than a word.
    assert as_alice.post(f"/sessions/{session}/interrupt").json() == {"msg": "interrupted"}
    assert as_alice.get(f"/sessions/{session}/state").json()["state"] == "idle"
