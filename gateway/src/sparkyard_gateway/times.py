"""Points and spans of time: milliseconds since the epoch, and Spark's time strings.

What is shown and written down is the wall clock's (`now_ms`), which somebody may set at any time; what lasts is
measured by `steady_ms` alone.
"""

import re
import time

_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d{1,15})\s*([a-z]*)", re.ASCII)


def now_ms() -> int:
    """This moment, as Livy's ``started`` and ``completed`` count it."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """A clock for durations: it never jumps, and means nothing to another process."""
    return time.monotonic_ns() // 1_000_000


def span_seconds(text: str) -> float:
    """Seconds of a span such as ``30m`` or ``2h``; a bare number is milliseconds, as in Livy.

    Raises ValueError for anything else.
    """
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]
