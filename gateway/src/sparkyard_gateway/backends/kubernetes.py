"""Drivers as pods: one a session, made by the gateway itself, in the namespace of its owner's team.

    found again   by the name of its pod, which tells installation, session and epoch, and by its uid
    dead          when Kubernetes says of that very pod that nothing of it runs, or has it no more
    silence       an API server that does not answer says nothing: the watch tries again

The pod is made first and its Secrets after it, as they belong to it: a gateway that dies in between leaves a pod that
waits for them, which the next gateway ends. So no right to read Secrets is needed, and none is left over.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends import pod_conf, pod_names, pod_reasons
from sparkyard_gateway.backends.base import BackendAway, DriverOrder, Ended, Handle, WhenEnded
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.pod_ends import FIRST_PAUSE, PodEnds
from sparkyard_gateway.backends.pod_log import PodLog
from sparkyard_gateway.backends.pod_memory import PodMemory, limit_of
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import DRIVER_CONTAINER, Terms
from sparkyard_gateway.backends.pod_records import PodRecords
from sparkyard_gateway.backends.pod_watch import PodWatch
from sparkyard_gateway.backends.stray_pods import StrayPods, role_of

Object = dict[str, Any]

LOG_SECONDS = 10.0
"""How long the rest of an ended driver's log may take."""
LISTED_SECONDS = 15.0
Tell = Callable[[int, str], None]
"""Told what a driver that is starting waits for, as a sentence for its owner."""

