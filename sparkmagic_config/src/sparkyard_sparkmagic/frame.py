"""A fetched table as a pandas DataFrame, by Spark's schema and as `toPandas` would type it: nothing is guessed.

Whole numbers with nulls become pandas' nullable integers, where `toPandas` would make them floats and lose digits.
"""

import base64
import datetime
import decimal
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from sparkyard_sparkmagic.table import Column, Table

INTEGERS = {"byte": "8", "short": "16", "integer": "32", "int": "32", "long": "64", "bigint": "64"}
FLOATS = {"float": "float32", "double": "float64"}


def to_pandas(table: Table) -> pd.DataFrame:
    """The table's rows under its columns' names, which may repeat."""
    series = [_series([row[at] for row in table.rows], column) for at, column in enumerate(table.columns)]
    frame = pd.DataFrame(dict(enumerate(series)), index=range(len(table.rows)))
    frame.columns = pd.Index([column.name for column in table.columns], dtype="object")
    return frame


def _series(values: Sequence[Any], column: Column) -> "pd.Series[Any]":
    kind = column.type if isinstance(column.type, str) else ""
    missing = any(value is None for value in values)
    if kind in INTEGERS:
        return pd.Series(values, dtype=("Int" if missing else "int") + INTEGERS[kind])
    if kind in FLOATS:
        return pd.Series([float("nan") if value is None else float(value) for value in values], dtype=FLOATS[kind])
    if kind == "boolean":
        return pd.Series(values, dtype="boolean" if missing else "bool")
    if kind in ("timestamp", "timestamp_ntz"):
        return _timestamps(values)
    return pd.Series([None if value is None else _reader(kind)(value) for value in values], dtype="object")


def _timestamps(values: Sequence[Any]) -> "pd.Series[Any]":
    times = [None if value is None else datetime.datetime.fromisoformat(str(value)) for value in values]
    try:
        return pd.Series(times, dtype="datetime64[ns]")
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        return pd.Series(times, dtype="object")  # before 1678 or after 2262: pandas has no room for it


def _reader(kind: str) -> Callable[[Any], Any]:
    if kind == "date":
        return lambda value: datetime.date.fromisoformat(str(value))
    if kind.startswith("decimal"):
        return lambda value: decimal.Decimal(str(value))
    if kind == "binary":
        return base64.b64decode
    return lambda value: value
