"""Where our gateway answers otherwise than Livy 0.9, exchange by exchange, and which recordings are not asked.

docs/livy.md tells users the same by kind. An exchange that is in neither list is answered as Livy answers it.
"""

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Otherwise:
    """What ours answers instead: the status, where it is another, and what its body holds, by dotted paths."""

    why: str
    status: int | None = None
    expect: dict[str, Any] = field(default_factory=dict)


def says(pattern: str) -> dict[str, Any]:
    """A `msg` that holds this."""
    return {"msg": re.compile(pattern)}


def string(pattern: str) -> dict[str, Any]:
    """A bare string that holds this."""
    return {"": re.compile(pattern)}


WRONG_TYPE = "a wrong type is the client's mistake: Livy's 500 has Sparkmagic repeat its POST"
QUEUED = "a statement may be sent while the session starts: it waits its turn"
ENDED = "Livy's 500 has Sparkmagic repeat its POST; ours is refused with the reason of the end"
POLICY = "our refusals name the setting, the profile and what it allows"
JOBS = "serialised jobs and files for a running session are refused, with what to use instead"
NOT_ONES_OWN = "what is somebody else's answers as an unknown one, where Livy says that it is there, or shows it"
NO_PAGE = "there is no page for people at /ui"
HEADER = "a token in a header is never sent by another site's page, so no further header is asked for"
HARMLESS = "Livy's interpreter dies of it; ours does not"
CANCELS = "a cancel reaches plain Python at once, and what it says is true"
KILLED = "SIGKILL|The driver's pod .* was deleted"
"""By its own process's number, or, where that is a pod's own affair, with its pod."""
PART = "recorded in part: this much of it"

