"""What Kubernetes says of a pod that starts, in plain words for the person who waits.

Pods and events come as the plain data of Kubernetes' API. The scheduler's own sentence counts nodes by reason; here it
is taken apart, so that a reader without Kubernetes learns what to ask for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FOLDERS: Final = "sparkyard-folders"
"""The container that makes shared folders."""

NOTEBOOK: Final = "notebook"

Pod = Mapping[str, Any]
Event = Mapping[str, Any]

_UNBOUND: Final = "unbound immediate PersistentVolumeClaims"
_GROWING = ("TriggeredScaleUp", "Nominated")  # the cluster's autoscaler, and Karpenter


@dataclass(frozen=True)
class Names:
    """What a reader calls things: images by their reference, steps by their container."""

    images: Mapping[str, str]
    steps: Mapping[str, str]

    def image(self, reference: str) -> str:
        """An image for a reader."""
        title = self.images.get(reference)
        return f"{title} ({reference})" if title and title != reference else reference

    def step(self, container: str) -> str:
        """A container that runs before the server, for a reader."""
        return "Making the shared folders ready" if container == FOLDERS else self.steps.get(container, container)


@dataclass(frozen=True)
class Phase:
    """Where a start is."""

    message: str
    percent: int


def phase_of(pod: Pod | None, events: Sequence[Event], names: Names) -> Phase:
    """What a starting pod is doing now."""
    if pod is None:
        return Phase("Asking the cluster for a server", 5)
    return _on_its_node(pod, events, names) if scheduled(pod) else _without_node(pod, events)


def _without_node(pod: Pod, events: Sequence[Event]) -> Phase:
    if growing(events):
        return Phase("The cluster is adding a machine for your server", 15)
    why = why_unscheduled(pod)
    if why and _UNBOUND in why:  # as at everybody's first start: no machine is looked for before
        return Phase("Waiting for the volume of your folders", 10)
    return Phase(f"Waiting for a machine: {room_words(why)}" if why else "Looking for a machine", 10)


def _on_its_node(pod: Pod, events: Sequence[Event], names: Names) -> Phase:
    if any("running" in status.get("state", {}) for status in _statuses(pod, "containerStatuses")):
        return Phase("Starting JupyterLab", 75)
    steps = _statuses(pod, "initContainerStatuses")
    if running := next((status for status in steps if "running" in status.get("state", {})), None):
        return Phase(names.step(running["name"]), 50)
    if pulling := _pulling(events):
        return Phase(f"Fetching the image {names.image(pulling)}; the first time on a machine this takes a while", 35)
    if trouble := last_event(events, "FailedMount", "FailedAttachVolume"):
        return Phase(f"Still waiting for your folders: {brief_words(trouble)}", 25)
    return Phase("Preparing your server", 45) if steps else Phase("Connecting your folders", 25)


def scheduled(pod: Pod) -> bool:
    """Whether a node was found for the pod."""
    return bool(pod["spec"].get("nodeName"))


def growing(events: Sequence[Event]) -> bool:
    """Whether the cluster said that it adds a node for the pod."""
    return last_event(events, *_GROWING) is not None


def why_unscheduled(pod: Pod) -> str | None:
    """The scheduler's own sentence, where it found no node."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message") or "no node fits")
    return None


def last_event(events: Sequence[Event], *reasons: str) -> Event | None:
    """The latest event with one of these reasons."""
    return next((event for event in reversed(events) if event.get("reason") in reasons), None)


def brief_words(event: Event) -> str:
    """An event's text, on one line and not long."""
    text = " ".join(str(event.get("message", "")).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def container_of(event: Event) -> str | None:
    """The container that an event is about."""
    found = re.search(r"[cC]ontainers\{([^}]*)\}", str(event.get("involvedObject", {}).get("fieldPath", "")))
    return found[1] if found else None


def _statuses(pod: Pod, key: str) -> Sequence[Mapping[str, Any]]:
    return pod.get("status", {}).get(key) or ()


def _pulling(events: Sequence[Event]) -> str | None:
    """The image that is being fetched; None where none is."""
    done: set[str] = set()
    for event in reversed(events):
        found = re.search(r'"([^"]+)"', str(event.get("message", "")))
        if found and event.get("reason") in ("Pulled", "Failed"):
            done.add(found[1])
        if found and event.get("reason") == "Pulling" and found[1] not in done:
            return found[1]
    return None


# The scheduler's sentence -------------------------------------------------------------------------------------------

_REASONS: Final[tuple[tuple[str, str], ...]] = (
    (r"Insufficient cpu", "too little free CPU"),
    (r"Insufficient memory", "too little free memory"),
    (r"Insufficient ephemeral-storage", "too little free disk"),
    (r"Insufficient (\S+/gpu)", r"too few free GPUs (\1)"),
    (r"Insufficient (\S+)", r"too few free \1"),
    (r"Too many pods", "no place for another server"),
    (r"node\(s\) had untolerated taint\(?s?\)? ?\{?([^:}]*).*", r"are kept for other work (\1)"),
    (r"node\(s\) didn't match Pod's node affinity/selector", "are not of the kind that the profile asks for"),
    (r"node\(s\) were unschedulable", "take no new work"),
    (r"node\(s\) had volume node affinity conflict", "are out of reach of your home's volume"),
    (r"node\(s\) didn't find available persistent volumes to bind", "have no volume for a folder of yours"),
)


def room_words(message: str) -> str:
    """Why no node fits, in plain words; what is not known here stays as Kubernetes says it."""
    if _UNBOUND in message:
        return "the volume of a folder of yours is not there yet"
    if found := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
        return f"there is no volume claim {found[1]}"
    counted = re.match(r"(\d+)/(\d+) nodes are available: (.*?)(?:\.(?: |$)|$)", " ".join(message.split()))
    if counted is None:
        return brief_words({"message": message}).rstrip(".")
    if counted[2] == "0":
        return "the cluster has no machine"
    reasons = [_reason(int(count), text) for count, text in re.findall(r"(\d+) (.+?)(?=, \d+ |$)", counted[3])]
    return f"of {counted[2]} {'machine' if counted[2] == '1' else 'machines'}, {_and(reasons)}"


def _reason(count: int, text: str) -> str:
    for pattern, words in _REASONS:
        if re.fullmatch(pattern, text):
            plain = re.sub(pattern, words, text).replace(" ()", "")
            break
    else:
        plain = f"not possible: {text}"
    verb, _, rest = plain.partition(" ")
    singular = {"are": "is", "take": "takes", "have": "has"}
    if verb in singular:
        return f"{count} {singular[verb] if count == 1 else verb} {rest}"
    return f"{count} {'has' if count == 1 else 'have'} {plain}" if not plain.startswith("not ") else f"{count} {plain}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), *parts[-1:]])
