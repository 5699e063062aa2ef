"""Runs a statement of kind sql and answers its rows as Livy's SQL interpreter words them.

Livy turns values into JSON by json4s: decimals are numbers, dates ISO, timestamps ISO in UTC, binary a list of signed
bytes, a struct an object of its schema and values, NaN null. Where that loses something (fractions of a second, digits
of a decimal beyond a double's) the value here is whole, and rows beyond the limit are spoken of.
"""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any, Callable, Dict, List, Tuple

from .java_errors import told_by_java
from .limits import weight
from .reply import Reply
from .streams import StatementOutput
from .tracebacks import cell_name, describe


class SqlInterpreter:
    """Kind sql. `session` is asked for each time, as a cell may have replaced it."""

    def __init__(self, session: Callable[[], Any], rows: int, message_limit: int) -> None:
        self._session = session
        self._rows = rows
        self._limit = message_limit

    def execute(self, code: str, output: StatementOutput) -> Reply:
        """Run one SQL statement."""
        try:
            frame = self._session().sql(code)
            schema = json.loads(frame._jdf.schema().json())  # noqa: SLF001  the public `schema` parses it for nothing
            # Spark's page and the progress name a stage by the file that asked for it: that is the cell, not this file.
            take = compile("frame.take(rows)", cell_name(output.statement), "eval")
            taken = eval(take, {"frame": frame, "rows": self._rows + 1})  # noqa: S307
            types = [field["type"] for field in schema["fields"]]
            rows = [[as_json(value, kind) for value, kind in zip(row, types)] for row in taken[: self._rows]]  # noqa: B905
            reply = Reply(data={"application/json": {"schema": schema, "data": rows}})
            if len(taken) > self._rows:
                reply.truncated.append(
                    f"The query has more than {self._rows:,} rows; the first {self._rows:,} are here."
                )
            self._fit(reply, rows)
        except KeyboardInterrupt as error:
            return Reply(error=describe(type(error), error, error.__traceback__, output.statement))
        except Exception as error:  # noqa: BLE001  whatever the query raised is its answer
            return Reply(
                error=told_by_java(error) or describe(type(error), error, error.__traceback__, output.statement)
            )
        return reply

    def _fit(self, reply: Reply, rows: List[List[Any]]) -> None:
        """Fewer rows where they are too heavy: a table of some is worth more than none."""
        total = len(rows)
        while rows and weight(reply) > self._limit:
            del rows[len(rows) // 2 :]
        if len(rows) < total:
            reply.truncated.append(f"The rows have more than {self._limit:,} bytes; the first {len(rows):,} are here.")


def as_json(value: Any, kind: Any) -> Any:  # noqa: PLR0911, C901  a table of types
    """A value of a row, given its type as Spark's schema JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, decimal.Decimal):
        number = float(value)
        return number if decimal.Decimal(repr(number)) == value else str(value)
    if isinstance(value, datetime.datetime):
        return _timestamp(value, local=kind != "timestamp_ntz")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return [byte - 256 if byte > 127 else byte for byte in bytes(value)]
    if isinstance(kind, dict):
        if kind.get("type") == "array":
            return [as_json(item, kind["elementType"]) for item in value]
        if kind.get("type") == "map":
            return {str(as_json(key, kind["keyType"])): as_json(item, kind["valueType"]) for key, item in value.items()}
        if kind.get("type") == "struct":
            return _struct(tuple(value), kind["fields"])
    return str(value)


def _struct(values: Tuple[Any, ...], fields: List[Dict[str, Any]]) -> Dict[str, Any]:
    schema = [
        {"name": field["name"], "dataType": {}, "nullable": field["nullable"], "metadata": {"map": field["metadata"]}}
        for field in fields
    ]
    converted = [as_json(value, field["type"]) for value, field in zip(values, fields)]  # noqa: B905
    return {"schema": schema, "values": converted}


def _timestamp(value: datetime.datetime, *, local: bool) -> str:
    if local:
        # Spark hands timestamps to Python as local time without a zone.
        value = value.astimezone(datetime.timezone.utc)
    fraction = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
    return value.strftime("%Y-%m-%dT%H:%M:%S") + fraction + ("Z" if local else "")
