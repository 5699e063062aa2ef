"""Cut a Scala cell into the chunks that are compiled one after the other.

A cell is compiled whole, so that definitions may refer to each other and companions belong together, with two
exceptions. A line that begins with `%` is one of Livy's magics. And what comes after a class is a chunk of its own:
Spark cannot make a Dataset of a class whose cell is still running.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

MAGIC = re.compile(r"^\s*%(\w+)\s*(.*?)\s*$")
_CLASSES = ("ClassDef", "ModuleDef")
_DEFINITIONS = (*_CLASSES, "DefDef", "TypeDef", "Import", "PackageDef", "EmptyTree$")
_MOST_TRIED = 400

Tops = List[Tuple[str, int]]
"""What stands at the top level of some code: kinds of trees, and where each is."""


class Incomplete(Exception):  # noqa: N818  reads as what is wrong
    """The code ends in the midst of something."""


class Unparsable(Exception):  # noqa: N818  reads as what is wrong
    """The code is no Scala; the message is the compiler's, its lines those of the code that was parsed."""

    def __init__(self, said: str, first: int = 0) -> None:
        super().__init__(said)
        self.first = first


@dataclass(frozen=True)
class Chunk:
    """A piece of a cell: from which line on (0 is the first), its code, and whether it is a magic."""

    first: int
    code: str
    magic: bool = False


Parse = Callable[[str], Tops]
"""Raises Incomplete or Unparsable."""


def chunks(cell: str, parse: Parse) -> List[Chunk]:
    """The chunks of a cell; raises Incomplete or Unparsable before any of them has run."""
    found: List[Chunk] = []
    first, lines = 0, cell.split("\n")
    for number, line in enumerate(lines):
        if MAGIC.match(line) and _ends(lines[first:number], parse):
            found += _classes_first(first, "\n".join(lines[first:number]), parse)
            found.append(Chunk(number, line.strip(), magic=True))
            first = number + 1
    return found + _classes_first(first, "\n".join(lines[first:]), parse)


def _ends(lines: List[str], parse: Parse) -> bool:
    """Whether these lines end where a statement does: a `%` line within a string or a block is no magic."""
    try:
        parse("\n".join(lines))
    except Incomplete:
        return not any(line.split("//")[0].strip() for line in lines)
    except Unparsable:
        pass  # it will be told in any case
    return True


def _classes_first(first: int, code: str, parse: Parse) -> List[Chunk]:
    found: List[Chunk] = []
    while code.strip():
        blank = len(code) - len(code.lstrip("\n"))
        first, code = first + blank, code[blank:]
        try:
            tops = parse(code)
        except Incomplete:
            if not _has_code(code):
                break
            raise
        except Unparsable as error:
            raise Unparsable(str(error), first) from None
        if not tops:
            break
        cut = _cut(code, tops, parse)
        if cut is None:
            return [*found, Chunk(first, code)]
        found.append(Chunk(first, code[:cut]))
        # What follows begins on the same line, or with the end of it.
        first += code[:cut].count("\n")
        code = code[cut:]
    return found


def _has_code(code: str) -> bool:
    """Whether there is anything but comments; the parser of Scala 2.12 calls a comment alone incomplete."""
    bare = re.sub(r"/\*.*?\*/|//[^\n]*", " ", code, flags=re.DOTALL)
    return bool(bare.strip())


def _cut(code: str, tops: Tops, parse: Parse) -> Optional[int]:
    """Where the first chunk ends, if there is more than one."""
    seen = False
    for index, (kind, place) in enumerate(tops):
        if seen and kind not in _DEFINITIONS:
            return _boundary(code, index, len(tops), place, parse)
        seen = seen or kind in _CLASSES
    return None


def _boundary(code: str, before: int, total: int, place: int, parse: Parse) -> Optional[int]:
    """The end of a line, or a semicolon, with so many trees before and the others behind it."""
    at = len(code) if place < 0 else place
    for _ in range(_MOST_TRIED):
        at = max(code.rfind("\n", 0, at), code.rfind(";", 0, at))
        if at < 0:
            return None
        if _count(code[:at], parse) == before and _count(code[at + 1 :], parse) == total - before:
            return at if code[at] == "\n" else at + 1
    return None


def _count(code: str, parse: Parse) -> int:
    try:
        return len(parse(code))
    except (Incomplete, Unparsable):
        return -1
