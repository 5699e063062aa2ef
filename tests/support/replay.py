"""Asks our gateway what a real Livy was asked, in order, and compares the answers, volatile values aside.

A replay is a list of steps: recorded exchanges, and preparations that bring our gateway into the state in which the
recording was made. Sessions and statements get other numbers here than there, so what a recorded POST made stands for
what ours made. Where the recording shows the end of something (a statement's outcome, a session's new state), ours is
asked again until it is there, as its client would.

Not compared: ids, times, lines of logs, and the words of what Java said. All else is, unless the exchange is named in
`deviations.OTHERWISE`, which says what is answered instead, and why.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from support.deviations import OTHERWISE, Otherwise
from support.transcripts import Exchange

PATIENCE_SECONDS = 120
FINAL = ("available", "cancelled")
PASSING = ("starting", "shutting_down", "cancelling")
"""States that ours may have left already when it is looked at."""
SAME_OF_A_SESSION = (
    "name", "kind", "state", "ttl", "idleTimeout", "driverMemory", "driverCores", "executorMemory", "executorCores",
    "conf", "archives", "files", "heartbeatTimeoutInSecond", "jars", "numExecutors", "pyFiles", "queue",
)  # fmt: skip

Kill = Callable[[int, int], None]
Prepare = Callable[["Replay"], None]
Step = Exchange | Prepare


def _kill(_session: int, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


class Replay:
    """One backend's gateway with its clients: `people` by the names that the recordings use, the first being the one
    of recordings without a name. `kill` ends the driver of a session, which has said its pid. `otherwise` is what this
    backend answers otherwise than all others."""

    def __init__(
        self,
        people: dict[str, httpx.Client],
        steps: Sequence[Step],
        kill: Kill = _kill,
        otherwise: Mapping[str, Otherwise] | None = None,
    ) -> None:
        self.people = people
        self.kill = kill
        self.client = next(iter(people.values()))
        self.sessions: dict[str, int] = {}
        self.statements: dict[tuple[str, str], int] = {}
        self._otherwise = OTHERWISE | dict(otherwise or {})
        self._steps = steps
        self._done = 0
        self._answers: dict[str, httpx.Response] = {}

    def answer(self, wanted: Exchange) -> httpx.Response:
        """Ours, after everything that comes before it."""
        while wanted.id not in self._answers:
            step = self._steps[self._done]
            self._done += 1
            if isinstance(step, Exchange):
                self._answers[step.id] = self._settled(step)
            else:
                step(self)
        return self._answers[wanted.id]

    # Asking

    def _settled(self, exchange: Exchange) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._ask(exchange)
            if self._is_there(exchange, answer) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if exchange.method == "POST" and answer.status_code == exchange.status == 201:
            self._remember(exchange, answer)
        return answer

    def _is_there(self, exchange: Exchange, answer: httpx.Response) -> bool:
        """Whether ours has come as far as the recorded one had."""
        if exchange.path.endswith("/completion") and exchange.id not in self._otherwise and answer.status_code == 200:
            # One that takes too long is answered with none: a busy machine is asked again.
            return not (exchange.json or {}).get("candidates") or bool(answer.json()["candidates"])
        then = re.search(r'"state":"(\w+)"', exchange.answer)
        if exchange.method != "GET" or answer.status_code != 200 or then is None:
            return True
        document = answer.json()
        now = document.get("state")
        otherwise = self._otherwise.get(exchange.id)
        wanted = str(otherwise.expect.get("state", then[1])) if otherwise is not None else then[1]
        if now is None or wanted in PASSING:
            return True
        if "code" in document:
            return now in FINAL if wanted in FINAL else now != "waiting" or wanted == "waiting"
        return now == wanted or now in {"dead", "error", "killed", "success"}

    def _ask(self, exchange: Exchange) -> httpx.Response:
        parts = urlsplit(exchange.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        name = query.pop("user.name", [next(iter(self.people))])[0]
        headers = {name: value for name, value in exchange.headers.items() if value is not None}
        return self.people[name if parts.query.find("user.name") >= 0 else self._asker(exchange)].request(
            exchange.method, self._path(parts.path), params=query, content=exchange.body, headers=headers
        )

    def _asker(self, exchange: Exchange) -> str:
        return "" if exchange.id == "22: no user" else next(iter(self.people))

    def _path(self, path: str) -> str:
        match = re.match(r"/sessions/(0*)(\d+)(?:/statements/(\d+))?", path)
        if match is None:
            return path
        zeros, session, statement = match.groups()
        made = f"/sessions/{zeros}{self.sessions.get(session, session)}"
        if statement is not None:
            made += f"/statements/{self.statements.get((session, statement), statement)}"
        return made + path[match.end() :]

    def _remember(self, exchange: Exchange, answer: httpx.Response) -> None:
        location = exchange.answer_headers.get("Location") or f"{exchange.path}/{_first_id(exchange.answer)}"
        match = re.match(r"/sessions/(\d+)(?:/statements/(\d+))?$", urlsplit(location).path)
        if match is None:
            return
        session, statement = match.groups()
        if statement is None:
            self.sessions[session] = answer.json()["id"]
        else:
            self.statements[session, statement] = answer.json()["id"]

    # Comparing

    def compare(self, exchange: Exchange) -> None:
        """Raise AssertionError where ours is neither as Livy's nor as the deviation says."""
        answer = self.answer(exchange)
        otherwise = self._otherwise.get(exchange.id)
        status = exchange.status if otherwise is None or otherwise.status is None else otherwise.status
        assert answer.status_code == status, (answer.text[:2000], otherwise)
        if exchange.method == "HEAD":
            assert answer.content == b""
        elif otherwise is not None:
            self._as_said(otherwise, answer)
        else:
            self._same_headers(exchange, answer)
            self._same_body(exchange, answer)

    @staticmethod
    def _as_said(otherwise: Otherwise, answer: httpx.Response) -> None:
        for path, value in otherwise.expect.items():
            found: Any = answer.json()
            for part in filter(None, path.split(".")):
                found = found[int(part)] if isinstance(found, list) else found[part]
            if isinstance(value, re.Pattern):
                assert value.search(str(found)), (path, found)
            else:
                assert found == value, (path, found)
        in_json = answer.headers.get("Content-Type", "").startswith("application/json")
        if answer.status_code >= 400 and answer.content and in_json:
            said = answer.json()
            assert said if isinstance(said, str) else said["msg"]

    def _same_headers(self, exchange: Exchange, answer: httpx.Response) -> None:
        recorded = exchange.answer_headers
        if "Allow" in recorded:
            assert set(recorded["Allow"].split(", ")) <= set(answer.headers["Allow"].split(", "))
        if exchange.status == 201 and "Location" in recorded:
            assert urlsplit(answer.headers["Location"]).path == self._path(recorded["Location"])
        if answer.content:
            assert answer.headers["Content-Type"].startswith("application/json")

    def _same_body(self, exchange: Exchange, answer: httpx.Response) -> None:
        theirs = exchange.json
        if not exchange.answer:
            assert answer.content == b""
        elif theirs is None:
            assert not exchange.whole, "the recorded answer is no JSON: say in deviations what is answered instead"
        elif isinstance(theirs, str):
            # Java's own words, but for the one sentence that is Livy's.
            assert isinstance(answer.json(), str)
            assert answer.json() == theirs or theirs != "Statement not found"
        else:
            assert list(answer.json())[: len(theirs)] == list(theirs)
            self._same_document(exchange, answer.json(), theirs)

    def _same_document(self, exchange: Exchange, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        if "msg" in theirs:
            assert ours["msg"] == self._ours(theirs["msg"])
        elif "statements" in theirs:
            assert ours["total_statements"] == theirs["total_statements"]
            _each(self._same_statement, ours["statements"], theirs["statements"])
        elif "sessions" in theirs:
            assert (ours["from"], ours["total"]) == (theirs["from"], theirs["total"])
            _each(self._same_session, ours["sessions"], theirs["sessions"])
        elif "code" in theirs:
            assert exchange.method != "GET" or ours["state"] == theirs["state"] or theirs["state"] == "cancelling"
            self._same_statement(ours, theirs)
        elif "candidates" in theirs:
            assert set(theirs["candidates"]) <= set(ours["candidates"])
        elif "total" in theirs:
            _same_page_of_log(exchange.path, ours)
        elif "kind" in theirs:
            self._same_session(ours, theirs)
        elif "state" in theirs:
            assert ours["state"] == theirs["state"]
        else:
            assert ours["version"] == theirs["version"]

    def _ours(self, sentence: str) -> str:
        for recorded, mine in self.sessions.items():
            sentence = sentence.replace(f"'{recorded}'", f"'{mine}'")
        return sentence

    def _same_session(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        assert list(ours)[: len(theirs)] == list(theirs)
        assert {key: ours[key] for key in SAME_OF_A_SESSION} == {key: theirs[key] for key in SAME_OF_A_SESSION}
        assert set(ours["appInfo"]) == set(theirs["appInfo"])
        assert all(isinstance(line, str) for line in ours["log"])
        assert len(ours["log"]) <= 10

    def _same_statement(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        assert list(ours)[: len(theirs)] == list(theirs)
        assert ours["code"] == theirs["code"]
        assert ours["kind"]
        if theirs["state"] in FINAL and ours["state"] in FINAL:
            assert (ours["state"], ours["progress"]) == (theirs["state"], theirs["progress"])
            assert (ours["started"] > 0) == (theirs["started"] > 0)
            assert ours["completed"] > 0
            assert comparable(ours["output"]) == comparable(theirs["output"])
            assert ours["output"] is None or ours["output"]["execution_count"] == ours["id"]
        elif ours["state"] not in FINAL:
            assert (ours["output"], ours["completed"]) == (None, 0)


def comparable(output: dict[str, Any] | None) -> dict[str, Any] | None:
    """What must be the same: not statements' numbers, addresses in memory, today's date, pixels, nor Spark's frames."""
    if output is None:
        return None
    if output["status"] == "error":
        evalue = output["evalue"].strip().splitlines()
        return {"status": "error", "ename": output["ename"], "evalue": evalue[0] if evalue else ""}
    data = {}
    for mime, value in output["data"].items():
        if mime.startswith("image/"):
            data[mime] = bool(value)
        elif isinstance(value, str):
            data[mime] = re.sub(r"0x[0-9a-f]+|res\d+", "0x", value)
        else:
            data[mime] = json.loads(re.sub(r'"\d{4}-\d\d-\d\d"', '"a date"', json.dumps(value)))
    return {"status": output["status"], "data": data}


def _each(compare: Callable[[dict[str, Any], dict[str, Any]], None], ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        compare(mine, other)


def _same_page_of_log(path: str, ours: dict[str, Any]) -> None:
    """By the rule that the recordings show, as the lines are each driver's own."""
    query = parse_qs(urlsplit(path).query)
    first, size = int(query.get("from", ["-1"])[0]), int(query.get("size", ["100"])[0])
    total, lines = ours["total"], ours["log"]
    if first < 0:
        assert len(lines) == min(size, total) or size < 0
        assert ours["from"] == total - len(lines)
    else:
        assert ours["from"] == first
        assert len(lines) == max(0, total - first if size < 0 else min(size, total - first))


def _first_id(text: str) -> str:
    match = re.match(r'\{"id":(\d+)', text)
    assert match is not None, text
    return match[1]
