"""Runs statements of kind sparkr: R, as at its own prompt, in a child that the first of them starts.

Words used here:

    R            a process of its own, of this driver's user, with this driver's limits (`r_process`)
    strike       a SIGINT to R and to what it has started
    Spark in R   the package SparkR, joined to the session of all other kinds (`r_backend`)
"""

from __future__ import annotations

import base64
import codecs
import threading
import time
from typing import Callable, Optional

from .display import Gallery
from .interrupts import Interrupts
from .java_errors import root_message
from .notes import note
from .r_backend import Backend
from .r_errors import describe
from .r_process import Frame, RLost, RProcess, find_r, log
from .reply import Reply, failure
from .streams import StatementOutput, Streams

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.25
_STRIKE_SECONDS = 0.5
_SPARK_SECONDS = 1.0
_COMPLETE_SECONDS = 20.0
_REFUSES_SECONDS = 15.0
_DOOM_SECONDS = 20.0
NO_R = (
    "this session's image has no R: there is none on its PATH, and R_HOME names none. It needs Debian's package "
    "r-base-core, or what R comes as elsewhere. Use the kinds pyspark, sql or spark"
)
_NO_SPARKR = (
    "[Spark is not available in R: this session's image has R {version} but not the R package SparkR, of its Spark's "
    "version, in {home}/R/lib. Everything else of R works.]\n"
)
_NOT_JOINED = "[Spark is not available in R: {reason}. Everything else of R works.]\n"
_REFUSES = (
    "\n[This R code does not stop: it heeds no interrupt. It goes on until it ends by itself, or until the session is "
    "deleted or its kernel restarted.]\n"
)


class NoR(Exception):  # noqa: N818  reads as what is wrong
    """There is no R here."""


