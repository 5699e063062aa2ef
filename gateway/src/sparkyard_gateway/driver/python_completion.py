"""Complete Python from what the session holds, without running anything of the user's.

Names come from the session's globals. Behind a dot the object is looked at, never asked: properties are not called, a
method's result is known by its annotation. pyspark is annotated throughout, so `spark.read.parquet("x").groupBy("a").`
completes although nothing of it was run. Columns of data frames and keys of dicts complete inside quotes.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import pkgutil
import re
import sys
import types
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from .completion import Found, Match
from .inference import Known, infer, infer_chain, members, with_assignments

_IDENTIFIER = re.compile(r"[^\W\d]\w*$")
_IMPORT = re.compile(r"^\s*(?:import\s+|from\s+)([\w.]*)$")
_FROM_IMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+import\s+(?:.*,\s*)?\(?(\w*)$")
_DEFINED = re.compile(
    r"^\s*(?:def|class)\s+([^\W\d]\w*)|^\s*([^\W\d]\w*)\s*(?::[^=]+)?=(?!=)|\bfor\s+([^\W\d]\w*)\s+in\b|\bas\s+([^\W\d]\w*)",
    re.M,
)
_SQL_CALL = re.compile(r"\.sql\s*\(\s*$")
_COLUMN_CALL = re.compile(r"(?:\bcol|\bF\.\w+)\s*\($")


class PythonCompleter:
    """Looks at the globals of the session."""

    def __init__(self, names: Mapping[str, Any], complete_sql: Callable[[str, int], Found]) -> None:
        self._names = names
        self._complete_sql = complete_sql

    def __call__(self, code: str, cursor: int) -> Found:
        """Candidates for what stands before the cursor."""
        before = code[:cursor]
        line = before[before.rfind("\n") + 1 :]
        names = with_assignments(before[: len(before) - len(line)], self._names)
        opening = _open_string(before)
        if opening is not None:
            return self._in_string(before, opening, cursor, names)
        imported = _imports(line)
        word = _IDENTIFIER.search(before)
        prefix = word.group() if word else ""
        start = cursor - len(prefix)
        if imported is not None:
            matches: Iterable[Match] = imported
        elif before[:start].rstrip(" \t").endswith("."):
            matches = self._behind_dot(before[:start].rstrip(" \t")[:-1], names)
        else:
            matches = self._plain(code)
        return Found(start, cursor, _choose(matches, prefix))

    def _plain(self, code: str) -> List[Match]:
        matches = [Match(name, _kind(value)) for name, value in list(self._names.items())]
        for groups in _DEFINED.findall(code):
            matches += [Match(name, "instance") for name in groups if name]
        matches += [Match(name, "keyword") for name in keyword.kwlist]
        matches += [Match(name, _kind(value)) for name, value in vars(builtins).items()]
        return matches

    def _behind_dot(self, before: str, names: Mapping[str, Any]) -> List[Match]:
        known = infer(_expression_at_end(before), names)
        if known is None:
            return []
        matches = [Match(name, kind) for name, kind in members(known).items()]
        return [Match(name, "column") for name in _columns(known) if name.isidentifier()] + matches

    def _in_string(self, before: str, opening: int, cursor: int, names: Mapping[str, Any]) -> Found:
        text, outside = before[opening:], before[:opening]
        quote = 3 if outside.endswith(("'''", '"""')) else 1
        outside = outside[:-quote].rstrip("rRbBfFuU")
        if _SQL_CALL.search(outside):
            inner = self._complete_sql(text, len(text))
            return Found(opening + inner.start, cursor, inner.matches)
        stripped = outside.rstrip()
        offered: List[str] = []
        if stripped.endswith("["):
            known = infer(_expression_at_end(stripped[:-1]), names)
            offered = _keys(known) or _columns(known)
        else:
            # `df.filter(...).select("`: nobody knows the columns but those of `df`.
            for known in infer_chain(_function_called(stripped), names):
                offered = offered or _columns(known)
            if not offered and _COLUMN_CALL.search(stripped):
                offered = self._all_columns()
        return Found(opening, cursor, _choose([Match(name, "column") for name in offered], text))

    def _all_columns(self) -> List[str]:
        columns: List[str] = []
        for name, value in list(self._names.items()):
            if not name.startswith("_") and type(value).__name__ == "DataFrame":
                columns += [column for column in _columns(Known(value=value)) if column not in columns]
        return columns


