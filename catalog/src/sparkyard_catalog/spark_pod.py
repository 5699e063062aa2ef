"""What a profile says of its drivers and executors where they are pods, beyond image and size.

On a machine without Kubernetes none of it has an effect.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry
from sparkyard_catalog.notebook_pod import Folder, MountPath
from sparkyard_catalog.placement import LabelKey, LabelValue, ObjectName, Placement, Toleration
from sparkyard_catalog.quantities import Cpu, Duration, KubernetesMemory

_OURS = ("/opt/sparkyard", "/var/sparkyard", "/tmp")  # noqa: S108 - a path that is refused

Capacity = Literal["on_demand", "spot"]


class NodeKind(Entry):
    """Nodes of one kind, as the cluster marks them."""

    node_selector: dict[LabelKey, LabelValue] = Field(min_length=1)
    """The labels that such nodes have."""
    tolerations: tuple[Toleration, ...] = ()
    """The taints that such nodes have."""


class Nodes(Entry):
    """How the cluster tells nodes that stay from nodes that may be taken away; the defaults are Karpenter's."""

    on_demand: NodeKind = NodeKind(node_selector={"karpenter.sh/capacity-type": "on-demand"})
    """Nodes that stay for as long as they are needed."""
    spot: NodeKind = NodeKind(node_selector={"karpenter.sh/capacity-type": "spot"})
    """Cheaper nodes that can be taken away at any time."""


class Volume(Entry):
    """A volume that the pods mount."""

    claim: ObjectName
    """The PersistentVolumeClaim in the namespace of the team's drivers. Several pods mount it at once, which its volume
    must allow."""
    folder: Folder | None = None
    """The folder in that volume; all of it where absent. {team} is the name of the person's team: who is in none does
    not get this volume."""
    mount: MountPath
    """Where the pod finds it."""
    access: Literal["read", "write"] = "read"
    """Whether the pod may change what is in it."""

    @model_validator(mode="after")
    def _not_over_ours(self) -> Self:
        for folder in _OURS:
            if self.mount == folder or self.mount.startswith(f"{folder}/"):
                raise PydanticCustomError(
                    "volume", "{folder} is the pod's own; mount it elsewhere, such as under /data",
                    {"folder": folder, "at": "mount"},
                )  # fmt: skip
        return self


class SparkPod(Placement):
    """The pods of a driver or of executors: where they run, and what they mount."""

    capacity: Capacity | None = None
    """Which nodes they run on: on_demand or spot, as `nodes` tells them apart; any where absent."""
    cpu: Cpu | None = None
    """What is reserved for each, in CPUs, where that is not what `cores` says: less where they mostly wait."""
    scratch: KubernetesMemory | None = None
    """The most that a pod may write on its node's disk: shuffled data, spills, the home folder. One that writes more is
    ended. No limit of its own where absent."""
    volumes: tuple[Volume, ...] = ()
    """Volumes that they mount."""

    @model_validator(mode="after")
    def _mounts_once(self) -> Self:
        mounts = [volume.mount for volume in self.volumes]
        for mount in mounts:
            if mounts.count(mount) > 1:
                raise PydanticCustomError("volume", "two volumes are mounted at {mount}; give each another path",
                                          {"mount": mount, "at": "volumes"})  # fmt: skip
        return self


class Dynamic(Entry):
    """Executors that come and go with the work, between `min` and the session's number of executors."""

    min: int = Field(default=0, strict=True, ge=0, le=100_000)
    """How many stay when there is nothing to do."""
    idle_timeout: Duration = "60s"
    """After how long without work an executor is given up."""
    cached_idle_timeout: Duration = "20m"
    """After how long one is that holds cached data, or shuffled data that may still be wanted."""
