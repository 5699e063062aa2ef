"""What Scala's compiler and the JVM say of a cell, in Livy's words and with the lines of the cell.

The compiler wraps a chunk of a cell before it compiles it. Scala 2.12 numbers the lines of what it has wrapped, and
names no cell; 2.13 numbers those of the chunk, and only where there are several. `Place` knows where a chunk stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Match, Optional, Sequence, Tuple

_CONSOLE = "<console>"
_NUMBERED = re.compile(r"<console>:(\d+)")
_IN_2_13 = re.compile(r"^(?:On line (\d+)| {6}): ?(error|warning): (.*)$|^ {7}(error|warning): (.*)$")
_CARET = re.compile(r"^ *\^$")
_LINE_OBJECT = re.compile(r"^(\$line\d+)\.")
_WRAPPER = re.compile(r"\$(?:line\d+\.\$)?(?:read|eval)?(?:\$\$?iw)*\$?\.?")
_IN_TEXT = re.compile(r"(\$line\d+)\.([\w$.]*)\(<console>:(\d+)\)")
_INDENT = " " * 7  # the width of Scala's prompt
_FRAMES_TOLD = 60
_PACKAGED = 2  # lines: every request is put into a package of its own


@dataclass(frozen=True)
class Place:
    """Where a chunk stands: after how many lines of its cell, and after how many of what the compiler was given.

    To the last expression the compiler is told to give a name, on `inserted` lines after the one with number `upto`.
    """

    statement: int
    first: int = 0
    header: int = 0
    upto: int = 0
    inserted: int = 0

    def line(self, reported: int) -> int:
        """The line of the cell, counted from 1."""
        line = max(0, reported - self.header - 1)
        if line > self.upto:
            line = max(self.upto, line - self.inserted)
        return line + self.first + 1


def wrapped(statement: int, first: int, code: str, computed: str, preamble: str) -> Place:
    """The place of a chunk that Scala 2.12 has made `computed` of, at the end of `preamble`."""
    header = preamble[: max(0, preamble.rfind(computed))].count("\n") + _PACKAGED
    start = 0
    while start < min(len(code), len(computed)) and code[start] == computed[start]:
        start += 1
    end = 0
    while end < min(len(code), len(computed)) - start and code[-1 - end] == computed[-1 - end]:
        end += 1
    inserted = computed[start : len(computed) - end].count("\n")
    return Place(statement, first, header, code[:start].count("\n"), inserted)


def in_cell(text: str, place: Place) -> str:
    """The compiler's text with the lines of the cell."""
    return _NUMBERED.sub(lambda found: f"{_CONSOLE}:{place.line(int(found.group(1)))}", text)


def compile_error(text: str, place: Place, cell: str) -> Dict[str, Any]:
    """`ename`, `evalue`, `traceback` and `trace` of code that was not compiled."""
    if _CONSOLE in text:
        lines = in_cell(text, place).splitlines()
        lines = lines[next((at for at, line in enumerate(lines) if "error: " in line), 0) :]
    else:
        lines = _as_2_12(text, place, cell)
    if not lines:
        lines = [f"{_CONSOLE}:{place.line(1)}: error: the code cannot be compiled"]
    found = _NUMBERED.search(lines[0])
    return {
        "ename": "Error",
        "evalue": lines[0],
        "traceback": [line + "\n" for line in lines[1:]],
        "trace": {"line": int(found.group(1)) if found else None, "frames": [], "full": "\n".join(lines) + "\n"},
    }


def _as_2_12(text: str, place: Place, cell: str) -> List[str]:
    """Messages of Scala 2.13, which stand below the place they are about, as those of 2.12, which stand above it."""
    told: List[str] = []
    shown: List[str] = []  # the source line and the caret of the message that is being read
    caret, severity = "", ""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        found = _IN_2_13.match(line)
        if found:
            severity = found.group(2) or found.group(4)
            number = place.line(int(found.group(1) or 1))
            told += shown
            shown = []
            if severity == "error":
                told.append(f"{_CONSOLE}:{number}: error: {found.group(3) or found.group(5) or ''}")
                source = "".join(cell.split("\n")[number - 1 : number])
                shown = [_INDENT + source, caret] if caret else []
        elif _CARET.match(line):
            caret = line
        elif severity == "error" and not _CARET.match("".join(lines[at + 1 : at + 2])):
            told.append(line[len(_INDENT) :] if line.startswith(_INDENT) else line)
    return told + shown


