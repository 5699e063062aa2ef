"""``standalone.json``: what runs now and how to reach it, for `down`, for a second `up` and for scripts."""

import fcntl
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from sparkyard_hub.standalone.people import DemonstrationUser
from sparkyard_hub.standalone.state import Home, read_json, write_json
from sparkyard_spawner.keeper import started_at


@dataclass(frozen=True)
class Record:
    """A running Sparkyard."""

    pid: int
    started: int
    """When the process started, in clock ticks since boot: with the pid it names the process for good."""
    address: str
    gateway: str
    provider: str
    users: tuple[DemonstrationUser, ...]
    log_file: str
    logs: dict[str, str]

    def write(self, home: Home) -> None:
        """Put it where others look."""
        write_json(home.record, asdict(self))


@dataclass(frozen=True)
class Launcher:
    """The process that ends everything when it is told to: the guard. Pid and start time together name it for good."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Launcher":
        """The process that has this pid now."""
        # Not psutil's creation time, which moves with the clock of a laptop that slept.
        return cls(pid, started_at(pid) or 0)

    def note(self, lock: Path) -> None:
        """Write it into the lock, where it stands from the first moment on."""
        lock.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def process(self) -> psutil.Process | None:
        """The process, if it is still the same one."""
        try:
            return psutil.Process(self.pid) if started_at(self.pid) == self.started else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Running:
    """What a second command needs to know of a running Sparkyard."""

    process: psutil.Process
    address: str | None
    """None while it starts."""


def find_running(home: Home) -> Running | None:
    """The Sparkyard that runs in this home, or starts, or stops."""
    noted = read_json(home.lock) or {}
    pid, started = noted.get("pid"), noted.get("started")
    if not isinstance(pid, int) or not isinstance(started, int):
        return None
    process = Launcher(pid, started).process()
    return Running(process, (read_json(home.record) or {}).get("address")) if process else None


def take_lock(path: Path) -> IO[str] | None:
    """The home's lock, held as long as the answer and the processes forked meanwhile live; None if another has it."""
    file = path.open("a")
    path.chmod(0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def forget(home: Home, secret_files: Sequence[Path] = ()) -> None:
    """Remove the record and what else must not outlive the run."""
    for path in (home.record, *secret_files):
        path.unlink(missing_ok=True)
