"""Why a starting pod will not become a server, found while it can still be told: pure functions of pod and events.

Kubernetes itself never gives up: a pod whose image does not exist waits for it for ever. What passes by itself (a node
that is being added, a registry that hiccups) is told from what doesn't by how long it has lasted, which the caller
measures; `lasting` says which it is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sparkyard_spawner.pod_words import (
    FOLDERS,
    Event,
    Names,
    Pod,
    brief_words,
    container_of,
    growing,
    last_event,
    room_words,
    scheduled,
    why_unscheduled,
)

TELL: Final = "Tell an administrator."

_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|does not exist|denied|unauthorized|forbidden|not present with pull policy of never"
    r"|couldn't parse image|invalid reference",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a pod from starting."""

    message: str
    lasting: Literal["final", "room", "image"] = "final"
    """`final` does not pass; `room` may, as others stop or nodes come; `image` may, when its registry is back."""
    container: str | None = None
    """Whose log says more."""


def trouble_of(pod: Pod, events: Sequence[Event], names: Names) -> Trouble | None:
    """What keeps this pod from starting; None while nothing does."""
    if not scheduled(pod):
        return _no_room(pod, events)
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and not _containers(pod):
        why = status.get("message") or status.get("reason") or "it does not say why"
        return Trouble(f"The machine turned your server away: {_plain(why)}. Try again.")
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            if found := _of_container(container, events, names, step=key == "initContainerStatuses"):
                return found
    return None


def why_late(pod: Pod | None, events: Sequence[Event], names: Names) -> str:
    """What was last known of a pod that did not start in time."""
    if pod is None:
        return "The cluster did not make the server."
    if trouble := trouble_of(pod, events, names):
        return trouble.message
    if event := last_event(events, "FailedMount", "FailedAttachVolume"):
        return f"Your folders could not be connected: {brief_words(event)}."
    if events:
        return f"The last that the cluster said: {brief_words(events[-1])}."
    return "The cluster did not say why."


def _no_room(pod: Pod, events: Sequence[Event]) -> Trouble | None:
    why = why_unscheduled(pod)
    if why is None or growing(events):
        return None
    words = room_words(why)
    if words.startswith("there is no volume claim"):
        return Trouble(f"A folder that the profile mounts is missing: {words}. {TELL}")
    return Trouble(
        f"No machine of the cluster can take your server: {words}. Choose a smaller profile, or try again later.",
        lasting="room",
    )


def _of_container(container: Mapping[str, Any], events: Sequence[Event], names: Names, *, step: bool) -> Trouble | None:
    state = container.get("state") or {}
    name = container["name"]
    waiting = state.get("waiting")
    if waiting and (found := _waiting(name, container.get("image", ""), waiting, events, names)):
        return found
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if ended is None or (step and ended.get("exitCode") == 0 and ended.get("reason") != "OOMKilled"):
        return None
    return _ended(name, ended, names, step=step)


def _waiting(
    name: str, image: str, waiting: Mapping[str, Any], events: Sequence[Event], names: Names
) -> Trouble | None:
    reason, said = waiting.get("reason", ""), str(waiting.get("message") or "")
    if reason in _IMAGE_REASONS:
        pulls = [event for event in events if event.get("reason") == "Failed" and container_of(event) in (name, None)]
        said = " ".join([said, *(str(event.get("message", "")) for event in pulls)])
        return _no_image(names.image(image), reason, said)
    if missing := re.search(r'exec: "([^"]+)": (?:executable file not found|stat [^:]*: no such file)', said):
        return Trouble(f"The image {names.image(image)} has no {missing[1]}, which starts in it. {TELL}")
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Trouble(f"The machine could not start your server: {_plain(said or reason)}. {TELL}")
    return None


