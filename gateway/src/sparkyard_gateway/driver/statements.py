"""The queue of statements and the loop that runs them, one at a time, on the main thread.

A number is run once. The gateway may send the same statement again after a lost line or its own restart: one that is
queued or running is left alone, one that is done is answered again from the journal.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Protocol, Set

from .interrupts import Interrupts
from .journal import Journal, Message
from .limits import Keep, fit
from .reply import Reply, failure
from .spill import Spill, place
from .streams import StatementOutput, Streams


class Statement(NamedTuple):
    """Code to run and how."""

    number: int
    code: str
    kind: str


class Interpreter(Protocol):
    """What runs the code of one kind. Called on the main thread; whatever the code raises becomes the reply."""

    def execute(self, code: str, output: StatementOutput) -> Reply:
        """Run it and answer."""


class Jobs(Protocol):
    """What knows of the Spark jobs of a statement."""

    def enter(self, statement: int, code: str) -> None:
        """Jobs from here on are the statement's."""

    def cancel(self, statement: int) -> None:
        """Stop its jobs; called from other threads."""

    def forget_broken_call(self) -> None:
        """A call to the JVM was cut short."""


class NoJobs:
    """Before there is a Spark."""

    def enter(self, statement: int, code: str) -> None:
        """Nothing to mark."""

    def cancel(self, statement: int) -> None:
        """Nothing to stop."""

    def forget_broken_call(self) -> None:
        """No call could break."""


class JobsAndMore:
    """The Spark jobs of a statement, and what else of it has to be stopped once they were."""

    def __init__(self, jobs: Jobs, interrupt: Callable[[], None]) -> None:
        self._jobs = jobs
        self._interrupt = interrupt
        self.enter = jobs.enter
        self.forget_broken_call = jobs.forget_broken_call

    def cancel(self, statement: int) -> None:
        """Stop both."""
        self._jobs.cancel(statement)
        self._interrupt()


