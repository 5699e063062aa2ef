"""How the cluster's commands speak: one line a step on the terminal, with the seconds of what takes long."""

from __future__ import annotations

import sys
import time
from typing import NoReturn


def say(message: str) -> None:
    """A line for whoever waits."""
    print(f"cluster: {message}", file=sys.stderr, flush=True)


def fail(message: str) -> NoReturn:
    """End with a sentence that says what would be right."""
    raise SystemExit(f"\ncluster: {message}")


class Step:
    """A long step: says so at once, then how it goes every ten seconds, then how long it took."""

    def __init__(self, what: str, every: float = 10.0) -> None:
        self._what = what
        self._every = every
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Step:
        say(f"{self._what} ...")
        return self

    def goes_on(self, how: str = "") -> None:
        """Called often; speaks rarely."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            say(f"  {now - self._began:.0f} s {how}".rstrip())

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is None:
            say(f"{self._what}: done in {time.monotonic() - self._began:.0f} s")
