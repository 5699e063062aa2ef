"""Tell how far the running statement's Spark jobs are, for as long as there are any.

One thread asks Spark's status tracker for the statement's job group, five times a second and only while a statement
runs; it speaks only when something has changed. What is finished is remembered and not asked for again, so a loop of a
thousand jobs costs as little as one.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional

from .journal import Message
from .notes import note
from .spark import Spark

_PERIOD = 0.2
_STAGES_SHOWN = 40
_LOOK_AT_ALL = 5
_FINISHED = ("SUCCEEDED", "FAILED")


class Progress:
    """Watches the statement that `running` names."""

    def __init__(self, spark: Spark, running: Callable[[], Optional[int]], send: Callable[[Message], bool]) -> None:
        self._spark = spark
        self._running = running
        self._send = send
        self._begun = threading.Event()
        threading.Thread(target=self._watch, name="sparkyard-progress", daemon=True).start()

    def begin(self, _statement: int) -> None:
        """A statement begins: wake up, unless still awake from the last one."""
        if not self._begun.is_set():
            self._begun.set()

    def _watch(self) -> None:
        tally: Optional[Tally] = None
        while True:
            self._begun.wait()
            time.sleep(_PERIOD)
            statement = self._running()
            if statement is None:
                self._begun.clear()
                # One that began between the two lines above has set the event before it was cleared.
                if self._running() is not None:
                    self._begun.set()
                continue
            if tally is None or tally.statement != statement:
                tally = Tally(statement)
            try:
                tracker = self._tracker()
                if tracker is not None and tally.update(tracker, self._spark.group_of(statement)):
                    self._send(tally.message())
            except Exception as error:  # noqa: BLE001  a context that is stopping, a JVM that is gone
                note(f"no progress to be had: {type(error).__name__}")
                time.sleep(5 * _PERIOD)

    def _tracker(self) -> Any:
        context = self._spark.context
        return None if context is None else context.statusTracker()


class Tally:
    """What is known of one statement's jobs and stages."""

    def __init__(self, statement: int) -> None:
        self.statement = statement
        self._finished_jobs: Dict[int, bool] = {}
        self._stages: Dict[int, Dict[str, Any]] = {}
        self._last: Optional[List[Dict[str, Any]]] = None
        self._round = 0

    def update(self, tracker: Any, group: str) -> bool:
        """Ask what is not finished yet; says whether anything has changed.

        A stage costs seven calls into the JVM, so those that wait are looked at only now and then.
        """
        self._round += 1
        active = set(tracker.getActiveStageIds())
        for job in sorted(tracker.getJobIdsForGroup(group)):
            if job in self._finished_jobs:
                continue
            info = tracker.getJobInfo(job)
            if info is None:
                continue
            for stage in info.stageIds:
                known = self._stages.get(stage)
                waits = known is not None and stage not in active and not known["running"]
                if not waits or info.status in _FINISHED or self._round % _LOOK_AT_ALL == 0:
                    self._update_stage(tracker, int(stage), info.status)
            if info.status in _FINISHED:
                self._finished_jobs[job] = True
        shown = self._shown()
        changed = bool(shown) and shown != self._last
        self._last = shown
        return changed

    def message(self) -> Message:
        """The progress message."""
        tasks = sum(stage["tasks"] for stage in self._stages.values())
        done = sum(min(stage["done"], stage["tasks"]) for stage in self._stages.values())
        fraction = round(done / tasks, 4) if tasks else 0.0
        return {"t": "progress", "statement": self.statement, "fraction": fraction, "stages": self._last or []}

    def _update_stage(self, tracker: Any, number: int, job_status: str) -> None:
        known = self._stages.get(number)
        if known is not None and known["done"] >= known["tasks"] and not known["running"]:
            return
        info = tracker.getStageInfo(number)
        if info is None:
            return
        finished = job_status == "SUCCEEDED"
        self._stages[number] = {
            "id": number,
            "name": _readable(str(info.name), self.statement),
            "tasks": int(info.numTasks),
            # A stage whose result was at hand is skipped: its tasks never run, and its job is done all the same.
            "done": int(info.numTasks) if finished else int(info.numCompletedTasks),
            "running": 0
            if finished
            else min(int(info.numActiveTasks), int(info.numTasks) - int(info.numCompletedTasks)),
            "failed": int(info.numFailedTasks),
        }

    def _shown(self) -> List[Dict[str, Any]]:
        return [self._stages[number] for number in sorted(self._stages)[-_STAGES_SHOWN:]]


def _readable(name: str, statement: int) -> str:
    # Calls through Py4J all come from this class; the reader knows them by their cell.
    return name.replace("NativeMethodAccessorImpl.java:0", f"<cell {statement}>")
