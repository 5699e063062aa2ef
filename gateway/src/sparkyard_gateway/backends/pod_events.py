"""What Kubernetes tells of a session's pods: its events, kept in order before it forgets them after an hour.

Kubernetes counts what happens again by itself, and sometimes tells the same by several objects: here one line is one
kind of happening to one pod, with how often, first and last. Pure functions.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparkyard_gateway.backends.executors import moment

Object = dict[str, Any]

MOST = 300
"""How many of one session are kept; of those that are no warning the oldest go first."""
LONGEST = 600
MOST_OBJECTS = 20

_ASSIGNED = re.compile(r"Successfully assigned \S+ to (\S+)")
_IMAGE = re.compile(r'[Ii]mage "([^"]+)"')
_TOOK = re.compile(r"in ([\d.]+m?s)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """One kind of happening to one pod. `counts` are those of Kubernetes' own objects that tell it, by their uids."""

    pod: str
    who: str
    warning: bool
    reason: str
    message: str
    first: int
    last: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.counts.values())

    @property
    def words(self) -> str:
        """What it means."""
        return plain(self.reason, self.message)


def concerns(event: Object) -> str | None:
    """The uid of the pod that an event is about."""
    about = event.get("involvedObject") or {}
    found = about.get("uid")
    return found if about.get("kind") == "Pod" and isinstance(found, str) else None


def essential(event: Object) -> Object:
    """What of an event is worth holding: a namespace has thousands."""
    metadata = event["metadata"]
    kept = ("reason", "message", "type", "count", "firstTimestamp", "lastTimestamp", "eventTime", "series")
    about = event.get("involvedObject") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "creationTimestamp") if key in metadata},
        "involvedObject": {key: about[key] for key in ("kind", "name", "uid") if key in about},
        **{key: event[key] for key in kept if event.get(key) is not None},
        "message": _cut(event.get("message")),
    }


def event_of(event: Object, who: str, now: int) -> PodEvent:
    """One event; `who` is the pod in a person's words."""
    series = event.get("series") or {}
    first = moment(event.get("firstTimestamp")) or moment(event.get("eventTime"))
    first = first or moment(event["metadata"].get("creationTimestamp")) or now
    last = moment(series.get("lastObservedTime")) or moment(event.get("lastTimestamp")) or first
    count = series.get("count") or event.get("count") or 1
    return PodEvent(
        pod=str((event.get("involvedObject") or {}).get("name", "?")),
        who=who,
        warning=event.get("type") == "Warning",
        reason=_cut(event.get("reason"))[:60],
        message=_cut(event.get("message")),
        first=first,
        last=max(first, last),
        counts={str(event["metadata"]["uid"]): int(count)},
    )


def merged(known: Iterable[PodEvent], new: PodEvent) -> list[PodEvent]:
    """All that is known, in the order of their last times, within bounds."""
    rest: list[PodEvent] = []
    for each in known:
        if (each.pod, each.who, each.reason, each.message) != (new.pod, new.who, new.reason, new.message):
            rest.append(each)
            continue
        counts = {**each.counts, **new.counts}
        while len(counts) > MOST_OBJECTS:
            # The sum stays: what the oldest object has told is the next one's.
            oldest, following = list(counts)[:2]
            counts[following] += counts.pop(oldest)
        new = PodEvent(
            pod=new.pod,
            who=new.who,
            warning=new.warning,
            reason=new.reason,
            message=new.message,
            first=min(each.first, new.first),
            last=max(each.last, new.last),
            counts=counts,
        )
    rest.append(new)
    rest.sort(key=lambda each: (each.last, each.first))
    while len(rest) > MOST:
        rest.remove(next((each for each in rest if not each.warning), rest[0]))
    return rest


# In plain words


def plain(reason: str, message: str) -> str:
    """An event as a sentence for whoever runs Spark, not clusters."""
    made = _WORDS.get(reason)
    return made(message) if made is not None else message or reason


def _with(sentence: str) -> Callable[[str], str]:
    return lambda message: f"{sentence}: {message}" if message else f"{sentence}."


def _always(sentence: str) -> Callable[[str], str]:
    return lambda _message: sentence


def _scheduled(message: str) -> str:
    found = _ASSIGNED.search(message)
    return f"It was given node {found[1]}." if found else message


def _pulling(message: str) -> str:
    found = _IMAGE.search(message)
    return f"Its node pulls the image {found[1]}." if found else message


def _pulled(message: str) -> str:
    image, took = _IMAGE.search(message), _TOOK.search(message)
    if image is None:
        return message
    if "already present" in message:
        return f"Its node has the image {image[1]} already."
    return f"Its node has pulled the image {image[1]}{f' in {took[1]}' if took else ''}."


def _killing(message: str) -> str:
    return "It is being ended." if message.startswith("Stopping container") else f"It is being ended: {message}"


_WORDS: Mapping[str, Callable[[str], str]] = {
    "Scheduled": _scheduled,
    "FailedScheduling": _with("No node can take it so far"),
    "Preempted": _with("A pod of higher priority took its place"),
    "TriggeredScaleUp": _with("The cluster adds a node for it"),
    "NotTriggerScaleUp": _with("No node that the cluster could add would take it"),
    "Pulling": _pulling,
    "Pulled": _pulled,
    "ErrImageNeverPull": _with("Its image is not on its node, and must not be pulled"),
    "InspectFailed": _with("Its image cannot be used"),
    "BackOff": _with("It failed, and is tried again in a while"),
    "Failed": _with("It failed to start"),
    "Created": _always("Its container was made."),
    "Started": _always("Its container runs."),
    "Killing": _killing,
    "Evicted": _with("Its node ended it"),
    "TaintManagerEviction": _with("It was ended because of what became of its node"),
    "NodeNotReady": _with("Its node does not answer"),
    "FailedMount": _with("A volume cannot be mounted so far"),
    "FailedAttachVolume": _with("A volume cannot be attached so far"),
    "FailedCreatePodSandBox": _with("Its node cannot give it a network so far"),
    "OOMKilling": _with("It took more memory than it may have"),
}


def _cut(text: object) -> str:
    plain_text = " ".join(str(text or "").split())
    return plain_text if len(plain_text) <= LONGEST else plain_text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
