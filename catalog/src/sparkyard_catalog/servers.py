"""From a person's choices at login to exactly what their server gets, and what its Spark sessions start with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkyard_catalog import standing
from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.errors import Refused
from sparkyard_catalog.granted_image import ImageSpec, image_spec
from sparkyard_catalog.granted_pod import PodSpec, pod_spec
from sparkyard_catalog.people import Person
from sparkyard_catalog.quantities import kubernetes_bytes
from sparkyard_catalog.sessions import SessionSpec, grant
from sparkyard_catalog.spelling import brief, did_you_mean
from sparkyard_catalog.wishes import SessionChoices

OPTIONS = (
    "profile",
    "driver_image",
    "executor_image",
    "driver_cores",
    "driver_memory",
    "executor_cores",
    "executor_memory",
    "executors",
)
_NUMBERS = ("driver_cores", "executor_cores", "executors")
_AS_WRITTEN = {name: name for name in (*OPTIONS, "idle_timeout", "lifetime")}


@dataclass(frozen=True)
class ServerSpec:
    """Exactly what a notebook server gets. Memory is in bytes, CPU in CPUs."""

    profile: str
    profile_title: str
    team: str | None
    image: ImageSpec
    cpu_guarantee: float
    cpu_limit: float
    memory_guarantee: int
    memory_limit: int
    pod: PodSpec
    """What it has beyond that where it is a pod."""
    session: SessionSpec
    """What a Spark session gets that is started without further wishes."""
    session_defaults: dict[str, Any]
    """The same as a request of Livy's: what the server's kernels send."""


def resolve_server(catalog: Catalog, person: Person, options: Mapping[str, object]) -> ServerSpec:
    """What a person's server gets; raises Refused. `options` come from anyone: the form, the REST API, a URL."""
    choices = _choices(options)
    session = grant(catalog, person, choices, _AS_WRITTEN)
    profile = catalog.profiles[session.profile]
    notebook = profile.notebook
    return ServerSpec(
        profile=profile.name,
        profile_title=profile.title,
        team=session.team,
        image=image_spec(catalog, catalog.images[notebook.image]),
        cpu_guarantee=notebook.cpu.guarantee,
        cpu_limit=notebook.cpu.limit,
        memory_guarantee=kubernetes_bytes(notebook.memory.guarantee),
        memory_limit=kubernetes_bytes(notebook.memory.limit),
        pod=pod_spec(catalog, person, profile),
        session=session,
        session_defaults=_session_defaults(session),
    )


def _choices(options: Mapping[str, object]) -> SessionChoices:
    if not isinstance(options, Mapping):
        raise Refused("options", None, "The options are not a mapping of names to values.", ", ".join(OPTIONS))
    for name in options:
        if name not in OPTIONS:
            shown = brief(name) or "(empty)"
            message = f"There is no option '{shown}'; {did_you_mean(shown, OPTIONS)}"
            raise Refused(shown, None, message, ", ".join(OPTIONS))
    texts = {name: _text(name, options.get(name)) for name in OPTIONS if name not in _NUMBERS}
    numbers = {name: _number(name, options.get(name)) for name in _NUMBERS}
    images = {standing.DRIVER_IMAGE: texts["driver_image"], standing.EXECUTOR_IMAGE: texts["executor_image"]}
    return SessionChoices(
        profile=texts["profile"],
        driver_memory=texts["driver_memory"],
        executor_memory=texts["executor_memory"],
        driver_cores=numbers["driver_cores"],
        executor_cores=numbers["executor_cores"],
        executors=numbers["executors"],
        conf={key: value for key, value in images.items() if value is not None},
    )


def _text(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise Refused(name, None, f"Option {name} takes one text; leave it out for the default.", "a text")


def _number(name: str, value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value):
        return int(value)  # as a form sends it
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Refused(name, None, f"Option {name} takes one whole number; leave it out for the default.", "a whole number")


def _session_defaults(session: SessionSpec) -> dict[str, Any]:
    return {
        "driverMemory": session.driver_memory,
        "driverCores": session.driver_cores,
        "executorMemory": session.executor_memory,
        "executorCores": session.executor_cores,
        "numExecutors": session.executors,
        "conf": {
            standing.PROFILE: session.profile,
            standing.DRIVER_IMAGE: session.driver_image.choice,
            standing.EXECUTOR_IMAGE: session.executor_image.choice,
        },
    }
