"""Raise KeyboardInterrupt in the statement that is to be cancelled, and in nothing else.

A strike is a SIGINT to the main thread. Its handler runs between two bytecodes of the main thread, so it needs no lock:
it compares the struck number with the running one and does nothing when they differ. A strike that arrives late, after
the statement has ended or when the next one runs, is therefore without effect. Each strike raises at most once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Callable, Optional, Type

from .children import born_since, interrupt, now_since_boot
from .notes import note

_GRACE_SECONDS = 1.0
_PY4J = os.sep + "py4j" + os.sep
_PAUSES = (0.05, 0.1, 0.2, 0.3, 0.5)
# Frames that the handler needs. Code that recurses without end and catches RecursionError lives at the very limit,
# where the handler itself would fail with a RecursionError that the code swallows.
_HEADROOM = 50


class Interrupts:
    """Owns SIGINT. Create and `install` on the main thread; `cancel` may be called from any."""

    def __init__(self) -> None:
        self._running: Optional[int] = None
        self._struck: Optional[int] = None
        self._forceful = False
        self._ended = threading.Event()
        self._began = 0.0
        self._shields = 0
        self._held_back = False
        self._main = threading.main_thread()
        self._handler = self._on_strike  # one bound method, so that `install` can recognise it
        self.broke_py4j = False  # a strike cut a Py4J call short: its connection has an answer nobody waits for

    def install(self) -> None:
        """Take SIGINT (again): SparkContext installs a handler of its own, and so may a user's cell."""
        if signal.getsignal(signal.SIGINT) is not self._handler:
            signal.signal(signal.SIGINT, self._handler)

    def begin(self, statement: int) -> None:
        """From here on strikes for this statement count."""
        self._ended.clear()
        self._began = now_since_boot()
        self._shields = 0
        self._held_back = False
        self._running = statement

    def end(self) -> None:
        """From here on no strike counts. One that comes while this runs is swallowed here."""
        while True:
            try:
                self._running = None
                self._ended.set()
            except KeyboardInterrupt:
                continue
            return

    def cancel(self, statement: int, is_over: Callable[[], bool], cancel_jobs: Callable[[], None]) -> None:
        """Strike until the statement is over; `cancel_jobs` is called before each strike. Returns at once."""
        arguments = (statement, is_over, cancel_jobs)
        threading.Thread(target=self._press, args=arguments, name="sparkyard-cancel", daemon=True).start()

    def shielded(self) -> _Shield:
        """A stretch of our own code inside a statement that must not be torn: a strike waits for its end."""
        return _Shield(self)

    @property
    def pending(self) -> bool:
        """Within a shield: whether a strike waits for its end."""
        return self._held_back

    def _press(self, statement: int, is_over: Callable[[], bool], cancel_jobs: Callable[[], None]) -> None:
        began, attempts = time.monotonic(), 0
        while not is_over():
            if self._running != statement:
                time.sleep(0.002)  # just before its code begins, or just after it has ended
                continue
            # On a thread of its own: a JVM that does not answer must not keep us from interrupting Python.
            jobs = threading.Thread(target=cancel_jobs, name="sparkyard-cancel-jobs", daemon=True)
            jobs.start()
            jobs.join(0.2)
            self._forceful = time.monotonic() - began > _GRACE_SECONDS
            if self._forceful:
                interrupt(born_since(self._began))
            self._struck = statement
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(limit + _HEADROOM)
            # The first waits for the main thread's next bytecode even where C code ignores SIGINT meanwhile, as
            # `os.system` does; the second wakes it from a blocking call.
            _thread.interrupt_main()
            _signal_thread(self._main, signal.SIGINT)
            pause = _PAUSES[min(attempts, len(_PAUSES) - 1)]
            attempts += 1
            if attempts == 60:
                note(f"statement {statement} does not stop: {attempts} interrupts in {time.monotonic() - began:.0f} s")
            self._ended.wait(pause)
            if sys.getrecursionlimit() == limit + _HEADROOM:  # unless the cell has set a limit of its own meanwhile
                sys.setrecursionlimit(limit)

    def _on_strike(self, _signum: int, frame: Optional[FrameType]) -> None:
        if self._struck is None or self._struck != self._running:
            return
        if self._shields:
            self._held_back = True
            return
        call = _py4j_frame(frame)
        if call is not None:
            # The cancelled job will end this call by itself, and cleanly. Where it does not, only waiting for the
            # answer may be broken off: in its other stretches Py4J would leave its connections in disorder.
            if not self._forceful or not _awaits_answer(call):
                return
            self.broke_py4j = True
        self._struck = None
        raise KeyboardInterrupt

    def _enter(self) -> None:
        self._shields += 1

    def _leave(self) -> None:
        self._shields -= 1
        if self._held_back and not self._shields:
            self._held_back = False
            if self._struck is not None and self._struck == self._running:
                self._struck = None
                raise KeyboardInterrupt


class _Shield:
    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts._enter()  # noqa: SLF001  two halves of one thing

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._interrupts._leave()  # noqa: SLF001  two halves of one thing


def _py4j_frame(frame: Optional[FrameType]) -> Optional[FrameType]:
    """The innermost frame of Py4J in which the main thread is, if it is in one."""
    depth = 0
    while frame is not None and depth < 8:
        if _PY4J in frame.f_code.co_filename:
            return frame
        frame, depth = frame.f_back, depth + 1
    return None


def _awaits_answer(call: FrameType) -> bool:
    owner = type(call.f_locals.get("self")).__name__
    return call.f_code.co_name == "send_command" and owner.endswith("Connection")


def _signal_thread(thread: threading.Thread, signum: int) -> None:
    if hasattr(signal, "pthread_kill") and thread.ident is not None:
        signal.pthread_kill(thread.ident, signum)
    else:
        os.kill(os.getpid(), signum)
