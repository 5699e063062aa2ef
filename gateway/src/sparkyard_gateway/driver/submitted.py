"""Join the JVM that spark-submit has started already, where this program is the application that it runs.

An upstream Livy knows batches only: its spark-submit starts the JVM, and the JVM starts this Python and leaves port
and secret of its Py4J gateway in the environment. Everything else is as with a JVM of our own (`jvm`), but for two
things: the settings that the JVM was born with are spark-submit's, and the JVM outlives us by the moment it takes to
report our end.

Our standard input is a pipe from that JVM: its end is the JVM's end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any, Callable

from .jvm import keep_py4j_out_of_cells

_LOOK_SECONDS = 0.5
_VARIABLES = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")


def is_submitted() -> bool:
    """Whether spark-submit runs us. Never so in a driver that a backend of ours starts: its environment is made new."""
    return all(os.environ.get(name) for name in _VARIABLES)


class SubmittedJvm:
    """The JVM whose child we are. The same few methods as `jvm.Jvm`."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._pipe = _take_standard_input()

    def join(self) -> Any:
        """Return pyspark's Py4J gateway to it, and take port and secret out of the environment of later children."""
        from pyspark.java_gateway import launch_gateway  # noqa: PLC0415  as in jvm.py

        try:
            gateway = launch_gateway()  # type: ignore[no-untyped-call]
        finally:
            for name in _VARIABLES:
                os.environ.pop(name, None)
        keep_py4j_out_of_cells()
        return gateway

    def watch(self, on_death: Callable[[str], None]) -> None:
        """Block until the JVM has ended."""
        with contextlib.suppress(OSError):  # a cell closed every descriptor it could find
            while os.read(self._pipe, 4096):
                pass
        while os.getppid() == self._parent and _alive(self._parent):
            time.sleep(_LOOK_SECONDS)
        on_death("ended: spark-submit's process is gone")

    def kill(self, seconds: float) -> None:
        """Nothing: it ends when we have, and reports our exit code to whoever submitted us."""

    def kill_now(self) -> None:
        """End it at once, where we are about to be cut off ourselves."""
        if os.getppid() == self._parent:
            with contextlib.suppress(OSError):
                os.kill(self._parent, signal.SIGKILL)

    def in_child(self) -> None:
        """In a forked child: nothing of ours keeps the JVM alive."""


def _take_standard_input() -> int:
    """Move the pipe from the JVM to a descriptor that no child inherits; cells read nothing from standard input."""
    try:
        pipe = os.dup(0)
    except OSError:
        return -1  # there is none, so the parent's number has to do
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _alive(process: int) -> bool:
    """Whether it runs; a zombie still has its number, and is nobody's JVM any more."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return True  # no /proc: the parent's number alone decides
