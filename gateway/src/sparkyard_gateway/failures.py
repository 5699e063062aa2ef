"""The exception in a text that a person would look for: the last one, what it came from first.

A text is a driver's log or a statement's traceback. In it exceptions carry one another, and in each language
the cause stands elsewhere:

    Python   above, before "The above exception was the direct cause of the following exception:"
    Java     below, after "Caused by:"
    both     inside: a Py4JJavaError's message is a Java stack, whose message may be the traceback of a Python worker

Words:
    cause     one exception of such a chain; the root cause is the one that carries no other
    failure   a chain, root cause first, and the lines it stands in; lines are counted as the log's `from` counts them

Nothing here is trusted: a text is a user's, so the work is bounded by its length whatever it says.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

LONGEST_LINE = 2000
"""Characters of a line that are looked at, and of a message that are told."""
LONGEST_MESSAGE = 400
"""Lines that an exception's message may have before its stack begins."""
DEEPEST = 20
EXCERPT_LINES = 200
CONSEQUENCES = 8
"""How many exceptions after an OutOfMemoryError are taken for its consequences."""

TRACEBACK = "Traceback (most recent call last):"
_JOINTS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_LOGGED = re.compile(r"\d{2,4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d\S* (TRACE|DEBUG|INFO|WARN|ERROR|FATAL|DRIVER) ")
_TOLD_TO_END = re.compile(r"\S+ \S+ DRIVER ending: (?:the driver was told to end|the gateway asked this driver to end)")
_WARNINGS = frozenset({"TRACE", "DEBUG", "INFO", "WARN"})
_FRAME = re.compile(r"\s+at [\w$.<>/@]+\(")
_MORE = re.compile(r"\s+\.\.\. \d+ (?:more|common frames omitted)")
_CAUSED = re.compile(r"\s*Caused by: ([\w$.]+)(?:: (.*))?$")
_THROWN = re.compile(r"(?:^|[\s:(])((?:[\w$]+\.)+[A-Z][\w$]*)(?:: (.*))?$")
_ALONE = re.compile(r'(?:: |Exception in thread "[^"]*" |)((?:[\w$]+\.)+[A-Z][\w$]*)(?:: (.*))?$')
_NAMED = re.compile(r"(?:Exception|Error|Throwable|Failure|Interrupt)$")
_RAISED = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*)|:)?$")
_PLACE = re.compile(r'\s+File "(.*)", line (\d+)(?:, in (.*))?$')
_NO_VM = "Error occurred during initialization of VM"
_OUT_OF_MEMORY = "java.lang.OutOfMemoryError"


@dataclass(frozen=True, slots=True)
class Cause:
    """One exception: its class and first words, the line it stands in, and the place that raised it."""

    language: str
    name: str
    message: str
    line: int
    where: str | None = None

    @property
    def words(self) -> str:
        """Class and message, as they are printed."""
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True, slots=True)
class Failure:
    """A chain of causes, the root first and what was reported last, and the lines it stands in."""

    causes: tuple[Cause, ...]
    first: int
    last: int
    lines: tuple[str, ...]

    @property
    def root(self) -> Cause:
        """What all the others came from."""
        return self.causes[0]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "causes": [
                {"language": it.language, "name": it.name, "message": it.message, "line": it.line, "where": it.where}
                for it in self.causes
            ],
            "from": self.first,
            "to": self.last,
            "lines": list(self.lines),
        }


@dataclass(slots=True)
class _Node:
    """An exception while it is read: `cause` is what it came from, `inner` what its message carries."""

    told: Cause
    cause: "_Node | None" = None
    inner: list["_Node"] = field(default_factory=list)

    def chain(self) -> Iterator[Cause]:
        if self.cause is not None:
            yield from self.cause.chain()
        for each in self.inner:
            yield from each.chain()
        yield self.told


