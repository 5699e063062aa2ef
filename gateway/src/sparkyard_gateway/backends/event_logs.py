"""What Spark writes down of a session's jobs, for the history server: a folder for each user, in bounds.

An event log is written by its user's code, and once was enough to run code in whoever read it (CVE-2025-54920). So a
folder belongs to its user's own uid and nobody else's; whoever reads it does that under the same uid and has nothing
that the user has not; and the gateway only counts and removes files, never following a link.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from sparkyard_gateway.backends.base import Identity
from sparkyard_gateway.backends.removal import remove

PART = "16m"
"""Spark begins a new file of a log when this is full; compressed, as it stands on the disk."""

WARM = ".warm-"
LOG = "eventlog_v2_"
STRANGE = 1 << 50
"""The size that something is given which cannot be a log."""

_APPLICATION = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_PLAIN = re.compile(r"[a-z0-9_-]{1,100}")

log = structlog.get_logger(__name__)


class EventLogs:
    """The event logs of all users of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Others may pass through to a folder of their own, and list nothing.
        folder.chmod(0o711)

    def folder_of(self, owner: str) -> Path:
        """The folder of a user's logs, whatever characters the name has."""
        plain = owner if _PLAIN.fullmatch(owner) else re.sub(r"[^a-z0-9_-]", "-", owner.lower())[:40]
        digest = "" if plain == owner else f"-{hashlib.sha256(owner.encode()).hexdigest()[:12]}."
        return self._folder / f"{plain}{digest}"

    def warm_folder(self, number: int) -> Path:
        """The folder for the one log of a driver that is nobody's when it starts; no user's is called like it."""
        return self._folder / f"{WARM}{number}"

    def warm_numbers(self) -> list[int]:
        """The sessions that have such a folder."""
        names = (each.name.removeprefix(WARM) for each in self._folder.glob(f"{WARM}*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def prepare(self, owner: str, identity: Identity | None) -> Path:
        """Make the user's folder, for that user alone."""
        return self.make(self.folder_of(owner), identity)

    @staticmethod
    def make(folder: Path, identity: Identity | None) -> Path:
        """Make a folder of logs, for this identity alone."""
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)
        return folder

    @staticmethod
    def conf(folder: Path) -> dict[str, str]:
        """The settings that make a driver write its log there."""
        return {
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": folder.as_uri(),
            "spark.eventLog.rolling.enabled": "true",
            "spark.eventLog.rolling.maxFileSize": PART,
            # A fifth of the size, and no slower: there is less to write.
            "spark.eventLog.compress": "true",
            "spark.eventLog.compression.codec": "zstd",
            # Local applications are named by the millisecond they start in; two at once must not keep each other down.
            "spark.eventLog.overwrite": "true",
        }

    def has(self, owner: str, application: str | None) -> bool:
        """Whether there is a log of this application of the user's."""
        if application is None or not _APPLICATION.fullmatch(application):
            return False
        return (self.folder_of(owner) / f"eventlog_v2_{application}").is_dir()

    def tidy(self, limit: int, retention_seconds: float, running: Mapping[str, frozenset[str]]) -> None:
        """Remove logs that are old, and of each user the oldest beyond `limit` bytes.

        `running` names each user's living applications, whose logs go last; where one alone is too large, its
        first parts go, and with them its history.
        """
        for folder in self._folder.iterdir():
            try:
                self._tidy(folder, limit, retention_seconds, running)
            except OSError as error:
                # One user's folder, however it is made, keeps no other from being looked after.
                log.warning("event_logs_not_tidied", folder=folder.name, error=error.strerror)

    def _tidy(self, folder: Path, limit: int, retention_seconds: float, running: Mapping[str, frozenset[str]]) -> None:
        living = {f"{LOG}{each}" for each in running.get(folder.name, frozenset())}
        logs = sorted((_written(each), _size(each), each) for each in _listed(folder))
        left = sum(size for _, size, _ in logs)
        for written, size, path in logs:
            if path.name in living:
                continue
            if left > limit or time.time() - written > retention_seconds:
                remove(path)
                left -= size
        for _, _, path in logs:
            if path.name in living and left > limit:
                left -= self._remove_parts(path, left - limit)

    @staticmethod
    def _remove_parts(path: Path, excess: int) -> int:
        """Remove the first parts of a log that is being written."""
        removed = 0
        parts = sorted((_written(each), each) for each in _listed(path) if each.name.startswith("events_"))
        for _, part in parts[:-1]:
            if removed >= excess:
                break
            removed += _size(part)
            remove(part)
        if removed:
            log.warning("event_log_cut", application=path.name, bytes=removed)
        return removed


def _listed(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from list(folder.iterdir())


def _written(path: Path) -> float:
    times = [0.0]
    for each in (path, *(_listed(path) if path.is_dir() and not path.is_symlink() else ())):
        with contextlib.suppress(OSError):
            times.append(each.lstat().st_mtime)
    return max(times)


def _size(path: Path) -> int:
    """What a log takes on the disk. Spark writes one level of files; what has more is a user's making, and too much."""
    if path.is_symlink() or not path.is_dir():
        return _blocks(path)
    deeper = any(each.is_dir() and not each.is_symlink() for each in _listed(path))
    return STRANGE if deeper else sum(_blocks(each) for each in _listed(path))


def _blocks(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_blocks * 512
    return 0
