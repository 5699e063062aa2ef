"""What a pod waits for, and why it ended, as sentences for its owner: pure functions of what Kubernetes says.

Kubernetes forgets why with the pod, so whoever watches asks here while there is still something to read. A reason that
it names (OOMKilled, Evicted) counts more than an exit code: where a child was killed, the main process may well have
ended with 0.
"""

import re
from dataclasses import dataclass
from typing import Any

from sparkyard_gateway.backends.base import AttemptEnd, Ended
from sparkyard_gateway.backends.pod_places import DRIVER_CONTAINER, EXECUTOR_CONTAINER, GATE

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
_ENDED = frozenset({None, "", "Error", "Completed", "OOMKilled"})
"""Why a container is over that ran, and whose exit code is its own."""
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun", "CreateContainerError", "RunContainerError"})
_FOR_GOOD = re.compile(
    r"not found|does not exist|denied|unauthori[sz]ed|forbidden|manifest unknown|no match for platform",
    re.IGNORECASE,
)
_DRIVER_OOM = "Bring less into the driver, or raise driverMemory."
_EXECUTOR_OOM = "Raise executorMemory or spark.executor.memoryOverhead, or make more and smaller partitions."


@dataclass(frozen=True, slots=True)
class ExecutorEnd:
    """Why an executor is gone, and its last words; `verdict` where it is Kubernetes that ended it."""

    reason: str
    lines: tuple[str, ...] = ()
    verdict: bool = False


# While it starts


def phase(pod: Object) -> str:
    """What a driver that is not up waits for."""
    node = (pod.get("spec") or {}).get("nodeName")
    if pod["metadata"].get("deletionTimestamp"):
        return "The driver's pod is being ended."
    if not node:
        said = _unscheduled(pod)
        return f"Waiting for a node that can take the driver: {said}" if said else "Waiting for a node for the driver."
    state = container_state(pod, DRIVER_CONTAINER)
    if waiting := state.get("waiting"):
        return _container_waits(pod, node, waiting.get("reason", ""), _cut(waiting.get("message")))
    return "The driver's pod runs; Spark is starting." if "running" in state else f"The driver is going to node {node}."


def _container_waits(pod: Object, node: str, why: str, message: str) -> str:
    if why in _NO_IMAGE:
        return f"The driver's image {image_of(pod)} cannot be pulled so far: {message or why}"
    if why in ("", "ContainerCreating", "PodInitializing"):
        return f"Node {node} pulls the driver's image, where it has not got it yet, and mounts its volumes."
    return f"The driver's container does not start: {message or why}"


def hopeless(pod: Object) -> str | None:
    """Why a driver will never start, where waiting is in vain; Kubernetes itself would try for ever."""
    waiting = container_state(pod, DRIVER_CONTAINER).get("waiting") or {}
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
    if verdict := _verdict(pod, DRIVER_CONTAINER):
        advice = f" {_DRIVER_OOM}" if out_of_memory(pod, DRIVER_CONTAINER) else ""
        return Ended(f"The driver {verdict}.{advice}", clean=False, explained=True, decisive=True)
    if pod["metadata"].get("deletionTimestamp") or gone:
        why = f"The driver's pod {pod['metadata']['name']} was deleted: by somebody who may, or with its node."
        return Ended(why, clean=False, explained=True, decisive=True)
    terminated = _terminated(pod, DRIVER_CONTAINER)
    if not terminated:
        status = pod.get("status") or {}
        why = _cut(status.get("message") or status.get("reason")) or "it gives no reason"
        return Ended(f"Kubernetes ended the driver's pod: {why}", clean=False)
    if terminated.get("exitCode") == 0:
        return Ended("The driver ended by itself (exit code 0).", clean=True)
    return Ended(f"The driver {_exit(terminated)}.", clean=False)


def attempt_end(pod: Object, *, gone: bool = False) -> AttemptEnd:
    """How an attempt at a batch ended that was told to begin. `gone` as of a driver."""
    terminated = _terminated(pod, DRIVER_CONTAINER)
    # Of a container that nobody saw, or that never ran, the code is none of its own.
    code = terminated.get("exitCode") if terminated.get("reason") in _ENDED else None
    if code == 0:
        # What was killed on the way did not matter, or Spark has made up for it.
        return AttemptEnd(0)
    if verdict := _verdict(pod, DRIVER_CONTAINER):
        advice = f" {_DRIVER_OOM}" if out_of_memory(pod, DRIVER_CONTAINER) else ""
        return AttemptEnd(code, verdict=f"The batch's driver {verdict}.{advice}")
    if pod["metadata"].get("deletionTimestamp") or gone:
        name = pod["metadata"]["name"]
        return AttemptEnd(code, verdict=f"The batch's pod {name} was deleted: by somebody who may, or with its node.")
    return _attempt_over(pod, terminated)


def _attempt_over(pod: Object, terminated: Object) -> AttemptEnd:
    """Of one that ended by itself, or never ran."""
    reason = terminated.get("reason")
    if not terminated:
        status = pod.get("status") or {}
        why = _cut(status.get("message") or status.get("reason")) or "it gives no reason"
        return AttemptEnd(None, verdict=f"Kubernetes ended the batch's pod: {why}")
    if reason in _ENDED:
        return AttemptEnd(terminated.get("exitCode"))
    if reason in _NEVER_RAN:
        return AttemptEnd(None, began=False, verdict=f"The batch's driver {_exit(terminated)}.")
    why = _cut(terminated.get("message")).rstrip(".") or "no reason is given"
    return AttemptEnd(None, verdict=f"Nobody saw how the batch's driver ended ({reason}): {why}.")


