"""Rows of a query or a DataFrame, fetched with their types.

Stock Sparkmagic prints each row as JSON and guesses the types again, which turns "01234" into 1234. Here the driver
sends Spark's own schema and the rows beside it. The code below runs in the user's image, so it needs pyspark alone.

The text is marked and counted, so that a warning printed beside it or a cut made on the way is noticed.
"""

import json
import keyword
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sparkyard_sparkmagic.errors import MagicError, SparkyardError
from sparkyard_sparkmagic.table import Table

MARK = "sparkyard-rows"
DEFAULT_ROWS = 2500
DEFAULT_FRACTION = 0.1

# Timestamps and intervals are made text by Spark, which knows the session's time zone; Python would use its own.
_FETCH = """
def _sparkyard_fetch(frame, limit, fraction):
    import base64, json
    def plain(value):
        if hasattr(value, "asDict"):
            return {name: plain(one) for name, one in value.asDict().items()}
        if isinstance(value, dict):
            return {str(name): plain(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        if isinstance(value, (bytes, bytearray)):
            return base64.b64encode(bytes(value)).decode()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return str(value)
    schema = frame.schema
    if fraction is not None:
        frame = frame.sample(False, fraction)
    as_text = [field.dataType.typeName().startswith(("timestamp", "interval", "daytime", "yearmonth"))
               for field in schema.fields]
    if any(as_text):
        frame = frame.toDF(*["c%d" % i for i in range(len(as_text))])
        frame = frame.select(*[frame["c%d" % i].cast("string") if text else frame["c%d" % i]
                               for i, text in enumerate(as_text)])
    rows = frame.collect() if limit < 0 else frame.take(limit)
    lines = [json.dumps([plain(value) for value in row]) for row in rows]
    print("\\n".join(["MARK %d %s" % (len(lines), schema.json())] + lines))
"""


@dataclass(frozen=True)
class Query:
    """What to fetch: a Python expression for a DataFrame, and how much of it."""

    frame: str
    limit: int = DEFAULT_ROWS
    fraction: float | None = None

    @classmethod
    def of_sql(cls, text: str, **options: Any) -> "Query":
        """Of an SQL text, whatever quotes it holds."""
        return cls(f"spark.sql({text.strip().rstrip(';')!r})", **_checked(**options))

    @classmethod
    def of_variable(cls, name: str, **options: Any) -> "Query":
        """Of a DataFrame that has a name in the session."""
        return cls(identifier(name), **_checked(**options))

    @property
    def code(self) -> str:
        """What runs on Spark. One row more than wanted is asked for: so we know whether there are more."""
        limit = self.limit + 1 if self.limit >= 0 else -1
        return f"{_FETCH.replace('MARK', MARK)}\n_sparkyard_fetch({self.frame}, {limit}, {self.fraction})"

    def table(self, text: str, truncated: str | None) -> Table:
        """What it printed, as a table."""
        lines = iter(text.splitlines())
        head = next((line for line in lines if line.startswith(MARK + " ")), None)
        if head is None:
            raise SparkyardError(f"the driver did not send the rows{': ' + truncated if truncated else ''}")
        _, count, schema = head.split(" ", 2)
        rows = _read_rows(lines, int(count))
        try:
            parsed_schema = json.loads(schema)
        except ValueError:
            parsed_schema = None
        if parsed_schema is None or (not rows and int(count)):
            raise SparkyardError(
                f"the result is too large to be sent: {truncated or 'it was cut on the way'}; "
                "ask for fewer rows or columns, such as with -n 100"
            )
        if len(rows) < int(count):
            note = f"only these {len(rows):,} of {int(count):,} fetched rows came through: {truncated or 'it was cut'}"
            return Table.of_schema(parsed_schema, rows, note)
        if 0 <= self.limit < len(rows):
            note = f"there are more: -n fetches another number than {self.limit:,}, -n -1 all"
            return Table.of_schema(parsed_schema, rows[: self.limit], note)
        sample = f"a sample of {self.fraction:.0%}" if self.fraction is not None else None
        return Table.of_schema(parsed_schema, rows, sample)


def _read_rows(lines: Iterator[str], count: int) -> list[Any]:
    rows: list[Any] = []
    for line in islice(lines, count):
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # cut here, or text of somebody else's
    return rows


def identifier(name: str) -> str:
    """The name of a variable, or an error that says so."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise MagicError(f"{name!r} is not the name of a variable")
    return name


def _checked(method: str | None = None, maxrows: int | None = None, fraction: float | None = None) -> dict[str, Any]:
    if method not in (None, "take", "sample"):
        raise MagicError(f"-m takes take or sample, not {method!r}")
    if fraction is not None and not 0 <= fraction <= 1:
        raise MagicError(f"-r takes a fraction from 0 to 1, not {fraction}")
    sampled = fraction if fraction is not None else DEFAULT_FRACTION
    return {"limit": DEFAULT_ROWS if maxrows is None else maxrows, "fraction": sampled if method == "sample" else None}
