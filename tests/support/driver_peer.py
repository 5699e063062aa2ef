"""A small gateway for the driver's tests: a real WebSocket server, and the driver process that dials it.

It acknowledges and stores as the gateway does, and can be rude: drop the line, stay silent, forget to acknowledge.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

Message = dict[str, Any]
DRIVER = Path(__file__).parents[2] / "gateway/src/sparkyard_gateway/driver"
TOKEN = "token-of-the-test-session"


class DriverPeer:
    """Plays the gateway for one session."""

    def __init__(self, session: int = 12) -> None:
        self.session = session
        self.messages: list[Message] = []
        self.acknowledge = True
        self.refuse = False
        self.send_to = ""  # another gateway's address, where this one is not the owner
        self.welcome: dict[str, Any] = {}  # what else the welcome says
        self.headers: list[dict[str, str]] = []
        self._seen_seq = 0
        self._arrived = threading.Condition()
        self._line: ServerConnection | None = None
        self._number = -1
        self._server = serve(self._talk, "127.0.0.1", 0, process_request=self._admit, max_size=64 * 1024 * 1024)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/driver/v1/{self.session}"

    def close(self) -> None:
        self._server.shutdown()
        self.drop()

    def drop(self) -> None:
        """Cut the line without a goodbye."""
        line = self._line
        if line is not None:
            line.socket.close()

    def send(self, message: Message) -> None:
        deadline = time.monotonic() + 10
        while self._line is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self._line is not None, "the driver is not connected"
        self._line.send(json.dumps(message))

    def wait_for(self, wanted: Callable[[Message], bool], seconds: float = 30, since: int = 0) -> Message:
        """The first message of that kind, from the `since`-th on."""
        deadline = time.monotonic() + seconds
        with self._arrived:
            while True:
                for message in self.messages[since:]:
                    if wanted(message):
                        return message
                left = deadline - time.monotonic()
                if left <= 0:
                    pytest_fail = f"nothing like it within {seconds} s; last messages: {self.messages[-5:]}"
                    raise AssertionError(pytest_fail)
                self._arrived.wait(left)

    def of(self, kind: str, statement: int | None = None) -> list[Message]:
        return [m for m in self.messages if m["t"] == kind and statement in (None, m.get("statement"))]

    def execute(self, code: str, kind: str = "pyspark", number: int | None = None) -> int:
        if number is None:
            self._number += 1
            number = self._number
        self._number = max(self._number, number)
        self.send({"t": "execute", "statement": number, "code": code, "kind": kind})
        return number

    def done(self, statement: int, seconds: float = 60) -> Message:
        return self.wait_for(lambda m: m["t"] == "done" and m["statement"] == statement, seconds)

    def run(self, code: str, kind: str = "pyspark", seconds: float = 60) -> Message:
        """Execute and wait for the answer."""
        return self.done(self.execute(code, kind), seconds)

    def text(self, code: str, kind: str = "pyspark") -> str:
        """The plain text that a statement answers."""
        output = self.run(code, kind)["output"]
        assert output["status"] == "ok", output
        return str(output["data"]["text/plain"])

    def streamed(self, statement: int) -> str:
        """What was streamed of a statement, with its offsets checked."""
        text = ""
        for chunk in self.of("stream", statement):
            assert chunk["offset"] == len(text)
            text += chunk["text"]
        return text

    def wait_begun(self, statement: int) -> None:
        self.wait_for(lambda m: m["t"] == "begin" and m["statement"] == statement)

    def complete(self, code: str, cursor: int | None = None, kind: str = "pyspark") -> Message:
        request = f"c{len(self.messages)}"
        self.send(
            {
                "t": "complete",
                "request": request,
                "code": code,
                "kind": kind,
                "cursor": len(code) if cursor is None else cursor,
            }
        )
        return self.wait_for(lambda m: m["t"] == "completion" and m["request"] == request)

    def _admit(self, _connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        if self.refuse or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _connection.respond(403, "no\n")
        if self.send_to:
            answer = _connection.respond(307, "there\n")
            answer.headers["Location"] = self.send_to
            return answer
        return None

    def _talk(self, line: ServerConnection) -> None:
        try:
            for frame in line:
                message = json.loads(frame)
                with self._arrived:
                    fresh = message.get("seq", self._seen_seq + 1) > self._seen_seq
                    if "seq" in message:
                        self._seen_seq = max(self._seen_seq, message["seq"])
                    if fresh or message["t"] == "done":
                        self.messages.append(message)
                    self._arrived.notify_all()
                if message["t"] == "hello":
                    line.send(
                        json.dumps(
                            {
                                "t": "welcome",
                                "acked": self._seen_seq if self.acknowledge else 0,
                                "epoch": 1,
                                **self.welcome,
                            }
                        )
                    )
                    self._line = line
                elif "seq" in message and self.acknowledge:
                    line.send(json.dumps({"t": "ack", "seq": message["seq"]}))
        except (ConnectionClosed, OSError):
            pass
        finally:
            if self._line is line:
                self._line = None


class DriverProcess:
    """The driver as the local backend starts it: bootstrap by descriptor, output to a log file."""

    def __init__(self, peer: DriverPeer, folder: Path, python: str = sys.executable, **bootstrap: Any) -> None:
        self.work_dir = folder / "work"
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / "driver.log"
        document = {
            "session": peer.session, "url": peer.url, "token": TOKEN, "kind": "pyspark", "app_name": "test",
            "work_dir": str(self.work_dir), "heartbeat_seconds": 2, "stop_seconds": 3,
            "conf": {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.driver.memory": "512m",
                     "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1",
                     "spark.driver.bindAddress": "127.0.0.1"},
            **bootstrap,
        }  # fmt: skip
        reader, writer = os.pipe()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [python, str(DRIVER / "__main__.py"), "--bootstrap-fd", str(reader)],
                pass_fds=[reader], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            )  # fmt: skip
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            json.dump(document, stream)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def end(self) -> None:
        """End the driver and all it started; its session is a process group of its own."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
