"""R as a child of the driver: started, spoken to in frames, interrupted, and dead when the driver is.

R's half is `r_shell.R`. Requests and answers go through two pipes of their own, and what R prints through two more: so
nothing that a cell prints is ever taken for an answer. The user's code can write to all of them, as it can do anything
in this process' name; what comes is bounded and checked, and an R that talks nonsense is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, Optional

from .children import descendants, interrupt
from .jvm import describe_end
from .notes import note
from .resources import read

_SHELL = "r_shell.R"
_MOST_BYTES = 16 * 1024 * 1024
"""A frame's; R's half sends pictures of 4 MB at most."""
_CHUNK = 64 * 1024
_PR_SET_PDEATHSIG = 1
_OPTIONS = ("--no-save", "--no-restore", "--no-echo", "--no-readline")
_SECRETS = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "SPARKR_BACKEND_AUTH_SECRET")

Printed = Callable[[bytes, int], None]
"""What R printed, and to which of its descriptors, 1 or 2."""
Frame = List[bytes]


class RLost(Exception):  # noqa: N818  reads as what happened
    """R has ended, or was ended because it made no sense. The message says how."""


def find_r() -> Optional[str]:
    """R's command, or None where the image has no R."""
    home = os.environ.get("R_HOME")
    if home:
        inside = os.path.join(home, "bin", "R")
        if os.access(inside, os.X_OK):
            return inside
    return shutil.which("R")


class RProcess:
    """A running R. For one thread at a time, but for `strike`."""

    def __init__(self, command: str, home: str) -> None:
        ends: List[int] = []
        # R removes its own folder only where it ends by itself.
        self._folder = tempfile.mkdtemp(prefix="sparkyard-r-")
        try:
            for _ in range(5):
                ends += os.pipe()
            program, requests, answers, out, err = (ends[at : at + 2] for at in range(0, 10, 2))
            variables = dict(environment(os.environ, home), TMPDIR=self._folder)
            self.process = _start(command, variables, program[0], requests[0], answers[1], out[1], err[1])
            os.write(program[1], read(_SHELL))  # less than a pipe holds
        except BaseException:
            for end in ends:
                os.close(end)
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        for end in (program[0], program[1], requests[0], answers[1], out[1], err[1]):
            os.close(end)
        self._requests, self._answers, self._prints = requests[1], answers[0], {out[0]: 1, err[0]: 2}
        for end in (self._answers, *self._prints):
            os.set_blocking(end, False)
        self._received = bytearray()

    def send(self, *fields: str) -> None:
        """Ask something. Raises RLost."""
        blobs = [field.encode("utf-8", "backslashreplace") for field in fields]
        body = b"".join(len(blob).to_bytes(4, "big") + blob for blob in blobs)
        data = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except OSError:
            raise self._lost() from None

    def wait(self, seconds: float, printed: Printed) -> Optional[Frame]:
        """The next answer, or None when the time is over; what is printed meanwhile is handed on. Raises RLost.

        When an answer is there, so is everything that was printed before it.
        """
        until = time.monotonic() + seconds
        while True:
            frame = self._frame()
            if frame is not None:
                self.drain(printed)
                return frame
            left = max(0.0, until - time.monotonic())
            # Not for the whole time: a child of R's that lives on would hold the pipes open after R's end.
            ready, _, _ = select.select([self._answers, *self._prints], [], [], min(left, 0.25))
            for end in ready:
                if end != self._answers:
                    self._print(end, printed)
            if self._answers in ready:
                chunk = _read(self._answers)
                if chunk == b"":
                    self.drain(printed)
                    raise self._lost()
                self._received += chunk or b""
            elif not ready and self.process.poll() is not None:
                self.drain(printed)
                raise self._lost()
            if time.monotonic() >= until:
                return self._frame()

    def drain(self, printed: Printed) -> None:
        """Hand on what is printed so far."""
        for end in list(self._prints):
            while self._print(end, printed):
                pass

    def strike(self) -> None:
        """Ctrl-C, for R and what it has started."""
        interrupt([self.process.pid, *descendants(self.process.pid)])

    def close(self) -> None:
        """End R, whatever it does."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        for end in (self._requests, self._answers, *self._prints):
            with contextlib.suppress(OSError):
                os.close(end)
        self._prints = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def _print(self, end: int, printed: Printed) -> bool:
        chunk = _read(end)
        if chunk == b"":  # closed by R's end, or by a cell
            del self._prints[end]
            os.close(end)
        if not chunk:
            return False
        printed(chunk, self._prints[end])
        return True

    def _frame(self) -> Optional[Frame]:
        received = self._received
        if len(received) < 4:
            return None
        size = int.from_bytes(received[:4], "big")
        if size > _MOST_BYTES:
            raise self._nonsense(f"a message of {size:,} bytes")
        if len(received) < 4 + size:
            return None
        body = bytes(received[4 : 4 + size])
        del received[: 4 + size]
        fields, at = [], 0
        while at < size:
            width = int.from_bytes(body[at : at + 4], "big")
            if at + 4 + width > size:
                raise self._nonsense("a message that is none")
            fields.append(body[at + 4 : at + 4 + width])
            at += 4 + width
        if not fields:
            raise self._nonsense("an empty message")
        return fields

    def _nonsense(self, what: str) -> RLost:
        return RLost(f"R sent {what}, which this driver does not take, and was ended")

    def _lost(self) -> RLost:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        return RLost("R closed its line to the driver" if code is None else f"R {describe_end(code)}")


def _start(
    command: str, variables: Dict[str, str], program: int, requests: int, answers: int, out: int, err: int
) -> subprocess.Popen[bytes]:
    die_with_us = _death_signal(os.getpid())
    return subprocess.Popen(
        [command, *_OPTIONS, f"--file=/dev/fd/{program}", "--args", str(requests), str(answers)],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=variables,
        pass_fds=(program, requests, answers),
        preexec_fn=die_with_us,  # noqa: PLW1509  nothing in it takes a lock
    )


def environment(ours: Mapping[str, str], home: str) -> Dict[str, str]:
    """What R finds: ours, without any way into the JVM, and with a locale in which text is UTF-8."""
    made = {name: value for name, value in ours.items() if name not in _SECRETS}
    made["SPARK_HOME"] = home
    locale = made.get("LC_ALL") or made.get("LC_CTYPE") or made.get("LANG") or ""
    if "utf-8" not in locale.lower().replace("utf8", "utf-8"):
        made.pop("LC_ALL", None)
        made["LC_CTYPE"] = "C.UTF-8"
    return made


def _death_signal(parent: int) -> Callable[[], None]:
    """To be run in the child: the kernel kills it when the driver's main thread, which starts it, is gone."""
    control: Any = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            control = ctypes.CDLL(None, use_errno=True).prctl

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until R has a handler of its own
        if control is not None:
            control(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _read(end: int) -> Optional[bytes]:
    """What is there; None if that is nothing, and no bytes at all at the end."""
    try:
        return os.read(end, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def log(chunk: bytes, _descriptor: int) -> None:
    """What R prints while no cell runs goes to the driver's log."""
    text = chunk.decode("utf-8", "backslashreplace").rstrip()
    if text:
        note(f"R: {text}")
