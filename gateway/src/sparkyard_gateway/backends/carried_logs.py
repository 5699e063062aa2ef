"""Event logs that were carried here from pods, which keep nothing: a folder for each session and each batch, in bounds.

Words:
    place    a session's or batch's folder: `12`, `batch-12`. Whoever may see that one may see its history
    log      what one application wrote: parts that are appended to, and an empty file whose name says whether it runs
    owner    whose place it is; only counted by, as each owner may fill so much and no more

What a driver writes into its log is its user's making (`event_logs`). So the gateway writes files of known names only,
appends and counts, and reads none: they are shown in a pod of their owner's (`history_pods`).
"""

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from sparkyard_gateway.backends.event_logs import LOG
from sparkyard_gateway.backends.removal import remove

MOST_APPLICATIONS = 8
"""Of one session: who stops Spark and starts it again begins another log."""
MOST_FILES = 2000
LEAST_FREE_BYTES = 256 * 1024 * 1024
"""On the disk, which has drivers' logs as well."""

_APPLICATION = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_STATE = "appstatus_"
_RUNS = ".inprogress"
_PLACE = re.compile(r"(batch-)?\d{1,19}", re.ASCII)
_OWNER = "owner"

log = structlog.get_logger(__name__)


class OutOfPlaceError(Exception):
    """The piece does not go on where the file ends. `have`: how much there is."""

    def __init__(self, have: int) -> None:
        super().__init__()
        self.have = have


class NoRoomError(Exception):
    """The owner's share is full of what is running, or the disk is full."""


class StrangeNameError(Exception):
    """No event log has such a file."""


@dataclass(slots=True)
class _Kept:
    """What is known of a place without looking."""

    owner: str
    size: int
    written: float


def place_of(number: int, *, batch: bool) -> str:
    """The folder's name."""
    return f"batch-{number}" if batch else str(number)


def file_name(application: str, name: str) -> bool:
    """Whether Spark calls a file of this application's log so."""
    if not _APPLICATION.fullmatch(application):
        return False
    if name in {f"{_STATE}{application}", f"{_STATE}{application}{_RUNS}"}:
        return True
    part = re.escape(application)
    return re.fullmatch(rf"events_[1-9]\d{{0,5}}_{part}(\.(zstd|lz4|lzf|snappy))?", name, re.ASCII) is not None


class CarriedLogs:
    """All that are kept here. Its methods block on the disk, and may be called from any thread."""

    def __init__(self, folder: Path, owners_limit: int, limit: int) -> None:
        self._folder = folder
        self._owners_limit = owners_limit
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self.runs: Callable[[str], bool] = lambda _place: False
        """Whether what has this place may still write; set where the parts are wired."""

    def open(self) -> None:
        """Take up what an earlier gateway kept."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            for path in self._folder.iterdir():
                if not _PLACE.fullmatch(path.name):
                    continue
                owner = ""
                with contextlib.suppress(OSError):
                    owner = (path / _OWNER).read_text(encoding="utf-8")
                files = [each.stat() for each in path.glob(f"{LOG}*/*")]
                written = max((each.st_mtime for each in files), default=path.stat().st_mtime)
                self._kept[path.name] = _Kept(owner, sum(each.st_size for each in files), written)

    # Of drivers

    def have(self, place: str, application: str) -> dict[str, int]:
        """How much of each file of a log is here."""
        if not _APPLICATION.fullmatch(application):
            raise StrangeNameError
        return {path.name: path.stat().st_size for path in self._files(place, application)}

    def append(self, place: str, owner: str, application: str, name: str, at: int, data: bytes) -> int:
        """Add a piece to a file; returns how much of it is here.

        Raises OutOfPlaceError, NoRoomError and StrangeNameError.
        """
        if not file_name(application, name) or (name.startswith(_STATE) and data):
            raise StrangeNameError
        with self._lock:
            folder = self._folder / place / f"{LOG}{application}"
            path = folder / name
            have = path.stat().st_size if path.exists() else 0
            if have != at:
                raise OutOfPlaceError(have)
            self._make_room(place, owner, len(data))
            self._begin(place, owner, folder, name)
            with path.open("ab") as file:
                file.write(data)
            if name == f"{_STATE}{application}":
                (folder / f"{name}{_RUNS}").unlink(missing_ok=True)
            kept = self._kept[place]
            kept.size, kept.written = kept.size + len(data), time.time()
            return have + len(data)

    def _begin(self, place: str, owner: str, folder: Path, name: str) -> None:
        kept = self._kept.get(place)
        if not folder.is_dir():
            if kept is not None and len(list((self._folder / place).glob(f"{LOG}*"))) >= MOST_APPLICATIONS:
                raise NoRoomError
            folder.mkdir(parents=True)
        elif not (folder / name).exists() and sum(1 for _ in folder.iterdir()) >= MOST_FILES:
            raise NoRoomError
        if kept is None or kept.owner != owner:
            # A driver that was warm has become somebody's.
            (self._folder / place / _OWNER).write_text(owner, encoding="utf-8")
            size, written = (kept.size, kept.written) if kept is not None else (0, time.time())
            self._kept[place] = _Kept(owner, size, written)

    def _make_room(self, place: str, owner: str, more: int) -> None:
        """The oldest give way that have ended: first of the owner's own, then of all."""
        for limit, mine in ((self._owners_limit, True), (self._limit, False)):
            counted = {name: each for name, each in self._kept.items() if not mine or each.owner == owner}
            used = sum(each.size for each in counted.values())
            over = [name for name in counted if name != place and not self.runs(name)]
            if used + more - sum(counted[name].size for name in over) > limit:
                raise NoRoomError
            for name in sorted(over, key=lambda each: counted[each].written):
                if used + more <= limit:
                    break
                used -= counted[name].size
                self._remove(name, "no_room")
        if more and shutil.disk_usage(self._folder).free - more < LEAST_FREE_BYTES:
            raise NoRoomError

    # Of who looks

    def size(self, place: str, application: str | None) -> int:
        """How much of a log is here; 0 where there is nothing that could be shown."""
        if application is None or not _APPLICATION.fullmatch(application):
            return 0
        files = self._files(place, application)
        if not any(path.name.startswith(_STATE) for path in files):
            return 0
        # At least something, where the disk took nothing but names.
        return sum(path.stat().st_size for path in files)

    def applications(self, place: str) -> list[str]:
        """Of which there is a log that could be shown, as they were written."""
        folder = self._folder / place
        logs = sorted(folder.glob(f"{LOG}*"), key=lambda each: each.stat().st_mtime)
        found = [each.name.removeprefix(LOG) for each in logs]
        return [each for each in found if self.size(place, each)]

    def files(self, place: str, application: str) -> list[Path]:
        """The files of a log."""
        return self._files(place, application) if _APPLICATION.fullmatch(application) else []

    def _files(self, place: str, application: str) -> list[Path]:
        folder = self._folder / place / f"{LOG}{application}"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    # Of the gateway

    def tidy(self, retention_seconds: float, running: Iterable[str]) -> None:
        """Remove what is old. `running` are places that may still be written to, here or elsewhere."""
        living = frozenset(running)
        with self._lock:
            for place, kept in list(self._kept.items()):
                if place not in living and not self.runs(place) and time.time() - kept.written > retention_seconds:
                    self._remove(place, "old")

    def _remove(self, place: str, why: str) -> None:
        log.info("event_log_removed", place=place, why=why)
        self._kept.pop(place, None)
        remove(self._folder / place)
