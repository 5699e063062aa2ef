"""Drivers as batches of an upstream Apache Livy, as EMR and YARN have it: one batch a session, which dials back to us.

The upstream starts our driver program with spark-submit and knows nothing of statements: these go over the driver's own
connection, as everywhere. All we ask it is to start a batch, how it is, what it logged, and to end it.

    found again   by its number and its name; a number alone may be another's after the upstream was started anew
    dead          when the upstream says so of that very batch, or knows it no more and no driver is on the line
    silence       an upstream that does not answer says nothing: we ask it again, at longer and longer intervals

One task asks for all: often while a driver starts or its connection has just gone, at a steady pace while it is
on the line.
"""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from sparkyard_gateway.backends import last_words, submission
from sparkyard_gateway.backends.base import BackendAway, BackendError, DriverOrder, Ended, Handle, WhenEnded
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.submission import Terms
from sparkyard_gateway.backends.upstream import Batch, UpstreamAway, UpstreamLivy, UpstreamRefused
from sparkyard_gateway.backends.upstream_log import UpstreamLog
from sparkyard_gateway.backends.upstream_rounds import LONGEST_AWAY, UpstreamRounds

TICK_SECONDS = 0.5
FIRST_PAUSE = 1.0
LOG_SECONDS = 60.0
"""How old the kept log of a driver on the line may be; a page of it is fetched afresh."""
FRESH_SECONDS = 1.0
FORGOTTEN_SECONDS = 15.0
"""How long a batch must be unknown to the upstream, with no driver on the line, until it is given up."""
MOST_A_SECOND = 20.0
"""How many batches are asked about in a second at most, however many there are."""
ENDED = frozenset({"success", "dead", "killed", "error"})

OnTheLine = Callable[[int], bool]
"""Whether a session's driver is connected to this gateway at the moment."""

Tell = Callable[[int, str], None]
"""Told what a driver that is starting waits for, as a sentence for its owner."""

_PHASES = {
    "not_started": "The upstream Livy has not submitted the driver yet.",
    "starting": "The upstream Livy has submitted the driver; the cluster has not started it yet.",
    "running": "The upstream Livy runs the driver; Spark is starting.",
}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watch:
    """A batch that is looked after."""

    session_id: int
    name: str
    number: int
    kept: UpstreamLog
    pause: float = FIRST_PAUSE
    due: float = 0.0
    was_on_line: bool = False
    unknown_since: float | None = None
    logged_at: float = field(default=float("-inf"))
    spark_ui: str | None = None


