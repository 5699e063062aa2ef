"""The gateway on a machine whose clock somebody sets: `python -m support.gateway_with_clock`, with options as usual.

By how many seconds the clock is wrong stands in the file that SPARKYARD_TEST_CLOCK names, and is read at each look at
the clock.
"""

import os
import time
from pathlib import Path

from sparkyard_gateway.command import main

_FILE = Path(os.environ["SPARKYARD_TEST_CLOCK"])
_time_ns = time.time_ns


def _wrong_ns() -> int:
    return int(float(_FILE.read_text() or 0) * 1e9)


time.time_ns = lambda: _time_ns() + _wrong_ns()
time.time = lambda: time.time_ns() / 1e9

if __name__ == "__main__":
    main()
