"""So many starts at a time, of sessions and batches alike: Spark's start takes all that a machine has."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LAUNCHING = "Starting the driver process."
_LAUNCHED = "The driver process is up; Spark is starting."


def launched(phase: str | None) -> str:
    """What a driver that was started waits for: a backend that knows it better has said so already."""
    return _LAUNCHED if phase in (None, LAUNCHING) else str(phase)


def too_late(seconds: float, phase: str | None) -> str:
    """Why a session that has not started in time is ended."""
    in_log = phase is None or phase.endswith("Spark is starting.")
    return f"Spark did not start within {seconds:g} s; {'the log says how far it came.' if in_log else phase}"


class Starts:
    """Gives turns, and tells who must wait behind how many."""

    def __init__(self, at_once: int, waited: Callable[[float], None]) -> None:
        """`waited` is told how many seconds each has waited for its turn."""
        self._at_once = at_once
        self._turns = asyncio.Semaphore(at_once)
        self._waited = waited
        self.waiting = 0

    @property
    def busy(self) -> bool:
        """Whether one who asked now would have to wait."""
        return self._turns.locked()

    @asynccontextmanager
    async def turn(self, say: Callable[[str], None]) -> AsyncIterator[None]:
        """One's turn to start, until the block is left."""
        asked = time.monotonic()
        if self._turns.locked():
            self.waiting += 1
            say(f"Waiting behind {self.waiting + self._at_once - 1} other starts.")
            try:
                await self._turns.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._turns.acquire()
        self._waited(time.monotonic() - asked)
        try:
            yield
        finally:
            self._turns.release()