def executor_end(pod: Object, *, gone: bool = False) -> ExecutorEnd | None:
    """Why an executor ended that nobody had told to; None for one that lives, or went as it should."""
    terminated = _terminated(pod, EXECUTOR_CONTAINER)
    lines = tuple(str(terminated.get("message") or "").splitlines())
    number = (pod["metadata"].get("labels") or {}).get("spark-exec-id", "?")
    who = f"Executor {number} ({pod['metadata']['name']})"
    if verdict := _verdict(pod, EXECUTOR_CONTAINER):
        advice = f" {_EXECUTOR_OOM}" if out_of_memory(pod, EXECUTOR_CONTAINER) else ""
        return ExecutorEnd(f"{who} {verdict}.{advice}", lines, verdict=True)
    if pod["metadata"].get("deletionTimestamp") or gone:
        return None
    if trouble := executor_trouble(pod):
        return ExecutorEnd(f"{who} does not start, as {trouble}")
    failed = terminated and terminated.get("exitCode") != 0
    return ExecutorEnd(f"{who} {_exit(terminated)}.", lines) if failed else None


def executor_trouble(pod: Object) -> str | None:
    """Why an executor that has a node does not start."""
    waiting = container_state(pod, EXECUTOR_CONTAINER).get("waiting") or {}
    if waiting.get("reason") not in {"InvalidImageName", "ErrImageNeverPull", *_NO_IMAGE}:
        return None
    return f"its image {image_of(pod, EXECUTOR_CONTAINER)} cannot be pulled: {_cut(waiting.get('message'))}"


def out_of_memory(pod: Object, container: str) -> bool:
    """Whether the kernel ended something of it for its memory, also where its main process survived that."""
    return _terminated(pod, container).get("reason") == "OOMKilled"


def _verdict(pod: Object, container: str) -> str | None:
    """What Kubernetes itself did to a pod, and why, as the end of a sentence without its full stop."""
    status = pod.get("status") or {}
    if out_of_memory(pod, container):
        limit = _memory_limit(pod, container)
        return f"ran out of memory: it took more than its pod may have{limit}, and Kubernetes ended it (OOMKilled)"
    if status.get("reason") == "Evicted":
        why = _cut(status.get("message")).rstrip(".") or "no reason is given"
        return f"was evicted from its node by Kubernetes: {why}"
    if disruption := _condition(pod, "DisruptionTarget"):
        why = _DISRUPTIONS.get(disruption.get("reason", ""), _cut(disruption.get("message")).rstrip("."))
        return f"was ended by Kubernetes: {why}"
    return None


def _exit(terminated: Object) -> str:
    """How a process ended by itself, as the end of a sentence."""
    reason, code = terminated.get("reason"), terminated.get("exitCode")
    if reason not in _ENDED:
        # The runtime's own reasons, such as StartError, have a message that is no log.
        return f"could not run ({reason}): {_cut(terminated.get('message')).rstrip('.')}"
    known = _CODES.get(code) if isinstance(code, int) else None
    return f"ended with exit code {code}{f': {known}' if known else ''}"


def executor_waits(pod: Object) -> str | None:
    """Why an executor that Spark asked for has no node."""
    said = None if (pod.get("spec") or {}).get("nodeName") else _unscheduled(pod)
    return f"An executor waits for a node that can take it: {said}" if said else None


def _unscheduled(pod: Object) -> str | None:
    said = _condition(pod, "PodScheduled")
    if said is None or said.get("status") != "False":
        return None
    return _cut(said.get("message") or said.get("reason"))


def image_of(pod: Object, container: str = DRIVER_CONTAINER) -> str:
    """The image that a container shall run."""
    found = container_of(pod, container)
    return str(found.get("image", "?"))


def running(pod: Object) -> bool:
    """Whether the driver's container runs."""
    return "running" in container_state(pod, DRIVER_CONTAINER)


def stuck(pod: Object) -> str | None:
    """What keeps a driver from starting that somebody may have to do something about; None where it just takes time."""
    waiting = container_state(pod, DRIVER_CONTAINER).get("waiting") or {}
    if gated(pod) or waiting.get("reason", "") in ("", "ContainerCreating", "PodInitializing"):
        return phase(pod) if not gated(pod) and _unscheduled_driver(pod) else None
    return phase(pod)


def _unscheduled_driver(pod: Object) -> bool:
    return not (pod.get("spec") or {}).get("nodeName") and _unscheduled(pod) is not None


def gated(pod: Object) -> bool:
    """Whether a batch's pod still stands at its gate, and so has never run."""
    gates = (pod.get("spec") or {}).get("schedulingGates") or ()
    return any(each.get("name") == GATE for each in gates)


def container_of(pod: Object, name: str) -> Object:
    """A container as it was asked for."""
    found = [each for each in (pod.get("spec") or {}).get("containers") or () if each.get("name") == name]
    return found[0] if found else {}


def container_state(pod: Object, name: str) -> Object:
    """How a container of a pod is: of `waiting`, `running` and `terminated` the one that it is."""
    found = [each for each in (pod.get("status") or {}).get("containerStatuses") or () if each.get("name") == name]
    return (found[0].get("state") or {}) if found else {}


def _terminated(pod: Object, name: str) -> Object:
    return container_state(pod, name).get("terminated") or {}


def _condition(pod: Object, kind: str) -> Object | None:
    found = [each for each in (pod.get("status") or {}).get("conditions") or () if each.get("type") == kind]
    return found[0] if found else None


def _memory_limit(pod: Object, container: str) -> str:
    limit = ((container_of(pod, container).get("resources") or {}).get("limits") or {}).get("memory")
    return f" ({limit})" if limit else ""


def _cut(text: object) -> str:
    plain = " ".join(str(text or "").split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