Wanted = Callable[[int], Awaitable[bool]]
"""Whether a session of that number still is to have a driver, whichever gateway looks after it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Driver:
    """A driver that is looked after."""

    session_id: int
    namespace: str
    pod: str
    uid: str
    epoch: int
    kept: PodLog
    since: float = field(default_factory=time.monotonic)
    seen: Object | None = None
    reporting: asyncio.Task[None] | None = None

    @property
    def handle(self) -> Handle:
        return {"namespace": self.namespace, "pod": self.pod, "uid": self.uid}


class KubernetesBackend:
    """The backend for a Kubernetes cluster."""

    name = "kubernetes"

    def __init__(
        self,
        cluster: Cluster,
        terms: Terms,
        sessions_dir: Path,
        objects: PodObjects,
        when_ended: WhenEnded,
        tell: Tell,
        wanted: Wanted,
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._dir = sessions_dir
        self._objects = objects
        self._when_ended = when_ended
        self._tell = tell
        self._wanted = wanted
        self._drivers: dict[int, _Driver] = {}
        self._watches: dict[str, PodWatch] = {}
        self.records = PodRecords(cluster, sessions_dir)
        self._memory = PodMemory(cluster, pod_names.of_sessions(terms.installation))
        self._ends = PodEnds(cluster, "session", self._pods_of)
        self._strays = StrayPods(self._watches, self._has, self._end_stray)
        sessions_dir.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Look no more; the pods run on."""
        await self._strays.close()
        for watch in self._watches.values():
            await watch.close()
        for driver in self._drivers.values():
            await driver.kept.stop()
        await self.records.close()
        await self._cluster.close()

    # Start

    async def start(self, order: DriverOrder) -> Handle:
        """Make the pod, then what it needs to begin."""
        namespace = pod_conf.namespace(order, self._terms)
        # Before the pod is there, so that nothing of it is missed.
        self._watch(namespace)
        pod = await self._objects.make(order)
        driver = self._take(order.session_id, namespace, pod)
        log.info("pod_made", session=order.session_id, pod=driver.pod, namespace=namespace)
        return driver.handle

    # Watch

    def open(self, namespaces: frozenset[str]) -> None:
        """Watch these, also where no session runs: what a gateway that died left there is to be ended."""
        for namespace in namespaces:
            self._watch(namespace)

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Find the pod by its name and uid, or, where these were not written down, by the session's number."""
        try:
            if handle is None:
                return await self._adopt_by_number(session_id)
            pod = await self._cluster.find(handle["namespace"], "pods", handle["pod"])
        except (ClusterAway, ClusterRefused) as error:
            log.warning("cluster_away", session=session_id, error=str(error))
            raise BackendAway("Kubernetes does not answer the gateway; it is asked again.") from error
        if pod is None or pod["metadata"]["uid"] != handle["uid"]:
            return None
        return self._take(session_id, handle["namespace"], pod).handle

    async def _adopt_by_number(self, session_id: int) -> Handle | None:
        """Only one that runs already: any other may wait for a Secret that was never made, and is better made anew."""
        found = await self._pods_of(session_id, pod_names.DRIVER)
        alive = [(namespace, pod) for namespace, pod in found if pod_reasons.running(pod)]
        if not alive:
            return None
        namespace, pod = max(alive, key=lambda each: int(each[1]["metadata"]["labels"][pod_names.EPOCH]))
        return self._take(session_id, namespace, pod).handle

    async def _pods_of(self, session_id: int, role: str | None = None) -> list[tuple[str, Object]]:
        """A session's pods, in whichever namespace they are."""
        selector = pod_names.of_session(self._terms.installation, session_id, role)
        known = self._drivers.get(session_id)
        found = []
        for namespace in [known.namespace] if known else list(self._watches):
            answer = await self._cluster.all(namespace, "pods", labelSelector=selector)
            found += [(namespace, pod) for pod in answer.get("items") or ()]
        return found

    def _watch(self, namespace: str) -> PodWatch:
        watch = self._watches.get(namespace)
        if watch is None:
            selector = {"labelSelector": pod_names.of_sessions(self._terms.installation)}

            def all_listed(asked: float) -> None:
                self._compare(namespace, asked)

            watch = self._watches[namespace] = PodWatch(self._cluster, namespace, selector, self._seen, all_listed)
        watch.open()
        self.records.open(namespace)
        self._strays.open()
        return watch

    def _take(self, session_id: int, namespace: str, pod: Object) -> _Driver:
        metadata = pod["metadata"]
        kept = PodLog(self._cluster, namespace, metadata["name"], self._dir / str(session_id))
        epoch = int(metadata["labels"][pod_names.EPOCH])
        driver = _Driver(session_id, namespace, metadata["name"], metadata["uid"], epoch, kept)
        self._drivers[session_id] = driver
        watch = self._watch(namespace)
        self.records.begin(session_id, driver.uid, watch)
        self._driver_seen(driver, watch.pods.get(driver.uid, pod), gone=False)
        return driver

    def _seen(self, pod: Object, gone: bool) -> None:
        """A pod of this installation's has changed."""
        labels = pod["metadata"].get("labels") or {}
        with contextlib.suppress(KeyError, ValueError):
            session_id = int(labels[pod_names.SESSION])
            if gone:
                self._ends.seen_gone(session_id)
            driver = self._drivers.get(session_id)
            if driver is None:
                return  # another gateway's
            if role_of(pod) == pod_names.EXECUTOR:
                self.records.seen(session_id, pod, gone=gone)
            elif driver.uid == pod["metadata"]["uid"]:
                self._driver_seen(driver, pod, gone=gone)

    def _compare(self, namespace: str, asked: float) -> None:
        """What is on no list is gone, though nobody saw it go."""
        listed = self._watches[namespace].pods
        for driver in list(self._drivers.values()):
            if driver.namespace == namespace and driver.since < asked and driver.uid not in listed:
                self._driver_seen(driver, driver.seen or {"metadata": {"name": driver.pod}}, gone=True)
        self.records.listed(self._watches[namespace])

    def _driver_seen(self, driver: _Driver, pod: Object, *, gone: bool) -> None:
        driver.seen = pod
        self.records.driver_seen(driver.session_id, pod, over=gone or pod_reasons.over(pod))
        if gone or pod_reasons.over(pod):
            self._report(driver, pod_reasons.driver_end(pod, gone=gone), ran=True)
        elif (why := pod_reasons.hopeless(pod)) is not None:
            self._report(driver, Ended(why, clean=False, explained=True), ran=False)
        else:
            if pod_reasons.running(pod):
                driver.kept.begin()
            self._tell(driver.session_id, pod_reasons.phase(pod))

    def _report(self, driver: _Driver, ended: Ended, *, ran: bool) -> None:
        if driver.reporting is None:
            name = f"end-of-{driver.pod}"
            driver.reporting = asyncio.create_task(self._tell_end(driver, ended, ran=ran), name=name)

    async def _tell_end(self, driver: _Driver, ended: Ended, *, ran: bool) -> None:
        if ran:
            # Why it ended is in its log, if anywhere: whoever hears of the end finds the log complete.
            await driver.kept.finish(LOG_SECONDS)
        if self._drivers.get(driver.session_id) is driver:
            self._when_ended(driver.session_id, ended)

    # End

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """Delete the pod and then what is left of its executors; asks until Kubernetes has none of them any more."""
        if handle is not None and session_id not in self._drivers:
            self._watch(handle["namespace"])
        await self.records.before_end(session_id)
        await self._ends.end(session_id, grace_seconds)
        await self.records.after_end(session_id)
        driver = self._drivers.pop(session_id, None)
        if driver is not None:
            await driver.kept.finish(LOG_SECONDS if driver.seen and pod_reasons.over(driver.seen) else FIRST_PAUSE)

    async def let_go(self, session_id: int) -> None:
        """Look away from a pod that another gateway watches now."""
        driver = self._drivers.pop(session_id, None)
        await self.records.let_go(session_id)
        if driver is not None:
            await driver.kept.stop()

    async def discard(self, handle: Handle) -> None:
        """End a pod that was made for nothing. Where Kubernetes is away, the sweep finds it."""
        pod = {"metadata": {"name": handle["pod"], "uid": handle["uid"]}}
        await self._objects.remove(handle["namespace"], pod)

    async def _end_stray(self, namespace: str, pod: Object) -> None:
        session_id = int(pod["metadata"]["labels"][pod_names.SESSION])
        known = self._drivers.get(session_id)
        if known is not None:
            # Of a later epoch it is another gateway's, which has the session now, and this one has not heard of it yet.
            unwanted = int(pod["metadata"]["labels"][pod_names.EPOCH]) < known.epoch
        else:
            unwanted = not await self._wanted(session_id)
        if unwanted:
            log.warning("stray_pod_ended", session=session_id, pod=pod["metadata"]["name"], namespace=namespace)
            await self._objects.remove(namespace, pod)

    def _has(self, pod: Object) -> bool:
        """Whether this is the pod of a driver that is looked after here."""
        known = self._drivers.get(int(pod["metadata"]["labels"][pod_names.SESSION]))
        return known is not None and known.uid == pod["metadata"]["uid"]

    # What is asked

    async def problem(self) -> str | None:
        """Whether drivers could be started, for whoever asks how the gateway is."""
        try:
            await self._cluster.all(self._terms.namespace, "pods", limit="1")
        except ClusterAway as away:
            return f"Kubernetes does not answer: {away}"
        except ClusterRefused as refused:
            return f"Kubernetes does not let the gateway see the pods of {self._terms.namespace}: {refused.sentence}"
        return None

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Whether that is the address of this session's own pod: all of its ports are its user's."""
        del handle
        driver = self._drivers.get(session_id)
        address = ((driver.seen or {}).get("status") or {}).get("podIP") if driver is not None else None
        return bool(address) and host == address and 0 < port < 65536

    async def memory(self, handles: Mapping[int, Handle | None]) -> dict[int, int]:
        """Bytes that each of these sessions' pods hold, where the cluster measures that."""
        drivers = [self._drivers[each] for each in handles if each in self._drivers]
        held = await self._memory.of({each.namespace for each in drivers})
        found: dict[int, int] = {}
        for driver in drivers:
            pods = [driver.pod, *(each.pod for each in self.records.living(driver.session_id))]
            if sizes := [held[driver.namespace, pod] for pod in pods if (driver.namespace, pod) in held]:
                found[driver.session_id] = sum(sizes)
        return found

    def memory_limit(self, session_id: int) -> int | None:
        """Bytes that a session's pods may take together."""
        driver = self._drivers.get(session_id)
        if driver is None or driver.seen is None:
            return None
        own = limit_of(pod_reasons.container_of(driver.seen, DRIVER_CONTAINER))
        return None if own is None else own + sum(each.memory or 0 for each in self.records.living(session_id))

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log as far as it was read."""
        return await asyncio.to_thread(self.log_of(session_id).page, first, size)

    def log_of(self, session_id: int) -> DriverLog:
        """The log itself."""
        return DriverLog(self._dir / str(session_id))

    def log_tail(self, session_id: int, lines: int) -> list[str]:
        """The end of the log."""
        return self.log_of(session_id).tail(lines)

    async def forget(self, session_id: int, *, keep_log: bool) -> None:
        """Remove the log unless kept."""
        await self.records.forget(session_id)
        if not keep_log:
            await asyncio.to_thread(shutil.rmtree, self._dir / str(session_id), ignore_errors=True)
