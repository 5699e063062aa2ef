"""The pods that a session's driver and executors get: a profile's `pod` with the cluster's kinds of nodes looked up."""

from dataclasses import asdict, dataclass
from typing import Any

from sparkyard_catalog.catalog import Team
from sparkyard_catalog.notebook_pod import TEAM
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.quantities import kubernetes_bytes
from sparkyard_catalog.spark_pod import Dynamic, Nodes, SparkPod, Volume


@dataclass(frozen=True)
class SparkPodSpec:
    """Exactly what such a pod has beyond image and size."""

    nodes: dict[str, str]
    tolerations: tuple[dict[str, Any], ...]
    """As Kubernetes writes them."""
    priority_class: str | None
    cpu: float | None
    scratch: int | None
    """In bytes."""
    volumes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class SparkPods:
    """Both, and where they run."""

    namespace: str | None
    driver: SparkPodSpec
    executor: SparkPodSpec
    dynamic: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """To be kept: a session that runs stays as it is when the catalog changes."""
        return asdict(self)


def spark_pods(nodes: Nodes, profile: Profile, team: Team | None) -> SparkPods:
    """What the pods of a session of this profile have, for somebody of this team."""
    executor = profile.spark.executor
    return SparkPods(
        namespace=team.namespace if team else None,
        driver=_spec(nodes, profile.spark.driver.pod, team),
        executor=_spec(nodes, executor.pod, team),
        dynamic=_dynamic(executor.dynamic),
    )


def _spec(nodes: Nodes, pod: SparkPod, team: Team | None) -> SparkPodSpec:
    kind = {"on_demand": nodes.on_demand, "spot": nodes.spot}.get(pod.capacity or "")
    tolerations = (*pod.tolerations, *(kind.tolerations if kind else ()))
    return SparkPodSpec(
        nodes={**(kind.node_selector if kind else {}), **pod.nodes},
        tolerations=tuple(each.as_kubernetes for each in tolerations),
        priority_class=pod.priority_class,
        cpu=pod.cpu,
        scratch=None if pod.scratch is None else kubernetes_bytes(pod.scratch),
        volumes=tuple(each for volume in pod.volumes if (each := _volume(volume, team)) is not None),
    )


def _volume(volume: Volume, team: Team | None) -> dict[str, Any] | None:
    """A volume with the team's own folder; none for whoever is in no team, where there is a folder for each."""
    if TEAM not in (volume.folder or ""):
        return volume.model_dump()
    return volume.model_dump() | {"folder": str(volume.folder).replace(TEAM, team.name)} if team else None


def _dynamic(dynamic: Dynamic | None) -> dict[str, Any] | None:
    return None if dynamic is None else dynamic.model_dump()
