"""So many starts at a time, of sessions and batches alike: Spark's start takes all that a machine has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Starts:
    """Gives turns, and tells who must wait behind how many."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns = asyncio.Semaphore(at_once)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, say: Callable[[str], None]) -> AsyncIterator[None]:
        """One's turn to start, until the block is left."""
        if self._turns.locked():
            self._waiting += 1
            say(f"Waiting behind {self._waiting + self._at_once - 1} other starts.")
            try:
                await self._turns.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()
