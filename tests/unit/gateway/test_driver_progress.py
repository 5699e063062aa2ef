"""The tally of a statement's stages, over a status tracker that tells a story."""

from collections import namedtuple
from typing import Any

from sparkyard_gateway.driver.progress import Tally

Job = namedtuple("Job", "stageIds status")
Stage = namedtuple("Stage", "name numTasks numActiveTasks numCompletedTasks numFailedTasks")


class Tracker:
    """Answers as pyspark's StatusTracker, and counts what it is asked."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.stages: dict[int, Stage] = {}
        self.asked: list[int] = []

    def getJobIdsForGroup(self, group: str) -> list[int]:  # noqa: N802
        assert group == "7"
        return sorted(self.jobs, reverse=True)

    def getActiveStageIds(self) -> list[int]:  # noqa: N802
        return [number for number, stage in self.stages.items() if stage.numActiveTasks]

    def getJobInfo(self, job: int) -> Job | None:  # noqa: N802
        return self.jobs.get(job)

    def getStageInfo(self, stage: int) -> Stage | None:  # noqa: N802
        self.asked.append(stage)
        return self.stages.get(stage)


def told(tally: Tally) -> list[tuple[Any, ...]]:
    return [(s["id"], s["tasks"], s["done"], s["running"]) for s in tally.message()["stages"]]


def test_a_statement_without_jobs_has_nothing_to_tell() -> None:
    assert not Tally(7).update(Tracker(), "7")


def test_only_changes_are_told() -> None:
    tracker, tally = Tracker(), Tally(7)
    tracker.jobs[0] = Job([3], "RUNNING")
    tracker.stages[3] = Stage("count at <cell 7>:1", 4, 2, 0, 0)
    assert tally.update(tracker, "7")
    assert not tally.update(tracker, "7")
    tracker.stages[3] = Stage("count at <cell 7>:1", 4, 2, 1, 0)
    assert tally.update(tracker, "7")
    assert told(tally) == [(3, 4, 1, 2)]
    assert tally.message()["fraction"] == 0.25


def test_skipped_stages_of_a_finished_job_are_done() -> None:
    tracker, tally = Tracker(), Tally(7)
    tracker.jobs[0] = Job([1, 2], "RUNNING")
    tracker.stages = {1: Stage("a", 3, 0, 0, 0), 2: Stage("b", 1, 1, 0, 0)}
    tally.update(tracker, "7")
    tracker.jobs[0] = Job([1, 2], "SUCCEEDED")
    tracker.stages[2] = Stage("b", 1, 0, 1, 0)
    assert tally.update(tracker, "7")
    assert told(tally) == [(1, 3, 3, 0), (2, 1, 1, 0)]
    assert tally.message()["fraction"] == 1.0


def test_what_is_finished_is_not_asked_for_again() -> None:
    tracker, tally = Tracker(), Tally(7)
    for job in range(50):
        tracker.jobs[job] = Job([job], "SUCCEEDED")
        tracker.stages[job] = Stage("x", 1, 0, 1, 0)
    tally.update(tracker, "7")
    tracker.asked.clear()
    tally.update(tracker, "7")
    assert tracker.asked == []
    assert len(tally.message()["stages"]) == 40
    assert tally.message()["stages"][-1]["id"] == 49


def test_stages_that_wait_are_looked_at_now_and_then() -> None:
    tracker, tally = Tracker(), Tally(7)
    tracker.jobs[0] = Job(list(range(100)), "RUNNING")
    tracker.stages = {number: Stage("x", 2, 1 if number == 0 else 0, 0, 0) for number in range(100)}
    tally.update(tracker, "7")
    tracker.asked.clear()
    for _ in range(3):
        tally.update(tracker, "7")
    assert tracker.asked == [0, 0, 0]
    tracker.stages[5] = Stage("x", 2, 0, 2, 0)  # begun and finished between two looks
    for _ in range(5):
        tally.update(tracker, "7")
    assert tally.message()["fraction"] == 0.01


def test_calls_from_python_are_named_by_their_cell() -> None:
    tracker, tally = Tracker(), Tally(7)
    tracker.jobs[0] = Job([1], "RUNNING")
    tracker.stages[1] = Stage("showString at NativeMethodAccessorImpl.java:0", 1, 1, 0, 0)
    tally.update(tracker, "7")
    assert tally.message()["stages"][0]["name"] == "showString at <cell 7>"


def test_running_is_never_more_than_what_is_left() -> None:
    tracker, tally = Tracker(), Tally(7)
    tracker.jobs[0] = Job([1], "RUNNING")
    tracker.stages[1] = Stage("x", 4, 3, 3, 0)
    tally.update(tracker, "7")
    assert told(tally) == [(1, 4, 3, 1)]
