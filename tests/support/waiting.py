"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# A busy machine may take long; what is awaited comes within a moment on a quiet one.
PATIENCE_SECONDS = 120.0


def until(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS, pause: float = 0.02) -> T:
    """What the condition gives, as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not become true within {seconds:.0f} s"
        time.sleep(pause)
    return found


async def until_async(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """The same, while the event loop of the test goes on."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not become true within {seconds:.0f} s"
        await asyncio.sleep(0.01)
    return found