def _no_image(shown: str, reason: str, said: str) -> Trouble:
    if reason == "InvalidImageName":
        return Trouble(f"'{shown}' is no name of an image. {TELL}")
    if reason == "ErrImageNeverPull":
        return Trouble(f"The image {shown} is not on the machine, and the hub is set to fetch none. {TELL}")
    if found := _NO_SUCH_IMAGE.search(said):
        what = "there is none of that name, or the cluster may not fetch it"
        return Trouble(f"The image {shown} was not found: {what} ({found[0].lower()}). {TELL}")
    return Trouble(
        f"The image {shown} could not be fetched: its registry does not answer as it should. Try again later.",
        lasting="image",
    )


def _ended(name: str, ended: Mapping[str, Any], names: Names, *, step: bool) -> Trouble:
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        who = f"The step '{names.step(name)}'" if step else "JupyterLab"
        return Trouble(f"{who} ran out of memory while it started. Choose a profile with more memory.", container=name)
    if name == FOLDERS:
        return Trouble(
            f"The folders that your team shares could not be made: their volume does not let your server write to it. "
            f"{TELL}",
            container=name,
        )
    if step:
        return Trouble(f"The step '{names.step(name)}' failed (exit status {code}). {TELL}", container=name)
    if ended.get("reason") in ("ContainerCannotRun", "StartError"):
        return Trouble(f"JupyterLab could not be started: {_plain(ended.get('message', ''))}. {TELL}")
    return Trouble(
        f"JupyterLab ended while it was starting (exit status {code}). Try again; if it happens again, show these "
        "lines to your administrator.",
        container=name,
    )


def _containers(pod: Pod) -> Sequence[Mapping[str, Any]]:
    return pod.get("status", {}).get("containerStatuses") or ()


def _plain(text: str) -> str:
    return brief_words({"message": text}).rstrip(".")


# What the API server refuses ----------------------------------------------------------------------------------------


def why_not_made(status: int, body: str | bytes | None, what: str = "server") -> str:
    """A sentence for an answer of the API server that refuses to make something."""
    said = _message(body)
    if found := re.search(r"exceeded quota: ([^,]+), (.*)", said):
        return (
            f"The cluster's quota leaves no room for your {what}: {_quota(found[2])}. Choose a smaller profile, wait "
            "until others have stopped their servers, or ask an administrator."
        )
    if re.search(r"violates PodSecurity", said):
        return f"The cluster's security rules refuse the {what} that the profile describes: {said}. {TELL}"
    if found := re.search(r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request: (.*)", said):
        return f"The cluster's rules refuse the {what} that the profile describes: {found[1].rstrip('.')}. {TELL}"
    if re.search(r"(maximum|minimum) .* usage per (Container|Pod|PersistentVolumeClaim)", said):
        return f"The size of the {what} is beyond the namespace's limits: {said}. {TELL}"
    if re.search(r"cannot create resource", said):
        return f"The hub has no right to make the {what}: {said}. {TELL}"
    return f"The cluster refuses to make the {what}: {said or f'status {status}'}. {TELL}"


def _message(body: str | bytes | None) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        found = json.loads(text)
    except ValueError:
        found = {}
    said = found.get("message", "") if isinstance(found, dict) else ""
    return _plain(str(said))


def _quota(said: str) -> str:
    """`requested: limits.memory=2Gi, used: limits.memory=7Gi, limited: limits.memory=8Gi`, in words."""
    parts = {part: dict(re.findall(r"([^=,\s]+)=([^,\s]+)", text)) for part, text in
             re.findall(r"(requested|used|limited): (.*?)(?=, (?:used|limited): |$)", said)}  # fmt: skip
    words = {"memory": "memory", "cpu": "CPU", "pods": "servers", "persistentvolumeclaims": "volumes"}
    found = [
        f"{parts.get('used', {}).get(key, '?')} of {parts.get('limited', {}).get(key, '?')} "
        f"{words.get(key.rpartition('.')[2], key)} in use, and this needs {asked}"
        for key, asked in parts.get("requested", {}).items()
    ]
    return "; ".join(found) or said
