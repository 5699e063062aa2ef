"""Livy's recorded requests to sessions and statements, asked of our gateway: same status, same shape, same words.

Where we answer otherwise, the case stands in DEVIATIONS with its reason. The drivers are simulated: nothing here needs
Spark. What statements answer is in test_livy_statements.py.
"""

import json
from pathlib import Path

import httpx
import pytest

from support import hub_stand_in, transcripts
from support.running_gateway import ROOT, RunningGateway
from support.transcripts import Exchange

RECORDED = ROOT.parent / "shared" / "livy-transcripts"
FILES = ("01", "02", "04", "06", "07", "12", "13", "11")
"""In this order: 11 deletes."""

SKIPPED = {
    "01: method override GET->DELETE by header on missing session": "a POST that deletes is a trap, not a contract",
    "02: no content type": "",
    "04: log while starting": "the lines are Spark's own",
    "04: connect while starting": "the state moves on while we look",
    "04: session when idle": "asked by test_sessions",
    "04: GET statement 0 while starting": "ours has one by then",
    "06: no content type (curl default form)": "Livy reads a form as nothing; we read the JSON that was sent",
    "11: jobs: unknown job id": "Livy's own Java and Scala job API: with the rest of the contract",
    "11: add-file: relative": "likewise",
    "11: add-file: not whitelisted": "likewise",
    "11: add-file: whitelisted": "likewise",
    "11: submit-job with no job": "likewise",
    "11: upload-file without a file part": "likewise",
    "07: from=0&size=2": "another history than ours; pages are asked for in test_statements",
    "07: from=2&size=1": "likewise",
    "07: order=desc&size=2": "likewise",
    "07: order=DESC (case)": "likewise",
    "07: order=bogus": "likewise",
    "07: from negative": "likewise",
    "06: code not a string": "it would run; what it answers is in test_livy_statements",
    "06: text/plain content type": "likewise",
    "06: no Content-Type header at all": "likewise",
}

DEVIATIONS = {
    "02: JSON null": (400, "Livy meets a null pointer: 500"),
    "02: kind null": (400, "likewise"),
    "02: numExecutors wrong type": (400, "Livy answers 500 to a wrong type"),
    "04: POST statement while starting": (201, "Livy refuses with 500; we queue it"),
    "04: completion while starting": (200, "Livy refuses with 500; we answer with no candidates"),
    "04: cancel while starting": (
        200,
        "Livy refuses with 500; cancelling what isn't there is no error elsewhere either",
    ),
    "06: missing code": (400, "Livy answers 500 and a stack trace"),
    "06: code null": (400, "likewise"),
    "06: bad kind": (400, "likewise"),
    "06: JSON null body": (400, "likewise"),
}

OTHER_WORDS = {
    "02: blacklisted conf spark.master": "our refusals name the profile and what it allows",
    "02: local file not whitelisted": "likewise",
    "02: relative jar path": "likewise",
    "02: bad URI": "likewise",
    "02: name all digits": "",
}


def _recorded() -> list[Exchange]:
    if not RECORDED.is_dir():
        return []
    return [each for number in FILES for each in transcripts.exchanges(RECORDED, number) if each.id not in SKIPPED]


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    with hub_stand_in.running() as hub:
        hub.admit("token-of-alice", "alice", ("analysts",))
        gateway = RunningGateway(
            tmp_path_factory.mktemp("gateway"), hub.url, "--stop-drivers-on-exit",
            "--driver-program", str(Path(hub_stand_in.__file__).parent / "simulated_driver.py"),
        )  # fmt: skip
        gateway.start()
        headers = {"Authorization": "token token-of-alice"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client:
            yield client
        gateway.stop()


@pytest.fixture(scope="module")
def sessions(alice):
    """Ours for the recorded ones: 11 without a name, 12 named `alice-nb`."""
    made = {"11": {"kind": "pyspark"}, "12": {"kind": "pyspark", "name": "alice-nb"}}
    ids = {number: alice.post("/sessions", json=wish).json()["id"] for number, wish in made.items()}
    for number in ids.values():
        assert alice.get(f"/sessions/{number}?wait=20&state=starting").json()["state"] == "idle"
        for code in ("1+1", "40 + 2"):
            alice.post(f"/sessions/{number}/statements?wait=10", json={"code": code})
    return ids


@pytest.fixture(scope="module", autouse=True)
def empty_list_first(alice):
    """Before anything is made the list is as Livy's."""
    assert alice.get("/sessions").json() == {"from": 0, "total": 0, "sessions": []}


@pytest.mark.parametrize("recorded", _recorded(), ids=lambda each: each.id)
def test_as_livy(alice, sessions, recorded):
    if recorded.id.startswith("11: DELETE again") or recorded.id.startswith("11: GET after"):
        assert recorded.status == 404
    answer = recorded.ask(alice, sessions)
    status, why = DEVIATIONS.get(recorded.id, (recorded.status, ""))
    assert answer.status_code == status, (why, answer.text)
    if recorded.status == 405:
        allowed = set(answer.headers["Allow"].split(", "))
        assert set(recorded.answer_headers["Allow"].split(", ")) <= allowed
    if recorded.method == "HEAD":
        assert answer.content == b""
        return
    if status != recorded.status:
        assert isinstance(answer.json(), str | dict)
        return
    _same_shape(recorded, answer, sessions)


def _same_shape(recorded: Exchange, answer: httpx.Response, sessions: dict[str, int]) -> None:
    theirs = recorded.json
    if theirs is None:
        assert answer.content == b""
        return
    assert answer.headers["Content-Type"].startswith("application/json")
    ours = answer.json()
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours)[: len(theirs)] == list(theirs)
        for key, value in theirs.items():
            assert value is None or ours[key] is None or type(ours[key]) is type(value), key
        if "msg" in theirs and recorded.id not in OTHER_WORDS:
            expected = theirs["msg"]
            for recorded_id, mine in sessions.items():
                expected = expected.replace(f"'{recorded_id}'", f"'{mine}'")
            assert ours["msg"] == expected
    elif theirs == "Statement not found":
        assert ours == theirs


def test_the_lists_of_exceptions_hold_nothing_that_is_not_recorded():
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    known = {each.id for number in FILES for each in transcripts.exchanges(RECORDED, number)}
    assert set(DEVIATIONS) <= known
    assert set(OTHER_WORDS) - known == set()


def test_a_gzipped_answer_is_offered(alice, sessions):
    long = alice.get(f"/sessions/{sessions['11']}", headers={"Accept-Encoding": "gzip"})
    assert long.headers.get("Content-Encoding") == "gzip" or len(long.content) < 1024
    assert json.loads(long.text)["id"] == sessions["11"]
