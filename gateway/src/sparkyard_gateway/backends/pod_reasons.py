"""What a pod waits for, and why it ended, as sentences for a session's owner: pure functions of what Kubernetes says.

Kubernetes forgets a pod with the pod, so whoever watches asks here while there is still something to read. A reason that
Kubernetes names (OOMKilled, Evicted) counts more than an exit code: where a child was killed, the main process may well
have ended with 0.
"""

import re
from dataclasses import dataclass
from typing import Any

from sparkyard_gateway.backends.base import Ended
from sparkyard_gateway.backends.pod_places import DRIVER_CONTAINER, EXECUTOR_CONTAINER

Object = dict[str, Any]

LONGEST = 600

_CODES = {
    64: "it was started wrongly",
    70: "Spark did not start",
    71: "Spark's JVM was lost",
    72: "no gateway wanted it any more",
    126: "its image has no python3 that can be run",
    127: "its image has no python3",
    134: "it was aborted (SIGABRT)",
    137: "it was killed (SIGKILL)",
    139: "it crashed (SIGSEGV)",
    143: "it was told to end (SIGTERM)",
}
_DISRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "DeletionByTaintManager": "its node was tainted, most often because it does not answer",
    "EvictionByEvictionAPI": "its node was drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ran out of something, or was shut down",
}
_NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_FOR_GOOD = re.compile(
    r"not found|does not exist|no such|denied|unauthori[sz]ed|forbidden|manifest unknown|no match for platform",
    re.IGNORECASE,
)
_EXECUTOR_OOM = "raise executorMemory or spark.executor.memoryOverhead, or use more and smaller partitions"


@dataclass(frozen=True, slots=True)
class ExecutorEnd:
    """Why an executor is gone, and its last words."""

    reason: str
    lines: tuple[str, ...] = ()


# While it starts


def phase(pod: Object) -> str:
    """What a driver that is not up waits for."""
    status = pod.get("status") or {}
    node = (pod.get("spec") or {}).get("nodeName")
    if pod["metadata"].get("deletionTimestamp"):
        return "The driver's pod is being ended."
    if not node:
        said = _condition(pod, "PodScheduled")
        if said and said.get("status") == "False":
            return f"Waiting for a node that can take the driver: {_cut(said.get('message') or said.get('reason'))}"
        return "Waiting for a node for the driver."
    state = _state(pod, DRIVER_CONTAINER)
    if waiting := state.get("waiting"):
        why, message = waiting.get("reason", ""), _cut(waiting.get("message"))
        if why in _NO_IMAGE:
            return f"The driver's image {image_of(pod)} cannot be pulled so far: {message or why}"
        if why in ("", "ContainerCreating", "PodInitializing"):
            return f"Node {node} is pulling the driver's image, if it has not got it, and mounting its volumes."
        return f"The driver's container does not start: {message or why}"
    if state.get("running"):
        return "The driver's pod runs; Spark is starting."
    return f"The driver's pod is on node {node}." if status else "Waiting for a node for the driver."


def hopeless(pod: Object) -> str | None:
    """Why a driver will never start, where waiting is in vain; Kubernetes itself would try for ever."""
    waiting = _state(pod, DRIVER_CONTAINER).get("waiting") or {}
    why, message = waiting.get("reason", ""), _cut(waiting.get("message"))
    if why in ("InvalidImageName", "ErrImageNeverPull") or (why in _NO_IMAGE and _FOR_GOOD.search(message)):
        return f"The driver's image {image_of(pod)} cannot be pulled: {message or why}"
    if why in ("CreateContainerError", "RunContainerError", "StartError"):
        return f"The driver's container cannot be started from image {image_of(pod)}: {message or why}"
    return None


# At its end