class Statements:
    """Takes statements from the link's thread and runs them in `run`."""

    def __init__(
        self,
        journal: Journal,
        send_durable: Callable[[Message], None],
        send_again: Callable[[int], bool],
        interrupts: Interrupts,
        streams: Streams,
        message_limit: int,
        spill: Optional[Spill] = None,
    ) -> None:
        self._spill = spill
        self._journal = journal
        self._send_durable = send_durable
        self._send_again = send_again
        self._interrupts = interrupts
        self._streams = streams
        self._message_limit = message_limit
        self._queue: queue.SimpleQueue[Optional[Statement]] = queue.SimpleQueue()
        self._queued: Set[int] = set()
        self._cancelled: Set[int] = set()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._doom = ""
        self._doomed = threading.Event()
        self._abandoned = False
        self._jobs: Jobs = NoJobs()
        self.running: Optional[int] = None
        self.on_begin: Callable[[int], None] = lambda _statement: None

    def submit(self, number: int, code: str, kind: str) -> None:
        """Queue a statement, unless its number was seen before."""
        with self._lock:
            if number in self._queued or number == self.running:
                return
            done = self._journal.begun.get(number)
            if done is None:
                self._queued.add(number)
                self._queue.put(Statement(number, code, kind))
                return
        if done:
            self._send_again(number)
        else:
            # Begun in an earlier life of this driver: nobody knows how far it came, so it is not run again.
            reply = failure(
                "DriverRestarted", "the driver was restarted while this statement ran; it was not run again"
            )
            self._finish(number, "error", reply, None)

    def cancel(self, number: int) -> None:
        """Take a waiting statement out, or interrupt the running one; nothing for all others."""
        with self._lock:
            waiting = number in self._queued
            if waiting:
                self._queued.discard(number)
                self._cancelled.add(number)
            elif number == self.running:
                self._cancelled.add(number)
                self._interrupts.cancel(number, lambda: self.running != number, lambda: self._jobs.cancel(number))
        if waiting:
            self._finish(number, "cancelled", None, None)

    def doom(self, reason: str) -> None:
        """Spark is gone: break off the running statement and let it say why, instead of Py4J's words for it."""
        self._doom = reason
        self._doomed.set()
        number = self.running
        if number is not None:
            self._interrupts.cancel(number, lambda: self.running != number, lambda: None)

    def abandon(self) -> None:
        """Something ends this driver that neither its user nor the gateway asked for: break off what runs, and say
        nothing of it. Nobody cancelled it; why it has no result the gateway learns from whoever ended the driver."""
        self._abandoned = True
        number = self.running
        if number is not None:
            self._interrupts.cancel(number, lambda: self.running != number, lambda: self._jobs.cancel(number))

    def await_doom(self, seconds: float) -> None:
        """Give whoever watches the JVM time to say that it is gone, as its connections say so first."""
        self._doomed.wait(seconds)

    def stop(self) -> None:
        """Let `run` return after the running statement."""
        with self._lock:
            self._queued.clear()  # the gateway, which knows them, tells what became of the waiting
        self._queue.put(None)

    def run(self, interpreters: Dict[str, Interpreter], jobs: Jobs) -> None:
        """Run statements until `stop`."""
        self._jobs = jobs
        while True:
            statement = self._queue.get()
            if statement is None:
                return
            with self._lock:
                if statement.number not in self._queued:
                    continue
                self._queued.discard(statement.number)
                self.running = statement.number
            self._run_one(statement, interpreters)

    def _run_one(self, statement: Statement, interpreters: Dict[str, Interpreter]) -> None:
        number = statement.number
        self._send_durable({"t": "begin", "statement": number, "at": _now()})
        output = self._streams.begin(number)
        self.on_begin(number)
        interpreter = interpreters.get(statement.kind)
        if interpreter is None:
            known = " and ".join(sorted(interpreters))
            reply = failure(
                "InterpreterError", f"this session has no interpreter of kind {statement.kind!r}: it has {known}"
            )
        else:
            reply = self._guarded(statement, interpreter, output)
        if os.getpid() != self._pid:
            os._exit(0)  # a cell forked and its child came out at the end: only the parent answers
        self._streams.end(output)
        with self._lock:
            cancelled = number in self._cancelled
            self._cancelled.discard(number)
            self.running = None
        if self._abandoned and reply.failed and not cancelled:
            return
        if self._doom and reply.error is not None:
            reply.error.update(ename="SparkLost", evalue=self._doom)
        status = "cancelled" if cancelled else "error" if reply.failed else "ok"
        self._finish(number, status, reply, output)

    def _guarded(self, statement: Statement, interpreter: Interpreter, output: StatementOutput) -> Reply:
        interrupts = self._interrupts
        interrupts.install()
        try:
            self._jobs.enter(statement.number, statement.code)
            interrupts.begin(statement.number)
            if statement.number in self._cancelled:
                return failure("KeyboardInterrupt", "", ["KeyboardInterrupt\n"])
            reply = interpreter.execute(statement.code, output)
        except KeyboardInterrupt:
            # A strike before the beginning of the code, or after its end.
            reply = failure("KeyboardInterrupt", "", ["KeyboardInterrupt\n"])
        finally:
            interrupts.end()
        if interrupts.broke_py4j:
            interrupts.broke_py4j = False
            self._jobs.forget_broken_call()
        return reply

    def _keep_of(self, number: int) -> Optional[Keep]:
        spill = self._spill
        if spill is None:
            return None
        return lambda mime, value: place(number, mime) if spill.keep(number, mime, value) else None

    def _finish(self, number: int, status: str, reply: Optional[Reply], output: Optional[StatementOutput]) -> None:
        answer: Optional[Dict[str, Any]] = None
        truncated: Optional[str] = None
        if reply is not None:
            put_together(reply, output, self._message_limit, self._keep_of(number))
            answer = reply.as_output(number)
            truncated = " ".join(reply.truncated) or None
        self._send_durable(
            {"t": "done", "statement": number, "at": _now(), "status": status, "output": answer, "truncated": truncated}
        )


def put_together(reply: Reply, output: Optional[StatementOutput], limit: int, keep: Optional[Keep] = None) -> None:
    """Join what a cell answered and what it printed, within the limit of a message."""
    if output is not None:
        text = output.text()
        if text or not (reply.data or reply.failed):
            reply.data["text/plain"] = text
        sentence = output.truncated()
        if sentence:
            reply.truncated.append(sentence)
    fit(reply, limit, keep)


def _now() -> int:
    return int(time.time() * 1000)
