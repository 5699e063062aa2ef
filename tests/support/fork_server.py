"""Processes of the gateway that begin with its modules imported.

Importing them costs more than all else that a gateway does in a test. So one process of a test run imports them, does
nothing with them, and forks for each gateway that is asked for: what begins in the child is the same `main` with the
same arguments, environment, folder and log, and it is killed, stopped and waited for as any process. What only a real
command has is its command line and environment in /proc, and its own start: tests of these run the command.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

MODULES = ("sparkyard_gateway.command", "sparkyard_gateway.server", "alembic.command", "alembic.config")
_TESTS = Path(__file__).parents[1]


class Forked:
    """A process that was forked: as much of a Popen as a test uses."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.returncode: int | None = None
        self.pid = self._hear(None)

    def _hear(self, timeout: float | None) -> int:
        self._told.settimeout(timeout)
        word = self._told.recv(64)
        if not word:
            raise RuntimeError("the fork server is gone")
        return int(word)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises TimeoutExpired."""
        if self.returncode is None:
            try:
                self.returncode = self._hear(timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("a forked gateway", timeout or 0) from None
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended: who was waited for may have left its number to another."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks, as whoever asks it sees it. It ends with that process."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.fork_server", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), env={**os.environ, "PYTHONPATH": str(_TESTS)}, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        atexit.register(self.close)

    def start(self, module: str, arguments: list[str], cwd: Path, log: int, environment: dict[str, str]) -> Forked:
        """What `python -m MODULE ARGUMENTS` does."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        wish = {"module": module, "arguments": arguments, "cwd": str(cwd), "environment": environment}
        with theirs:
            socket.send_fds(self._line, [json.dumps(wish).encode()], [theirs.fileno(), log])
        return Forked(mine)

    def close(self) -> None:
        """Let it end."""
        self._line.close()
        self._process.wait()


_servers: dict[int, ForkServer] = {}


def server() -> ForkServer:
    """This process's own, made when first asked for."""
    return _servers.setdefault(os.getpid(), _servers.get(os.getpid()) or ForkServer())


def _serve(line: socket.socket) -> None:
    """Fork for whoever asks, and tell them how each child ended, until they are gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends first, and then we do
    sys.modules.setdefault("rich", cast("ModuleType", None))  # as the command does
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    children: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    poll = select.poll()
    poll.register(line, select.POLLIN)
    while True:
        for descriptor, _event in poll.poll():
            if descriptor != line.fileno():
                poll.unregister(descriptor)
                pid, told = children.pop(descriptor)
                _pid, status = os.waitpid(pid, 0)
                os.close(descriptor)
                with told, contextlib.suppress(OSError):  # nobody may want to know any more
                    told.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            message, descriptors, _flags, _address = socket.recv_fds(line, 1 << 20, 2)
            if not message:
                return
            told, log = socket.socket(fileno=descriptors[0]), descriptors[1]
            pid = os.fork()
            if pid == 0:
                told.close()
                line.close()
                for pidfd, (_pid, others) in children.items():
                    os.close(pidfd)
                    others.close()
                _become(json.loads(message), log)
            os.close(log)
            told.send(str(pid).encode())
            pidfd = os.pidfd_open(pid)
            children[pidfd] = (pid, told)
            poll.register(pidfd, select.POLLIN)


def _become(wish: dict[str, Any], log: int) -> NoReturn:
    """Be what was wished for, and end as it does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    sys.path[0] = wish["cwd"]
    sys.argv[1:] = wish["arguments"]
    sys.modules.pop(wish["module"], None)  # it runs as __main__, and only so
    runpy.run_module(wish["module"], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