OTHERWISE: dict[str, Otherwise] = {
    # The server
    "00: root": Otherwise(NO_PAGE),
    "00: root, Accept json": Otherwise(NO_PAGE),
    "00: ui (enabled by default)": Otherwise(NO_PAGE, 404),
    "00: ui with slash": Otherwise(NO_PAGE, 404),
    "00: metrics root": Otherwise("Prometheus' text, where Livy has a menu in HTML"),
    "00: metrics/ping": Otherwise("the same word; the media type's letters are UTF-8's"),
    "00: metrics/healthcheck": Otherwise("always 501 and empty in Livy; ours is /health/ready", 404),
    "00: static missing": Otherwise("there are no static files to miss: an unknown path as any"),
    "01: gzip": Otherwise("an answer of less than 1 KiB is not worth zipping", expect={"total": 0}),
    "01: method override GET->DELETE by header on missing session": Otherwise(
        "a POST that deletes is a trap: another site's form could send it", 405
    ),
    # Creation
    "02: JSON null": Otherwise(WRONG_TYPE, 400, string("must be a JSON object")),
    "02: kind null": Otherwise(WRONG_TYPE, 400, string("Kind should be a string")),
    "02: numExecutors wrong type": Otherwise(WRONG_TYPE, 400, string("numExecutors")),
    "02: blacklisted conf spark.master": Otherwise(POLICY, expect={"key": "spark.master", "profile": "contract"}),
    "02: local file not whitelisted": Otherwise(POLICY, expect={"key": "jars"}),
    "02: relative jar path": Otherwise(POLICY, expect={"key": "jars"}),
    "02: bad URI": Otherwise(POLICY, expect={"key": "jars"}),
    "03: duplicate name": Otherwise(
        "without Scala's brackets, and without the number of the session that was refused",
        expect={"msg": "Rejected, Reason: Duplicate session name: alice-nb"},
    ),
    # While it starts
    "04: POST statement while starting": Otherwise(QUEUED, 201, {"state": "waiting"}),
    "04: completion while starting": Otherwise("no driver has an answer yet: no candidates", 200, {"candidates": []}),
    "04: cancel while starting": Otherwise(
        "as anywhere else, cancelling is answered with its one word", 200, {"msg": "canceled"}
    ),
    # Statements that are refused
    "06: missing code": Otherwise(WRONG_TYPE, 400, string('"code" is missing')),
    "06: code null": Otherwise(WRONG_TYPE, 400, string("null")),
    "06: bad kind": Otherwise(WRONG_TYPE, 400, string("Invalid kind: cobol")),
    "06: JSON null body": Otherwise(WRONG_TYPE, 400, string("must be a JSON object")),
    "06: no content type (curl default form)": Otherwise(
        "Livy reads a form as an empty body; ours reads the JSON that was sent", 201, {"code": "1+1"}
    ),
    # Livy's own client
    "11: jobs: unknown job id": Otherwise(JOBS, 400, says("statements")),
    "11: add-file: relative": Otherwise(JOBS, 400, says("when you create")),
    "11: add-file: not whitelisted": Otherwise(JOBS, 400, says("when you create")),
    "11: add-file: whitelisted": Otherwise(JOBS, 400, says("when you create")),
    "11: submit-job with no job": Otherwise(JOBS, 400, says("statements")),
    "11: upload-file without a file part": Otherwise(JOBS, 400, says("when you create")),
    # Outcomes
    "05: result of: python exception inside an executor": Otherwise(
        PART, expect={"output.status": "error", "output.ename": "Py4JJavaError"}
    ),
    "05: result of: long output (200 kB)": Otherwise(
        "all of it, where Livy's log cut the recording", expect={"output.data.text/plain": re.compile("^x{200000}$")}
    ),
    "05: result of: %json of an unknown name": Otherwise(
        "Livy's is `ok`, with its own error as the result",
        expect={"output.status": "error", "output.ename": "KeyError"},
    ),
    "05: result of: %table unknown name": Otherwise(
        "Livy's is `ok`, with its own error as the result",
        expect={"output.status": "error", "output.ename": "KeyError"},
    ),
    "05: result of: pandas repr": Otherwise(
        "the same text, and the table in HTML beside it, as notebooks show it",
        expect={"output.data.text/plain": "   a\n0  1\n1  2", "output.data.text/html": re.compile("<table")},
    ),
    "05: result of: kind given: sql, in a pyspark session": Otherwise(
        "the same but for today's date",
        expect={"output.status": "ok", "output.data.application/json.data.0.2": 1.5},
    ),
    "05: result of: kind given: sparkr with no R installed": Otherwise(
        "there is an R here, and so it runs; where there is none is in tests/unit/gateway/test_driver_r.py",
        expect={"output.status": "ok", "state": "available", "output.data.text/plain": re.compile(r"^\[1\] 2")},
    ),
    "08: result of: %table inconsistent types": Otherwise(HARMLESS, expect={"state": "available"}),
    "08: state after the interpreter died": Otherwise(HARMLESS, expect={"state": "idle"}),
    "08: session after the interpreter died": Otherwise(HARMLESS, expect={"state": "idle"}),
    "08: result of: next python statement after the death": Otherwise(
        HARMLESS, expect={"output.status": "ok", "output.data.text/plain": "2"}
    ),
    "08: state after that": Otherwise(HARMLESS, expect={"state": "idle"}),
    "08: result of: a sql statement after the python death": Otherwise(
        HARMLESS, expect={"output.status": "ok", "output.data.application/json.data.0.0": 1}
    ),
    "09: final state of the python sleep": Otherwise(
        CANCELS, expect={"state": "cancelled", "output.ename": "KeyboardInterrupt"}
    ),
    "09: session state just then": Otherwise(CANCELS, expect={"state": "idle"}),
    "09: statement 5 just then": Otherwise(CANCELS, expect={"state": "available", "output.status": "ok"}),
    "09: statement 4 at last (output appears after the fact?)": Otherwise(
        CANCELS, expect={"state": "cancelled", "output.ename": "KeyboardInterrupt"}
    ),
    "15: result of: row limit 1000": Otherwise(
        "the same thousand rows, and the word about the cut that Livy leaves out",
        expect={"output.data.application/json.data.999.0": 999, "truncated": re.compile("1,000")},
    ),
    # Completion
    "10: no kind": Otherwise("the session's own kind", 200, {"candidates": ["parallelize"]}),
    "10: bad kind": Otherwise(WRONG_TYPE, 400, string("Invalid kind: cobol")),
    "10: missing code": Otherwise(WRONG_TYPE, 400, string('"code" is missing')),
    # Ends
    "16: statement without kind in a shared session": Otherwise(
        "the client's mistake, in Livy's words", 400, says("Code type should be specified if session kind is shared")
    ),
    "16: statement with kind shared": Otherwise("Livy takes it and never runs it", 400, says("Code type should be")),
    "16: its result": Otherwise("so it is not there", expect={"total_statements": 0}),
    "16: statements of a stopped session": Otherwise(
        "the same words, and the reason beside them",
        expect={**says("^requirement failed: Session isn't active.$"), "reason": re.compile("stopped on request")},
    ),
    "16: POST statement to a stopped session": Otherwise(ENDED, 400, says("stopped on request")),
    "16: cancel in a stopped session": Otherwise(
        "nothing runs there, as in any cancel of what is done", 200, {"msg": "canceled"}
    ),
    "16: interrupt = stop": Otherwise(
        "the same answer; but an interrupt that kills the session is a defect: ours cancels what runs and waits",
        expect={"msg": "interrupted"},
    ),
    "16: state after interrupt": Otherwise("the session lives on", expect={"state": "idle"}),
    "16: statement after the driver was killed": Otherwise(
        "the statement says what became of it",
        200,
        {"state": "available", "output.status": "error", "output.evalue": re.compile(KILLED)},
    ),
    "16: POST after the driver was killed": Otherwise(ENDED, 400, says(KILLED)),
    "16: a session whose driver cannot start (bad driver memory)": Otherwise(
        "refused at once: a size that is none is no driver's to find out", 400, {"key": "driverMemory"}
    ),
    "16: its state": Otherwise("it was not created", 404),
    "16: it": Otherwise("it was not created", 404),
    "16: its statements": Otherwise("it was not created", 404),
    "16: list with dead ones": Otherwise(
        "the dead one is listed; the one that was interrupted lives, the one that was refused is not there",
        expect={"total": 3, "sessions.0.state": "idle", "sessions.1.state": "idle", "sessions.2.state": "dead"},
    ),
    # Retention
    "18: after 200+ statements in one session: total (driver keeps livy.rsc.retained-statements = 100)": Otherwise(
        "nothing is lost: all count, and all are answered", expect={"total_statements": 174, "statements.0.id": 0}
    ),
    "18: an evicted statement": Otherwise("it is still there", 200, {"id": 0, "state": "available"}),
    "18: from is an index into the retained window, not an id": Otherwise(
        "as all are kept, both are the same",
        expect={"total_statements": 175, "statements.0.id": 98, "statements.4.id": 102},
    ),
    # Headers against other sites' pages
    "19: csrf on: POST without X-Requested-By": Otherwise(HEADER, 400, string("Invalid kind: cobol")),
    "19: csrf on: POST without it, unknown session": Otherwise(HEADER, 404, says("Session '9999' not found.")),
    "19: csrf on: DELETE without it": Otherwise(HEADER, 404, says("Session '9999' not found.")),
    "19: ui off: /": Otherwise(NO_PAGE),
    "19: Accept json on the csrf 400": Otherwise(HEADER, 201, {"state": "starting"}),
    # Limits
    "21: session D: livy.server.session.max-creation = 3 reached": Otherwise(
        "it waits its turn instead of being refused, and says so in `phase`", 201, {"state": "starting"}
    ),
    # Who may what
    "22: no user": Otherwise("in JSON", expect=says("Authorization: token")),
    "22: user not allowed": Otherwise("in JSON", expect=says("lacks the scope")),
    "22: alice asks for doAs=bob": Otherwise("a session is its caller's whoever doAs names", 201, {"owner": "alice"}),
    "22: alice asks for proxyUser bob in the body": Otherwise(POLICY, 400, {"key": "proxyUser"}),
    "22: hub (superuser) creates for alice by doAs": Otherwise(
        "a session is its caller's whoever doAs names", expect={"owner": "hub", "proxyUser": "hub"}
    ),
    "22: bob GETs alice's session: 200, log hidden": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob GETs alice's state": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob GETs alice's log": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob GETs alice's statements": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob POSTs a statement to alice's session": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob cancels in alice's session": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob DELETEs alice's session": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob with doAs=alice on alice's session": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob lists: sees everybody's sessions": Otherwise(NOT_ONES_OWN, expect={"total": 1, "sessions.0.owner": "bob"}),
    "22: bob reuses alice's session name (names are global)": Otherwise("names are each person's own", 201),
    "22: alice GETs the session hub made for her (proxyUser alice)": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: alice POSTs in the session hub made for her": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: its result: OS user against Spark user": Otherwise(NOT_ONES_OWN, 404, says("not found")),
    "22: bob's session at its end": Otherwise(
        "Livy had no port left for a third driver; ours dial out and need none", expect={"state": "idle"}
    ),
}

