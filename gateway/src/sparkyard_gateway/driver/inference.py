"""What an expression stands for, found by looking and never by running: the ground of completion.

An answer is the very object, where it can be had without calling code of the user's, or else its class.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import types
from collections import ChainMap
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

_DEPTH = 40
_NAME = re.compile(r"[^\W\d][\w.]*")


@dataclass(frozen=True)
class Known:
    """An object, or at least its class."""

    value: Any = None
    kind: Optional[type] = None

    @property
    def cls(self) -> type:
        """The class in either case."""
        return self.kind if self.kind is not None else type(self.value)


def infer(expression: str, names: Mapping[str, Any]) -> Optional[Known]:
    """What the expression stands for, or None."""
    tree = _parse(expression)
    return None if tree is None else _infer(tree, names, 0)


def infer_chain(expression: str, names: Mapping[str, Any]) -> List[Known]:
    """What each link of `a.b(...).c(...)` stands for, the last link first, so far as it is known."""
    found = []
    node = _parse(expression)
    while node is not None:
        known = _infer(node, names, 0)
        if known is not None:
            found.append(known)
        node = node.func if isinstance(node, ast.Call) else node.value if isinstance(node, ast.Attribute) else None
    return found


def with_assignments(code: str, names: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names, and above them what this code assigns and imports, so that a cell completes before it has run."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return names
    bound: Dict[str, Any] = {}
    both = ChainMap(bound, dict(names))
    for statement in body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                known = _infer(statement.value, both, 0)
                bound[target.id] = known if known is not None else Known(kind=object)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                loaded = sys.modules.get(alias.name if alias.asname else alias.name.partition(".")[0])
                if loaded is not None:
                    bound[alias.asname or alias.name.partition(".")[0]] = loaded
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            source = getattr(sys.modules.get(statement.module), "__dict__", {})
            bound.update(
                {alias.asname or alias.name: source[alias.name] for alias in statement.names if alias.name in source}
            )
    return both if bound else names


def _parse(expression: str) -> Optional[ast.AST]:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def members(known: Known) -> Dict[str, str]:
    """The attributes of an object or of what a class makes, with what they are."""
    if isinstance(known.value, types.ModuleType):
        return {name: _what(value) for name, value in list(vars(known.value).items())}
    if isinstance(known.value, type) and known.kind is None:
        return {name: _what(_static(known.value, name)) for name in _names_of_class(known.value)}
    found = {name: _what(_static(known.cls, name)) for name in _names_of_class(known.cls)}
    if known.kind is None:
        found.update(dict.fromkeys(_own(known.value), "instance"))
    return found


def _infer(node: ast.AST, names: Mapping[str, Any], depth: int) -> Optional[Known]:  # noqa: PLR0911  one for each kind of node
    if depth > _DEPTH:
        return None
    if isinstance(node, ast.Name):
        if node.id in names:
            value = names[node.id]
            return value if isinstance(value, Known) else Known(value=value)
        return Known(value=getattr(builtins, node.id)) if hasattr(builtins, node.id) else None
    if isinstance(node, ast.Constant):
        return Known(value=node.value) if node.value is not None else None
    for display, kind in ((ast.List, list), (ast.Dict, dict), (ast.Tuple, tuple), (ast.Set, set), (ast.JoinedStr, str)):
        if isinstance(node, display):
            return Known(kind=kind)
    if isinstance(node, ast.Attribute):
        owner = _infer(node.value, names, depth + 1)
        return None if owner is None else _attribute(owner, node.attr)
    if isinstance(node, ast.Call):
        called = _infer(node.func, names, depth + 1)
        return None if called is None else _result(called)
    if isinstance(node, ast.Subscript):
        owner = _infer(node.value, names, depth + 1)
        return None if owner is None else _item(owner, node.slice)
    return None


def _attribute(owner: Known, name: str) -> Optional[Known]:  # noqa: PLR0911  one for each kind of attribute
    if isinstance(owner.value, types.ModuleType):
        return Known(value=vars(owner.value)[name]) if name in vars(owner.value) else None
    if owner.kind is None and not isinstance(owner.value, type):
        own = _own(owner.value)
        if name in own:
            return Known(value=own[name])
    cls = owner.value if isinstance(owner.value, type) and owner.kind is None else owner.cls
    raw = _static(cls, name)
    if raw is None:
        return None
    if isinstance(raw, property):
        return _annotated(raw.fget)
    if isinstance(raw, (staticmethod, classmethod)):
        return Known(value=raw.__func__)
    wrapped = getattr(raw, "func", None)  # functools.cached_property
    if wrapped is not None and type(raw).__name__ == "cached_property":
        return _annotated(wrapped)
    if hasattr(type(raw), "__get__") and not inspect.isroutine(raw) and not isinstance(raw, type):
        return None  # a descriptor whose __get__ could do anything
    return Known(value=raw)


def _result(called: Known) -> Optional[Known]:
    if called.kind is not None:
        return None
    if isinstance(called.value, type):
        return Known(kind=called.value)
    return _annotated(called.value)


def _item(owner: Known, index: ast.AST) -> Optional[Known]:
    inner = getattr(index, "value", index) if type(index).__name__ == "Index" else index  # Python 3.8
    if type(owner.value) not in (dict, list, tuple) or not isinstance(inner, ast.Constant):
        return None
    try:
        return Known(value=owner.value[inner.value])
    except (KeyError, IndexError, TypeError):
        return None


def _annotated(function: Any) -> Optional[Known]:
    """What a function says that it returns."""
    function = inspect.unwrap(function) if callable(function) else function
    annotation = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, type):
        return Known(kind=annotation) if annotation is not type(None) else None
    if not isinstance(annotation, str):
        annotation = str(annotation) if annotation is not None else ""
    for word in _NAME.findall(annotation.replace("typing.", "")):
        if word in ("Optional", "Union", "None", "ForwardRef"):
            continue
        cls = _class_named(word, function)
        return Known(kind=cls) if cls is not None else None
    return None


def _class_named(word: str, function: Any) -> Optional[type]:
    name = word.rpartition(".")[2]
    found = getattr(function, "__globals__", {}).get(name, getattr(builtins, name, None))
    if isinstance(found, type):
        return found
    # Imported for type checkers only: the class is in a module of the same package that something else has loaded.
    package = str(getattr(function, "__module__", "") or "").split(".")[0]
    for loaded in sorted(module for module in list(sys.modules) if module.split(".")[0] == package):
        candidate = getattr(sys.modules.get(loaded), "__dict__", {}).get(name)
        if isinstance(candidate, type) and ".connect." not in candidate.__module__:
            return candidate
    return None


def _names_of_class(cls: type) -> Dict[str, None]:
    names: Dict[str, None] = {}
    for base in type.mro(cls):
        names.update(dict.fromkeys(list(base.__dict__)))
    return names


def _own(value: Any) -> Dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001  objects without one, and proxies that raise what they like
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _static(cls: type, name: str) -> Any:
    try:
        return inspect.getattr_static(cls, name)
    except AttributeError:
        return None


def _what(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return "module"
    if isinstance(value, type):
        return "class"
    if isinstance(value, property):
        return "property"
    return "function" if inspect.isroutine(value) or isinstance(value, (staticmethod, classmethod)) else "instance"
