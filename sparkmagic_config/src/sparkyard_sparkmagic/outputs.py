"""A statement's result under the cell: its text as text, everything richer as one display beside it.

Jupyter shows only the richest form of one display. So what was printed must not share a display with a plot, or it
would vanish; and the forms that one value has (a table, its HTML, its image) must share one, or it would appear twice.
"""

import json
from typing import Any

from sparkyard_sparkmagic import screen
from sparkyard_sparkmagic.statement import PLAIN, Result
from sparkyard_sparkmagic.table import Column, Table

JSON = "application/json"
LIVY_TABLE = "application/vnd.livy.table.v1+json"


def show(result: Result) -> None:
    """Show what has not been seen of a result."""
    text = result.unseen
    if text:
        screen.write(text if text.endswith("\n") else text + "\n")
    rich = {kind: data for kind, data in result.data.items() if kind != PLAIN}
    if rich:
        screen.show(_bundle(rich))
    if result.truncated:
        screen.write(f"[{result.truncated}]\n")


def table(result: Result) -> Table | None:
    """The table in a result of an SQL statement, if there is one."""
    data = result.data.get(JSON)
    if isinstance(data, dict) and isinstance(data.get("schema"), dict) and isinstance(data.get("data"), list):
        return Table.of_schema(data["schema"], data["data"], result.truncated)
    return None


def _bundle(rich: dict[str, Any]) -> dict[str, Any]:
    found = rich.pop(LIVY_TABLE, None)
    if isinstance(found, dict):
        columns = tuple(Column(str(head.get("name")), _spark_type(head.get("type"))) for head in found["headers"])
        return {**Table(columns, found["data"]).bundle(), **rich}
    if JSON in rich:
        return {PLAIN: json.dumps(rich[JSON], indent=1, ensure_ascii=False)[:20_000], **rich}
    kinds = ", ".join(sorted(rich))
    return {PLAIN: f"<{kinds}>", **rich}


def _spark_type(livy_type: Any) -> str:
    # Livy names SQL's types: BIGINT_TYPE, STRING_TYPE, ...
    name = str(livy_type).removesuffix("_TYPE").lower()
    return {"bigint": "long", "tinyint": "byte", "smallint": "short"}.get(name, name)
