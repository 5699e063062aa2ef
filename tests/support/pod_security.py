"""Kubernetes' Pod Security level `restricted`, as far as it can be read from a pod's spec without a cluster.

The API server itself judges on the test cluster; here the unit tests judge what is rendered or made.
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every container of a pod's spec."""
    for key in _CONTAINERS:
        yield from spec.get(key) or ()


def violations(spec: dict[str, Any]) -> list[str]:
    """What a namespace that enforces `restricted` would refuse in a pod's spec (camelCase)."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes") or ():
        found += [f"volume {volume['name']} is a {kind}" for kind in set(volume) - {"name"} - _VOLUMES]
    of_pod = spec.get("securityContext") or {}
    found += [f"the pod sets {key}" for key in ("sysctls", "seLinuxOptions") if of_pod.get(key)]
    if 0 in (of_pod.get("runAsUser"), *(of_pod.get("supplementalGroups") or ())):
        found.append("the pod runs as root")
    for container in containers(spec):
        found += [f"container {container['name']} {what}" for what in _of_container(container, of_pod)]
    return found


def _of_container(container: dict[str, Any], of_pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    both = {**of_pod, **own}
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()) or set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield "takes a port of the host"
