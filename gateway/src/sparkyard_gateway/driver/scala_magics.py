"""`%json NAME` and `%table NAME` in Scala cells, worded as Livy words them there.

Livy refuses a table whose rows have different types; here its column is text, as in a Python cell.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional, Tuple

from .magics import TABLE_MIME
from .reply import Reply, failure

Value = Callable[[str], Optional[str]]
"""The JSON of what a name stands for; None where there is no such name."""


def run_magic(magic: str, argument: str, value_of: Value) -> Reply:
    """Run one `%` line."""
    if magic not in ("json", "table"):
        return failure("UnknownMagic", f"Unknown magic command {magic}")
    text = value_of(argument)
    if text is None:
        return failure("NameError", f"Value {argument} does not exist")
    value = json.loads(text, parse_constant=lambda _name: None)
    return Reply(data={"application/json": value} if magic == "json" else {TABLE_MIME: table(value)})


def table(value: Any) -> Dict[str, Any]:
    """Headers and rows of JSON: a list of objects, of lists, or of single values."""
    rows = value if isinstance(value, list) else [value]
    dicts: List[Dict[str, Any]] = [
        row
        if isinstance(row, dict)
        else {str(index): item for index, item in enumerate(row)}
        if isinstance(row, list)
        else {"0": row}
        for row in rows
    ]
    names: List[str] = list(dict.fromkeys(name for row in dicts for name in row))
    columns = [_column([row.get(name) for row in dicts]) for name in names]
    headers = [{"type": kind, "name": name} for name, (kind, _) in zip(names, columns)]  # noqa: B905  Python 3.8
    return {"headers": headers, "data": [[cells[at] for _, cells in columns] for at in range(len(dicts))]}


def _column(values: List[Any]) -> Tuple[str, List[Any]]:
    kinds = {_kind(value) for value in values if value is not None}
    if kinds == {"BIGINT_TYPE", "DOUBLE_TYPE"}:
        return "DOUBLE_TYPE", values
    if len(kinds) > 1:
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return "STRING_TYPE", texts
    return (kinds.pop() if kinds else "NULL_TYPE"), values


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN_TYPE"
    if isinstance(value, int):
        return "BIGINT_TYPE"
    if isinstance(value, float):
        return "DOUBLE_TYPE"
    if isinstance(value, dict):
        return "MAP_TYPE"
    return "ARRAY_TYPE" if isinstance(value, list) else "STRING_TYPE"
