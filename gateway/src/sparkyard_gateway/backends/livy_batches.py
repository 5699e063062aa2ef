"""People's batches as batches of an upstream Apache Livy: each is posted there once, under a name that is its own.

    prepared      a name is settled and written down; nothing was posted, and after a crash nothing ever will be
    begun         it was posted, or may have been: an answer that got lost, or a gateway that was killed, says neither.
                  It is looked for by its name; where the upstream answers and knows none, it never arrived
    known         it has a number there, which is written down: from then on it has begun, whatever the upstream forgets
    over          when the upstream says so of that very batch, or knows it no more

The name stays the same however often the batch is prepared, and goes along as an idempotency key: an upstream that
takes it a second time, because the first was only late, refuses it as a duplicate or answers with the first.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sparkyard_gateway.backends import livy_ends, submission
from sparkyard_gateway.backends.base import (
    Application,
    AttemptEnd,
    BackendError,
    BatchOrder,
    Handle,
    WhenAttemptEnded,
)
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.submission import Terms
from sparkyard_gateway.backends.upstream import Batch, UpstreamAway, UpstreamLivy, UpstreamRefused
from sparkyard_gateway.backends.upstream_log import UpstreamLog
from sparkyard_gateway.backends.upstream_rounds import LONGEST_AWAY, UpstreamRounds

TICK_SECONDS = 0.25
FIRST_PAUSE = 1.0
SETTLE_SECONDS = 5.0
"""How long the upstream must answer that it knows no such batch, until it is taken that none was ever posted."""
FORGOTTEN_SECONDS = 15.0
"""How long a batch that it had must be unknown to it, until nobody will ever learn how that ended."""
PROOF_SECONDS = 3600.0
"""How long it holds that the upstream was seen to run something in its owner's name."""
FRESH_SECONDS = 1.0
MOST_A_SECOND = 20.0

AWAY = "The upstream Livy does not answer; it is asked again."

WhenAttemptWaits = Callable[[int, str | None], None]
"""Told what an attempt that has begun waits for, as a sentence for its owner; None as soon as it runs."""

