"""Starting, watching and ending processes so that nothing is left, however things end.

Three nets, each for when the one before it fails:

1. The runner asks its children to end, waits a bounded time, and kills what is left of them.
2. Whoever calls `adopt_orphans` is the *subreaper*: whatever its children leave behind (a kernel, a driver's JVM)
   becomes its own child, and `end_descendants` finds and ends it.
3. Children ask the kernel for a signal at their parent's death, so a parent that is killed takes them along.

A process is known by its pid and its start time together (psutil's `Process` holds both): a pid alone may name
another process by now.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOG_LIMIT = 20 * 2**20

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """From now on, descendants whose parent died become children of this process."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """In a forked child: get a signal when the parent dies, at once if it already has."""
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


@dataclass
class Child:
    """One of Sparkyard's processes, in a process group of its own, writing to a log of its own."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    began: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start it; raises OSError where that is impossible."""
        parent = os.getpid()

        def become_child() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            end_with_parent(parent)

        self.began = time.monotonic()
        with open_log(self.log) as log:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=become_child,  # noqa: PLW1509  (this process has one thread)
            )

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs (or was never started)."""
        return self.process.poll() if self.process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """Send it SIGTERM, if it runs."""
        if self.running:
            assert self.process is not None
            self.process.terminate()

    def how_it_ended(self) -> str:
        """In words."""
        code = self.exit_code
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def last_lines(self, count: int = 12) -> list[str]:
        """The end of its log, of this run."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 32768))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]


def open_log(path: Path) -> IO[bytes]:
    """A log to append to, private, and moved aside when it has grown large."""
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".old.log"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def end_children(children: Sequence[Child], seconds: float) -> None:
    """Ask the children to end, in the order given and each given its share of the time, then kill what is left."""
    for child in children:
        child.ask_to_end()
    deadline = time.monotonic() + seconds
    for child in children:
        if child.process is not None:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait(5)


def end_descendants(seconds: float = 3.0) -> int:
    """End whatever still descends from this process; how many had to be killed. Needs `adopt_orphans` before."""
    me = psutil.Process()
    left = me.children(recursive=True)
    for process in left:
        _signal(process, signal.SIGTERM)
    _, left = psutil.wait_procs(left, timeout=seconds if left else 0)
    killed = 0
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [process for process in me.children(recursive=True) if not has_ended(process)]
        if not left:
            break
        for process in left:
            _signal(process, signal.SIGKILL)
        killed += len(left)
        psutil.wait_procs(left, timeout=1)
    _reap()
    return killed


def reap_adopted(own: Sequence[Child]) -> None:
    """Collect the exit codes of orphans that ended here, so that they do not stay in the process table."""
    started = {child.process.pid for child in own if child.process}
    for process in psutil.Process().children():
        if process.pid not in started and has_ended(process):
            os.waitpid(process.pid, os.WNOHANG)


def has_ended(process: psutil.Process) -> bool:
    """Whether it does nothing any more, even if nobody has asked for its exit code yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil compares the start time first
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        sys.stderr.write(f"Process {process.pid} may not be ended by this user.\n")


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def wait_until(ready: Callable[[], bool], pause: Callable[[float], None], seconds: float) -> bool:
    """Ask until it is so or the time is over; `pause` waits between the questions, and may raise to end it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return True
        pause(0.1)
    return False
