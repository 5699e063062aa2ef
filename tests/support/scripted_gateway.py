"""A small gateway for the notebook side's tests: a real HTTP server with the contract's shapes and scripted statements.

It evaluates Python expressions in its own process, or runs a script that prints and progresses as a driver would.
What goes wrong in a test is a subclass named for its failure.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FINAL = {"available", "cancelled"}
Script = Callable[["Run"], dict[str, Any] | None]


class Run:
    """A statement being run: what its script may do to it."""

    def __init__(self, number: int, code: str, kind: str | None) -> None:
        self.number, self.code, self.kind = number, code, kind
        self.state, self.output, self.text = "running", None, ""
        self.stages: list[dict[str, Any]] = []
        self.version = 1
        self.truncated: str | None = None
        self.changed = threading.Condition()
        self.cancelled = threading.Event()

    def change(self, **values: Any) -> None:
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.version += 1
            self.changed.notify_all()

    def print(self, text: str) -> None:
        self.change(text=self.text + text)

    def answer(self, since: int = 0) -> dict[str, Any]:
        return {
            "id": self.number, "code": self.code, "state": self.state, "output": self.output, "progress": 0.5,
            "started": 0, "completed": 0, "kind": self.kind, "version": self.version, "truncated": self.truncated,
            "stream": {"from": since, "next": len(self.text), "text": self.text[since:]}, "stages": self.stages,
        }  # fmt: skip


def ok(**data: Any) -> dict[str, Any]:
    return {"status": "ok", "execution_count": 0, "data": {k.replace("__", "/"): v for k, v in data.items()}}


class ScriptedGateway:
    """Sessions become ready after `start_seconds`; `scripts` maps a statement's code to what it does."""

    def __init__(self) -> None:
        self.start_seconds = 0.0
        self.scripts: dict[str, Script] = {}
        self.refusal: dict[str, Any] | None = None
        self.start_failure: str | None = None
        self.owner = "ada"
        self.sessions: dict[int, dict[str, Any]] = {}
        self.statements: dict[int, list[Run]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.completion: dict[str, Any] = {"candidates": []}
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for an answer, or its second half waits for an acknowledgement

            def log_message(self, *args: Any) -> None:
                pass

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                body = json.loads(raw) if raw else None
                gateway.requests.append((self.command, self.path, dict(self.headers), body))
                status, answer = gateway.respond(self, self.command, parts.path.strip("/").split("/"), query, body)
                if status == 0:  # hang up instead of answering
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sent(self, method: str, ending: str = "") -> list[tuple[str, str, dict[str, str], Any]]:
        """The requests of a method whose path ends so."""
        return [one for one in list(self.requests) if one[0] == method and one[1].split("?")[0].endswith(ending)]

    def respond(self, handler: Any, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        match (method, *path):
            case ("POST", "sessions"):
                return self._create(query, body)
            case ("GET", "sessions"):
                return 200, {"from": 0, "total": len(self.sessions), "sessions": list(self.sessions.values())}
            case (_, "sessions", number, *rest) if int(number) in self.sessions:
                return self._session(method, int(number), rest, query, body)
        return 404, {"msg": f"Session '{path[-1]}' not found."}

    def _create(self, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.refusal is not None:
            return 400, self.refusal
        if query.get("validate") == "true":
            return 200, {"msg": "would be granted"}
        number = len(self.statements)
        self.statements[number] = []
        self.sessions[number] = {
            "id": number, "state": "starting", "kind": body["kind"], "owner": self.owner, "log": [],
            "stateReason": "the driver is starting", "profile": body.get("profile"), "sparkVersion": None,
            "driverImage": "python:3.11", "executorImage": "python:3.11", "sparkUiPath": f"/gw/spark-ui/{number}/",
            "appId": None, "_ready": time.monotonic() + self.start_seconds,
        }  # fmt: skip
        return 201, self.sessions[number]

    def _look(self, number: int) -> dict[str, Any]:
        session = self.sessions[number]
        if session["state"] == "starting" and time.monotonic() >= session["_ready"]:
            if self.start_failure:
                session.update(state="dead", stateReason=self.start_failure)
            else:
                session.update(state="idle", stateReason=None, sparkVersion="3.5.9")
        return session

    def _session(  # noqa: C901  a table of routes
        self, method: str, number: int, rest: list[str], query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        match (method, *rest):
            case ("GET",):
                deadline = time.monotonic() + float(query.get("wait", 0))
                while self._look(number)["state"] == query.get("state") and time.monotonic() < deadline:
                    time.sleep(0.01)
                return 200, self._look(number)
            case ("DELETE",):
                del self.sessions[number]
                return 200, {"msg": "deleted"}
            case ("GET", "state"):
                return 200, {"id": number, "state": self._look(number)["state"]}
            case ("GET", "log"):
                return 200, {"id": number, "from": 0, "total": 1, "log": ["stdout: "]}
            case ("POST", "completion"):
                return 200, self.completion
            case ("POST", "statements"):
                if self._look(number)["state"] != "idle":
                    return 400, {"msg": f"Session '{number}' is {self._look(number)['state']}."}
                run = Run(len(self.statements[number]), body["code"], body.get("kind"))
                self.statements[number].append(run)
                threading.Thread(target=self._execute, args=(run,), daemon=True).start()
                return 201, self._wait(run, query)
            case ("GET", "statements", which):
                return 200, self._wait(self.statements[number][int(which)], query)
            case ("POST", "statements", which, "cancel"):
                self.statements[number][int(which)].cancelled.set()
                return 200, {"msg": "canceled"}
        return 405, {"msg": "no such route"}

    @staticmethod
    def _wait(run: Run, query: dict[str, str]) -> dict[str, Any]:
        since, seen = int(query.get("since", 0)), int(query.get("seen", 0))
        with run.changed:
            run.changed.wait_for(
                lambda: run.state in FINAL or ("seen" in query and run.version > seen), float(query.get("wait", 0))
            )
            return run.answer(since)

    def _execute(self, run: Run) -> None:
        script = self.scripts.get(run.code.strip())
        if script is not None:
            output = script(run)
        else:
            try:
                output = ok(text__plain=repr(eval(run.code)))
            except Exception as error:  # noqa: BLE001
                output = {
                    "status": "error", "execution_count": run.number, "ename": type(error).__name__,
                    "evalue": str(error), "traceback": ["Traceback (most recent call last):\n", f"{error!r}\n"],
                }  # fmt: skip
        run.change(state="cancelled" if output is None else "available", output=output)


class AnswersStatementsWith504(ScriptedGateway):
    """A proxy in between gives up; the statement itself is taken."""

    def respond(self, handler: Any, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        answer = super().respond(handler, method, path, query, body)
        return (504, {}) if method == "POST" and path[-1] == "statements" else answer


class HangsUpOnStatements(ScriptedGateway):
    """The connection breaks after a POST was read."""

    def respond(self, handler: Any, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        answer = super().respond(handler, method, path, query, body)
        return (0, None) if method == "POST" and path[-1] == "statements" else answer


class DropsPolls(ScriptedGateway):
    """Every other GET of a statement is cut off, or answered 502 by a proxy."""

    polls = 0

    def respond(self, handler: Any, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "GET" and "statements" in path:
            self.polls += 1
            if self.polls % 3 == 1:
                return 0, None
            if self.polls % 3 == 2:
                return 502, {}
        return super().respond(handler, method, path, query, body)


class NeverAnswersDelete(ScriptedGateway):
    """The gateway hangs when a session shall end."""

    def respond(self, handler: Any, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "DELETE":
            time.sleep(120)
        return super().respond(handler, method, path, query, body)
