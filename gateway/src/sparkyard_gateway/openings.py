"""Histories on their way to be shown: each is opened once for all who wait, and goes on when who asked waits no longer.

A history server may take seconds, and a node that a cluster must first get takes minutes: longer than any proxy between
a browser and the gateway would wait. So a person is told after a moment, and asks again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sparkyard_gateway.errors import HistoryStarts
from sparkyard_gateway.subjects import Subject

MOST_KEPT = 100


class Openings:
    """Opens histories. How one failed is kept for whoever asks next; that it is open is not."""

    def __init__(self, opening: Callable[[Subject], Coroutine[Any, Any, None]]) -> None:
        self._opening = opening
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def wait(self, subject: Subject, seconds: float | None) -> None:
        """Return when it is open; None waits for as long as that takes.

        Raises HistoryStarts when it is not open after so many seconds, and what opening it raises.
        """
        key = (subject.area, subject.id)
        task = self._tasks.get(key)
        if task is None:
            self._make_room()
            task = self._tasks[key] = asyncio.create_task(self._opening(subject), name="history-opening")
            task.add_done_callback(_seen)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise HistoryStarts
        if self._tasks.get(key) is task:
            del self._tasks[key]
        await task

    async def close(self) -> None:
        """Give up what is not open yet."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_room(self) -> None:
        """Whoever asked for one that is over may never come back for it."""
        if len(self._tasks) >= MOST_KEPT:
            self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}


def _seen(task: asyncio.Task[None]) -> None:
    """Its failure is told to who asks next, and else to nobody."""
    if not task.cancelled():
        task.exception()
