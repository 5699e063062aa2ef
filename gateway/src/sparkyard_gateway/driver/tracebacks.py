"""An exception of a cell, told twice: as Livy words it, and whole.

Livy's `traceback` leaves out the frame of the cell itself, the source lines and what an exception was raised from, so
nobody learns in which line of a long cell it happened. Clients compare and print that list, so it stays as it is;
`trace` beside it has the line, the frames, and Python's own full wording, with line numbers that point into the cell.
"""

from __future__ import annotations

import linecache
import os
import re
import traceback
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CELL = re.compile(r"^<cell \d+>$")
_STDIN = "<stdin>"
_FRAMES_TOLD = 200
_CAUSES_TOLD = 6
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def cell_name(statement: int) -> str:
    """The file name under which Python knows the source of a statement."""
    return f"<cell {statement}>"


def remember_source(statement: int, code: str) -> None:
    """Let tracebacks and `inspect` find the source of a cell."""
    name = cell_name(statement)
    lines = [line + "\n" for line in code.split("\n")]
    # Without a modification time the entry is never checked against a file.
    linecache.cache[name] = (len(code), None, lines, name)


def describe(
    kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType], statement: int
) -> Dict[str, Any]:
    """`ename`, `evalue`, `traceback` and `trace` of an exception that left a cell."""
    if isinstance(error, SyntaxError) and error.filename and _CELL.match(error.filename):
        error.filename = _STDIN
    told = _tell(kind, error, trace)
    return {
        "ename": kind.__name__,
        "evalue": _text_of(error),
        "traceback": _as_livy(told),
        "trace": {
            "line": _line_in_cell(error, told, cell_name(statement)),
            "frames": _frames(told.stack),
            "full": _with_causes(error, told),
        },
    }


def _tell(
    kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
) -> traceback.TracebackException:
    """One exception without its causes and without our frames, in a time that no recursion can stretch.

    Python's own class goes through all causes with all their frames, which for a recursion that failed at each of its
    thousand levels takes minutes. So the causes are hidden from it for the moment.
    """
    hidden = error.__cause__, error.__context__, error.__suppress_context__
    error.__cause__ = error.__context__ = None
    try:
        steps = list(traceback.walk_tb(trace))
        long = len(steps) > 2 * _FRAMES_TOLD
        told = traceback.TracebackException(kind, error, None if long else trace)
        if long:
            told.stack = traceback.StackSummary.extract(iter(steps[:_FRAMES_TOLD] + steps[-_FRAMES_TOLD:]))
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = hidden
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if not _is_ours(frame.filename)])
    return told


def _with_causes(error: BaseException, told: traceback.TracebackException) -> str:
    """Python's own wording of an exception and of what it came from."""
    texts, current = ["".join(told.format(chain=False))], error
    seen = {id(error)}
    while len(texts) < 2 * _CAUSES_TOLD:
        if current.__cause__ is not None:
            earlier, joint = current.__cause__, _CAUSE
        elif current.__context__ is not None and not current.__suppress_context__:
            earlier, joint = current.__context__, _CONTEXT
        else:
            break
        if id(earlier) in seen:
            break
        seen.add(id(earlier))
        current = earlier
        told = _tell(type(current), current, current.__traceback__)
        texts += [joint, "".join(told.format(chain=False))]
    return "".join(reversed(texts))


def _as_livy(told: traceback.TracebackException) -> List[str]:
    frames = list(told.stack)
    # Code that could not even be compiled has no frames, and then Livy has no headline either.
    lines = ["Traceback (most recent call last):\n"] if frames else []
    for index, frame in enumerate(frames):
        if _CELL.match(frame.filename) and frame.name == "<module>":
            frames = frames[index + 1 :]
            break
    shown = [_bare(frame) if _CELL.match(frame.filename) else frame for frame in frames]
    return lines + traceback.StackSummary.from_list(shown).format() + list(told.format_exception_only())


def _bare(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    return traceback.FrameSummary(_STDIN, frame.lineno or 0, frame.name, lookup_line=False, line="")


def _is_ours(path: str) -> bool:
    return path.startswith(_HERE)


def _line_in_cell(error: BaseException, told: traceback.TracebackException, name: str) -> Optional[int]:
    if isinstance(error, SyntaxError) and error.filename == _STDIN:
        return error.lineno
    lines = [frame.lineno for frame in told.stack if frame.filename == name]
    return lines[-1] if lines else None


def _frames(stack: traceback.StackSummary) -> List[Dict[str, Any]]:
    frames: List[Tuple[str, Optional[int], str, str]] = [
        (frame.filename, frame.lineno, frame.name, frame.line or "") for frame in stack
    ]
    if len(frames) > 60:
        frames = frames[:30] + frames[-30:]
    return [{"file": file, "line": line, "name": name, "text": text} for file, line, name, text in frames]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  a user's __str__ may raise anything
        return f"<the exception's text cannot be had: {type(failure).__name__}>"
