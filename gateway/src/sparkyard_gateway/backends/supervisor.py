"""Stands over one attempt at a batch, so that its end is known even if no gateway lives to see it.

A program of its own, of the standard library alone, run by the gateway's interpreter as the gateway's user. The kernel
tells a process's exit code to its parent only, so the parent must outlive the gateway: this is that parent. Where the
gateway is root the batch runs as somebody else, who can neither end this process nor write its word.

    standard input   one JSON object, then the end. Where the input ends before the object is whole, the gateway died
                     before it had written down that it started this attempt, and nothing is run
    the place        a file that is made before anything runs; where it is there already, nothing is run
    the outcome      a file beside the attempt's log: {"began": ms}, and once all is over {"began", "ended", "code",
                     "asked"}; the code is negative for a signal
    SIGTERM          ends the attempt: kindly, and after the grace by force

It is the "subreaper" of all that the batch starts: whatever leaves its parent becomes this one's child, not init's, so
that nothing of a batch outlives it, whichever session or folder it has made for itself.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
NEVER_TOLD_TO_BEGIN = 3
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)
POLL_SECONDS = 0.02
LONGEST_DYING_SECONDS = 30.0
"""After which the end is told although something hangs in the kernel and cannot die."""
PROC = Path("/proc")


class Supervisor:
    """One attempt, from its beginning to the last of its processes."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self._wish = wish
        self._outcome = Path(wish["outcome"])
        self._asked = False

    def run(self) -> None:
        """Run it to its end."""
        began = _now_ms()
        try:
            # Whoever is first decides: a gateway that gives this attempt up makes the same file.
            Path(self._wish["place"]).open("x").close()
        except FileExistsError:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        _write(self._outcome, {"began": began})
        code = self._supervise()
        _end_all()
        _write(self._outcome, {"began": began, "ended": _now_ms(), "code": code, "asked": self._asked})

    def _supervise(self) -> int:
        try:
            child = self._start()
        except OSError as error:
            sys.stderr.write(f"{self._wish['argv'][0]} cannot be run: {error.strerror}\n")
            return 127
        with contextlib.suppress(OSError):
            # When memory runs out the batch shall go, not the one who tells how it ended.
            Path("/proc/self/oom_score_adj").write_text("0", encoding="ascii")
        force_at: float | None = None
        while True:
            code = _reap(child)
            if code is not None:
                return code
            if force_at is not None and time.monotonic() >= force_at:
                _signal_all(signal.SIGKILL)
            told = signal.sigtimedwait({signal.SIGTERM, signal.SIGCHLD}, 1.0 if force_at is None else 0.1)
            if told is not None and told.si_signo == signal.SIGTERM and not self._asked:
                self._asked = True
                force_at = time.monotonic() + float(self._wish["grace_seconds"])
                _signal_all(signal.SIGTERM)

    def _start(self) -> int:
        wish = self._wish
        inherited = os.memfd_create("bootstrap")
        os.write(inherited, json.dumps(wish["bootstrap"]).encode())
        os.lseek(inherited, 0, os.SEEK_SET)
        uid, gid = wish["uid"], wish["gid"]
        process = subprocess.Popen(
            [*wish["argv"], "--bootstrap-fd", str(inherited)],
            cwd=wish["cwd"],
            env=wish["environment"],
            stdin=subprocess.DEVNULL,
            pass_fds=[inherited],
            umask=0o077,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            preexec_fn=_heed_signals,  # noqa: PLW1509 - there is no other thread here
        )
        os.close(inherited)
        return process.pid


def _heed_signals() -> None:
    """In the child: what is blocked or ignored here would stay so there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)


def _reap(child: int) -> int | None:
    """Take leave of what has ended; the child's exit code where it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)


def _descendants() -> list[int]:
    """All that this process, its children and theirs have started and that lives."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if fields[0] not in {"Z", "X"}:
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(children.get(os.getpid(), ()))
    for each in found:  # grows as it goes
        found += children.get(each, ())
    return found


def _signal_all(number: signal.Signals) -> list[int]:
    pids = _descendants()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return pids


def _end_all() -> None:
    """Kill what the batch left behind, until there is nothing: what dies may have just started something."""
    until = time.monotonic() + LONGEST_DYING_SECONDS
    while time.monotonic() < until:
        # Stopped first, so that nothing forks while the others are being killed.
        _signal_all(signal.SIGSTOP)
        left = _signal_all(signal.SIGKILL)
        _reap(-1)
        if not left:
            return
        time.sleep(POLL_SECONDS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="ascii") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def main() -> int:
    """Wait for the word to begin, then see the attempt through."""
    os.umask(0o077)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        wish = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return NEVER_TOLD_TO_BEGIN
    Supervisor(wish).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
