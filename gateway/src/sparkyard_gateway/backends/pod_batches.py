"""Batches as pods: one an attempt, made by the gateway itself, as sessions' drivers are (`kubernetes`).

An attempt runs at most once. Its pod is made with a scheduling gate, so no node ever gets it; its name and uid are
written down; and only then the gate is removed, on that very uid. The API server keeps both, so whoever comes later can
tell what has begun from what has not, and it decides between those who would let a pod begin and those who would have
it never begin:

    begin       removes the gate; nothing but that one change, and it may be asked for again
    withhold    deletes the pod as it was seen with its gate: where the gate has gone meanwhile, nothing is deleted

Kubernetes keeps a pod that has ended until the gateway deletes it, which it does once the end is written down. So an
end that no gateway saw is found at the next start.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends import pod_conf, pod_manifests, pod_names, pod_reasons
from sparkyard_gateway.backends.base import (
    Application,
    AttemptEnd,
    BackendError,
    BatchOrder,
    Handle,
    WhenAttemptEnded,
)
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.pod_attempt import LOST, NEVER, Attempt, ended
from sparkyard_gateway.backends.pod_ends import PodEnds
from sparkyard_gateway.backends.pod_log import PodLog
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import Terms
from sparkyard_gateway.backends.pod_records import PodRecords
from sparkyard_gateway.backends.pod_uis import PodUis
from sparkyard_gateway.backends.pod_watch import PodWatch
from sparkyard_gateway.backends.spark_application import plausible
from sparkyard_gateway.backends.stray_pods import StrayPods

Object = dict[str, Any]

LOG_SECONDS = 10.0
"""How long the rest of an ended driver's log may take."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
Tell = Callable[[int, str | None], None]
"""Told what an attempt that has begun waits for, as a sentence for its owner; None when it runs."""

Wanted = Callable[[int], Awaitable[bool]]
"""Whether an attempt of that number still may run, whichever gateway looks after it."""

log = structlog.get_logger(__name__)


