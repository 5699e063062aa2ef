"""A cluster whose silence, lost answers and forgetfulness a test decides: a real one won't do them on demand."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator
from typing import Any

from sparkyard_gateway.backends.cluster import ClusterAway, ClusterRefused

RUNNING = {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [{"name": "driver", "state": {"running": {}}}]}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    """The status of a pod whose driver has ended."""
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return {"phase": "Failed", "containerStatuses": [{"name": "driver", "state": state}]}


class ScriptedCluster:
    """As `Cluster`, with objects in memory."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.away = False
        self.loses_answer_of = ""
        self.refuses: dict[str, ClusterRefused | ClusterAway] = {}
        self.watchers: list[asyncio.Queue[dict[str, Any] | Exception]] = []
        self.event_watchers: list[asyncio.Queue[dict[str, Any] | Exception]] = []
        self.usage: dict[str, str] | None = None
        self.lines: list[bytes] = []
        self.lines_of: dict[str, list[bytes]] = {}
        self.gone_logs: set[str] = set()
        self.asked: list[tuple[str, str, bool]] = []
        self.lingering: set[str] = set()
        self.deaf = False
        self._numbers = itertools.count(1)

    def _answer(self, what: str = "") -> None:
        if self.away:
            raise ClusterAway("it is down")
        if what in self.refuses:
            raise self.refuses[what]

    def names(self, kind: str) -> set[str]:
        return {name for _, each, name in self.objects if each == kind}

    def _tell(self, event: str, pod: dict[str, Any]) -> None:
        if not self.deaf:
            for watcher in self.watchers:
                watcher.put_nowait({"type": event, "object": copy.deepcopy(pod)})

    def change(self, name: str, *, namespace: str = "spark", deleted: bool = False, **status: Any) -> None:
        """Something has happened to a pod."""
        pod = self.objects[namespace, "pods", name]
        pod["status"] = status
        if "podIP" in status:
            pod["spec"]["nodeName"] = "node-1"
        pod["metadata"]["resourceVersion"] = str(next(self._numbers))
        if deleted:
            pod["metadata"]["deletionTimestamp"] = "now"
        self._tell("MODIFIED", pod)

    def remove(self, name: str, *, namespace: str = "spark") -> None:
        """A pod is gone, and what belongs to it."""
        pod = self.objects.pop((namespace, "pods", name))
        for key, each in list(self.objects.items()):
            if any(owner["uid"] == pod["metadata"]["uid"] for owner in each["metadata"].get("ownerReferences", ())):
                del self.objects[key]
        self._tell("DELETED", pod)

    def stop_watching(self, error: Exception) -> None:
        """The watches break off."""
        for watcher in (*self.watchers, *self.event_watchers):
            watcher.put_nowait(error)

    def happen(self, uid: str, reason: str, message: str = "", *, name: str = "e-1", **more: Any) -> None:
        """Something is told of the pod with this uid; the same name again is the same event, once more."""
        event = self.objects.setdefault(
            ("spark", "events", name), {"metadata": {"name": name, "uid": f"u-{name}"}, "count": 0}
        )
        event["metadata"]["resourceVersion"] = str(next(self._numbers))
        event |= {
            "involvedObject": {"kind": "Pod", "uid": uid, "name": f"pod-of-{uid}"},
            "reason": reason, "message": message, "type": "Normal", "count": event["count"] + 1,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": f"2026-01-01T00:00:{event['count']:02}Z", **more,
        }  # fmt: skip
        if not self.deaf:
            for watcher in self.event_watchers:
                watcher.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(event)})

    # As `Cluster`

    async def close(self) -> None:
        """Nothing is open."""

    async def create(self, namespace: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer(f"create {kind}")
        name = body["metadata"]["name"]
        if (namespace, kind, name) in self.objects:
            raise ClusterRefused(409, f"{kind} {name} already exists")
        made = copy.deepcopy(body)
        made["metadata"] |= {"uid": f"u-{next(self._numbers)}", "resourceVersion": "1", "namespace": namespace}
        self.objects[namespace, kind, name] = made
        if kind == "pods":
            self._tell("ADDED", made)
        if self.loses_answer_of == kind:
            raise ClusterAway("the answer is lost")
        return copy.deepcopy(made)

    async def find(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        self._answer()
        return copy.deepcopy(self.objects.get((namespace, kind, name)))

    async def all(self, namespace: str, kind: str, *, api: str = "", **query: str) -> dict[str, Any]:
        self._answer(f"list {api or kind}")
        if api:
            if self.usage is None:
                raise ClusterRefused(404, "the server could not find the requested resource")
            usage = {name: {"containers": [{"usage": {"memory": size}}]} for name, size in self.usage.items()}
            return {"items": [{"metadata": {"name": name}, **each} for name, each in usage.items()]}
        selector = query.get("labelSelector", "")
        found = [
            copy.deepcopy(each)
            for (there, what, _), each in self.objects.items()
            if (there, what) == (namespace, kind) and _chosen(each["metadata"].get("labels", {}), selector)
        ]
        return {"metadata": {"resourceVersion": "1"}, "items": found}

    async def delete(self, namespace: str, kind: str, name: str, *, uid: str, grace_seconds: int) -> None:
        self._answer()
        found = self.objects.get((namespace, kind, name))
        if found is not None and found["metadata"]["uid"] == uid and name not in self.lingering:
            self.remove(name, namespace=namespace)

    async def merge(self, namespace: str, kind: str, name: str, merged: dict[str, Any]) -> dict[str, Any]:
        self._answer(f"merge {kind}")
        found = self.objects.get((namespace, kind, name))
        if found is None:
            raise ClusterRefused(404, f"{kind} {name} not found")
        if merged["metadata"].get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            raise ClusterRefused(409, "another uid")
        removed = {each["name"] for each in merged["spec"]["schedulingGates"] if each["$patch"] == "delete"}
        gates = [each for each in found["spec"].pop("schedulingGates", ()) if each["name"] not in removed]
        found["spec"] |= {"schedulingGates": gates} if gates else {}
        found["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell("MODIFIED", found)
        if self.loses_answer_of == f"merge {kind}":
            raise ClusterAway("the answer is lost")
        return copy.deepcopy(found)

    async def delete_as_seen(self, namespace: str, kind: str, seen: dict[str, Any]) -> None:
        self._answer(f"delete {kind}")
        found = self.objects.get((namespace, kind, seen["metadata"]["name"]))
        if found is None:
            raise ClusterRefused(404, "not found")
        if any(found["metadata"][key] != seen["metadata"][key] for key in ("uid", "resourceVersion")):
            raise ClusterRefused(409, "it has changed")
        self.remove(seen["metadata"]["name"], namespace=namespace)

    async def watch(
        self, namespace: str, kind: str, selector: dict[str, str], version: str
    ) -> AsyncIterator[dict[str, Any]]:
        self._answer(f"watch {kind}")
        mine: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()
        watchers = self.event_watchers if kind == "events" else self.watchers
        watchers.append(mine)
        try:
            while True:
                event = await mine.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            watchers.remove(mine)

    async def log(
        self, namespace: str, pod: str, container: str, since: str | None, *, follow: bool
    ) -> AsyncIterator[bytes]:
        self._answer()
        self.asked.append((pod, container, follow))
        if f"log {pod}" in self.refuses:
            raise self.refuses[f"log {pod}"]
        if pod in self.gone_logs or (namespace, "pods", pod) not in self.objects:
            raise ClusterRefused(404, "not found")
        for line in list(self.lines_of.get(pod, [] if container == "executor" else self.lines)):
            yield line
        known = len(self.lines_of.get(pod, ()))
        while follow and self._runs(namespace, pod):
            await asyncio.sleep(0.01)
            for line in self.lines_of.get(pod, ())[known:]:
                known += 1
                yield line

    def _runs(self, namespace: str, pod: str) -> bool:
        status = self.objects.get((namespace, "pods", pod), {"status": {"phase": "Failed"}}).get("status") or {}
        return status.get("phase") not in ("Succeeded", "Failed")


def _chosen(labels: dict[str, str], selector: str) -> bool:
    for each in filter(None, selector.split(",")):
        key, equals, value = each.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True
