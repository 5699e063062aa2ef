"""The processes a cell has started, for a cancel that has to reach them.

`os.system` and its like ignore SIGINT while they wait for their child, so interrupting Python alone would wait as long.
At a terminal Ctrl-C reaches the children as well. Here it reaches those that were born since the statement began, and
none of earlier cells; the JVM is older than every statement.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import List


def now_since_boot() -> float:
    """The clock in which the kernel tells when a process began; 0 where there is none."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else 0.0


def born_since(moment: float) -> List[int]:
    """The processes that this one has started after the moment, and those that they have started."""
    found = [child for child in _children("self") if _born(child) >= moment]
    for child in found:  # grows as it goes: a shell waits for its own child before it heeds SIGINT
        found += [grandchild for grandchild in _children(str(child)) if grandchild not in found]
    return found


def _children(process: str) -> List[int]:
    children: List[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as stream:
                children += [int(word) for word in stream.read().split()]
    return children


def interrupt(children: List[int]) -> None:
    """Send them what Ctrl-C sends."""
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGINT)


def _born(child: int) -> float:
    try:
        with open(f"/proc/{child}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK") + 0.01  # told in whole ticks
    except (OSError, ValueError, IndexError):
        return -1.0


def descendants(process: int) -> List[int]:
    """Everything that a process has started and that runs."""
    found = _children(str(process))
    for child in found:  # grows as it goes
        found += [grandchild for grandchild in _children(str(child)) if grandchild not in found]
    return found
