"""What a profile says of its notebook servers where they are pods, beyond image and size.

On a machine without Kubernetes none of it has an effect.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry, Group, Plain, Title
from sparkyard_catalog.placement import DnsLabel, LabelKey, ObjectName, Placement, Toleration
from sparkyard_catalog.quantities import KubernetesMemory

TEAM = "{team}"
_OURS = re.compile(r"JUPYTERHUB_|JUPYTER_IMAGE|JPY_|SPARKYARD_|KUBERNETES_|HOME$", re.IGNORECASE)
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run")


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise ValueError(f"'{name[:80]}' can't be an environment variable; use letters, digits and '_'")
    if _OURS.match(name):
        raise ValueError(f"'{name}' is set by JupyterHub or Sparkyard itself; remove it")
    return name


def _mount(path: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path) or any(piece in (".", "..") for piece in path.split("/")):
        raise ValueError(f"'{path[:80]}' is not a path to mount at; write an absolute one, such as /shared/team")
    if any(path == folder or path.startswith(f"{folder}/") for folder in _SYSTEM):
        raise ValueError(f"'{path}' belongs to the image's system; mount it elsewhere, such as under /shared")
    return path


def _folder(text: str) -> str:
    plain = text.replace(TEAM, "team")
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", plain) or any(
        piece in (".", "..") for piece in plain.split("/")
    ):
        raise ValueError(f"'{text[:80]}' is not a folder in a volume; write a relative path, such as teams/{{team}}")
    return text


Variable = Annotated[str, AfterValidator(_variable)]
MountPath = Annotated[
    str, AfterValidator(_mount), WithJsonSchema({"type": "string", "pattern": r"^(/[A-Za-z0-9._-]+)+$"})
]
Folder = Annotated[str, AfterValidator(_folder)]


class Gpu(Entry):
    """Graphics processors, or other devices that nodes offer by count."""

    count: int = Field(default=1, strict=True, ge=1, le=64)
    """How many the server gets."""
    resource: LabelKey = "nvidia.com/gpu"
    """What nodes call it. Nodes that are tainted by this very key are tolerated."""


class SharedFolder(Entry):
    """A folder that several people's servers mount, from a volume that several pods can."""

    claim: ObjectName
    """The PersistentVolumeClaim in the servers' namespace; with access write its volume must be ReadWriteMany."""
    folder: Folder = TEAM
    """The folder in that volume. {team} is the name of the person's team: who is in none does not get this folder."""
    mount: MountPath
    """Where the server finds it. Of several entries with the same path a person gets the first that is meant for them,
    so that one may let a few write what others read."""
    access: Literal["read", "write"] = "read"
    """Whether the server may change what is in it."""
    groups: tuple[Group, ...] = ()
    """Only members of these groups get it; with teams, members of either."""
    teams: tuple[str, ...] = ()
    """Only members of these teams get it. Without groups and teams, everyone who may use the profile does."""
    gid: int | None = Field(default=None, strict=True, ge=1000, le=2**31 - 1)
    """The group by its number that owns what is in the folder: the server's processes are made members of it, and what
    they write there belongs to it."""


class InitStep(Entry):
    """Something that is done before the notebook server starts, in a container of its own with the same folders."""

    name: DnsLabel
    """Its name, each another."""
    title: Title
    """What the person who waits reads, such as "Fetching the team's examples"."""
    image: str | None = None
    """The name of the image it runs in; the notebook's where absent."""
    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """The command and its arguments. No shell reads it: for one write [sh, -c, ...]."""

    @model_validator(mode="after")
    def _name_is_free(self) -> Self:
        if self.name == "notebook" or self.name.startswith("sparkyard-"):
            raise PydanticCustomError("init", "'{name}' is the name of a container of ours; choose another",
                                      {"name": self.name, "at": "name"})  # fmt: skip
        return self


class NotebookPod(Placement):
    """The pod of a notebook server: where it runs, what it mounts, what happens before it starts."""

    gpu: Gpu | None = None
    """Graphics processors of the server."""
    scratch: KubernetesMemory | None = None
    """The size of an empty folder /scratch on the node's disk, gone with the server; none where absent."""
    shared: tuple[SharedFolder, ...] = ()
    """Folders that people share. Everyone's own home is a volume of its own without being named here."""
    init: tuple[InitStep, ...] = ()
    """Steps before the server starts, in this order. One that fails ends the start, and its title says which it was."""
    environment: dict[Variable, Plain] = Field(default_factory=dict)
    """Environment variables of the server and of the steps. No secrets: everyone who uses the profile can read them."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [step.name for step in self.init]
        for name in names:
            if names.count(name) > 1:
                raise PydanticCustomError("init", "two steps are called '{name}'; give each another name",
                                          {"name": name, "at": "init"})  # fmt: skip
        for name, value in self.environment.items():
            if "\0" in value:
                raise PydanticCustomError("environment", "the value of {name} holds a NUL; remove it",
                                          {"name": name, "at": "environment"})  # fmt: skip
        return self

    @property
    def all_tolerations(self) -> tuple[Toleration, ...]:
        """Those named, and the one that goes with the graphics processors."""
        of_devices = (Toleration(key=self.gpu.resource, operator="Exists"),) if self.gpu else ()
        return (*self.tolerations, *of_devices)
