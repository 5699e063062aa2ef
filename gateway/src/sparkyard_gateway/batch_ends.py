"""Why a batch ended, in one sentence for its owner: from its exit code and the end of its log.

The exception is looked for first, as it says more than any code: the last line of Python's traceback, or of Java's
causes the innermost. A log may hold several; the last one is what ended it.
"""

import re
import signal
from collections.abc import Sequence

from sparkyard_gateway.backends.base import AttemptEnd
from sparkyard_gateway.states import BatchState

LONGEST = 600
NO_MEMORY = "ask for more driverMemory"

_TRACEBACK = "Traceback (most recent call last):"
_PYTHON_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::.*)?$")
_JAVA_THROWN = re.compile(r"Exception in thread \"[^\"]*\" (.+)$")
_JAVA_ERROR = re.compile(r"(?:[a-z_]\w*\.)+[A-Z][\w$]*(?:Exception|Error)\b.*$")
_CAUSED_BY = re.compile(r"\s*Caused by: (.+)$")
_JAVA_FRAME = re.compile(r"\s+at [\w.$/<>@-]+\(|\s+\.\.\. \d+ more$")
_LOGGED = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (?:INFO|DEBUG|TRACE|WARN) ")
_NOT_STARTED = re.compile(r".*: can't open file .*: \[Errno \d+\] .*$")
_MARKS = frozenset({"", "stdout:", "stderr:", "YARN Diagnostics:"})


def judge(end: AttemptEnd, lines: Sequence[str]) -> tuple[BatchState, str | None]:
    """The final state, and why; no reason for a success. `lines` are the last of the log."""
    if end.asked or (end.began and end.verdict is not None and end.code != 0):
        state = BatchState.DEAD if end.verdict else BatchState.KILLED
        return state, end.verdict or "The batch was stopped on request."
    if not end.began:
        return BatchState.ERROR, end.verdict or "The batch could not be started: its process ended before it began."
    if end.code is None:
        return _told(end, lines)
    if end.code == 0:
        return BatchState.SUCCESS, None
    number = _signal_of(end.code)
    if number is not None:
        return BatchState.KILLED, _with(_killed(number), exception_in(lines))
    said = exception_in(lines) or _last_words(lines)
    return BatchState.DEAD, _with(f"The batch ended with exit code {end.code}.", said)


def _told(end: AttemptEnd, lines: Sequence[str]) -> tuple[BatchState, str | None]:
    """By the state alone that the place told where it ran, if any."""
    if end.told is None:
        return BatchState.ERROR, "The batch ended, and nobody saw how: its supervising process was ended from outside."
    state = BatchState(end.told)
    if state is BatchState.SUCCESS or end.said:
        return state, end.said
    if state is BatchState.KILLED:
        return state, "The batch was killed where it ran, by somebody who may or for want of memory."
    return state, _with("The batch failed.", exception_in(lines) or _last_words(lines))


def _signal_of(code: int) -> signal.Signals | None:
    """The signal that ended it; where spark-submit's child was ended by one, spark-submit says 128 and its number."""
    wanted = -code if code < 0 else code - 128
    if code > 0 and wanted not in (signal.SIGKILL, signal.SIGTERM):
        return None
    try:
        return signal.Signals(wanted)
    except ValueError:
        return None


def _killed(number: signal.Signals) -> str:
    if number is signal.SIGKILL:
        return "The batch was killed (SIGKILL): most often because the machine ran out of memory."
    return f"The batch was ended by {number.name}."


def _with(sentence: str, said: str | None) -> str:
    if said is None:
        return sentence
    if _out_of_memory(said):
        return f"The batch ran out of memory: {said[:LONGEST]}; {NO_MEMORY}."
    return f"{sentence} {said[:LONGEST]}"


def _out_of_memory(said: str) -> bool:
    return said.startswith("MemoryError") or "java.lang.OutOfMemoryError" in said


def exception_in(lines: Sequence[str]) -> str | None:
    """The exception that the end of a log tells of: Python's last line with Java's root cause, where it has one."""
    python, at = _python_error(lines)
    java = _java_error(lines[at:] if python is not None else lines)
    if python is None or java is None:
        return python if java is None else java
    first = python.partition(": ")[0]
    return f"{first}: {java}" if first.endswith("Py4JJavaError") else python


def _python_error(lines: Sequence[str]) -> tuple[str | None, int]:
    """The line that ends the last traceback, and where that traceback begins."""
    begin = max((number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)), default=None)
    if begin is None:
        return None, 0
    for line in lines[begin + 1 :]:
        if line and not line[0].isspace() and _PYTHON_ERROR.match(line):
            return line.strip(), begin
    return None, 0


def _java_error(lines: Sequence[str]) -> str | None:
    """The root cause of the last Java exception that came with a stack trace."""
    found: str | None = None
    for number, line in enumerate(lines):
        thrown = _JAVA_THROWN.match(line) or _CAUSED_BY.match(line)
        if thrown is not None:
            found = thrown[1]
            continue
        framed = number + 1 < len(lines) and _JAVA_FRAME.match(lines[number + 1]) is not None
        error = _JAVA_ERROR.search(line) if framed and not _JAVA_FRAME.match(line) and not _LOGGED.match(line) else None
        if error is not None:
            found = error[0]
    return found.strip() if found else None


def _last_words(lines: Sequence[str]) -> str | None:
    """What was said last that is not Spark's own chatter."""
    for line in reversed(lines):
        if line.strip() in _MARKS or _LOGGED.match(line) or _JAVA_FRAME.match(line):
            continue
        return f"Its last line: {line.strip()}"
    return None
