"""The rounds in which an upstream Livy is asked about whatever is due, and left alone for longer and longer while it is
silent."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from sparkyard_gateway.backends.upstream import UpstreamAway, UpstreamRefused

FIRST_AWAY = 1.0
LONGEST_AWAY = 60.0
AT_A_TIME = 8

T = TypeVar("T")

log = structlog.get_logger(__name__)


class UpstreamRounds(Generic[T]):
    """One task that asks for all."""

    def __init__(
        self,
        due: Callable[[], Sequence[T]],
        look: Callable[[T], Awaitable[None]],
        when_away: Callable[[], None] | None = None,
        *,
        tick_seconds: float,
    ) -> None:
        """`look` asks about one that is `due`, and raises UpstreamAway or UpstreamRefused where it gets no answer."""
        self._due = due
        self._look = look
        self._when_away = when_away
        self._tick_seconds = tick_seconds
        self._task: asyncio.Task[None] | None = None
        self._away_until = self._away_pause = 0.0

    @property
    def away(self) -> bool:
        """Whether the upstream was silent when it was last asked."""
        return bool(self._away_pause)

    def go_on(self) -> None:
        """There is something to ask about."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="upstream-rounds")

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            try:
                await self._round()
            except Exception:  # the loop must outlive one bad round
                log.exception("upstream_poll_failed")

    async def _round(self) -> None:
        if time.monotonic() < self._away_until:
            return
        due = self._due()
        # While the upstream is away one question is enough to learn that it still is.
        step = 1 if self._away_pause else AT_A_TIME
        for first in range(0, len(due), step):
            looks = await asyncio.gather(*map(self._look, due[first : first + step]), return_exceptions=True)
            for look in looks:
                if isinstance(look, UpstreamAway | UpstreamRefused):
                    self._went_away(look, len(due))
                    return
                if isinstance(look, BaseException):
                    raise look
            if self._away_pause:
                log.info("upstream_back")
                self._away_pause = 0.0
                return

    def _went_away(self, error: Exception, due: int) -> None:
        if not self._away_pause:
            log.warning("upstream_away", error=str(error), due=due)
        if self._when_away is not None:
            self._when_away()
        self._away_pause = min(max(2 * self._away_pause, FIRST_AWAY), LONGEST_AWAY)
        self._away_until = time.monotonic() + self._away_pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