def _choose(matches: Iterable[Match], prefix: str) -> List[Match]:
    low = prefix.lower()
    chosen: Dict[str, Match] = {}
    for match in matches:
        hidden = match.text.startswith("_") and not prefix.startswith("_")
        if match.text.lower().startswith(low) and not hidden and match.text not in chosen:
            chosen[match.text] = match
    exact = [match for match in chosen.values() if match.text.startswith(prefix)]
    return sorted(exact or chosen.values(), key=lambda match: (match.kind != "column", match.text.lower(), match.text))


def _kind(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return "module"
    if isinstance(value, type):
        return "class"
    return "function" if callable(value) and inspect.isroutine(value) else "instance"


def _imports(line: str) -> Optional[List[Match]]:
    chosen = _FROM_IMPORT.match(line)
    if chosen:
        module = sys.modules.get(chosen.group(1))
        # A module that was never imported is not imported now: that would run its code.
        names = [Match(name, _kind(value)) for name, value in vars(module).items()] if module else []
        return names + _submodules(getattr(module, "__path__", None))
    package = _IMPORT.match(line)
    if package is None:
        return None
    parent, dot, _ = package.group(1).rpartition(".")
    if dot:
        return _submodules(getattr(sys.modules.get(parent), "__path__", None))
    return [Match(name, "module") for name in sys.builtin_module_names] + _submodules(sys.path)


def _submodules(path: Optional[Iterable[str]]) -> List[Match]:
    if path is None:
        return []
    return [Match(module.name, "module") for module in pkgutil.iter_modules(list(path))]


def _columns(known: Optional[Known]) -> List[str]:
    """The columns of a data frame of Spark's or pandas'."""
    value = None if known is None else known.value
    owner = type(value).__module__ or ""
    if value is None or type(value).__name__ != "DataFrame" or not owner.startswith(("pyspark.", "pandas.")):
        return []
    return [str(column) for column in list(value.columns)[:_MOST_COLUMNS]]


_MOST_COLUMNS = 1000


def _keys(known: Optional[Known]) -> List[str]:
    if known is None or type(known.value) is not dict:
        return []
    return [key for key in list(known.value)[:_MOST_COLUMNS] if isinstance(key, str)]


def _open_string(before: str) -> Optional[int]:
    """Where the string begins in which the text ends, if it ends in one."""
    place, quote, start = 0, "", 0
    while place < len(before):
        character = before[place]
        if quote:
            if character == "\\":
                place += 1
            elif before.startswith(quote, place):
                place += len(quote) - 1
                quote = ""
            elif character == "\n" and len(quote) == 1:
                quote = ""
        elif character == "#":
            end = before.find("\n", place)
            place = len(before) if end < 0 else end
        elif character in "'\"":
            quote = character * 3 if before.startswith(character * 3, place) else character
            place += len(quote) - 1
            start = place + 1
        place += 1
    return start if quote else None


def _expression_at_end(text: str) -> str:
    """The names, calls, subscripts and strings, joined by dots, that the text ends with."""
    text = text.rstrip()
    place, depth, quote = len(text), 0, ""
    while place > 0:
        character = text[place - 1]
        if quote:
            if character == quote and not text[: place - 1].endswith("\\"):
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in ")]}":
            depth += 1
        elif character in "([{":
            if not depth:
                break
            depth -= 1
        elif not depth and not (character.isalnum() or character in "_."):
            # A chain may go over several lines, inside of parentheses.
            joined = character in " \t\n\\" and text[place:].lstrip().startswith(".")
            if not joined and not (character in " \t\n\\" and text[:place].rstrip(" \t\n\\").endswith(".")):
                break
        place -= 1
    return re.sub(r"\s*\\?\n\s*", "", text[place:]).strip()


def _function_called(text: str) -> str:
    """`df.select("a", ` -> `df.select`: what is called with the arguments being written."""
    depth, place = 0, len(text)
    while place > 0:
        character = text[place - 1]
        if character in ")]}":
            depth += 1
        elif character in "([{":
            if not depth:
                break
            depth -= 1
        place -= 1
    return _expression_at_end(text[: place - 1]) if place else ""
