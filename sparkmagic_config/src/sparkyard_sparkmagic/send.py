"""Code that makes a local value a variable of the Spark session.

A text goes as its Python literal, whatever quotes it holds. A pandas DataFrame goes as rows with a schema taken from
its own column types, so that Spark guesses nothing either: "01234" arrives as a text, a date as a date.
"""

import base64
import datetime
import decimal
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparkyard_sparkmagic.errors import MagicError
from sparkyard_sparkmagic.query import identifier

_RECEIVE = """
def _sparkyard_receive(rows, schema):
    import base64, datetime, decimal, json
    from pyspark.sql import types
    read = {"date": datetime.date.fromisoformat, "timestamp": datetime.datetime.fromisoformat,
            "binary": base64.b64decode, "decimal": decimal.Decimal, "double": float}
    schema = types.StructType.fromJson(json.loads(schema))
    readers = [read.get(field.dataType.typeName(), lambda value: value) for field in schema.fields]
    rows = [[None if value is None else reader(value) for value, reader in zip(row, readers)]
            for row in json.loads(rows)]
    return spark.createDataFrame(rows, schema)
"""


def text(name: str, value: Any) -> str:
    """Code that defines `name` as the text `value`."""
    if not isinstance(value, str):
        raise MagicError(f"the value is a {type(value).__name__}, not a text; -t df sends a pandas DataFrame")
    return f"{identifier(name)} = {value!r}"


def frame(name: str, value: Any, most: int) -> str:
    """Code that defines `name` as a Spark DataFrame of the first `most` rows of `value`; all if `most` is negative."""
    if not isinstance(value, pd.DataFrame):
        raise MagicError(f"the value is a {type(value).__name__}, not a pandas DataFrame; -t str sends a text")
    part = value if most < 0 else value.head(most)
    columns = [part.iloc[:, at] for at in range(part.shape[1])]
    types = [_spark_type(str(part.columns[at]), column) for at, column in enumerate(columns)]
    rows = [list(row) for row in zip(*(_wire(column, kind) for column, kind in zip(columns, types, strict=True)),
                                     strict=True)]  # fmt: skip
    fields = [
        {"name": str(label), "type": kind, "nullable": True, "metadata": {}}
        for label, kind in zip(part.columns, types, strict=True)
    ]
    schema = json.dumps({"type": "struct", "fields": fields})
    return f"{_RECEIVE}\n{identifier(name)} = _sparkyard_receive({json.dumps(rows)!r}, {schema!r})"


def _spark_type(name: str, column: "pd.Series[Any]") -> str:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):
        return "long"
    if pd.api.types.is_float_dtype(dtype):
        return "double"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "timestamp"
    return _object_type(name, column.dropna().tolist())


def _object_type(name: str, values: Sequence[Any]) -> str:
    # bool is an int, and a datetime is a date, to isinstance: the order tells them apart.
    for kind, wanted in (
        ("string", str),
        ("boolean", bool),
        ("long", int),
        ("double", (int, float)),
        ("timestamp", datetime.datetime),
        ("date", datetime.date),
        ("binary", bytes),
    ):
        if all(isinstance(value, wanted) for value in values):
            return kind
    if all(isinstance(value, decimal.Decimal) for value in values):
        return "decimal(38,18)"
    kinds = sorted({type(value).__name__ for value in values})
    raise MagicError(
        f"column {name!r} holds {', '.join(kinds)}, which no single Spark type can hold unchanged; "
        "turn it into one type first, such as with .astype(str)"
    )


def _wire(column: "pd.Series[Any]", kind: str) -> list[Any]:
    return [None if _missing(value) else _plain(value, kind) for value in column.tolist()]


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _plain(value: Any, kind: str) -> Any:
    if kind in ("timestamp", "date"):
        return value.isoformat()
    if kind == "binary":
        return base64.b64encode(value).decode()
    if kind.startswith("decimal"):
        return str(value)
    if kind == "double":
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return value
