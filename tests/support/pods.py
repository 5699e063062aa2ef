"""Pods and events as Kubernetes' API tells them, for tests of what is made of them."""

from typing import Any


def pod(*, node: str | None = "node-1", unschedulable: str = "", uid: str = "u1", **status: Any) -> dict[str, Any]:
    """A pod; without a node it waits for one, and `unschedulable` is what the scheduler says."""
    conditions = []
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    return {
        "metadata": {"name": "jupyter-sam", "uid": uid},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": "Pending", "conditions": conditions, **status},
    }


def container(name: str = "notebook", image: str = "registry.example.com/lab:1", **state: Any) -> dict[str, Any]:
    """A container's status: one of waiting, running, terminated; `last` is how it ended before."""
    last = state.pop("last", None)
    return {"name": name, "image": image, "state": state, "lastState": {"terminated": last} if last else {}}


def event(reason: str, message: str = "", *, of: str | None = "notebook", step: bool = False) -> dict[str, Any]:
    """An event about a container, or about the pod where `of` is None."""
    path = f"spec.{'initContainers' if step else 'containers'}{{{of}}}" if of else ""
    return {
        "reason": reason,
        "message": message,
        "type": "Normal",
        "involvedObject": {"name": "jupyter-sam", "uid": "u1", "fieldPath": path},
    }
