"""A small process between the hub and one notebook server, so that stopping the server leaves nothing behind.

Kernels and terminals put themselves into sessions of their own, so killing the server's process group does not
reach them. The keeper is a *subreaper*: whatever the server starts, however deep and however detached, becomes the
keeper's child when its parent dies, and the keeper ends only when none is left.

It also drops to the user's own uid before anything of the user's is touched (the examples are copied as the user,
so that a link planted in the home leads nowhere they couldn't write themselves), and ends everything when the
*supervisor* is gone: the process that runs the whole installation, if one was named. A restart of the hub alone
ends nothing.

Run as ``python -I -S keeper.py PLAN`` with the server's environment; the plan is JSON and holds no secret. Standard
library only.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn, TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CANNOT_START = 126
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


class Plan(TypedDict):
    """What the keeper is to do; written by the local spawner."""

    command: list[str]
    home: str
    uid: int | None  # None: stay who we are
    examples: str | None
    supervisor: list[int] | None  # pid and start time
    grace_seconds: float


def started_at(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or waits to be reaped.

    A pid alone is no name: it is given to another process after a while. Pid and start time together are.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name is in parentheses and may itself contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def descendants(root: int) -> list[int]:
    """Every live process below ``root``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] not in ("Z", "X"):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def end_descendants(root: int, seconds: float = 5.0) -> bool:
    """Kill everything below ``root``, also what is born meanwhile; False if something is left after ``seconds``."""
    deadline = time.monotonic() + seconds
    while alive := descendants(root):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _prctl(option: int, value: int) -> None:
    """Set an attribute of this process; every option used here exists in any Linux since 3.5."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def copy_examples(source: Path, home: Path) -> None:
    """Give the home a copy of each example it does not have; what the user changed or made stays as it is."""
    target = home / "examples"
    target.mkdir(exist_ok=True)
    for example in sorted(source.glob("*.ipynb")):
        copy = target / example.name
        if not copy.exists():
            shutil.copyfile(example, copy)


def _become_server(plan: Plan) -> NoReturn:
    """In the forked child: become the user, prepare the home, become the server. Never returns."""
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if plan["uid"] is not None:
            os.setgroups([])
            os.setresgid(plan["uid"], plan["uid"], plan["uid"])
            os.setresuid(plan["uid"], plan["uid"], plan["uid"])
            _prctl(PR_SET_NO_NEW_PRIVS, 1)
        # After the change of uid, which clears it: if the keeper is killed, the server goes too.
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.umask(0o077)
        home = Path(plan["home"])
        os.chdir(home)
        if plan["examples"]:
            try:
                copy_examples(Path(plan["examples"]), home)
            except OSError as error:
                # A home without examples is worth more than no server.
                sys.stderr.write(f"Could not copy the examples: {error}\n")
        os.execvpe(plan["command"][0], plan["command"], os.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"Could not start {plan['command'][0]}: {error.strerror}\n")
    finally:
        sys.stderr.flush()
        os._exit(CANNOT_START)


def _reap(server: int | None) -> int | None:
    """Collect whatever has ended; the server's exit status if it is among them."""
    status = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == server:
            code = os.waitstatus_to_exitcode(wait_status)
            status = code if code >= 0 else 128 - code


def keep(plan: Plan) -> int:
    """Run the server until it ends, is told to, or the supervisor is gone; its exit status."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    server = os.fork()
    if server == 0:
        _become_server(plan)

    deadline: float | None = None
    status: int | None = None
    while status is None:
        received = signal.sigtimedwait(_SIGNALS, 1.0)
        status = _reap(server)
        told = received is not None and received.si_signo != signal.SIGCHLD
        orphaned = plan["supervisor"] is not None and started_at(plan["supervisor"][0]) != plan["supervisor"][1]
        if status is None and deadline is None and (told or orphaned):
            deadline = time.monotonic() + plan["grace_seconds"]
            os.kill(server, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            break
    end_descendants(os.getpid())
    _reap(None)
    return 128 + signal.SIGKILL if status is None else status


if __name__ == "__main__":
    sys.exit(keep(json.loads(sys.argv[1])))
