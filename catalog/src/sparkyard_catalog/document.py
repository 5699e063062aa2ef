"""YAML read with its positions: plain data, and where in the text each key and value stands.

The text is composed by ruamel.yaml into nodes, and turned into data here rather than by its constructor, because that
gives a line for every key, finds duplicate keys all at once, refuses tags, and bounds what aliases may multiply to.
"""

import re
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

LARGEST_FILE = 512 * 1024
MOST_VALUES = 50_000
DEEPEST = 40

Place = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Flaw:
    """Something wrong in the text itself, at a line and column that count from 1."""

    line: int
    column: int
    key: str
    message: str


@dataclass
class Document:
    """What a text says, where it says it, and what is wrong with the text itself."""

    data: object = None
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)


class _Unreadable(Exception):  # noqa: N818  never leaves this module
    def __init__(self, *flaws: Flaw) -> None:
        super().__init__()
        self.flaws = flaws


def read(content: bytes) -> Document:
    """The document in a file's bytes. Never raises for what the bytes are: see `flaws`."""
    document = Document()
    try:
        root = _root(_text(content))
        if root is not None:
            document.data = _Builder(document).build(root, ())
    except _Unreadable as error:
        document.flaws += error.flaws
    return document


def _text(content: bytes) -> str:
    if len(content) > LARGEST_FILE:
        raise _Unreadable(Flaw(1, 1, "", f"the file is too large; a catalog has at most {LARGEST_FILE // 1024} KiB"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file in the encoding UTF-8"
        raise _Unreadable(Flaw(before.count(b"\n") + 1, column, "", message)) from None


def _root(text: str) -> Node | None:
    try:
        roots: list[Node | None] = list(YAML(typ="safe", pure=True).compose_all(text))
    except MarkedYAMLError as error:
        raise _Unreadable(*_syntax_flaws(error, text)) from None
    except RecursionError:
        raise _Unreadable(Flaw(1, 1, "", "the text is nested too deep; compare it with the example catalog")) from None
    except (YAMLError, ValueError):
        # A character that YAML does not allow, or a number that Python does not read.
        plain = Flaw(1, 1, "", "the text is not YAML; compare it with the example catalog")
        raise _Unreadable(_control_character(text) or plain) from None
    if len(roots) > 1 and roots[1] is not None:
        raise _Unreadable(Flaw(*_at(roots[1]), "", "a second document begins here; a catalog is one (remove ---)"))
    return roots[0] if roots else None


def _syntax_flaws(error: MarkedYAMLError, text: str) -> list[Flaw]:
    problem = str(error.problem or error.context or "this is not YAML")
    if "'\\t'" in problem:
        # The parser stops at the first tab; an editor that indents by tabs wrote more of them.
        lines = enumerate(text.splitlines(), 1)
        indented = ((number, re.match(r" *\t", line)) for number, line in lines if line.strip())
        found = [
            Flaw(number, match.end(), "", "a tab indents this line; use spaces") for number, match in indented if match
        ]
        mark = error.problem_mark
        if mark is None or mark.line + 1 in [flaw.line for flaw in found]:
            return found
        return [Flaw(mark.line + 1, mark.column + 1, "", "a tab stands here; use spaces")]
    forgotten_colon = "could not find expected ':'" in problem
    mark = error.context_mark if forgotten_colon else error.problem_mark or error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return [Flaw(at[0], at[1], "", _in_plain_words(problem, error))]


def _control_character(text: str) -> Flaw | None:
    for number, line in enumerate(text.split("\n"), 1):
        if match := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", line):
            message = f"the character U+{ord(match[0]):04X} is not allowed in YAML; remove it"
            return Flaw(number, match.start() + 1, "", message)
    return None


def _at(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _in_plain_words(problem: str, error: MarkedYAMLError) -> str:
    if "mapping values are not allowed" in problem:
        return "a ':' is not expected here; put the value in quotes, or check the indentation"
    if "expected <block end>" in problem:
        return "the indentation does not fit the lines above; indent the entries of one mapping alike"
    if "could not find expected ':'" in problem:
        return "a key without ':'; write key: value"
    if "cannot start any token" in problem:
        return f"{problem}; put the value in quotes"
    if "undefined alias" in problem:
        return f"{problem}; an anchor (&name) must come before its alias (*name)"
    context = f" ({error.context})" if error.context and error.problem else ""
    return f"{problem}{context}"


class _Builder:
    """One walk over the nodes. Aliases are walked anew each time, and the number of values in all is bounded."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._depth = 0

    def build(self, node: Node, place: Place) -> object:
        """The data of a node; its place in the text is noted."""
        self._count += 1
        if self._count > MOST_VALUES:
            message = f"the file comes to more than {MOST_VALUES} values; remove aliases (*name)"
            raise _Unreadable(Flaw(*_at(node), "", message))
        if self._depth >= DEEPEST:
            message = f"nested deeper than {DEEPEST} levels, or an alias (*name) that holds itself"
            raise _Unreadable(Flaw(*_at(node), "", message))
        self._document.values[place] = _at(node)
        self._depth += 1
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, place)
            if isinstance(node, SequenceNode):
                self._check_tag(node, place, "seq")
                return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, place)
        finally:
            self._depth -= 1

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        self._check_tag(node, place, "map")
        merges = [value for key, value in node.value if key.tag == f"{_TAG}merge"]
        data = self._merged(merges, place)
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            key = self._key(key_node, place)
            if key is None:
                continue
            if key in first:
                message = f"the key stands here a second time (first on line {first[key]}); remove one of the two"
                self._flaw(key_node, (*place, key), message)
                continue
            first[key] = key_node.start_mark.line + 1
            data[key] = self.build(value_node, (*place, key))
            self._document.keys[*place, key] = _at(key_node)
        self._document.values[place] = _at(node)
        return data

    def _merged(self, values: list[Node], place: Place) -> dict[str, object]:
        """What `<<` brings in; of several mappings the first to have a key gives it."""
        merged: dict[str, object] = {}
        for value in values:
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                data = self.build(source, place)
                if isinstance(data, dict):
                    merged = {**data, **merged}
                else:
                    self._flaw(source, place, "<< takes a mapping; write <<: *name")
        return merged

    def _key(self, node: Node, place: Place) -> str | None:
        if isinstance(node, ScalarNode) and str(node.tag).startswith(_TAG):
            return str(node.value)  # as written: a group named 007 or true is that text
        self._flaw(node, place, "a key must be plain text")
        return None

    def _scalar(self, node: Node, place: Place) -> object:
        tag, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag in ("int", "float"):
            return self._number(node, place, text)
        self._check_tag(node, place, "str", "timestamp", "value")
        return text

    def _number(self, node: Node, place: Place, text: str) -> object:
        bare = text.replace("_", "")
        try:
            if node.tag == f"{_TAG}float":
                return text if bare.lower().lstrip("+-") in (".inf", ".nan") else float(bare)
            return int(bare, 0) if re.match(r"[-+]?0[xob]", bare) else int(bare)
        except ValueError:  # a tag that the text does not bear out, or more digits than Python reads
            self._flaw(node, place, f"'{text[:20]}' is not a number that can be read; write plain digits")
            return 0

    def _check_tag(self, node: Node, place: Place, *tags: str) -> None:
        if str(node.tag) not in {f"{_TAG}{tag}" for tag in tags}:
            self._flaw(node, place, f"the tag {str(node.tag).replace(_TAG, '!!')} is not allowed; remove it")

    def _flaw(self, node: Node, place: Place, message: str) -> None:
        self._document.flaws.append(Flaw(*_at(node), ".".join(map(str, place)), message))
