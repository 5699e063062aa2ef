"""Spark's history server on Kubernetes: a pod for each user who looks at what has ended, for a while.

As on one machine (`history_servers`), one server for all would read everybody's logs with the right to read everybody's
logs, and a log is its user's making. So each has a pod, in the image that wrote the logs and in the user's own team's
namespace, with no right to anything and no way to anybody; the gateway brings it the logs that are asked for, and no
others. It is ended when nobody has looked for some minutes; when the gateway is gone it ends itself.
"""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import structlog

from sparkyard_gateway.backends import pod_names, pod_reasons
from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.history_manifests import (
    BRING_PORT,
    PORT,
    HistoryOrder,
    history_pod,
    history_secret,
    name_of,
)
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import SECRET_FOLDER, Terms
from sparkyard_gateway.ui_keys import UiKeys, history_name

Object = dict[str, Any]

START_SECONDS = 120.0
POLL_SECONDS = 0.5
SWEEP_SECONDS = 30.0
STAY_SECONDS = 30.0
"""How often a pod that is looked at is told so."""
IN_USE_SECONDS = 30.0
"""A pod that was asked for something so lately is not ended to make room for another."""
PIECE = 256 * 1024

Key = tuple[str, str, str]
"""Owner, namespace, image."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class HistoryPod:
    """A running one."""

    namespace: str
    name: str
    uid: str
    url: str
    bring_url: str
    client: httpx.AsyncClient
    extensions: dict[str, Any]
    used: float
    stayed: float
    busy: int = 0
    shown: set[str] = field(default_factory=set)
    brought: dict[str, int] = field(default_factory=dict)
    bringing: asyncio.Lock = field(default_factory=asyncio.Lock)


class HistoryPods:
    """Makes and ends them."""

    def __init__(
        self,
        cluster: Cluster,
        terms: Terms,
        objects: PodObjects,
        keys: UiKeys,
        gateway: str,
        *,
        most: int,
        idle_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._objects = objects
        self._keys = keys
        self._gateway = gateway
        self._most = most
        self._idle_seconds = idle_seconds
        self._namespaces: set[str] = set()
        self._running: dict[Key, HistoryPod] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._starting = 0
        self._own: set[str] = set()
        self._sweep: asyncio.Task[None] | None = None

    def open(self, namespaces: frozenset[str]) -> None:
        """Look after these, also for what an earlier gateway left there."""
        self._namespaces |= namespaces
        if self._sweep is None:
            self._sweep = asyncio.create_task(self._sweep_for_ever(), name="history-pods")

    async def close(self) -> None:
        """End all."""
        if self._sweep is not None:
            self._sweep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweep
        for key in list(self._running):
            await self._end(key)
        await self._cluster.close()

    async def pod_for(self, order: HistoryOrder) -> HistoryPod:
        """The pod of a user's logs in this image, made if there is none. Raises BackendError with a sentence."""
        key = (order.owner, order.namespace, order.image)
        # One start for all who wait for it.
        async with self._locks.setdefault(key, asyncio.Lock()):
            pod = self._running.get(key)
            if pod is not None and not await self._stays(pod):
                await self._end(key)
                pod = None
            if pod is None:
                await self._make_room()
                self._starting += 1
                try:
                    pod = self._running[key] = await self._start(order)
                finally:
                    self._starting -= 1
        pod.used = asyncio.get_running_loop().time()
        return pod

    async def bring(self, pod: HistoryPod, application: str, size: int, files: Callable[[], list[Path]]) -> None:
        """Have a pod show this log, of so many bytes. Raises BackendError."""
        async with pod.bringing:
            if pod.brought.get(application) == size:
                return
            place = f"{pod.bring_url}/events/{application}"
            try:
                for path in await asyncio.to_thread(files):
                    length = (await asyncio.to_thread(path.stat)).st_size
                    answer = await pod.client.put(
                        f"{place}/{path.name}",
                        content=_content(path, length),
                        headers={"Content-Length": str(length)},
                        extensions=pod.extensions,
                    )
                    answer.raise_for_status()
                (await pod.client.post(place, extensions=pod.extensions)).raise_for_status()
            except (httpx.HTTPError, OSError) as error:
                log.warning("event_log_not_brought", pod=pod.name, error=type(error).__name__)
                raise BackendError(
                    "The event log could not be brought to Spark's history server. Try again."
                ) from error
            pod.brought[application] = size
            pod.shown.discard(application)

    # Start

    async def _start(self, order: HistoryOrder) -> HistoryPod:
        name = name_of(order, self._terms)
        self._own.add(name)
        self.open(frozenset({order.namespace}))
        loop = asyncio.get_running_loop()
        made: Object | None = None
        client: httpx.AsyncClient | None = None
        try:
            made = await self._make(order)
            address = await self._address(order, made)
            client = await self._client()
            host = f"[{address}]" if ":" in address else address
            pod = HistoryPod(
                namespace=order.namespace,
                name=name,
                uid=made["metadata"]["uid"],
                url=f"https://{host}:{PORT}",
                bring_url=f"https://{host}:{BRING_PORT}",
                client=client,
                extensions={"sni_hostname": history_name(name)},
                used=loop.time(),
                stayed=0.0,
            )
            await self._until_it_takes(pod)
        except BaseException:
            if client is not None:
                await client.aclose()
            if made is not None:
                await self._objects.remove(order.namespace, made)
            self._own.discard(name)
            raise
        log.info("history_pod_started", user=order.owner, pod=name, namespace=order.namespace)
        return pod

    async def _make(self, order: HistoryOrder) -> Object:
        try:
            program = await self._objects.prepare(order.namespace)
            pod = await self._cluster.create(order.namespace, "pods", history_pod(order, self._terms, program))
            try:
                secret = await asyncio.to_thread(self._secret, order, pod)
                await self._cluster.create(order.namespace, "secrets", secret)
            except (ClusterAway, ClusterRefused):
                await self._objects.remove(order.namespace, pod)
                raise
        except ClusterRefused as refused:
            log.warning("history_pod_refused", status=refused.status, said=refused.sentence)
            raise BackendError(
                f"Kubernetes refuses a pod for Spark's history server in namespace {order.namespace}: "
                f"{refused.sentence}"
            ) from refused
        except ClusterAway as away:
            raise BackendError(
                "Spark's history server could not be started: Kubernetes does not answer the gateway. Try again."
            ) from away
        return pod

    def _secret(self, order: HistoryOrder, pod: Object) -> Object:
        called = history_name(pod["metadata"]["name"])
        with tempfile.TemporaryDirectory() as folder:
            conf, files = self._keys.equip_as(Path(folder), called)
            there = {key: value.replace(folder, SECRET_FOLDER) for key, value in conf.items()}
            content = {file.name: file.read_bytes() for file in files}
        return history_secret(order, pod, there, content, self._keys.pem(called))

    async def _address(self, order: HistoryOrder, made: Object) -> str:
        """The pod's address, once it runs."""
        loop = asyncio.get_running_loop()
        end, pod = loop.time() + START_SECONDS, made
        while loop.time() < end:
            with contextlib.suppress(ClusterAway, ClusterRefused):
                found = await self._cluster.find(order.namespace, "pods", made["metadata"]["name"])
                if found is None or pod_reasons.over(found):
                    raise BackendError("The pod of Spark's history server has ended before it was ready. Try again.")
                pod = found
            if (why := pod_reasons.hopeless(pod)) is not None:
                raise BackendError(f"Spark's history server cannot start: {why}")
            address = (pod.get("status") or {}).get("podIP")
            if address and pod_reasons.running(pod):
                return str(address)
            await asyncio.sleep(POLL_SECONDS)
        raise BackendError(
            f"The pod of Spark's history server was not ready within {START_SECONDS:.0f} s: {pod_reasons.phase(pod)}"
        )

    async def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=await asyncio.to_thread(self._keys.context),
            timeout=httpx.Timeout(120.0, connect=5.0),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
            follow_redirects=False,
            trust_env=False,
        )

    async def _until_it_takes(self, pod: HistoryPod) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while not await self._told(pod):
            if loop.time() > end:
                raise BackendError("Spark's history server does not answer the gateway. Try again.")
            await asyncio.sleep(POLL_SECONDS)

    # Stay and end

    async def _stays(self, pod: HistoryPod) -> bool:
        """Whether it is there still, having been told to stay."""
        now = asyncio.get_running_loop().time()
        return now - pod.stayed < STAY_SECONDS / 10 or await self._told(pod)

    async def _told(self, pod: HistoryPod) -> bool:
        try:
            answer = await pod.client.post(f"{pod.bring_url}/stay", extensions=pod.extensions, timeout=10.0)
        except httpx.HTTPError:
            return False
        pod.stayed = asyncio.get_running_loop().time()
        return answer.status_code < 300

    async def _make_room(self) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._running) + self._starting >= self._most:
            key, pod = min(self._running.items(), key=lambda each: each[1].used, default=(None, None))
            if key is None or pod is None or pod.busy or now - pod.used < IN_USE_SECONDS:
                raise BackendError(
                    f"{self._most} people look at the UIs of ended sessions just now, which is as many as can. "
                    "Try again in a minute."
                )
            await self._end(key)

    async def _end(self, key: Key) -> None:
        pod = self._running.pop(key, None)
        if pod is None:
            return
        log.info("history_pod_ended", user=key[0], pod=pod.name)
        await pod.client.aclose()
        await self._objects.remove(pod.namespace, {"metadata": {"name": pod.name, "uid": pod.uid}})
        self._own.discard(pod.name)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweep_once()
            except (ClusterAway, ClusterRefused) as error:
                log.info("history_pods_not_swept", error=str(error))
            except Exception:  # the loop must outlive one bad round
                log.exception("history_pods_not_swept")
            await asyncio.sleep(min(SWEEP_SECONDS, self._idle_seconds))

    async def _sweep_once(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, pod in list(self._running.items()):
            if not pod.busy and now - pod.used > self._idle_seconds:
                await self._end(key)
            elif now - pod.stayed > STAY_SECONDS:
                await self._told(pod)
        mine = pod_names.label_value(self._gateway)
        for namespace in sorted(self._namespaces):
            selector = pod_names.of_histories(self._terms.installation)
            for pod in (await self._cluster.all(namespace, "pods", labelSelector=selector)).get("items") or ():
                metadata = pod["metadata"]
                forgotten = metadata["labels"].get(pod_names.HISTORY) == mine and metadata["name"] not in self._own
                if forgotten or pod_reasons.over(pod):
                    await self._objects.remove(namespace, pod)


def mark() -> str:
    """What tells one pod from any other."""
    return secrets.token_hex(5)


async def _content(path: Path, size: int) -> AsyncIterator[bytes]:
    """A file, as far as it stood there when its length was told."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while size > 0:
            piece = await asyncio.to_thread(file.read, min(size, PIECE))
            if not piece:
                return
            size -= len(piece)
            yield piece
