"""From what the catalog grants to the fields of a pod, as KubeSpawner's settings: pure functions, without a cluster.

- *base*     what the operator set for all servers (KubeSpawner's own settings); the profile's comes on top
- *literal*  text in which KubeSpawner must see no template: it fills ``{...}`` in volumes and containers

Every container is held to Kubernetes' Pod Security level `restricted`, whatever the cluster enforces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubespawner.slugs import is_valid_label, safe_slug

from sparkyard_catalog import ServerSpec
from sparkyard_spawner.pod_words import FOLDERS

LABELS: Final = ("sparkyard/user", "sparkyard/team", "sparkyard/profile")
HOME_VOLUME: Final = "home"
SCRATCH: Final = "/scratch"

CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

SERVER: Final = "jupyterhub-singleuser"

# What is written into a folder that a team shares must be the team's to change.
_WITH_UMASK: Final = ("sh", "-c", 'umask 0007; exec "$0" "$@"', SERVER)

# Arguments are pairs of a folder and its group. Who finds the folder made already does nothing to it.
_MAKE_FOLDERS: Final = """set -e
while [ $# -gt 0 ]; do
  if [ ! -d "$1" ]; then mkdir -p "$1"; [ "$2" = - ] || chgrp "$2" "$1"; chmod 2770 "$1"; fi
  shift 2
done"""


@dataclass(frozen=True)
class Base:
    """What the operator decided for all servers."""

    home: str
    """Where people's homes are mounted, in every notebook image."""
    uid: int
    gid: int
    image_pull_policy: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    volume_mounts: Sequence[Mapping[str, Any]] = ()
    init_containers: Sequence[Mapping[str, Any]] = ()
    priority_class: str = ""
    devices: Mapping[str, Any] = field(default_factory=dict)
    pod_security: Mapping[str, Any] = field(default_factory=dict)
    pod: Mapping[str, Any] = field(default_factory=dict)


def pod_settings(spec: ServerSpec, user: str, base: Base) -> dict[str, Any]:
    """KubeSpawner's settings for the server of ``user`` by what was granted."""
    pod = spec.pod
    volumes, mounts = _volumes(spec), _mounts(spec, base)
    return {
        "image": spec.image.ref,
        "cmd": list(_WITH_UMASK) if any(mount.writable for mount in pod.mounts) else [SERVER],
        "cpu_guarantee": spec.cpu_guarantee,
        "cpu_limit": spec.cpu_limit,
        "mem_guarantee": spec.memory_guarantee,
        "mem_limit": spec.memory_limit,
        "extra_resource_limits": {**base.devices, **pod.devices},
        "node_selector": {**base.node_selector, **pod.nodes},
        "tolerations": [*base.tolerations, *pod.tolerations],
        "priority_class_name": pod.priority_class or base.priority_class,
        "extra_labels": {**base.labels, **cost_labels(spec, user)},
        "pod_security_context": pod_security(spec, base),
        "container_security_context": dict(CONTAINER_SECURITY),
        "volumes": [*base.volumes, *volumes],
        "volume_mounts": [*base.volume_mounts, *mounts],
        "init_containers": [*base.init_containers, *_init_containers(spec, base, mounts)],
        "extra_pod_config": {**base.pod, "enableServiceLinks": False},
    }


def cost_labels(spec: ServerSpec, user: str) -> dict[str, str]:
    """Whose a pod is, for whoever sums up what it costs: valid label values, of any name."""
    values = (user, spec.team, spec.profile)
    return {key: label_value(value) for key, value in zip(LABELS, values, strict=True) if value is not None}


def label_value(name: str) -> str:
    """A name as the value of a label: itself where that is possible, else the start of it with a hash of all of it."""
    value: str = safe_slug(name, is_valid=is_valid_label)
    return value


def pod_security(spec: ServerSpec, base: Base) -> dict[str, Any]:
    """As whom the pod's processes run."""
    groups = sorted({mount.gid for mount in spec.pod.mounts if mount.gid is not None} - {base.gid})
    context = {
        **base.pod_security,
        "runAsNonRoot": True,
        "runAsUser": base.uid,
        "runAsGroup": base.gid,
        "fsGroup": base.gid,
        # Else every start walks through a whole home to change what is right already.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return context | ({"supplementalGroups": groups} if groups else {})


def environment(spec: ServerSpec, base: Base) -> dict[str, str]:
    """What the profile and the home add to a container's environment."""
    return {**spec.pod.environment, "HOME": base.home}


def literal(value: Any) -> Any:
    """The same, so that KubeSpawner's templates leave it as it is."""
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, Mapping):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [literal(inner) for inner in value]
    return value


def _claims(spec: ServerSpec) -> dict[str, str]:
    """The volumes by which a pod mounts shared claims: each claim once."""
    claims = dict.fromkeys(mount.claim for mount in spec.pod.mounts)
    return {claim: f"shared-{number}" for number, claim in enumerate(claims)}


def _volumes(spec: ServerSpec) -> list[dict[str, Any]]:
    # The one template of ours: which claim is a person's home is KubeSpawner's to remember.
    volumes = [{"name": HOME_VOLUME, "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
    for claim, name in _claims(spec).items():
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
    if spec.pod.scratch is not None:
        volumes.append({"name": "scratch", "emptyDir": {"sizeLimit": str(spec.pod.scratch)}})
    return volumes


def _mounts(spec: ServerSpec, base: Base) -> list[dict[str, Any]]:
    claims = _claims(spec)
    mounts: list[dict[str, Any]] = [{"name": HOME_VOLUME, "mountPath": base.home}]
    mounts += [
        {"name": claims[mount.claim], "mountPath": mount.path, "subPath": mount.folder, "readOnly": not mount.writable}
        for mount in spec.pod.mounts
    ]
    if spec.pod.scratch is not None:
        mounts.append({"name": "scratch", "mountPath": SCRATCH})
    return mounts


def _init_containers(spec: ServerSpec, base: Base, mounts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    variables = [{"name": name, "value": literal(value)} for name, value in sorted(environment(spec, base).items())]
    steps = [
        {
            **_container(spec, base, step.name, step.image.ref),
            "command": literal(step.command),
            "workingDir": base.home,
            "env": variables,
            "volumeMounts": list(mounts),
        }
        for step in spec.pod.steps
    ]
    return [_folder_maker(spec, base), *steps] if spec.pod.mounts else steps


def _folder_maker(spec: ServerSpec, base: Base) -> dict[str, Any]:
    """A step that makes the shared folders: Kubernetes itself would make them as root's, closed to everybody."""
    claims = _claims(spec)
    pairs: list[str] = []
    for mount in spec.pod.mounts:
        pairs += [f"/claims/{claims[mount.claim]}/{mount.folder}", "-" if mount.gid is None else str(mount.gid)]
    return {
        **_container(spec, base, FOLDERS, spec.image.ref),
        "command": literal(["sh", "-c", _MAKE_FOLDERS, FOLDERS, *pairs]),
        "volumeMounts": [{"name": name, "mountPath": f"/claims/{name}"} for name in claims.values()],
    }


def _container(spec: ServerSpec, base: Base, name: str, image: str) -> dict[str, Any]:
    """A container beside the notebook's. It runs before, so the same size again costs nothing."""
    policy = {"imagePullPolicy": base.image_pull_policy} if base.image_pull_policy else {}
    return {
        "name": name,
        "image": image,
        **policy,
        "securityContext": dict(CONTAINER_SECURITY),
        "resources": {
            "requests": {"cpu": str(spec.cpu_guarantee), "memory": str(spec.memory_guarantee)},
            "limits": {"cpu": str(spec.cpu_limit), "memory": str(spec.memory_limit)},
        },
    }