def find_failure(lines: Sequence[str], offset: int = 0) -> Failure | None:
    """The last exception in these lines, of which the first has the number `offset`; None where there is none."""
    cut = [line[:LONGEST_LINE] for line in lines]
    # A driver that is told to end takes Spark down with it, and what Spark complains of then is no reason for anything.
    end_told = next((number for number, line in enumerate(cut) if _TOLD_TO_END.match(line)), len(cut))
    found = [each for each in _Reader(cut).blocks() if each.start < end_told]
    if not found:
        return None
    # What Spark merely warns of (a retried task, a taken port) is not why something ended, if anything else is there.
    grave = [each for each in found if not each.warned] or found
    lost = [each for each in grave[-CONSEQUENCES:] if any(it.name == _OUT_OF_MEMORY for it in each.node.chain())]
    block = lost[-1] if lost else grave[-1]
    causes: dict[tuple[str, str], Cause] = {}
    for each in block.node.chain():
        told = Cause(each.language, each.name, each.message, each.line + offset, each.where)
        causes.setdefault((each.name, each.message), told)
    end = min(block.end, block.start + EXCERPT_LINES)
    return Failure(tuple(causes.values()), block.start + offset, block.end - 1 + offset, tuple(cut[block.start : end]))


def failure_of_output(output: dict[str, Any]) -> Failure | None:
    """The exception of a statement's output; None where the statement did not fail."""
    if output.get("status") != "error":
        return None
    name, message = str(output.get("ename") or "Error"), str(output.get("evalue") or "")
    full = (output.get("trace") or {}).get("full") if isinstance(output.get("trace"), dict) else None
    listed = "".join(each if each.endswith("\n") else f"{each}\n" for each in map(str, output.get("traceback") or ()))
    lines = (full if isinstance(full, str) and full else listed).splitlines()
    found = find_failure(lines)
    if found is not None:
        return found
    # A traceback that is no text of Python's or Java's, as a refused SQL statement has: name and message are all.
    words = message.splitlines() or [""]
    cause = Cause("java" if name == "Error" else "python", name, words[0][:LONGEST_LINE], 0)
    return Failure((cause,), 0, max(0, len(words) - 1), tuple(words[:EXCERPT_LINES]))


@dataclass(frozen=True, slots=True)
class _Block:
    node: _Node
    start: int
    end: int
    warned: bool


