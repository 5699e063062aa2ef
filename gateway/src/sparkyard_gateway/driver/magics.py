"""Livy's three magics: `%json NAME`, `%table NAME`, `%matplot NAME`, each a line of its own.

Better than Livy in two points: an unknown name is an error (Livy says ok), and rows of different types make a table of
text (in Livy they kill the interpreter).
"""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any, Dict, List, Mapping, Tuple

from .display import Gallery

TABLE_MIME = "application/vnd.livy.table.v1+json"


class UnknownMagic(Exception):  # noqa: N818  Livy's clients see this name
    """Livy's name for a % line that is none of the three."""


UnknownMagic.__module__ = "builtins"  # so that a traceback says `UnknownMagic: ...`, as Livy's does


def run_magic(line: str, names: Mapping[str, Any], gallery: Gallery) -> Dict[str, Any]:
    """Run one `%` line and return its data by MIME type."""
    magic, _, argument = line[1:].strip().partition(" ")
    name = argument.strip()
    if not magic:
        raise UnknownMagic("magic command not specified")
    if magic == "json":
        return {"application/json": _plain_json(names[name])}
    if magic == "table":
        return {TABLE_MIME: table(names[name])}
    if magic == "matplot":
        return gallery.take_current_figure(names[name])
    raise UnknownMagic(f"unknown magic command '{magic}'")


def _plain_json(value: Any) -> Any:
    # Checked here, where the error can still be the user's, and copied, as the user may change it later.
    return json.loads(json.dumps(value, allow_nan=False))


def table(value: Any) -> Dict[str, Any]:
    """Headers and rows of a list of rows, dicts, tuples or single values."""
    rows = value if isinstance(value, (list, tuple)) and not _is_row(value) else [value]
    dicts = [_as_dict(row) for row in rows]
    names: List[Any] = []
    for row in dicts:
        names += [name for name in row if name not in names]
    try:
        names.sort()
    except TypeError:
        names.sort(key=str)
    headers, columns = [], []
    for name in names:
        kind, cells = _column([row.get(name) for row in dicts])
        headers.append({"name": str(name), "type": kind})
        columns.append(cells)
    return {"headers": headers, "data": [list(cells) for cells in _transposed(columns)] or [[] for _ in dicts]}


def _transposed(columns: List[List[Any]]) -> List[List[Any]]:
    return [[column[index] for column in columns] for index in range(len(columns[0]))] if columns else []


def _is_row(value: Any) -> bool:
    return type(value).__name__ == "Row" and hasattr(value, "asDict")


def _as_dict(row: Any) -> Dict[Any, Any]:
    if _is_row(row):
        return dict(row.asDict())
    if isinstance(row, dict):
        return row
    if isinstance(row, (list, tuple)):
        return dict(enumerate(row))
    return {0: row}


def _column(values: List[Any]) -> Tuple[str, List[Any]]:
    typed = [_typed(value) for value in values]
    kinds = {kind for kind, _ in typed if kind != "NULL_TYPE"}
    if len(kinds) <= 1:
        return (kinds.pop() if kinds else "NULL_TYPE"), [cell for _, cell in typed]
    if kinds == {"INT_TYPE", "DOUBLE_TYPE"}:
        return "DOUBLE_TYPE", [cell for _, cell in typed]
    return "STRING_TYPE", [None if value is None else str(value) for value in values]


def _typed(value: Any) -> Tuple[str, Any]:  # noqa: PLR0911  a table of types
    if value is None:
        return "NULL_TYPE", None
    if isinstance(value, bool):
        return "BOOLEAN_TYPE", value
    if isinstance(value, int):
        return "INT_TYPE", int(value)
    if isinstance(value, float):
        # JSON has no NaN and no infinity.
        return "DOUBLE_TYPE", float(value) if value - value == 0 else None
    if isinstance(value, datetime.datetime):
        return "TIMESTAMP_TYPE", str(value)
    if isinstance(value, datetime.date):
        return "DATE_TYPE", str(value)
    if isinstance(value, decimal.Decimal):
        return "DECIMAL_TYPE", str(value)
    if isinstance(value, dict) or _is_row(value):
        return "MAP_TYPE", {str(key): _typed(item)[1] for key, item in _as_dict(value).items()}
    if isinstance(value, (list, tuple)):
        return "ARRAY_TYPE", [_typed(item)[1] for item in value]
    return "STRING_TYPE", str(value)