class RInterpreter:
    """Kind sparkr. `execute` runs on the main thread; `complete` on others, while no statement of R's runs."""

    def __init__(
        self,
        home: str,
        open_backend: Callable[[], Backend],
        streams: Streams,
        interrupts: Interrupts,
        await_doom: Callable[[float], None],
    ) -> None:
        self._home = home
        self._open_backend = open_backend
        self._streams = streams
        self._interrupts = interrupts
        self._await_doom = await_doom
        self._r: Optional[RProcess] = None
        self._backend: Optional[Backend] = None
        self._struck = False
        self._notice, self._told = "", ""
        self._busy = threading.Lock()

    def execute(self, code: str, output: StatementOutput) -> Reply:
        """Run one cell."""
        # R runs the code, so KeyboardInterrupt here would stop nothing; it comes when R is done.
        with self._interrupts.shielded(), self._busy:
            try:
                r = self._r or self._start()
                if self._notice != self._told:
                    self._told = self._notice
                    self._streams.stderr.write(self._notice)
                return self._run(r, code, output.statement)
            except NoR:
                return failure("InterpreterError", NO_R)
            except RLost as lost:
                self._end()
                return failure("RLost", f"{lost}. What it held is gone; the next statement starts a new R")

    def complete(self, line: str) -> Frame:
        """R's candidates for the end of a line: the text they stand for, then each and what it is."""
        if self._r is None or not self._busy.acquire(timeout=_LOOK_SECONDS):
            return []
        try:
            return self._complete(self._r, line)
        except RLost as lost:
            note(f"R ended while it completed a line: {lost}")
            self._end()
            return []
        finally:
            self._busy.release()

    def _complete(self, r: Optional[RProcess], line: str) -> Frame:
        if r is None:  # it ended meanwhile
            return []
        r.drain(log)
        r.send("complete", line)
        until = time.monotonic() + _COMPLETE_SECONDS
        while time.monotonic() < until:
            frame = r.wait(2.0, log)
            if frame is not None and frame[0] == b"matches":
                return frame[1:]
            if frame is not None:
                break
            r.strike()  # it looks at the user's objects, and what these do meanwhile is theirs
        raise RLost("it made no sense, or no end")

    # A cell

    def _run(self, r: RProcess, code: str, statement: int) -> Reply:
        r.drain(log)
        r.send("run", str(statement), code, "yes" if self._struck else "no")
        self._struck = False
        taps = {1: _Decoded(self._streams.stdout.write), 2: _Decoded(self._streams.stderr.write)}
        gallery = Gallery()
        cancelling = _Cancelling(with_spark=self._backend is not None)
        while True:
            frame = r.wait(_LOOK_SECONDS, lambda chunk, descriptor: taps[descriptor](chunk))
            if frame is None:
                if self._interrupts.pending and cancelling.due():
                    r.strike()
                    self._struck = True
                    if cancelling.refuses():
                        self._streams.stderr.write(_REFUSES)
            elif frame[0] == b"picture" and len(frame) == 2:
                gallery.add({"image/png": base64.b64encode(frame[1]).decode("ascii")})
            elif frame[0] == b"done" and len(frame) >= 4:
                for tap in taps.values():
                    tap(b"", final=True)
                return self._reply(frame, gallery, statement)
            else:
                raise RLost("R sent an answer that fits no question, and was ended")

    def _reply(self, frame: Frame, gallery: Gallery, statement: int) -> Reply:
        status = frame[1]
        if status == b"ok":
            return Reply(data=gallery.collect())
        if status == b"interrupted":
            return failure("KeyboardInterrupt", "")
        if self._backend is not None and not self._interrupts.pending and not self._backend.answers():
            self._await_doom(_DOOM_SECONDS)  # whoever watches the JVM says better why it is gone
        return Reply(data=gallery.collect(), error=describe(frame[2:], statement))

    def _end(self) -> None:
        r, self._r = self._r, None
        if r is not None:
            r.close()
        self._close_backend()
        self._struck = False
        self._told = ""

    # The start

    def _start(self) -> RProcess:
        command = find_r()
        if command is None:
            raise NoR
        try:
            r = RProcess(command, self._home)
        except OSError as error:
            raise RLost(f"{command} cannot be run: {error.strerror}") from None
        self._r = r
        r.send("hello", self._home)
        ready = self._answer(r, b"ready", 3)
        version, package = (field.decode("utf-8", "replace") for field in ready[1:3])
        self._notice = self._join(r, package) if package else _NO_SPARKR.format(version=version, home=self._home)
        return r

    def _join(self, r: RProcess, package: str) -> str:
        """Let R into Spark, and return what its user should know."""
        try:
            self._backend = backend = self._open_backend()
        except Exception as error:  # noqa: BLE001  whatever Py4J says: plain R works without
            return _NOT_JOINED.format(reason=f"Spark did not let it in: {root_message(error)}")
        r.send("connect", str(backend.port), backend.secret)
        told = [field.decode("utf-8", "replace") for field in self._answer(r, b"connected", 2)[1:]]
        if not told[0]:
            return "".join(f"[SparkR: {each}]\n" for each in told[1:])
        self._close_backend()
        return _NOT_JOINED.format(reason=f"SparkR {package} could not join the session: {told[0]}")

    def _close_backend(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _answer(self, r: RProcess, kind: bytes, fields: int) -> Frame:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            frame = r.wait(_LOOK_SECONDS, log)
            if frame is not None and frame[0] == kind and len(frame) >= fields:
                return frame
            if frame is not None:
                raise RLost("R did not start: it sent an answer that fits no question")
            if self._interrupts.pending:
                raise RLost("R was cancelled while it started")
        raise RLost(f"R did not start within {_START_SECONDS:.0f} s; the session's log has its own words")


class _Cancelling:
    """When to strike: a job that was cancelled ends R's call into Spark by itself, and with a better word."""

    def __init__(self, *, with_spark: bool) -> None:
        self._first = _SPARK_SECONDS if with_spark else 0.0
        self._asked_at: Optional[float] = None
        self._struck_at = 0.0
        self._told = False

    def due(self) -> bool:
        """Asked again and again from the moment on at which the cell is to stop."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        if now - self._asked_at < self._first or now - self._struck_at < _STRIKE_SECONDS:
            return False
        self._struck_at = now
        return True

    def refuses(self) -> bool:
        """Once: it was struck for long, and still runs."""
        if self._told or self._asked_at is None or time.monotonic() - self._asked_at < _REFUSES_SECONDS:
            return False
        self._told = True
        return True


class _Decoded:
    """Bytes that R prints, as text, wherever a chunk ends."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def __call__(self, chunk: bytes, *, final: bool = False) -> None:
        text = self._decoder.decode(chunk, final)
        if text:
            self._write(text)
