"""Holding back an interrupt for the moment in which it could do harm.

Between sending a statement and learning its number an interrupt would leave it running with nobody able to cancel
it. So it waits for that answer, which the gateway gives within a fraction of a second. A second interrupt is not
held back: then the user does not want to wait for a gateway that hangs.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Raise a KeyboardInterrupt of the block only after it; in a thread that gets no signals, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt
