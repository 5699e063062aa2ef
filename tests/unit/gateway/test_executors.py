"""What executors' pods say, and whose log is kept."""

from dataclasses import replace
from typing import Any

import pytest

from sparkyard_gateway.backends.executors import (
    Executor,
    Kept,
    State,
    belongs,
    executor_of,
    forgotten,
    may_be_deleted,
    moment,
    worth_keeping,
)

NOW = 1_800_000_000_000
START, END = "2026-11-26T07:00:00Z", "2026-11-26T07:05:00Z"


def pod(*, deleted: bool = False, node: str | None = "node-1", conditions: Any = (), **state: Any) -> dict[str, Any]:
    """An executor's pod; `state` is its container's."""
    metadata: dict[str, Any] = {
        "name": "p-exec-3", "namespace": "spark", "uid": "u-3", "creationTimestamp": START,
        "labels": {"spark-exec-id": "3"},
    }  # fmt: skip
    if deleted:
        metadata["deletionTimestamp"] = END
    container = {"name": "executor", "image": "img:1", "resources": {"limits": {"memory": "896Mi"}}}
    phase = "Pending" if not state else "Running"
    statuses = [{"name": "executor", "state": state}] if state else []
    return {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": statuses},
    }


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": START, "finishedAt": END, **more}}


UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available."}]
NO_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "img:1: not found"}}


@pytest.mark.parametrize(
    ("seen", "driver_over", "gone", "state", "reason", "kept"),
    [
        (pod(node=None), False, False, State.WAITING, None, Kept.GROWING),
        (pod(node=None, conditions=UNSCHEDULED), False, False, State.WAITING, "0/1 nodes", Kept.GROWING),
        (pod(waiting={"reason": "ContainerCreating"}), False, False, State.STARTING, None, Kept.GROWING),
        (pod(**NO_IMAGE), False, False, State.STARTING, "its image img:1 cannot be pulled", Kept.GROWING),
        (pod(running={"startedAt": START}), False, False, State.RUNNING, None, Kept.GROWING),
        (pod(deleted=True, running={"startedAt": START}), False, False, State.RUNNING, "being ended", Kept.GROWING),
        (pod(**ended(0, "Completed")), False, False, State.ENDED, None, Kept.GROWING),
        (pod(**ended(137, "OOMKilled")), False, False, State.FAILED, "ran out of memory", Kept.GROWING),
        (pod(**ended(1)), False, False, State.FAILED, "ended with exit code 1", Kept.GROWING),
        (pod(**ended(1)), True, False, State.ENDED, "ended with its driver", Kept.GROWING),
        (pod(**ended(137, "OOMKilled")), True, False, State.FAILED, "ran out of memory", Kept.GROWING),
        (pod(deleted=True, **ended(143)), False, False, State.ENDED, "told to end", Kept.GROWING),
        (pod(running={"startedAt": START}), False, True, State.ENDED, "told to end", Kept.GROWING),
        (pod(node=None), False, True, State.ENDED, "told to end", Kept.NONE),
    ],
)
def test_how_an_executor_is(seen, driver_over, gone, state, reason, kept):
    found = executor_of(seen, None, NOW, gone=gone, driver_over=driver_over)
    assert (found.state, found.kept) == (state, kept)
    assert (reason or "") in (found.reason or "")
    assert reason is not None or found.reason is None
    assert (found.uid, found.number, found.pod, found.image, found.memory) == (
        "u-3",
        "3",
        "p-exec-3",
        "img:1",
        896 << 20,
    )
    assert found.created == moment(START)


def test_what_was_known_stays():
    running = executor_of(pod(running={"startedAt": START}), None, NOW, gone=False, driver_over=False)
    failed = executor_of(pod(**ended(137, "OOMKilled")), running, NOW, gone=False, driver_over=False)
    assert (failed.started, failed.ended) == (moment(START), moment(END))
    # Whatever becomes of its pod afterwards, it has failed.
    assert executor_of(
        pod(deleted=True), replace(failed, kept=Kept.WHOLE), NOW, gone=True, driver_over=True
    ) == replace(failed, kept=Kept.WHOLE)
    # A pod of which nothing but its name is known any more.
    bare = {"metadata": {"uid": "u-3", "name": "p-exec-3", "namespace": "spark"}}
    assert executor_of(bare, running, NOW, gone=True, driver_over=False).state is State.ENDED


@pytest.mark.parametrize(
    ("owners", "is_its"),
    [
        ([{"kind": "Pod", "uid": "d"}], True),
        ([{"kind": "Pod", "uid": "other"}], False),
        ([{"kind": "ReplicaSet", "uid": "d"}], False),
        ([{"kind": "Pod", "uid": "d"}, {"kind": "Pod", "uid": "other"}], False),
        ([], False),
        (None, False),
    ],
)
def test_a_pod_belongs_to_the_driver_that_owns_it(owners, is_its):
    assert belongs({"metadata": {"ownerReferences": owners, "labels": {"sparkyard/session": "7"}}}, "d") is is_its


def one(uid: str, state: State = State.RUNNING, ended: int | None = None, **more: Any) -> Executor:
    return Executor(uid=uid, number=uid, pod=uid, namespace="spark", state=state, ended=ended, **more)


def test_of_the_living_the_ended_and_the_failed_the_newest_are_kept():
    living = [one(f"l{n}", created=n) for n in range(5)]
    fine = [one(f"e{n}", State.ENDED, ended=100 + n) for n in range(5)]
    failed = [one(f"f{n}", State.FAILED, ended=n) for n in range(5)]
    assert worth_keeping(living + failed + fine, 2) == {"l3", "l4", "e3", "e4", "f3", "f4"}
    assert worth_keeping([], 2) == frozenset()


@pytest.mark.parametrize(
    ("executor", "marked", "driver_over", "may"),
    [
        (one("a"), True, True, False),
        (one("a", State.FAILED, NOW), True, True, False),
        (one("a", State.FAILED, NOW, kept=Kept.WHOLE), False, False, False),
        (one("a", State.FAILED, NOW, kept=Kept.WHOLE), True, False, True),
        (one("a", State.FAILED, NOW, kept=Kept.PART), False, True, True),
        (one("a", State.ENDED, NOW - 61_000, kept=Kept.DROPPED), False, False, True),
        (one("a", State.ENDED, NOW - 59_000, kept=Kept.NONE), False, False, False),
    ],
)
def test_a_pod_stays_until_its_log_is_here_and_spark_has_seen_its_end(executor, marked, driver_over, may):
    labels = {"spark-exec-inactive": "true"} if marked else {}
    assert may_be_deleted(executor, {"metadata": {"labels": labels}}, NOW, driver_over=driver_over) is may


def test_the_oldest_are_forgotten_but_none_that_lives_or_is_looked_after():
    known = {each.uid: each for each in [one("l"), *(one(f"e{n}", State.ENDED, ended=n) for n in range(4))]}
    assert forgotten(known, most=5) == []
    assert forgotten(known, most=3) == ["e0", "e1"]
    assert forgotten(known, {"e0"}, most=3) == ["e1", "e2"]
    assert forgotten(known, known, most=1) == []


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1970-01-01T00:00:01Z", 1000), ("1970-01-01T00:00:01.500000Z", 1500), (None, None), ("", None), ("soon", None)],
)
def test_moments(text, ms):
    assert moment(text) == ms
