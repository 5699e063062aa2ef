"""What is known of the pods of one session, or one attempt at a batch: its executors, and what happened.

It stands in one file in the session's folder, beside the logs, and goes with them. A gateway that dies loses what it
learned in the last second, which Kubernetes still knows.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends import executors as of
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.executors import Executor, Kept, State
from sparkyard_gateway.backends.pod_events import PodEvent, merged

Object = dict[str, Any]
DRIVER = "driver"

log = structlog.get_logger(__name__)


class PodBook:
    """One session's, or one attempt's. `driver_over` once its driver has ended, and its executors have nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver_uid = ""
        self.driver_over = False
        self.executors: dict[str, Executor] = {}
        self.events: list[PodEvent] = []
        self.changed = False

    def who(self, uid: str) -> str | None:
        """A pod of it in a person's words; None for any other."""
        if uid == self.driver_uid:
            return DRIVER
        executor = self.executors.get(uid)
        return None if executor is None else f"executor {executor.number}"

    def put(self, executor: Executor) -> None:
        """An executor is so now."""
        if self.executors.get(executor.uid) != executor:
            self.executors[executor.uid] = executor
            self.changed = True

    def tell(self, event: PodEvent) -> None:
        """Something happened."""
        known = merged(self.events, event)
        if known != self.events:
            self.events, self.changed = known, True

    def find(self, reference: str) -> Executor | None:
        """The executor of this uid, or the latest of this number."""
        if reference in self.executors:
            return self.executors[reference]
        named = [each for each in self.executors.values() if each.number == reference]
        return max(named, key=lambda each: each.created, default=None)

    # Logs

    def folder_of(self, executor: Executor) -> Path:
        """Where an executor's log is."""
        return self.folder / "executors" / executor.uid

    def log_of(self, executor: Executor) -> DriverLog:
        """An executor's log."""
        return DriverLog(self.folder_of(executor))

    def cut(self, most: int, looked_after: Collection[str] = ()) -> list[Path]:
        """Forget what is too much, but nothing that is still looked after; returns the folders to remove."""
        worth = of.worth_keeping(self.executors.values(), most)
        dropped = [
            each
            for each in self.executors.values()
            if each.over and each.kept in (Kept.WHOLE, Kept.PART) and each.uid not in worth
        ]
        for each in dropped:
            self.put(replace(each, kept=Kept.DROPPED))
        folders = [self.folder_of(each) for each in dropped]
        for uid in of.forgotten(self.executors, looked_after):
            folders.append(self.folder_of(self.executors.pop(uid)))
            self.changed = True
        return folders

    # Its file

    def text(self) -> str:
        """As it is kept."""
        document = {
            "driver": self.driver_uid,
            "executors": [asdict(each) for each in self.executors.values()],
            "events": [asdict(each) for each in self.events],
        }
        return json.dumps(document, separators=(",", ":"))

    def save(self, text: str) -> None:
        """Write it. Blocks."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        path = _path(self.folder)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(path)

    @classmethod
    def load(cls, folder: Path) -> "PodBook":
        """What was kept; nothing where there is none. Blocks."""
        book = cls(folder)
        try:
            kept = json.loads(_path(folder).read_text(encoding="utf-8"))
            book.driver_uid = kept["driver"]
            book.executors = {each["uid"]: _executor(each) for each in kept["executors"]}
            book.events = [PodEvent(**each) for each in kept["events"]]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("pods_not_remembered", folder=folder.name, error=type(error).__name__)
        return book


def remove_all(folders: Iterable[Path]) -> None:
    """Remove these. Blocks."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _path(folder: Path) -> Path:
    return folder / "pods.json"


def _executor(kept: Mapping[str, Any]) -> Executor:
    return Executor(**{**kept, "state": State(kept["state"]), "kept": Kept(kept["kept"])})
