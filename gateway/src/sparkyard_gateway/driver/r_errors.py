"""An error of R, told twice: as Livy words errors, and whole, with the line of the cell.

R tells of a call where it was made. `traceback` has the calls as R's own `traceback()` lists them; a frame of `trace`
is a function and the line in it that called the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

from .tracebacks import cell_name

_JAVA_FRAME = re.compile(r"^\tat ", re.MULTILINE)
_CAUSE = re.compile(r"^Caused by: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """A call on R's stack; `file` and `line` are where it was made, where R knows."""

    file: str
    line: Optional[int]
    name: str
    text: str

    @property
    def shown(self) -> str:
        """As R shows it."""
        return f"{self.text} at {self.file}#{self.line}" if self.line else self.text


def describe(fields: Sequence[bytes], statement: int) -> Dict[str, Any]:
    """`ename`, `evalue`, `traceback` and `trace` of what R's half tells: the headline, the line, four fields a call."""
    texts = [field.decode("utf-8", "replace") for field in fields]
    headline, top = texts[0], _number(texts[1])
    told_by_java = _JAVA_FRAME.search(headline)
    causes = _CAUSE.findall(headline)
    calls = [
        Call(texts[at], _number(texts[at + 1]), texts[at + 2], texts[at + 3]) for at in range(2, len(texts) - 3, 4)
    ]
    told = [f"{len(calls) - at}: {call.shown}\n" for at, call in enumerate(reversed(calls))]
    inside = [call.line for call in calls if call.file == cell_name(statement) and call.line]
    trace: Dict[str, Any] = {
        "line": inside[-1] if inside else top,
        "frames": _frames(calls, statement, top),
        "full": "".join([headline, "\n", *told]),
    }
    if causes:
        trace["root"] = causes[-1].strip()
        trace["full"] = f"Root cause: {trace['root']}\n\n{trace['full']}"
    return {
        "ename": "Error",
        # SparkR puts the whole Java stack into its message.
        "evalue": headline[: told_by_java.start()].rstrip() if told_by_java else headline,
        "traceback": told,
        "trace": trace,
    }


def _frames(calls: Sequence[Call], statement: int, top: Optional[int]) -> List[Dict[str, Any]]:
    frames = [{"file": cell_name(statement), "line": top, "name": "<cell>", "text": ""}]
    for call, inner in zip(calls, calls[1:]):  # noqa: B905, RUF007  Python 3.8
        if inner.line:
            frames.append({"file": inner.file, "line": inner.line, "name": call.name, "text": inner.text})
    return frames


def _number(text: str) -> Optional[int]:
    return int(text) or None if text.isdigit() and len(text) < 10 else None