WhenAttemptKnown = Callable[[int, Handle], None]
"""Told more of what an attempt is found again by; it is written down."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watch:
    """An attempt that is looked after. `body` is what will be posted, until it is; `posting` is held meanwhile; `sent`
    is false where the upstream surely never got it."""

    attempt: int
    name: str
    owner: str | None
    kept: UpstreamLog
    number: int | None = None
    body: Batch | None = None
    begun: bool = False
    sent: bool = True
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)
    pause: float = FIRST_PAUSE
    due: float = 0.0
    unknown_since: float | None = None
    logged_at: float = float("-inf")
    application: Application | None = None
    end: AttemptEnd | None = None


class LivyBatches:
    """The backend for batches at an upstream Livy."""

    name = "livy"

    def __init__(
        self,
        upstream: UpstreamLivy,
        terms: Terms,
        batches_dir: Path,
        when_ended: WhenAttemptEnded,
        when_waits: WhenAttemptWaits,
        when_known: WhenAttemptKnown,
        *,
        poll_seconds: float = 10.0,
    ) -> None:
        self._upstream = upstream
        self._terms = terms
        self._dir = batches_dir
        self._when_ended = when_ended
        self._when_waits = when_waits
        self._when_known = when_known
        self._poll_seconds = poll_seconds
        self._watches: dict[int, _Watch] = {}
        self._over: dict[int, _Watch] = {}
        self._rounds = UpstreamRounds(self._due, self._look, self._went_away, tick_seconds=TICK_SECONDS)
        self._proof, self._proven_until = asyncio.Lock(), 0.0
        batches_dir.mkdir(parents=True, exist_ok=True)

    def queues(self) -> bool:
        """What has begun may wait for the cluster: `when_waits` tells when it runs."""
        return True

    async def close(self) -> None:
        """Ask no more; what was posted runs on."""
        await self._rounds.close()
        await self._upstream.close()

    # Start

    async def prepare(self, order: BatchOrder) -> Handle:
        """Settle name and body; the upstream hears nothing yet."""
        name = submission.job_name(self._terms.namespace, order.key)
        owner = order.owner if self._terms.impersonate else None
        watch = _Watch(order.attempt, name, owner, UpstreamLog(self._folder(order.attempt)))
        watch.body = submission.job(order, self._terms, name)
        self._over.pop(order.attempt, None)
        self._watches[order.attempt] = watch
        return {"name": name, "as": owner}

    async def begin(self, attempt: int) -> None:
        """Post it, once; where no answer comes, it is looked for by its name."""
        watch = self._watches.get(attempt)
        if watch is None:
            return
        async with watch.posting:
            body, watch.body = watch.body, None
            if body is None or self._watches.get(attempt) is not watch:
                return
            watch.begun, watch.sent = True, False
            self._look_after(watch)
            try:
                await self._prove(watch.owner)
                watch.sent = True
                made = await self._upstream.submit(body, key=watch.name)
            except UpstreamAway as away:
                watch.sent = watch.sent and away.sent
                log.warning("upstream_away", attempt=attempt, error=str(away))
                self._when_waits(attempt, AWAY)
            except UpstreamRefused as refused:
                await self._refused(watch, refused)
            except BackendError as error:
                self._report(watch, AttemptEnd(None, told="error", said=str(error)))
            else:
                await self._known(watch, made)

    async def _prove(self, owner: str | None) -> None:
        """See that the upstream runs things in their owner's name, by a program of ours that only says how it is used.

        A Livy without impersonation ignores the wish and says so when the batch has started: a person's code would
        have run as Livy's own user by then. Raises BackendError.
        """
        if owner is None:
            return
        async with self._proof:
            if time.monotonic() < self._proven_until:
                return
            name = f"sparkyard-{self._terms.namespace}-probe-{secrets.token_hex(8)}"
            made = await self._upstream.submit(submission.probe(self._terms, name, owner), key=name)
            with contextlib.suppress(UpstreamAway, UpstreamRefused):
                await self._upstream.delete(int(made["id"]))
            if made.get("proxyUser") != owner:
                raise BackendError(livy_ends.NOT_IN_YOUR_NAME)
            self._proven_until = time.monotonic() + PROOF_SECONDS

    async def _refused(self, watch: _Watch, refused: UpstreamRefused) -> None:
        if livy_ends.is_duplicate(refused.sentence):
            return  # it has arrived before, and will be found
        log.warning("batch_refused", attempt=watch.attempt, status=refused.status, said=refused.sentence)
        with contextlib.suppress(UpstreamAway, UpstreamRefused):
            # Livy lists what it refused as starting for ever, and keeps its name taken.
            if (phantom := await self._find(watch)) is not None:
                await self._upstream.delete(int(phantom["id"]))
        said = f"The upstream Livy refused to start the batch: {refused.sentence}"
        self._report(watch, AttemptEnd(None, told="error", said=said))

    async def _known(self, watch: _Watch, found: Batch) -> bool:
        """It is there. Returns whether it may go on."""
        if watch.number is None:
            if watch.owner is not None and found.get("proxyUser") != watch.owner:
                await self._upstream.delete(int(found["id"]))
                self._proven_until = 0.0
                self._report(watch, AttemptEnd(None, told="error", said=livy_ends.NOT_IN_YOUR_NAME))
                return False
            watch.number = int(found["id"])
            log.info("batch_submitted", attempt=watch.attempt, batch=watch.number, name=watch.name)
            self._when_known(watch.attempt, {"name": watch.name, "as": watch.owner, "batch": watch.number})
        watch.application = livy_ends.application(found) or watch.application
        return True

    # Watch

    async def adopt(self, attempt: int, handle: Handle | None) -> Handle | None:
        """Watch it again, without asking; without a handle nothing was posted."""
        if handle is None:
            return None
        watch = self._of_handle(attempt, handle)
        self._over.pop(attempt, None)
        self._watches[attempt] = watch
        self._look_after(watch)
        return handle

    def _of_handle(self, attempt: int, handle: Handle) -> _Watch:
        kept = UpstreamLog(self._folder(attempt))
        return _Watch(attempt, handle["name"], handle.get("as"), kept, handle.get("batch"), begun=True)

    async def withhold(self, attempt: int) -> bool:
        """It cannot be withheld: whether it was posted shows at the upstream, and a late post finds its name taken."""
        del attempt
        return False

    async def let_go(self, attempt: int) -> None:
        """Look away; what was not posted is not."""
        watch = self._watches.pop(attempt, None)
        if watch is not None:
            watch.body = None

    async def abandon(self, attempt: int, handle: Handle) -> None:
        """Forget what was never posted."""
        watch = self._watches.get(attempt)
        if watch is not None and watch.name == handle["name"] and not watch.begun:
            await self.let_go(attempt)

    async def end_of(self, attempt: int) -> AttemptEnd:
        """How it ended; of one that is not over, whether it has begun as far as is known."""
        watch = self._watches.get(attempt)
        if watch is not None:
            return AttemptEnd(None, began=watch.number is not None)
        over = self._over.get(attempt)
        return (over.end if over is not None else None) or AttemptEnd(None)

    async def application(self, attempt: int, handle: Handle) -> Application | None:
        """What the upstream names."""
        del handle
        watch = self._watches.get(attempt) or self._over.get(attempt)
        return watch.application if watch is not None else None

    def _look_after(self, watch: _Watch) -> None:
        watch.due = time.monotonic() + min(FIRST_PAUSE, self._poll_seconds)
        self._rounds.go_on()

    def _due(self) -> list[_Watch]:
        now = time.monotonic()
        return [each for each in self._watches.values() if each.begun and now >= each.due and not each.posting.locked()]

    def _went_away(self) -> None:
        self._proven_until = 0.0  # it may come back as another

    async def _look(self, watch: _Watch) -> None:
        found = await self._find(watch)
        if not self._is_watched(watch):
            return
        if found is None:
            self._unknown(watch)
            return
        watch.unknown_since = None
        if not await self._known(watch, found):
            return
        await self._take_log(watch)
        if not self._is_watched(watch):
            return
        state = str(found.get("state"))
        if (end := livy_ends.end_of(found, watch.kept.lines)) is not None:
            self._when_waits(watch.attempt, None)
            self._report(watch, end)
            return
        self._when_waits(watch.attempt, livy_ends.PHASES.get(state))
        steady = max(self._poll_seconds, len(self._watches) / MOST_A_SECOND)
        watch.pause = min(1.5 * watch.pause, steady)
        watch.due = time.monotonic() + watch.pause

    async def _find(self, watch: _Watch) -> Batch | None:
        """The batch of that name: a number alone may be another's after the upstream was started anew."""
        found = await self._upstream.find(watch.name if watch.number is None else watch.number)
        return found if found is not None and found.get("name") == watch.name else None

    def _is_watched(self, watch: _Watch) -> bool:
        return self._watches.get(watch.attempt) is watch and not watch.posting.locked()

    def _unknown(self, watch: _Watch) -> None:
        now = time.monotonic()
        watch.due = now + min(FIRST_PAUSE, self._poll_seconds)
        if watch.unknown_since is None:
            watch.unknown_since = now
        elif watch.number is None and not (watch.sent and now - watch.unknown_since <= SETTLE_SECONDS):
            self._report(watch, AttemptEnd(None, began=False))
        elif now - watch.unknown_since > FORGOTTEN_SECONDS:
            log.warning("batch_forgotten_by_upstream", attempt=watch.attempt, batch=watch.number)
            self._report(watch, AttemptEnd(None, told="error", said=livy_ends.FORGOTTEN))

    def _report(self, watch: _Watch, end: AttemptEnd) -> None:
        if self._set_over(watch, end):
            self._when_ended(watch.attempt, end)

    def _set_over(self, watch: _Watch, end: AttemptEnd) -> bool:
        if self._watches.get(watch.attempt) is not watch:
            return False
        del self._watches[watch.attempt]
        watch.end = end
        self._over[watch.attempt] = watch
        return True

    # End

    async def stop(self, attempt: int, handle: Handle | None, grace_seconds: float) -> None:
        """Delete it there; asks until the upstream has answered, as nothing else can end it."""
        del grace_seconds  # the upstream has its own
        watch = self._watches.get(attempt)
        if watch is None:
            if handle is None or attempt in self._over:
                return
            watch = self._watches[attempt] = self._of_handle(attempt, handle)
        # What is just being posted has its answer first, and nothing is posted after.
        async with watch.posting:
            watch.body = None
            if not (watch.begun and watch.sent):
                self._set_over(watch, AttemptEnd(None, began=False))
                return
        pause = FIRST_PAUSE
        while self._watches.get(attempt) is watch:
            try:
                if await self._stopped(watch):
                    return
                await asyncio.sleep(min(FIRST_PAUSE, self._poll_seconds))
            except UpstreamAway as away:
                log.warning("batch_not_ended_yet", attempt=attempt, error=str(away))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_AWAY)
            except UpstreamRefused as refused:
                log.warning("batch_not_ended", attempt=attempt, said=refused.sentence)
                self._set_over(watch, AttemptEnd(None, asked=True))

    async def _stopped(self, watch: _Watch) -> bool:
        """Ask once; returns whether nothing is left to be ended."""
        found = await self._find(watch)
        if found is None:
            now = time.monotonic()
            watch.unknown_since = watch.unknown_since or now
            # What was posted a moment ago by a gateway that died may be on its way.
            if watch.number is None and now - watch.unknown_since <= SETTLE_SECONDS:
                return False
            self._set_over(watch, AttemptEnd(None, began=watch.number is not None, asked=True))
            return True
        watch.number = int(found["id"])
        watch.application = livy_ends.application(found) or watch.application
        await self._take_log(watch)
        end = livy_ends.end_of(found, watch.kept.lines)
        if end is None:
            await self._upstream.delete(watch.number)
        self._set_over(watch, end or AttemptEnd(None, asked=True))
        return True

    # Log

    async def log_page(self, attempt: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log, as fresh as the upstream has it."""
        watch = self._watches.get(attempt)
        if watch is not None and watch.number is not None and time.monotonic() - watch.logged_at > FRESH_SECONDS:
            with contextlib.suppress(UpstreamAway, UpstreamRefused):
                await self._take_log(watch)
        return await asyncio.to_thread(DriverLog(self._folder(attempt)).page, first, size)

    def log_tail(self, attempt: int, lines: int) -> list[str]:
        """The end of the log as it was when last looked at."""
        return DriverLog(self._folder(attempt)).tail(lines)

    def tidy(self, limit: int, retention_seconds: float, running: frozenset[int]) -> None:
        """Its folders lie among those of batches on this machine, and are tidied with them."""

    async def forget(self, attempt: int, *, keep_log: bool) -> None:
        """Remove the log unless kept; the batch's entry is the upstream's to forget."""
        self._over.pop(attempt, None)
        if not keep_log:
            await asyncio.to_thread(shutil.rmtree, self._folder(attempt), ignore_errors=True)

    async def _take_log(self, watch: _Watch) -> None:
        if watch.number is None:
            return
        lines, whole = await self._upstream.log(watch.number)
        watch.logged_at = time.monotonic()
        try:
            await asyncio.to_thread(watch.kept.take, lines, whole=whole)
        except OSError as error:
            log.warning("log_not_kept", attempt=watch.attempt, error=error.strerror)

    def _folder(self, attempt: int) -> Path:
        return self._dir / str(attempt)
