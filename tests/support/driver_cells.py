"""A session's interpreter in the test's own process and on its own main thread, with real streams but no Spark."""

from __future__ import annotations

import builtins
import signal
import sys
import threading
from typing import Any

from sparkyard_gateway.driver.interrupts import Interrupts
from sparkyard_gateway.driver.python_interpreter import PythonInterpreter
from sparkyard_gateway.driver.reply import Reply
from sparkyard_gateway.driver.statements import put_together
from sparkyard_gateway.driver.streams import Streams


class Cells:
    """Runs cells and answers Livy's output objects. A context manager: it puts `sys` back as it was."""

    def __init__(self, output_limit: int = 1_000_000) -> None:
        self.interrupts = Interrupts()
        self.sent: list[tuple[int, int, str]] = []
        self.streams = Streams(self.interrupts, output_limit, self._take)
        self.interpreter = PythonInterpreter(self.streams)
        self.replies: list[Reply] = []

    def run(self, code: str) -> dict[str, Any]:
        number = len(self.replies)
        output = self.streams.begin(number)
        reply = self.interpreter.execute(code, output)
        self.streams.end(output)
        put_together(reply, output, 10_000_000)
        self.replies.append(reply)
        return reply.as_output(number)

    def data(self, code: str) -> dict[str, Any]:
        output = self.run(code)
        assert output["status"] == "ok", output
        data: dict[str, Any] = output["data"]
        return data

    def text(self, code: str) -> str:
        data = self.data(code)
        assert set(data) == {"text/plain"}
        return str(data["text/plain"])

    def streamed(self) -> str:
        return "".join(text for _, _, text in self.sent)

    def __enter__(self) -> Cells:
        self._before = (sys.stdout, sys.stderr, sys.stdin, sys.displayhook, sys.modules["__main__"])
        self.interpreter.take_over_main()
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr, sys.stdin, sys.displayhook, sys.modules["__main__"] = self._before
        builtins.__dict__.pop("_", None)

    def _take(self, statement: int, offset: int, text: str) -> bool:
        self.sent.append((statement, offset, text))
        return True


def give_back_sigint(handler: Any) -> None:
    """Put the handler back, once nobody strikes any more: who strikes late would end the tests' own process."""
    for thread in [each for each in threading.enumerate() if each.name == "sparkyard-cancel"]:
        thread.join(10)
    signal.signal(signal.SIGINT, handler)