class _Reader:
    """Reads exceptions off lines; `_at` methods take a line's number and return what stands there and where it ends."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        # For each line the number of the next one of a sort, so that no text makes us look ahead again and again.
        self._next_stack = _next(lines, lambda line: bool(_FRAME.match(line) or _CAUSED.match(line)))
        self._next_stop = _next(lines, lambda line: bool(_LOGGED.match(line)) or line.strip() in _JOINTS)
        self._next_carried = _next(lines, lambda line: line.startswith(": ") or line.rstrip().endswith(TRACEBACK))

    def blocks(self) -> Iterator[_Block]:
        """Every exception that stands by itself."""
        number, level = 0, ""
        while number < len(self._lines):
            logged = _LOGGED.match(self._lines[number])
            if logged is not None:
                level = logged[1]
            elif not self._lines[number].strip():
                level = ""
            found = self._exception_at(number)
            if found is None:
                number += 1
                continue
            node, end = found
            yield _Block(node, number, end, warned=level in _WARNINGS)
            number, level = max(end, number + 1), ""

    def _exception_at(self, number: int) -> tuple[_Node, int] | None:
        line = self._lines[number]
        if line.rstrip().endswith(TRACEBACK) and _THROWN.search(line) is None:
            return self._python_at(number, 0)
        if line == _NO_VM:
            message = self._line(number + 1).strip()
            return _Node(Cause("java", "JVM", message or line, number)), min(number + 2, len(self._lines))
        logged = _LOGGED.match(line)
        thrown = _THROWN.search(line[logged.end() :]) if logged else _ALONE.match(line)
        if thrown is None or not (_NAMED.search(thrown[1]) or _FRAME.match(self._line(number + 1))):
            return None
        if self._stack_follows(number + 1) or line.rstrip().endswith(TRACEBACK):
            return self._java_at(number, thrown[1], thrown[2] or "", 0)
        if logged is None and (thrown[1].startswith("java.lang.") and thrown[1].endswith("Error")):
            # A JVM that is out of memory has none for a stack.
            return _Node(Cause("java", thrown[1], thrown[2] or "", number)), number + 1
        return None

    # Python

    def _python_at(self, number: int, depth: int) -> tuple[_Node, int] | None:
        """A traceback whose headline is this line."""
        after, where = number + 1, None
        while (
            after < len(self._lines) and self._lines[after][:1] in {" ", "\t"} and not _FRAME.match(self._line(after))
        ):
            place = _PLACE.match(self._lines[after])
            # The innermost frame, or the innermost of the person's own code.
            if place is not None and (place[1].startswith("<cell ") or not (where or "").startswith("<cell ")):
                where = f"{place[1]}, line {place[2]}" + (f", in {place[3]}" if place[3] else "")
            after += 1
        raised = _RAISED.match(self._line(after))
        if raised is None or after == number + 1:
            return None
        message = (raised[2] or "").strip() or self._first_words(after + 1)
        node = _Node(Cause("python", raised[1], message, after, where))
        end = self._carried(node, after + 1, depth)
        following = self._skip_blank(end)
        if self._line(following).strip() in _JOINTS and depth < DEEPEST:
            begin = self._skip_blank(following + 1)
            if self._line(begin).rstrip().endswith(TRACEBACK):
                later = self._python_at(begin, depth + 1)
                if later is not None:
                    innermost = later[0]
                    while innermost.cause is not None:
                        innermost = innermost.cause
                    innermost.cause = node
                    return later
        return node, end

    def _carried(self, node: _Node, number: int, depth: int) -> int:
        """What the message of pyspark's own exceptions holds: a Java stack, or a traceback of a worker."""
        carrier = node.told.name.rpartition(".")[2]
        if carrier not in {"Py4JJavaError", "PythonException"} or depth >= DEEPEST:
            return number
        number = min(number, len(self._lines))
        ahead = self._next_carried[number]
        if ahead >= min(number + LONGEST_MESSAGE, self._next_stop[number]):
            return number
        thrown = _ALONE.match(self._lines[ahead]) if carrier == "Py4JJavaError" else None
        found = (
            self._java_at(ahead, thrown[1], thrown[2] or "", depth + 1)
            if thrown is not None
            else self._python_at(ahead, depth + 1)
            if self._lines[ahead].rstrip().endswith(TRACEBACK)
            else None
        )
        if found is None:
            return number
        node.inner.append(found[0])
        return found[1]

    # Java

    def _java_at(self, number: int, name: str, message: str, depth: int) -> tuple[_Node, int]:
        """An exception of the JVM's, whose class and first words were read off this line already."""
        inner: list[_Node] = []
        after = number + 1
        if message.rstrip().endswith(TRACEBACK):
            message = message.rstrip().removesuffix(TRACEBACK).strip()
            after = self._inside(number, inner, depth)
        where = None
        while after < len(self._lines):
            line = self._lines[after]
            caused = _CAUSED.match(line)
            if caused is not None:
                node = _Node(Cause("java", name, message or _carries(inner), number, where), inner=inner)
                if depth >= DEEPEST:
                    return node, after
                node.cause, end = self._java_at(after, caused[1], caused[2] or "", depth + 1)
                return node, end
            if _FRAME.match(line):
                where = where or line.strip().removeprefix("at ")
            elif not (_MORE.match(line) or line.lstrip().startswith("Suppressed: ")):
                if _LOGGED.match(line) or not self._stack_follows(after):
                    break
                if line.rstrip().endswith(TRACEBACK):
                    after = self._inside(after, inner, depth)
                    continue
            after += 1
        return _Node(Cause("java", name, message or _carries(inner), number, where), inner=inner), after

    def _inside(self, number: int, inner: list[_Node], depth: int) -> int:
        found = self._python_at(number, depth + 1) if depth < DEEPEST else None
        if found is None:
            return number + 1
        inner.append(found[0])
        return found[1]

    # Lines

    def _stack_follows(self, number: int) -> bool:
        """Whether these lines are the rest of a message, which a Java stack ends."""
        number = min(number, len(self._lines))
        return self._next_stack[number] < min(number + LONGEST_MESSAGE, self._next_stop[number])

    def _line(self, number: int) -> str:
        return self._lines[number] if number < len(self._lines) else ""

    def _skip_blank(self, number: int) -> int:
        while number < len(self._lines) and not self._lines[number].strip():
            number += 1
        return number

    def _first_words(self, number: int) -> str:
        line = self._line(number).strip()
        return "" if line in _JOINTS or line.endswith(TRACEBACK) or _LOGGED.match(line) else line


def _next(lines: list[str], is_one: Callable[[str], bool]) -> list[int]:
    """For each line, and for the end, the number of the first from there on that is one; the count where none is."""
    found = [len(lines)] * (len(lines) + 1)
    for number in range(len(lines) - 1, -1, -1):
        found[number] = number if is_one(lines[number]) else found[number + 1]
    return found


def _carries(inner: list[_Node]) -> str:
    return inner[0].told.words if inner else ""
