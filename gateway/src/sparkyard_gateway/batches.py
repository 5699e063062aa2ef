"""Batches: how one is made, runs once, and ends with a reason.

A batch is written down before anything is started for it, with an attempt that is a row of its own. An attempt is
prepared, its handle is written down, and only then does it begin: so whatever moment a gateway dies in, the next one
can tell an attempt that never began, which it starts again, from one that did, which it only ever watches.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import structlog

from sparkyard_catalog import CatalogFile, SessionSpec
from sparkyard_gateway import batch_ends, ownership, policy
from sparkyard_gateway.admission import Admission, Room, check_batches_run
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.backends.base import AttemptEnd, BackendError, BatchBackend, Queues
from sparkyard_gateway.batch_applications import Carried, look_at_last, look_for_application, nothing_carried
from sparkyard_gateway.batch_news import BatchNews
from sparkyard_gateway.batch_patience import give_up_late
from sparkyard_gateway.batch_tasks import BatchTasks
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.metrics import Metrics
from sparkyard_gateway.names import check_name
from sparkyard_gateway.orders import batch_order, granted
from sparkyard_gateway.places import check_place
from sparkyard_gateway.starts import Starts
from sparkyard_gateway.states import BatchState
from sparkyard_gateway.store.batch_models import BatchEvent, NewBatch
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.store.repository import Limits
from sparkyard_gateway.times import now_ms
from sparkyard_gateway.wire import BatchRequest

DELETE_WAIT_SECONDS = 0.25
"""How long a DELETE waits to see the batch gone; what remains goes on behind it."""
LONGEST_START_SECONDS = 30.0
"""How long a batch that makes no Spark application counts as starting, for those who wait behind it."""
BEGIN_SECONDS = 0.1
"""How often an adopted attempt is looked at until it is known whether it has begun."""
MOST_RESTARTS = 3
"""How often an attempt that never began is prepared anew before the batch is given up."""
AGAIN_SECONDS = 1.0
"""How long after the database gave no answer it is asked again."""
LINES_TO_JUDGE = 400
LAST_WORD_SECONDS = 1.0
"""How long after all processes are gone the word of their supervisor may take to be read."""

log = structlog.get_logger(__name__)


class Batches:
    """All batches that clients may see, in memory."""

    def __init__(
        self,
        settings: Settings,
        store: BatchStore,
        backends: Mapping[str, BatchBackend],
        catalog: CatalogFile,
        metrics: Metrics,
        starts: Starts,
    ) -> None:
        self._settings = settings
        self._store = store
        self._backends = backends
        self._catalog = catalog
        self._metrics = metrics
        self._starts = starts
        self._tasks = BatchTasks()
        # Where several run: none is begun or ended before it is surely one's own.
        self.shared = False
        self.until_held: Callable[[], Awaitable[None]] = _at_once
        self.carried: Carried = nothing_carried
        self.live: dict[int, LiveBatch] = {}
        limits = Limits(settings.max_batches, settings.max_batches_per_user)
        self.admission = Admission("batch", Room("batches", limits, "wait for one, or delete it"), store, self.live)
        self.running: dict[int, LiveBatch] = {}
        """By attempt: every batch whose end was not seen, also those that were deleted."""
        self.news = BatchNews(self.running, store)

    # Who may see what

    def find(self, caller: Caller, reference: str) -> LiveBatch:
        """The batch of this id or name, if the caller may see it. Raises SessionNotFound."""
        return ownership.find(caller, reference, self.live)

    def visible(self, caller: Caller) -> list[LiveBatch]:
        """What the caller may see, oldest first."""
        return ownership.visible(caller, self.live.values())

    # Creation

    async def create(self, caller: Caller, request: BatchRequest, key: str | None) -> LiveBatch:
        """Write down a batch and begin to start it."""

        async def add(spec: SessionSpec, limits: Limits | None) -> LiveBatch:
            return await self._create(caller, request, key, spec, limits)

        return await self.admission.admit(caller.name, request.name, key, lambda: self.judge(caller, request), add)

    async def _create(
        self, caller: Caller, request: BatchRequest, key: str | None, spec: SessionSpec, limits: Limits | None
    ) -> LiveBatch:
        new = NewBatch(
            owner=caller.name,
            team=spec.team,
            name=request.name,
            profile=spec.profile,
            backend=self._settings.backend,
            request=request.model_dump(mode="json", by_alias=True, exclude_unset=True),
            spec=granted(spec, self._settings.backend, self._settings.livy_images),
            state=BatchState.STARTING,
            gateway=self._settings.instance,
            idempotency_key=key,
            created_at=now_ms(),
        )
        number, attempt = await self._store.add(new, "created", limits)
        batch = self.live[number] = LiveBatch.new(number, attempt, new)
        self._metrics.batches_created.labels(batch.profile).inc()
        log.info("batch_created", batch=number, user=batch.owner, profile=batch.profile)
        self.start(batch)
        return batch

    async def judge(self, caller: Caller, request: BatchRequest) -> SessionSpec:
        """What this request is granted; starts nothing. Raises Rejected or RefusedByPolicy."""
        check_name(request.name)
        check_batches_run(self._settings.backend, self._backends)
        # On a thread: a catalog that has just been edited is read and checked anew.
        await asyncio.to_thread(self._catalog.refresh)
        spec = policy.decide_batch(self._catalog.catalog, caller, request)
        check_place(self._settings, caller, spec, batch=True)
        return spec

    # Its run

    def start(self, batch: LiveBatch) -> None:
        """Run the batch's attempt, which has never begun."""
        self.running[batch.attempt] = batch
        self._tasks.spawn(batch, self._run(batch), "batch")

    def start_again(self, batch: LiveBatch) -> None:
        """As `start`. Where several gateways run, as another attempt: a frozen one may yet prepare this one."""
        if self.shared:
            self._tasks.spawn(batch, self._start_anew(batch), "anew")
        else:
            self.start(batch)

    async def _start_anew(self, batch: LiveBatch) -> None:
        while not (batch.ending or batch.ended.is_set()):
            try:
                attempt = await self._store.add_attempt(batch.id, batch.attempt, now_ms())
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self.running.pop(batch.attempt, None)
                batch.attempt = attempt
                self.start(batch)
                return

    async def _run(self, batch: LiveBatch) -> None:
        try:
            await self._run_in_turn(batch)
        except Exception:  # whatever it was, no batch may stay `starting` for it
            log.exception("batch_start_failed", batch=batch.id)
            self.end(batch, "The gateway met an error of its own when it started the batch; it is in its log.")

    async def _run_in_turn(self, batch: LiveBatch) -> None:
        async with self._starts.turn(batch.say):
            if batch.ending or batch.state.ended:
                return
            if not await self._prepare(batch):
                return
            await self.until_held()
            if batch.ending or batch.state.ended:
                return
            backend, handle = self._backends[batch.backend], batch.handle
            if not isinstance(backend, Queues):
                self.news.waits(batch.attempt, None)
            await backend.begin(batch.attempt)
            self._tasks.spawn(batch, give_up_late(batch, self._settings.start_timeout_seconds, self.end), "patience")
            self._tasks.spawn(batch, look_for_application(batch, backend, self._store), "application-of")
            await batch.changed.wait_until(
                lambda: batch.app_id is not None or batch.ending or batch.state.ended or batch.handle is not handle,
                LONGEST_START_SECONDS,
            )

    async def _prepare(self, batch: LiveBatch) -> bool:
        """Have the process made and write its handle down; returns whether it may begin."""
        batch.launching = True
        batch.say("Starting the batch's process.")
        try:
            handle = await self._backends[batch.backend].prepare(batch_order(batch, self._settings))
        except BackendError as error:
            self._finish(batch, BatchState.ERROR, str(error), None)
            return False
        finally:
            batch.launching = False
            batch.changed.fire()
        if batch.moved:
            await self._backends[batch.backend].abandon(batch.attempt, handle)
            return False
        batch.handle = handle
        written = asyncio.Event()
        self._store.update_soon(batch.id, attempt=batch.attempt, attempted={"handle": handle}, written=written.set)
        try:
            await asyncio.wait_for(written.wait(), self._settings.start_timeout_seconds)
        except TimeoutError:
            self.end(batch, "The gateway could not reach its database, so the batch was not run.")
        # It may have been deleted meanwhile, or its process ended and another was prepared.
        return not batch.ending and not batch.state.ended and batch.handle is handle

    def watch_adopted(self, batch: LiveBatch) -> None:
        """Follow an earlier gateway's attempt, whose process lives: it may not have begun yet, and never may."""
        self._tasks.spawn(batch, self._watch_adopted(batch), "adopted")

    async def _watch_adopted(self, batch: LiveBatch) -> None:
        handle, backend = batch.handle, self._backends[batch.backend]
        while not (await backend.end_of(batch.attempt)).began:
            # It hears what to run, or the end of its input, at once; or ends, and is prepared anew.
            await asyncio.sleep(BEGIN_SECONDS)
            if batch.ended.is_set() or batch.handle is not handle:
                return
            if self.shared and await backend.withhold(batch.attempt):
                # Its gateway may be frozen, and hold it for ever. It never begins now: its end is seen next.
                await backend.stop(batch.attempt, handle, 0)
                return
        if batch.state is BatchState.STARTING and not isinstance(backend, Queues):
            batch.state, batch.started_at = BatchState.RUNNING, batch.started_at or now_ms()
            batch.changed.fire()
        self._tasks.spawn(batch, give_up_late(batch, self._settings.start_timeout_seconds, self.end), "patience")
        if batch.app_id is None:
            await look_for_application(batch, self._backends[batch.backend], self._store)

    # Its end

    def attempt_ended(self, attempt: int, end: AttemptEnd) -> None:
        """A backend saw an attempt's end."""
        batch = self.running.get(attempt)
        if batch is not None:
            self._tasks.spawn(batch, self._after_end(batch, end), "ended")

    async def _after_end(self, batch: LiveBatch, end: AttemptEnd) -> None:
        if not end.began and end.verdict is None and not batch.ending and batch.restarts < MOST_RESTARTS:
            batch.restarts += 1
            batch.handle, batch.started_at, batch.state = None, None, BatchState.STARTING
            self._store.update_soon(
                batch.id, state=batch.state, attempt=batch.attempt, attempted={"handle": None, "started_at": None}
            )
            log.warning("batch_prepared_anew", batch=batch.id, user=batch.owner)
            self.start_again(batch)
            return
        backend = self._backends[batch.backend]
        await look_at_last(batch, backend, self.carried, self._store)
        _, _, lines = await backend.log_page(batch.attempt, -1, LINES_TO_JUDGE)
        state, reason = batch_ends.judge(end, lines)
        if batch.ending and state is not BatchState.SUCCESS:
            state, reason = BatchState.ERROR if batch.late else BatchState.KILLED, batch.reason or reason
        # What the backend still has of it is all that tells how it ended until that is written down.
        await self._finish(batch, state, reason, end.code).wait()
        await self._clean_up(batch)

    def _finish(self, batch: LiveBatch, state: BatchState, reason: str | None, code: int | None) -> asyncio.Event:
        """Nothing of it runs any more; the event is set once that is written down."""
        written = asyncio.Event()
        if batch.ended.is_set() or batch.moved:
            written.set()
            return written
        now = now_ms()
        batch.end(state, reason, code, now)
        self.running.pop(batch.attempt, None)
        detail = {"state": state, "code": code, "reason": reason or "", "app_id": batch.app_id or ""}
        self._store.update_soon(
            batch.id,
            state=state,
            reason=reason,
            ended_at=now,
            attempt=batch.attempt,
            attempted={"exit_code": code, "reason": reason, "ended_at": now},
            event=BatchEvent(at=now, batch_id=batch.id, event="ended", detail=detail),
            written=written.set,
        )
        self._metrics.batches_ended.labels(batch.profile, state).inc()
        if batch.started_at is not None:
            self._metrics.batch_seconds.observe(max(0, now - batch.started_at) / 1000)
        log.info("batch_ended", batch=batch.id, user=batch.owner, state=state, code=code, reason=reason)
        return written

    async def _clean_up(self, batch: LiveBatch) -> None:
        backend = self._backends[batch.backend]
        await backend.stop(batch.attempt, None, 0)
        await backend.forget(batch.attempt, keep_log=True)

    def end(self, batch: LiveBatch, reason: str) -> asyncio.Task[None]:
        """Begin to end a batch. The task ends when nothing of it runs any more."""
        if batch.task is None or batch.task.done():
            if not batch.ended.is_set():
                batch.ending, batch.reason = True, reason
                batch.changed.fire()
                log.info("batch_ending", batch=batch.id, user=batch.owner, reason=reason)
            batch.task = self._tasks.spawn(batch, self._end(batch), "end")
        return batch.task

    async def _end(self, batch: LiveBatch) -> None:
        if batch.ended.is_set():
            return
        backend = self._backends[batch.backend]
        # A process that is just being made has no handle yet to end it by.
        await batch.changed.wait_until(lambda: not batch.launching, self._settings.start_timeout_seconds)
        await self.until_held()
        if batch.moved:
            return
        await backend.stop(batch.attempt, batch.handle, self._settings.stop_grace_seconds)
        if batch.handle is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(batch.ended.wait(), LAST_WORD_SECONDS)
            if not batch.ended.is_set():
                await self._after_end(batch, await backend.end_of(batch.attempt))
        self._finish(batch, BatchState.ERROR if batch.late else BatchState.KILLED, batch.reason, None)
        await self._clean_up(batch)

    async def delete(self, batch: LiveBatch) -> None:
        """End a batch and show it no more."""
        now = now_ms()
        if not batch.removed:
            event = BatchEvent(at=now, batch_id=batch.id, event="deleted")
            await self._store.update(batch.id, removed_at=now, event=event)
            batch.removed = True
        ending = self.end(batch, "The batch was deleted.")
        await asyncio.wait({ending}, timeout=DELETE_WAIT_SECONDS)
        self.live.pop(batch.id, None)

    def hide(self, batch: LiveBatch) -> None:
        """Show an ended batch no more."""
        batch.removed = True
        self.live.pop(batch.id, None)
        self._store.update_soon(batch.id, removed_at=now_ms())

    # Another gateway's

    def let_go(self) -> None:
        """All batches are another gateway's now: nothing is written for them, begun or ended any more."""
        batches = {each.id: each for each in (*self.live.values(), *self.running.values())}
        self._store.lost.update(batches)
        self.live.clear()
        self.running.clear()
        self._tasks.let_go()
        for batch in batches.values():
            batch.moved = True
            batch.changed.close()
            self._tasks.spawn(batch, self._backends[batch.backend].let_go(batch.attempt), "let-go")

    def applications(self) -> list[tuple[str, str]]:
        """(owner, application) of those that run, as far as they are known."""
        return [(each.owner, each.app_id) for each in list(self.running.values()) if each.app_id is not None]

    def give_up(self, batch: LiveBatch, reason: str) -> None:
        """Nobody will ever see how it ends."""
        self._finish(batch, BatchState.DEAD, reason, None)

    async def log_page(self, batch: LiveBatch, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log of its last attempt."""
        return await self._backends[batch.backend].log_page(batch.attempt, first, size)

    def log_tail(self, batch: LiveBatch, lines: int) -> list[str]:
        """The end of that log."""
        return self._backends[batch.backend].log_tail(batch.attempt, lines)


async def _at_once() -> None:
    """With one gateway there is no doubt."""