OTHERWISE |= {
    "08: result of: a spark (scala) statement after the python death: sc was stopped by the dying shell": Otherwise(
        HARMLESS, expect={"state": "available", "output.status": "ok"}
    ),
    "10: spark: sc.": Otherwise("what a member is called, without those that every object has"),
    "10: spark: math.a": Otherwise("likewise"),
    "14: result of: compile error": Otherwise(
        "the same error, at the line of the cell",
        expect={"output.status": "error", "output.evalue": re.compile("type mismatch")},
    ),
    "14: result of: %table inconsistent": Otherwise(
        "a table whose column is text, where Livy has an error", expect={"output.status": "ok"}
    ),
}

NOT_ASKED: dict[str, str] = {
    "04: state sequence polled every 20 ms (seconds since polling began; session was POSTed just before)": (
        "a note, no request; a session's states are in tests/unit/gateway/test_sessions.py"
    ),
    "21: what GET /sessions showed, polled every 0.25 s (this call does not count as a heartbeat)": (
        "a note; heartbeats are in tests/unit/gateway/test_sessions.py"
    ),
    "22: alice's session a1 had idleTimeout 20s (gc thread wakes every 60 s): GET /sessions polled each second": (
        "a note; idle timeouts are in tests/unit/gateway/test_sessions.py"
    ),
    "16: statement in it": "what a driver without R answers is asked by tests/unit/gateway/test_driver_r.py",
    "16: result of: statement in it": "likewise",
    "16: driver exits under a running statement (os.kill of the JVM, its parent)": (
        "the parent of our driver is the gateway; the story is told with the driver's own pid"
    ),
}
"""By name, each with its reason."""

ASKED_ELSEWHERE = {"17": "batches have tests of their own"}
"""Whole files."""