@dataclass(frozen=True)
class Frame:
    """One frame of a Java stack."""

    owner: str
    method: str
    file: str
    line: int


Thrown = List[Tuple[str, List[Frame]]]


def thrown(told: str) -> Thrown:
    """What the shell tells of an exception and its causes, outermost first."""
    chain: Thrown = []
    for record in told.split("\x02"):
        fields = record.split("\x01")
        if fields[0] == "E":
            chain.append((fields[1], []))
        elif fields[0] == "F" and chain:
            chain[-1][1].append(Frame(fields[1], fields[2], fields[3], int(fields[4])))
    return chain


def runtime_error(chain: Thrown, place_of: Callable[[str], Optional[Place]], statement: int) -> Dict[str, Any]:
    """The same of an exception that left a cell; `place_of` knows the chunks by their `$line` objects."""
    texts = [_told(text, frames, place_of) for text, frames in chain]
    first = "\n".join(texts[0])
    head, *rest = first.split("\n")
    for lines in texts[1:]:
        rest += ("Caused by: " + "\n".join(lines)).split("\n")
    inside = [(frame, place) for _, frames in chain for frame, place in _inside(frames, place_of)]
    line = next((place.line(frame.line) for frame, place in inside if place.statement == statement), None)
    shown = inside[:_FRAMES_TOLD]
    root = chain[-1][0]
    full = "\n".join([head, *rest]) + "\n"
    if len(chain) > 1:
        full = f"Root cause: {root}\n\n{full}"
    return {
        "ename": "Error",
        "evalue": head,
        "traceback": [text + "\n" for text in rest],
        "trace": {
            "line": line,
            "frames": [
                {
                    "file": f"<cell {place.statement}>",
                    "line": place.line(frame.line),
                    "name": frame.method,
                    "text": "",
                }
                for frame, place in shown
            ],
            "full": full,
            "root": root,
        },
    }


def _inside(frames: Sequence[Frame], place_of: Callable[[str], Optional[Place]]) -> List[Tuple[Frame, Place]]:
    """The frames within cells; of the objects that a chunk is wrapped into, the innermost alone is the user's."""
    found: List[Tuple[Frame, Place]] = []
    before = ""
    for frame in frames:
        place = _place(frame, place_of)
        if place is not None and not (frame.method == before == "<init>"):
            found.append((frame, place))
        before = frame.method
    return found


def _told(text: str, frames: Sequence[Frame], place_of: Callable[[str], Optional[Place]]) -> List[str]:
    """An exception and its frames as the shell prints them: without those below the cell."""
    lines = _IN_TEXT.sub(lambda found: _in_text(found, place_of), text).split("\n")
    kept = 0
    for frame in frames:
        if _LINE_OBJECT.match(frame.owner) and frame.method in ("<init>", "<clinit>"):
            break
        if kept >= _FRAMES_TOLD:
            break
        kept += 1
        lines.append(f"  at {_readable(frame, place_of)}")
    if kept < len(frames):
        lines.append(f"  ... {len(frames) - kept} elided")
    return lines


def _in_text(found: Match[str], place_of: Callable[[str], Optional[Place]]) -> str:
    """A frame within a message: Spark puts the executor's stack into it."""
    owner, _, method = f"{found.group(1)}.{found.group(2)}".rpartition(".")
    return _readable(Frame(owner, method, _CONSOLE, int(found.group(3))), place_of)


def newest(chain: Thrown) -> Optional[str]:
    """The `$line` object of the chunk that was running when it was thrown."""
    for _, frames in chain:
        for frame in frames:
            found = _LINE_OBJECT.match(frame.owner)
            if found and frame.method == "<init>":
                return found.group(1)
    return None


def _readable(frame: Frame, place_of: Callable[[str], Optional[Place]]) -> str:
    place = _place(frame, place_of)
    if place is not None:
        owner = _WRAPPER.sub("", frame.owner.partition(".")[2])
        name = f"{owner}.{frame.method}" if owner else frame.method
        return f"{name}(<cell {place.statement}>:{place.line(frame.line)})"
    where = f"{frame.file}:{frame.line}" if frame.line >= 0 else frame.file or "Unknown Source"
    return f"{frame.owner}.{frame.method}({where})"


def _place(frame: Frame, place_of: Callable[[str], Optional[Place]]) -> Optional[Place]:
    found = _LINE_OBJECT.match(frame.owner)
    made = frame.method == "<clinit>" or ".$eval" in frame.owner
    if found is None or made or frame.file != _CONSOLE or frame.line < 0:
        return None
    return place_of(found.group(1))