class LivyBackend:
    """The backend for an upstream Livy."""

    name = "livy"

    def __init__(
        self,
        upstream: UpstreamLivy,
        terms: Terms,
        sessions_dir: Path,
        when_ended: WhenEnded,
        on_the_line: OnTheLine,
        tell: Tell,
        *,
        poll_seconds: float = 10.0,
    ) -> None:
        self._upstream = upstream
        self._terms = terms
        self._dir = sessions_dir
        self._when_ended = when_ended
        self._on_the_line = on_the_line
        self._tell = tell
        self._poll_seconds = poll_seconds
        self._watches: dict[int, _Watch] = {}
        self._over: set[int] = set()
        self._rounds = UpstreamRounds(self._due, self._look, tick_seconds=TICK_SECONDS)
        sessions_dir.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Ask no more; the batches run on."""
        await self._rounds.close()
        await self._upstream.close()

    # Start

    async def start(self, order: DriverOrder) -> Handle:
        """Submit the batch. Where the answer got lost, look whether it was taken."""
        name = submission.batch_name(self._terms.namespace, order.session_id, order.epoch)
        try:
            made = await self._submit(submission.batch(order, self._terms), name)
        except UpstreamRefused as refused:
            log.warning("batch_refused", session=order.session_id, status=refused.status, said=refused.sentence)
            raise BackendError(f"The upstream Livy refused to start the driver: {refused.sentence}") from refused
        except UpstreamAway as away:
            log.warning("upstream_away", session=order.session_id, error=str(away))
            raise BackendError(
                "The driver could not be started: the upstream Livy does not answer. Try again in a while."
            ) from away
        number = int(made["id"])
        if self._terms.impersonate and made.get("proxyUser") != order.owner:
            await self._end(number, name)
            raise BackendError(
                "The upstream Livy would not run the driver in your name, so it was not started: "
                "an operator must turn on livy.impersonation.enabled there, or livy_impersonate off here."
            )
        self._watch(order.session_id, name, number)
        log.info("batch_submitted", session=order.session_id, batch=number, name=name)
        return {"batch": number, "name": name}

    async def _submit(self, body: Batch, name: str) -> Batch:
        try:
            return await self._upstream.submit(body)
        except UpstreamAway:
            # It may have been taken, and only the answer was lost.
            found = await self._upstream.find(name)
            if found is None or found.get("name") != name:
                raise
            return found

    # Watch

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Watch the batch again, without asking: it is alive until the upstream says otherwise.

        Without a handle it is looked for by its name. Raises BackendAway where the upstream does not answer.
        """
        if handle is None:
            try:
                handle = await self._find_by_name(session_id)
            except (UpstreamAway, UpstreamRefused) as error:
                log.warning("upstream_away", session=session_id, error=str(error))
                raise BackendAway("The upstream Livy does not answer; it is asked again.") from error
            if handle is None:
                return None
        self._watch(session_id, handle["name"], handle["batch"])
        return handle

    async def _find_by_name(self, session_id: int) -> Handle | None:
        newest, handle = -1, None
        async for each in self._upstream.all():
            epoch = submission.epoch_of(each.get("name"), self._terms.namespace, session_id)
            if epoch is not None and epoch > newest and each.get("state") not in ENDED:
                newest, handle = epoch, {"batch": int(each["id"]), "name": str(each["name"])}
        return handle

    def _watch(self, session_id: int, name: str, number: int) -> None:
        self._over.discard(session_id)
        kept = UpstreamLog(self._dir / str(session_id))
        self._watches[session_id] = _Watch(session_id, name, number, kept)
        self._rounds.go_on()

    def _due(self) -> list[_Watch]:
        now = time.monotonic()
        return [each for each in self._watches.values() if self._is_due(each, now)]

    def _is_due(self, watch: _Watch, now: float) -> bool:
        on_line = self._on_the_line(watch.session_id)
        if watch.was_on_line and not on_line:
            # It may have died this moment.
            watch.pause, watch.due = FIRST_PAUSE, now
        watch.was_on_line = on_line
        return now >= watch.due

    async def _look(self, watch: _Watch) -> None:
        found = await self._batch_of(watch)
        now = time.monotonic()
        if self._watches.get(watch.session_id) is not watch:
            return
        if found is None:
            self._unknown(watch, now)
            return
        watch.unknown_since = None
        watch.spark_ui = (found.get("appInfo") or {}).get("sparkUiUrl")
        if found.get("state") in ENDED:
            await self._take_log(watch)
            state = str(found["state"])
            why = last_words.why(state, watch.kept.lines)
            self._report(watch, Ended(why, clean=state == "success", explained=True))
            return
        if not watch.was_on_line:
            self._tell(watch.session_id, _PHASES.get(str(found.get("state")), _PHASES["running"]))
        if not watch.was_on_line or now - watch.logged_at > LOG_SECONDS:
            await self._take_log(watch)
        steady = max(self._poll_seconds, len(self._watches) / MOST_A_SECOND)
        watch.pause = steady if watch.was_on_line else min(1.5 * watch.pause, steady)
        watch.due = now + watch.pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    async def _batch_of(self, watch: _Watch) -> Batch | None:
        """The watch's batch, if what the upstream has under that number is still it."""
        found = await self._upstream.find(watch.number)
        return found if found is not None and found.get("name") == watch.name else None

    def _unknown(self, watch: _Watch, now: float) -> None:
        watch.due = now + FIRST_PAUSE
        if watch.was_on_line:
            # The upstream was started anew without its memory. The driver is well, and we still have its line.
            if watch.unknown_since is None:
                log.warning("batch_forgotten_by_upstream", session=watch.session_id, batch=watch.number)
            watch.unknown_since = now
            watch.due = now + self._poll_seconds
        elif watch.unknown_since is None:
            watch.unknown_since = now
        elif now - watch.unknown_since > FORGOTTEN_SECONDS:
            reason = (
                "The upstream Livy no longer knows the driver's batch, and the driver is not connected: somebody "
                "deleted it there, or that Livy was started anew."
            )
            self._report(watch, Ended(reason, clean=False, explained=True))

    def _report(self, watch: _Watch, ended: Ended) -> None:
        if self._watches.get(watch.session_id) is watch:
            del self._watches[watch.session_id]
            self._over.add(watch.session_id)
            self._when_ended(watch.session_id, ended)

    # End

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """Delete the batch; asks until the upstream has answered, as nothing else can end it."""
        del grace_seconds  # The driver was asked over its line, and had its time.
        watch = self._watches.pop(session_id, None)
        if watch is not None:
            handle = {"batch": watch.number, "name": watch.name}
        elif handle is None and session_id in self._over:
            self._over.discard(session_id)
            return
        pause = FIRST_PAUSE
        while True:
            try:
                # Without a handle it may have been submitted all the same, and only the answer was lost.
                handle = handle or await self._find_by_name(session_id)
                if watch is not None:
                    await self._take_log(watch)
                if handle is not None:
                    await self._end(handle["batch"], handle["name"])
            except UpstreamAway as away:
                log.warning("batch_not_ended_yet", session=session_id, error=str(away))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_AWAY)
            except UpstreamRefused as refused:
                log.warning("batch_not_ended", session=session_id, said=refused.sentence)
                return
            else:
                return

    async def _end(self, number: int, name: str) -> None:
        """Delete a batch if it is the one of that name and still runs."""
        found = await self._upstream.find(number)
        if found is not None and found.get("name") == name and found.get("state") not in ENDED:
            await self._upstream.delete(number)

    async def let_go(self, session_id: int) -> None:
        """Look away from a batch that another gateway watches now."""
        self._watches.pop(session_id, None)

    async def discard(self, handle: Handle) -> None:
        """End a batch that was submitted for nothing. Where the upstream is away, its claim has to do: it is void."""
        try:
            await self._end(handle["batch"], handle["name"])
        except (UpstreamAway, UpstreamRefused) as error:
            log.warning("batch_not_ended", batch=handle["batch"], error=str(error))

    async def problem(self) -> str | None:
        """Whether drivers could be started, for whoever asks how the gateway is."""
        if self._rounds.away:
            return "The upstream Livy does not answer."
        try:
            await self._upstream.find("sparkyard-nobody")
        except (UpstreamAway, UpstreamRefused) as error:
            return f"The upstream Livy does not answer: {error}"
        return None

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Whether the upstream itself names this address as the batch's Spark UI.

        The driver's word is its user's: it could name any host that the gateway reaches. Behind YARN's own proxy the
        upstream names that proxy, which is not the driver's address, so there is no page then rather than a guess.
        """
        del handle
        watch = self._watches.get(session_id)
        if watch is None or not watch.spark_ui:
            return False
        try:
            vouched = urlsplit(watch.spark_ui)
            named = (vouched.scheme, vouched.hostname, vouched.port)
        except ValueError:
            return False
        return named == ("http", host, port)

    # Log

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log, as fresh as the upstream has it."""
        watch = self._watches.get(session_id)
        if watch is not None and time.monotonic() - watch.logged_at > FRESH_SECONDS:
            with contextlib.suppress(UpstreamAway, UpstreamRefused):
                await self._take_log(watch)
        return await asyncio.to_thread(DriverLog(self._dir / str(session_id)).page, first, size)

    def log_tail(self, session_id: int, lines: int) -> list[str]:
        """The end of the log as it was when last looked at."""
        return DriverLog(self._dir / str(session_id)).tail(lines)

    async def forget(self, session_id: int, *, keep_log: bool) -> None:
        """Remove the log unless kept; the batch's entry is the upstream's to forget."""
        if not keep_log:
            await asyncio.to_thread(shutil.rmtree, self._dir / str(session_id), ignore_errors=True)

    async def _take_log(self, watch: _Watch) -> None:
        lines, whole = await self._upstream.log(watch.number)
        watch.logged_at = time.monotonic()
        try:
            await asyncio.to_thread(watch.kept.take, lines, whole=whole)
        except OSError as error:
            log.warning("log_not_kept", session=watch.session_id, error=error.strerror)