def over(pod: Object) -> bool:
    """Whether nothing of it runs any more."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    states = [each.get("state") or {} for each in (pod.get("status") or {}).get("containerStatuses") or ()]
    return bool(states) and all(state.get("terminated") for state in states)


def driver_end(pod: Object, *, gone: bool = False) -> Ended:
    """Why a driver ended. `gone`: its object was removed, and `pod` is how it was last seen."""
    terminated = _terminated(pod, DRIVER_CONTAINER)
    status = pod.get("status") or {}
    if terminated.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, DRIVER_CONTAINER)
        return Ended(
            f"The driver ran out of memory: it took more than its pod may have{limit}, and Kubernetes ended it "
            "(OOMKilled). Bring less into the driver, or raise driverMemory.",
            clean=False, explained=True, decisive=True,
        )  # fmt: skip
    if status.get("reason") == "Evicted":
        return Ended(
            f"Kubernetes evicted the driver from its node: {_cut(status.get('message')) or 'it gives no reason'}",
            clean=False, explained=True, decisive=True,
        )  # fmt: skip
    if disruption := _condition(pod, "DisruptionTarget"):
        why = _DISRUPTIONS.get(disruption.get("reason", ""), _cut(disruption.get("message")))
        return Ended(f"Kubernetes ended the driver's pod: {why}.", clean=False, explained=True, decisive=True)
    if pod["metadata"].get("deletionTimestamp") or gone:
        return Ended(
            f"The driver's pod {pod['metadata']['name']} was deleted from outside: by somebody who may, or with its node.",
            clean=False, explained=True, decisive=True,
        )  # fmt: skip
    if not terminated:
        why = _cut(status.get("message") or status.get("reason")) or "it gives no reason"
        return Ended(f"Kubernetes ended the driver's pod: {why}", clean=False, explained=bool(status.get("reason")))
    code = terminated.get("exitCode")
    if code == 0:
        return Ended("The driver ended by itself (exit code 0).", clean=True)
    if terminated.get("reason") not in (None, "", "Error", "Completed"):
        # The runtime's own, such as StartError, has a message that is no log.
        return Ended(
            f"The driver could not run: {terminated['reason']}: {_cut(terminated.get('message'))}",
            clean=False, explained=True,
        )  # fmt: skip
    known = _CODES.get(code)
    return Ended(f"The driver ended with exit code {code}{f': {known}' if known else ''}.", clean=False)


def executor_end(pod: Object, *, gone: bool = False) -> ExecutorEnd | None:
    """Why an executor ended that nobody had told to; None for one that went as it should."""
    terminated = _terminated(pod, EXECUTOR_CONTAINER)
    status = pod.get("status") or {}
    lines = tuple(str(terminated.get("message") or "").splitlines())
    number = (pod["metadata"].get("labels") or {}).get("spark-exec-id", "?")
    who = f"Executor {number} ({pod['metadata']['name']})"
    if terminated.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, EXECUTOR_CONTAINER)
        return ExecutorEnd(
            f"{who} ran out of memory: it took more than its pod may have{limit}, and Kubernetes ended it (OOMKilled); "
            f"{_EXECUTOR_OOM}.",
            lines,
        )
    if status.get("reason") == "Evicted":
        return ExecutorEnd(f"{who} was evicted from its node: {_cut(status.get('message'))}", lines)
    if disruption := _condition(pod, "DisruptionTarget"):
        why = _DISRUPTIONS.get(disruption.get("reason", ""), _cut(disruption.get("message")))
        return ExecutorEnd(f"{who} was ended by Kubernetes: {why}.", lines)
    if pod["metadata"].get("deletionTimestamp") or gone:
        return None
    waiting = _state(pod, EXECUTOR_CONTAINER).get("waiting") or {}
    if waiting.get("reason") in {"InvalidImageName", "ErrImageNeverPull", *_NO_IMAGE}:
        image = image_of(pod, EXECUTOR_CONTAINER)
        return ExecutorEnd(
            f"{who} does not start, as its image {image} cannot be pulled: {_cut(waiting.get('message'))}"
        )
    if terminated and terminated.get("exitCode") != 0:
        code = terminated.get("exitCode")
        known = _CODES.get(code)
        return ExecutorEnd(f"{who} ended with exit code {code}{f': {known}' if known else ''}.", lines)
    return None


def executor_waits(pod: Object) -> str | None:
    """Why an executor that Spark asked for has no node."""
    said = _condition(pod, "PodScheduled")
    if said and said.get("status") == "False" and not (pod.get("spec") or {}).get("nodeName"):
        return f"An executor waits for a node that can take it: {_cut(said.get('message') or said.get('reason'))}"
    return None


def image_of(pod: Object, container: str = DRIVER_CONTAINER) -> str:
    """The image that a container shall run."""
    found = _container(pod, container)
    return str(found.get("image", "?"))


def running(pod: Object) -> bool:
    """Whether the driver's container runs."""
    return bool(_state(pod, DRIVER_CONTAINER).get("running"))


def _container(pod: Object, name: str) -> Object:
    found = [each for each in (pod.get("spec") or {}).get("containers") or () if each.get("name") == name]
    return found[0] if found else {}


def _state(pod: Object, name: str) -> Object:
    found = [each for each in (pod.get("status") or {}).get("containerStatuses") or () if each.get("name") == name]
    return (found[0].get("state") or {}) if found else {}


def _terminated(pod: Object, name: str) -> Object:
    return _state(pod, name).get("terminated") or {}


def _condition(pod: Object, kind: str) -> Object | None:
    found = [each for each in (pod.get("status") or {}).get("conditions") or () if each.get("type") == kind]
    return found[0] if found else None


def _memory_limit(pod: Object, container: str) -> str:
    limit = ((_container(pod, container).get("resources") or {}).get("limits") or {}).get("memory")
    return f" ({limit})" if limit else ""


def _cut(text: object) -> str:
    plain = " ".join(str(text or "").split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