class PodBatches:
    """The backend for batches on a Kubernetes cluster. Numbers are those of attempts."""

    name = "kubernetes"

    def __init__(
        self,
        cluster: Cluster,
        terms: Terms,
        batches_dir: Path,
        objects: PodObjects,
        uis: PodUis,
        when_ended: WhenAttemptEnded,
        tell: Tell,
        wanted: Wanted,
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._dir = batches_dir
        self._objects = objects
        self._uis = uis
        self._when_ended = when_ended
        self._tell = tell
        self._wanted = wanted
        self._attempts: dict[int, Attempt] = {}
        self._over: dict[int, AttemptEnd] = {}
        """How those ended that are not forgotten yet."""
        self._watches: dict[str, PodWatch] = {}
        self.records = PodRecords(cluster, batches_dir)
        self._ends = PodEnds(cluster, "attempt", self._pods_of)
        self._strays = StrayPods(self._watches, self._has, self._end_stray)
        batches_dir.mkdir(parents=True, exist_ok=True)

    def queues(self) -> bool:
        """A pod that may run waits for a node, and for its image."""
        return True

    async def close(self) -> None:
        """Look no more. The pods run on; one at its gate stays there, and the next gateway ends it."""
        await self._strays.close()
        for watch in self._watches.values():
            await watch.close()
        for held in self._attempts.values():
            await held.let_go()
        await self.records.close()
        await self._uis.close()
        await self._cluster.close()

    # Start

    async def prepare(self, order: BatchOrder) -> Handle:
        """Make the pod, at its gate, and what it needs to begin."""
        namespace = pod_conf.namespace(order, self._terms)
        self._watch(namespace)  # before the pod is there, so that nothing of it is missed
        await self._clear(order.attempt)
        pod = await self._objects.make(order)
        held = self._take(order.attempt, namespace, pod["metadata"]["name"], pod["metadata"]["uid"])
        self._driver_seen(held, self._watch(namespace).pods.get(held.uid, pod), gone=False)
        log.info("pod_made", attempt=order.attempt, pod=held.pod, namespace=namespace)
        return held.handle

    async def _clear(self, attempt: int) -> None:
        """End what a gateway left that died before it had written it down: this attempt's, and never begun."""
        self._over.pop(attempt, None)
        try:
            while found := await self._pods_of(attempt):
                for namespace, pod in found:
                    if not pod_reasons.gated(pod):
                        raise BackendError("The batch has begun already, by a gateway that this one knows nothing of.")
                    await self._delete_if_gated(namespace, pod)
                await asyncio.sleep(FIRST_PAUSE)
        except (ClusterAway, ClusterRefused) as error:
            log.warning("cluster_away", attempt=attempt, error=str(error))
            raise BackendError("Kubernetes does not let the gateway see what runs there. Try again later.") from error

    async def _delete_if_gated(self, namespace: str, pod: Object) -> None:
        """Delete it as it was seen; where it has changed, nothing is done."""
        try:
            await self._cluster.delete_as_seen(namespace, "pods", pod)
        except ClusterRefused as refused:
            if refused.status not in (404, 409):
                raise

    async def begin(self, attempt: int) -> None:
        """Remove the gate; asks until Kubernetes has answered."""
        held = self._attempts.get(attempt)
        pause = FIRST_PAUSE
        while held is not None and self._undecided(held) and not held.stopping:
            held.tried = True
            try:
                await self._cluster.merge(held.namespace, "pods", held.pod, pod_manifests.ungated(held.uid))
            except ClusterAway as away:
                log.warning("pod_not_begun_yet", attempt=attempt, error=str(away))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except ClusterRefused as refused:
                log.warning("pod_not_begun", attempt=attempt, status=refused.status, said=refused.sentence)
                why = f"The batch's pod was made, and Kubernetes does not let the gateway run it: {refused.sentence}"
                await self._withheld(held, AttemptEnd(None, began=False, verdict=why))
            else:
                held.begun = True

    async def withhold(self, attempt: int) -> bool:
        """Delete the pod as it is seen at its gate."""
        held = self._attempts.get(attempt)
        if held is None:
            return not self._over.get(attempt, LOST).began
        return await self._withheld(held, NEVER)

    async def _withheld(self, held: Attempt, end: AttemptEnd) -> bool:
        """As `withhold`; asks until Kubernetes has answered. `end` is how it ends, if it never begins."""
        pause = FIRST_PAUSE
        while self._undecided(held):
            try:
                pod = await self._cluster.find(held.namespace, "pods", held.pod)
                if pod is None or pod["metadata"]["uid"] != held.uid:
                    self._report(held, held.seen, gone=True)
                elif not pod_reasons.gated(pod):
                    self._driver_seen(held, pod, gone=False)
                else:
                    await self._delete_gated(held, pod, end)
            except ClusterAway as away:
                log.warning("cluster_away", attempt=held.number, error=str(away))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except ClusterRefused as refused:
                # Something about it has changed (409) or it is gone (404): look again.
                log.info("pod_not_withheld", attempt=held.number, said=refused.sentence)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return not self._over.get(held.number, LOST).began

    async def _delete_gated(self, held: Attempt, pod: Object, end: AttemptEnd) -> None:
        # The watch may see it go before the answer is here, and knows only that it is gone.
        async with held.withholding:
            if not self._undecided(held):
                return
            await self._cluster.delete_as_seen(held.namespace, "pods", pod)
        self._tell_at_once(held, end)

    def _undecided(self, held: Attempt) -> bool:
        """Whether it has neither begun nor ended, as far as is known."""
        return self._attempts.get(held.number) is held and not held.begun and held.reporting is None

    async def let_go(self, attempt: int) -> None:
        """Look away from a pod that another gateway watches now."""
        held = self._attempts.pop(attempt, None)
        await self.records.let_go(attempt)
        if held is not None:
            await held.let_go()

    async def abandon(self, attempt: int, handle: Handle) -> None:
        """End a pod that was made for nothing and stands at its gate. Where Kubernetes is away, the sweep finds it."""
        held = self._attempts.get(attempt)
        if held is not None and held.uid == handle["uid"]:
            await self.let_go(attempt)
        await self._objects.remove(handle["namespace"], {"metadata": {"name": handle["pod"], "uid": handle["uid"]}})

    # Watch

    def open(self, namespaces: frozenset[str]) -> None:
        """Watch these, also where no batch runs: what a gateway that died left there is to be ended."""
        for namespace in namespaces:
            self._watch(namespace)

    async def adopt(self, attempt: int, handle: Handle | None) -> Handle | None:
        """Look after the pod of this name and uid: at once, and how it is will be told when Kubernetes has answered.

        One that still stands at its gate never begins: its gateway is gone, or shall not have it any more. One that
        is gone has begun as far as anybody knows.
        """
        if handle is None:
            return None
        held = self._take(attempt, handle["namespace"], handle["pod"], handle["uid"])
        held.tried = True  # by its gateway, for all that is known
        held.settling = asyncio.create_task(self._withheld(held, NEVER), name=f"settle-{held.pod}")
        return held.handle

    async def _pods_of(self, attempt: int) -> list[tuple[str, Object]]:
        """An attempt's pods, in whichever namespace they are."""
        selector = pod_names.of_attempt(self._terms.installation, attempt)
        held = self._attempts.get(attempt)
        found = []
        for namespace in [held.namespace] if held is not None else list(self._watches):
            answer = await self._cluster.all(namespace, "pods", labelSelector=selector)
            found += [(namespace, pod) for pod in answer.get("items") or ()]
        return found

    def _watch(self, namespace: str) -> PodWatch:
        watch = self._watches.get(namespace)
        if watch is None:
            selector = {"labelSelector": pod_names.of_attempts(self._terms.installation)}
            watch = self._watches[namespace] = PodWatch(
                self._cluster, namespace, selector, self._seen, lambda asked: self._compare(namespace, asked)
            )
        watch.open()
        self.records.open(namespace)
        self._strays.open()
        return watch

    def _take(self, attempt: int, namespace: str, pod: str, uid: str) -> Attempt:
        kept = PodLog(self._cluster, namespace, pod, self._dir / str(attempt))
        self._over.pop(attempt, None)
        held = self._attempts[attempt] = Attempt(attempt, namespace, pod, uid, kept)
        self.records.begin(attempt, uid, self._watch(namespace))
        return held

    def _seen(self, pod: Object, gone: bool) -> None:
        """A pod of this installation's batches has changed."""
        labels = pod["metadata"].get("labels") or {}
        with contextlib.suppress(KeyError, ValueError):
            attempt = int(labels[pod_names.ATTEMPT])
            if gone:
                self._ends.seen_gone(attempt)
            held = self._attempts.get(attempt)
            if held is None:
                return  # another gateway's
            if self.records.seen(attempt, pod, gone=gone):
                app_id = labels.get(pod_names.SPARKS_OWN)
                held.app_id = app_id if plausible(app_id) else held.app_id
            elif held.uid == pod["metadata"]["uid"]:
                self._driver_seen(held, pod, gone=gone)

    def _compare(self, namespace: str, asked: float) -> None:
        """What is on no list is gone, though nobody saw it go."""
        listed = self._watches[namespace].pods
        for held in list(self._attempts.values()):
            if held.namespace == namespace and held.since < asked and held.uid not in listed:
                self._report(held, held.seen, gone=True)
        self.records.listed(self._watches[namespace])

    def _driver_seen(self, held: Attempt, pod: Object, *, gone: bool) -> None:
        held.seen = pod
        self.records.driver_seen(held.number, pod, over=gone or pod_reasons.over(pod))
        held.begun = held.begun or not pod_reasons.gated(pod)
        if gone or pod_reasons.over(pod):
            self._report(held, pod, gone=gone)
        elif not held.begun or held.stopping:
            return
        elif (why := pod_reasons.hopeless(pod)) is not None:
            self._tell_at_once(held, AttemptEnd(None, began=False, verdict=why))
        elif pod_reasons.running(pod):
            held.kept.begin()
            self._tell(held.number, None)
        else:
            self._tell(held.number, pod_reasons.phase(pod))

    # Its end

    def _report(self, held: Attempt, pod: Object | None, *, gone: bool) -> None:
        """Nothing of it runs any more."""
        if held.reporting is None and not held.withholding.locked() and self._attempts.get(held.number) is held:
            self._over.setdefault(held.number, ended(held, pod, gone=gone))
            held.reporting = asyncio.create_task(self._tell_end(held), name=f"end-of-{held.pod}")

    def _tell_at_once(self, held: Attempt, end: AttemptEnd) -> None:
        """It never ran, and never will: there is no log to wait for."""
        if held.reporting is None and self._attempts.get(held.number) is held:
            self._over.setdefault(held.number, end)
            held.reporting = asyncio.create_task(self._tell_end(held, ran=False), name=f"end-of-{held.pod}")

    async def _tell_end(self, held: Attempt, *, ran: bool = True) -> None:
        if ran and held.begun:
            # Why it ended is in its log, if anywhere: whoever hears of the end finds the log complete.
            await held.kept.finish(LOG_SECONDS)
        if self._attempts.get(held.number) is held:
            self._when_ended(held.number, self._over[held.number])

    async def end_of(self, attempt: int) -> AttemptEnd:
        """What was seen of its end. Of one that lives: whether it has begun, as far as is known."""
        held = self._attempts.get(attempt)
        if attempt in self._over or held is None:
            return self._over.get(attempt, LOST)
        return AttemptEnd(None, began=held.begun)

    async def stop(self, attempt: int, handle: Handle | None, grace_seconds: float) -> None:
        """Delete the pod and then what is left of its executors; asks until Kubernetes has none of them any more."""
        held = self._attempts.get(attempt)
        if held is not None:
            held.stopping = True
        elif handle is not None:
            self._watch(handle["namespace"])
        await self.records.before_end(attempt)
        await self._ends.end(attempt, grace_seconds)
        await self.records.after_end(attempt)
        if held is None or self._attempts.get(attempt) is not held:
            return
        if held.reporting is not None:
            await asyncio.wait({held.reporting})
        else:
            self._over.setdefault(attempt, ended(held, held.seen, gone=True))
            if held.begun:
                await held.kept.finish(FIRST_PAUSE)
        await self.let_go(attempt)

    async def forget(self, attempt: int, *, keep_log: bool) -> None:
        """Remove the log unless kept."""
        await self.records.forget(attempt)
        self._over.pop(attempt, None)
        if not keep_log:
            await asyncio.to_thread(shutil.rmtree, self._dir / str(attempt), ignore_errors=True)

    def tidy(self, limit: int, retention_seconds: float, running: frozenset[int]) -> None:
        """The logs lie beside those of batches on this machine, and these are looked after as one."""

    async def _end_stray(self, namespace: str, pod: Object) -> None:
        attempt = int(pod["metadata"]["labels"][pod_names.ATTEMPT])
        if attempt in self._attempts or not await self._wanted(attempt):
            log.warning("stray_pod_ended", attempt=attempt, pod=pod["metadata"]["name"], namespace=namespace)
            await self._objects.remove(namespace, pod)

    def _has(self, pod: Object) -> bool:
        """Whether this is the pod of an attempt that is looked after here."""
        held = self._attempts.get(int(pod["metadata"]["labels"][pod_names.ATTEMPT]))
        return held is not None and held.uid == pod["metadata"]["uid"]

    # What is asked

    async def application(self, attempt: int, handle: Handle) -> Application | None:
        """Ask the Spark UI at the pod's own address; where it is gone again, its executors' labels have told."""
        held = self._attempts.get(attempt)
        if held is None or held.uid != handle["uid"]:
            return None
        found = None
        if held.address and pod_reasons.running(held.seen or {}):
            found = await self._uis.application(attempt, held.address)
        return found or (Application(held.app_id) if held.app_id is not None else None)

    async def listens(self, attempt: int, handle: Handle | None, host: str, port: int) -> bool:
        """Whether that is the address of this attempt's own pod: all of its ports are its user's."""
        del handle
        held = self._attempts.get(attempt)
        return held is not None and bool(held.address) and host == held.address and 0 < port < 65536

    async def log_page(self, attempt: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log as far as it was read."""
        return await asyncio.to_thread(DriverLog(self._dir / str(attempt)).page, first, size)

    def log_tail(self, attempt: int, lines: int) -> list[str]:
        """The end of the log."""
        return DriverLog(self._dir / str(attempt)).tail(lines)
