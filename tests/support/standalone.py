"""A whole Sparkyard on free ports with a home of its own, as `make up DETACH=1` starts it."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).parent / "sparkyard-standalone"


@dataclass(frozen=True)
class User:
    """A demonstration user."""

    name: str
    full_name: str
    password: str
    role: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Standalone:
    """A running one."""

    home: Path
    catalog: Path
    address: str
    gateway: str
    provider: str
    pid: int
    users: tuple[User, ...]

    def user(self, name: str) -> User:
        """A demonstration user by name."""
        return next(user for user in self.users if user.name == name)

    @property
    def gateway_pid(self) -> int:
        """The gateway's process: the one below the launcher that listens at the gateway's port."""
        port = int(self.gateway.rpartition(":")[2])
        for process in psutil.Process(self.pid).children(recursive=True):
            if any(it.laddr.port == port and it.status == psutil.CONN_LISTEN for it in process.net_connections()):
                return process.pid
        raise AssertionError(f"no process below {self.pid} listens at {port}")

    def logs(self, lines: int = 40) -> str:
        """The end of each log, for a failure's message."""
        ends = [
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
            for log in self.home.glob("logs/*.log")
        ]
        return "\n".join(ends)


def free_port() -> int:
    """A port whose neighbours are free too, outside the range from which the system takes ports for connections."""
    while True:
        port = random.randrange(20_000, 30_000, 10)
        with ExitStack() as held:
            try:
                for offset in range(5):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port


@contextmanager
def running(*, before: int = 0) -> Iterator[Standalone]:
    """Start one with a copy of the repository's catalog, and end it; it has been started so often `before`."""
    # Not pytest's own folder, which is closed to others: users' processes run under uids of their own.
    home = Path(tempfile.mkdtemp(prefix="sparkyard-"))
    home.chmod(0o755)
    catalog = home / "catalog.yaml"
    shutil.copy(ROOT / "catalog.yaml", catalog)
    environment = os.environ | {"SPARKYARD_HOME": str(home / "state")}
    up = [str(COMMAND), "up", "--detach", "--port", str(free_port()), "--catalog", str(catalog)]
    down = [str(COMMAND), "down"]
    for start in range(before + 1):
        if start:
            subprocess.run(down, env=environment, cwd=ROOT, capture_output=True, timeout=120, check=True)
        done = subprocess.run(up, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    try:
        record = json.loads((home / "state" / "standalone.json").read_text())
        users = tuple(
            User(it["name"], it["full_name"], it["password"], it["role"], tuple(it["groups"])) for it in record["users"]
        )
        yield Standalone(
            home / "state", catalog, record["address"], record["gateway"], record["provider"], record["pid"], users
        )
    finally:
        subprocess.run(down, env=environment, cwd=ROOT, capture_output=True, timeout=120, check=False)
        shutil.rmtree(home)
