"""Why a batch ended, as one sentence for its owner, from what its log says.

Python's and Java's exceptions are told apart by their first lines; of a chain of causes the last is the root. Pure
functions.
"""

import re
from collections.abc import Sequence

LONGEST = 500
RECENT = 150
"""How many lines from the end an exception may stand to be taken for the reason; older ones were survived."""

_EXIT = re.compile(r"(?:User application exited with|exited with exit code|exitCode[:=]) ?(?:status )?(\d{1,3})\b")
_TRACEBACK = "Traceback (most recent call last):"
_PYTHON = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Failed|Lost))(?::|$)")
_JAVA = re.compile(r'^(?:Exception in thread "[^"]*" |Caused by: |ERROR .*?: )?((?:[a-z_]\w*\.)+[A-Z]\w*(?:: .*)?)$')
_CAUSED = re.compile(r"^Caused by: (.+)$")
_OURS = re.compile(r"^\S+ \S+ DRIVER (?:ending|cannot start): (.+)$")

_CODES = {
    64: "it was started wrongly",
    70: "Spark did not start",
    71: "Spark's JVM was lost",
    72: "no gateway wanted it any more",
    77: "the gateway refused its claim",
    137: "it was killed (SIGKILL): most often because memory ran out",
    143: "it was told to end (SIGTERM)",
}


def why(state: str, lines: Sequence[str]) -> str:
    """The sentence, for a batch that ended in `state`."""
    if state == "success":
        return "The driver ended by itself (exit code 0)."
    ended = "was killed on" if state == "killed" else "ended on"
    code = exit_code(lines)
    known = _CODES.get(code) if code is not None else None
    cause = said_by_driver(lines) or known
    if cause:
        return f"The driver {ended} the upstream Livy: {cause.rstrip('.')}."
    if last := exception_in(lines[-RECENT:]):
        return f"The driver {ended} the upstream Livy; the last exception in its log: {last.rstrip('.')}."
    if code:
        return f"The driver {ended} the upstream Livy with exit code {code}."
    if state == "killed":
        return "The driver was killed on the upstream Livy."
    return (
        "The driver ended on the upstream Livy without a word in its log: "
        "most often it was killed, because memory ran out or by somebody who may."
    )


def exit_code(lines: Sequence[str]) -> int | None:
    """The exit code, where spark-submit or YARN tells it."""
    for line in reversed(lines):
        if found := _EXIT.search(line):
            return int(found[1])
    return None


def said_by_driver(lines: Sequence[str]) -> str | None:
    """What our driver program said of its own end."""
    for line in reversed(lines):
        if found := _OURS.match(line):
            return found[1][:LONGEST]
    return None


def exception_in(lines: Sequence[str]) -> str | None:
    """The exception that ended it: Python's last line, or Java's root cause."""
    found: str | None = None
    in_traceback = False
    for line in lines:
        if line.startswith(_TRACEBACK):
            in_traceback = True
        elif in_traceback and line and not line.startswith(" "):
            in_traceback = False
            if _PYTHON.match(line) or ":" in line:
                found = line
        elif cause := _CAUSED.match(line):
            found = cause[1]
        elif _JAVA.match(line):
            java = _JAVA.match(line)
            found = java[1] if java else found
    return found[:LONGEST] if found else None
