"""The executors of a session or a batch: who they are, how they are and how they ended, by what their pods say.

    number   Spark's own; a second Spark application of the same driver begins again at 1
    uid      Kubernetes' own, never given twice: by it an executor's folder is named
    kept     what is here of its log

A pod is an executor of a driver's if it belongs to it, by its owner reference: the admission policy lets a driver make
no other, while labels are whatever its user's code has written there. Pure functions.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sparkyard_gateway.backends import pod_reasons
from sparkyard_gateway.backends.pod_memory import limit_of
from sparkyard_gateway.backends.pod_places import EXECUTOR_CONTAINER

Object = dict[str, Any]

NUMBER = "spark-exec-id"
MARKED = "spark-exec-inactive"
"""The label by which Spark says that it has seen an executor's end."""
PATIENCE_MS = 60_000
"""How long Spark may take to see an end: it asks about all executors every 30 s."""
MOST = 1000
"""How many of one session are known; the oldest that ended go first."""


class State(StrEnum):
    """How an executor is."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"


class Kept(StrEnum):
    """What is here of its log."""

    GROWING = "growing"
    WHOLE = "whole"
    PART = "part"
    NONE = "none"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One of them. Times are milliseconds since the epoch, memory is in bytes."""

    uid: str
    number: str
    pod: str
    namespace: str
    state: State = State.WAITING
    reason: str | None = None
    node: str | None = None
    image: str | None = None
    memory: int | None = None
    created: int = 0
    started: int | None = None
    ended: int | None = None
    kept: Kept = Kept.GROWING

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in (State.ENDED, State.FAILED)


def belongs(pod: Object, driver_uid: str) -> bool:
    """Whether a pod is this driver's."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return [(each.get("kind"), each.get("uid")) for each in owners] == [("Pod", driver_uid)]


def executor_of(pod: Object, before: Executor | None, now: int, *, gone: bool, driver_over: bool) -> Executor:
    """An executor as its pod says it is. `gone`: the pod was removed, and this is how it was last seen."""
    metadata = pod["metadata"]
    state = pod_reasons.container_state(pod, EXECUTOR_CONTAINER)
    running, terminated = state.get("running") or {}, state.get("terminated") or {}
    container = pod_reasons.container_of(pod, EXECUTOR_CONTAINER)
    known = before or Executor(
        uid=metadata["uid"],
        number=str((metadata.get("labels") or {}).get(NUMBER, "?"))[:12],
        pod=metadata["name"],
        namespace=metadata.get("namespace", ""),
        image=container.get("image"),
        memory=limit_of(container),
        created=moment(metadata.get("creationTimestamp")) or now,
    )
    if known.over:
        return known
    found = replace(
        known,
        node=(pod.get("spec") or {}).get("nodeName") or known.node,
        started=known.started or moment(running.get("startedAt")) or moment(terminated.get("startedAt")),
    )
    if gone or pod_reasons.over(pod):
        return _over(found, pod, moment(terminated.get("finishedAt")) or now, gone=gone, driver_over=driver_over)
    why = pod_reasons.executor_waits(pod) or pod_reasons.executor_trouble(pod)
    if metadata.get("deletionTimestamp"):
        why = "It is being ended."
    place = State.STARTING if found.node else State.WAITING
    return replace(found, state=State.RUNNING if running else place, reason=why and why[: pod_reasons.LONGEST])


def _over(known: Executor, pod: Object, now: int, *, gone: bool, driver_over: bool) -> Executor:
    end = pod_reasons.executor_end(pod, gone=gone)
    told = pod["metadata"].get("deletionTimestamp") or gone
    kept = known.kept if known.started else Kept.NONE
    if end is None or (driver_over and not end.verdict):
        # Executors whose driver is gone end with exit code 1, which is nobody's fault.
        why = "It ended with its driver." if driver_over else "It was told to end." if told else None
        return replace(known, state=State.ENDED, ended=now, reason=why, kept=kept)
    return replace(known, state=State.FAILED, ended=now, reason=end.reason, kept=kept)


def moment(text: object) -> int | None:
    """A time of Kubernetes' in milliseconds."""
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000) if text else None
    except ValueError:
        return None


# Whose log is kept


def worth_keeping(executors: Iterable[Executor], most: int) -> frozenset[str]:
    """The uids of those whose log is kept: of the living and of those that ended the newest, and of those that
    failed the newest beside them."""
    found = list(executors)
    living = sorted((each for each in found if not each.over), key=lambda each: each.created)
    ended = sorted((each for each in found if each.over), key=lambda each: each.ended or 0)
    failed = [each for each in ended if each.state is State.FAILED]
    return frozenset(each.uid for chosen in (living, ended, failed) for each in chosen[-most:])


def may_be_deleted(executor: Executor, pod: Object, now: int, *, driver_over: bool) -> bool:
    """Whether Spark has seen the end of an executor: a pod that is deleted before is to it one that somebody deleted,
    and no failure."""
    if not executor.over or executor.kept is Kept.GROWING:
        return False
    marked = (pod["metadata"].get("labels") or {}).get(MARKED) == "true"
    return marked or driver_over or now - (executor.ended or now) > PATIENCE_MS


def forgotten(executors: Mapping[str, Executor], looked_after: Collection[str] = (), most: int = MOST) -> list[str]:
    """The uids of those to forget where there are too many."""
    over = [each for each in executors.values() if each.over and each.uid not in looked_after]
    over.sort(key=lambda each: each.ended or 0)
    return [each.uid for each in over[: max(0, len(executors) - most)]]
