"""What the JVM says of an exception: its message and its frames, as Livy's SQL interpreter words them."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

_PLACE = re.compile(r"\bline (\d+),? pos ")
_JAVA_FRAME = re.compile(r"^\tat (.+)$")
_OUR_FRAMES = ("py4j.", "jdk.internal.reflect.", "java.base/jdk.internal.reflect.", "sun.reflect.")


def origin_of(error: BaseException) -> Any:
    """The Java exception behind one of pyspark's or Py4J's, or None."""
    return getattr(error, "_origin", None) or getattr(error, "java_exception", None)


def told_by_java(error: Exception) -> Optional[Dict[str, Any]]:
    """Livy's answer to an exception of the JVM; None if it is none of the JVM's."""
    origin = origin_of(error)
    if origin is None:
        return None
    try:
        from pyspark import SparkContext  # noqa: PLC0415  there is one, if there is such an error

        java: Any = SparkContext._jvm  # noqa: SLF001  pyspark has no public word for it
        text = str(java.org.apache.spark.util.Utils.exceptionString(origin))
        message = origin.getMessage() or str(origin.toString())
    except Exception:  # noqa: BLE001  the JVM may be gone meanwhile
        return None
    place = _PLACE.search(message)
    line = int(place.group(1)) if place else None
    return {
        "ename": "Error",
        "evalue": message,
        "traceback": java_frames(text),
        "trace": {"line": line, "frames": [], "full": text},
    }


def root_message(error: BaseException) -> str:
    """The innermost cause in one line, for someone who waits for a session."""
    origin = origin_of(error)
    try:
        while origin is not None and origin.getCause() is not None:
            origin = origin.getCause()
        text = str(origin.getMessage() or origin.toString()) if origin is not None else str(error)
    except Exception:  # noqa: BLE001  the JVM may be gone meanwhile
        text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first or type(error).__name__


def java_frames(text: str) -> List[str]:
    """The frames of the first exception in a Java stack trace, up to where Py4J called."""
    frames: List[str] = []
    for line in text.splitlines():
        if line.startswith("Caused by:"):
            break
        found = _JAVA_FRAME.match(line)
        if found:
            if found.group(1).startswith(_OUR_FRAMES):
                break
            frames.append(found.group(1))
    return frames
