"""The pod that a person's notebook server gets: a profile's `pod` with its names looked up, for this very person."""

from dataclasses import dataclass
from typing import Any

from sparkyard_catalog.catalog import Catalog, Team
from sparkyard_catalog.granted_image import ImageSpec, image_spec
from sparkyard_catalog.notebook_pod import TEAM, InitStep, SharedFolder
from sparkyard_catalog.people import Person, is_member, team_of
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.quantities import kubernetes_bytes


@dataclass(frozen=True)
class Mount:
    """A shared folder as one person gets it."""

    claim: str
    folder: str
    path: str
    writable: bool
    gid: int | None


@dataclass(frozen=True)
class Step:
    """A step before the server starts."""

    name: str
    title: str
    image: ImageSpec
    command: tuple[str, ...]


@dataclass(frozen=True)
class PodSpec:
    """Exactly what the pod has beyond image and size. Bytes where it is about memory."""

    nodes: dict[str, str]
    tolerations: tuple[dict[str, Any], ...]
    """As Kubernetes writes them."""
    priority_class: str | None
    devices: dict[str, int]
    """Graphics processors, by the name that nodes have for them."""
    scratch: int | None
    mounts: tuple[Mount, ...]
    steps: tuple[Step, ...]
    environment: dict[str, str]


def pod_spec(catalog: Catalog, person: Person, profile: Profile) -> PodSpec:
    """What the pod of this person's server has by this profile."""
    pod = profile.notebook.pod
    return PodSpec(
        nodes=pod.nodes,
        tolerations=tuple(tolerated.as_kubernetes for tolerated in pod.all_tolerations),
        priority_class=pod.priority_class,
        devices={pod.gpu.resource: pod.gpu.count} if pod.gpu else {},
        scratch=None if pod.scratch is None else kubernetes_bytes(pod.scratch),
        mounts=_mounts(catalog, person, pod.shared),
        steps=tuple(_step(catalog, profile, step) for step in pod.init),
        environment=dict(pod.environment),
    )


def _mounts(catalog: Catalog, person: Person, shared: tuple[SharedFolder, ...]) -> tuple[Mount, ...]:
    team = team_of(catalog, person)
    mounts: dict[str, Mount] = {}
    for entry in shared:
        if entry.mount not in mounts and _meant_for(catalog, person, team, entry):
            folder = entry.folder.replace(TEAM, team.name) if team else entry.folder
            mounts[entry.mount] = Mount(entry.claim, folder, entry.mount, entry.access == "write", entry.gid)
    return tuple(mounts.values())


def _meant_for(catalog: Catalog, person: Person, team: Team | None, entry: SharedFolder) -> bool:
    """Admins get what their own groups and teams give them: a folder is no part of administering."""
    if TEAM in entry.folder and team is None:
        return False
    if not entry.groups and not entry.teams:
        return True
    in_team = any(is_member(person, catalog.teams[name]) for name in entry.teams)
    return in_team or not person.groups.isdisjoint(entry.groups)


def _step(catalog: Catalog, profile: Profile, step: InitStep) -> Step:
    image = catalog.images[step.image or profile.notebook.image]
    return Step(step.name, step.title, image_spec(catalog, image), step.command)
