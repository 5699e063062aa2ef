"""Runs statements of kind spark: Scala, as Livy answers it, on the SparkSession that Python and SQL have."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Optional

from . import scala_errors
from .interrupts import Interrupts
from .java_errors import root_message
from .notes import note
from .reply import Reply, failure
from .scala_chunks import MAGIC, Chunk, Incomplete, Unparsable, chunks
from .scala_errors import Place
from .scala_magics import run_magic
from .scala_repl import LazyRepl, NoScala, ScalaRepl
from .streams import StatementOutput, Streams
from .tracebacks import describe

_STOP_SECONDS = 2.0
_DOOM_SECONDS = 20.0
_REFUSES_SECONDS = 15.0
_REFUSES = (
    "\n[This Scala code does not stop: it heeds no interrupt, and a JVM has no other means that would not harm Spark. "
    "It goes on until it ends by itself, or until the session is deleted or its kernel restarted.]\n"
)


class ScalaInterpreter:
    """Kind spark. `execute` runs on the main thread, `interrupt` is called from others."""

    def __init__(
        self, repl: LazyRepl, streams: Streams, interrupts: Interrupts, await_doom: Callable[[float], None]
    ) -> None:
        self._await_doom = await_doom
        self._repl = repl
        self._streams = streams
        self._interrupts = interrupts
        self._running: Optional[ScalaRepl] = None
        self._asked_at: Optional[float] = None
        self._told = False
        self.busy = threading.Lock()

    def execute(self, code: str, output: StatementOutput) -> Reply:
        """Run one cell."""
        output.verbatim = True
        self._asked_at, self._told = None, False
        # The JVM runs the code, so KeyboardInterrupt here would stop nothing; it comes when the JVM is done.
        with self._interrupts.shielded(), self.busy:
            try:
                repl = self._repl.get()
            except NoScala as error:
                return failure("InterpreterError", str(error))
            except Exception as error:  # noqa: BLE001  the JVM may be gone, or its SparkContext stopped
                return failure("InterpreterError", f"Scala's interpreter did not start: {root_message(error)}")
            self._running = repl
            if self._interrupts.pending:
                return failure("KeyboardInterrupt", "")
            try:
                return self._run(repl, code, output.statement)
            except Exception as error:  # noqa: BLE001  the JVM may be gone, or say what nobody expected
                if isinstance(error, OSError) or type(error).__name__ in ("Py4JError", "Py4JNetworkError"):
                    self._await_doom(_DOOM_SECONDS)
                return Reply(error=describe(type(error), error, error.__traceback__, output.statement))
            finally:
                self._running = None

    def interrupt(self) -> None:
        """Called again and again while a statement is to be cancelled, each time after its jobs were."""
        repl, now = self._running, time.monotonic()
        if repl is None:
            return
        if self._asked_at is None:
            self._asked_at = now  # a job that was cancelled ends by itself, with a better word than an interrupt's
            return
        repl.interrupt()
        if now - self._asked_at > _STOP_SECONDS and repl.stop():
            note("a Scala statement that heeded no interrupt was told to stop")

    def _run(self, repl: ScalaRepl, code: str, statement: int) -> Reply:
        try:
            parts = chunks(code, repl.parse)
        except Incomplete:
            return failure("Error", "incomplete statement")
        except Unparsable as error:
            return Reply(error=scala_errors.compile_error(str(error), Place(statement, error.first), code))
        data: Dict[str, Any] = {}
        magic = any(part.magic for part in parts)
        for part in parts:
            if self._interrupts.pending:
                break
            if part.magic:
                reply = self._magic(repl, part)
                data = reply.data
            else:
                reply = self._chunk(repl, part, code, statement, echo=not magic)
            if reply.failed:
                return reply
        return Reply(data=data)

    def _chunk(self, repl: ScalaRepl, part: Chunk, code: str, statement: int, *, echo: bool) -> Reply:
        if repl.run(part.code, self._printed):
            package = repl.remember(statement, part.first, part.code)
            said = repl.take_said()
            if "<console>" in said:  # a warning
                said = scala_errors.in_cell(said, repl.place_of(package) or Place(statement, part.first))
            if echo and said:
                self._streams.stdout.echo(said)
            return Reply()
        said = repl.take_said()
        chain = scala_errors.thrown(repl.told())
        if not chain:
            place = repl.place_of_failed(statement, part.first, part.code)
            return Reply(error=scala_errors.compile_error(said, place, code))
        mine = scala_errors.newest(chain)
        if mine is not None:
            repl.remember_failed(mine, statement, part.first, part.code)
        return Reply(error=scala_errors.runtime_error(chain, repl.place_of, statement))

    def _magic(self, repl: ScalaRepl, part: Chunk) -> Reply:
        found = MAGIC.match(part.code)
        assert found is not None  # the chunk is one because it matches
        try:
            return run_magic(found.group(1), found.group(2), repl.json_of)
        except Exception as error:  # noqa: BLE001  a value that has no JSON: the user's mistake, whatever json4s says
            return failure("TypeError", f"{found.group(2)} cannot be shown as JSON: {root_message(error)}")

    def _printed(self, text: str) -> None:
        if text:
            self._streams.stdout.write(text)
        if self._asked_at is not None and not self._told and time.monotonic() - self._asked_at > _REFUSES_SECONDS:
            self._told = True
            self._streams.stdout.write(_REFUSES)
