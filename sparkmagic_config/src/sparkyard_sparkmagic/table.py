"""A result as a table that can be sorted and read aloud.

Plain HTML first: where scripts don't run (an untrusted notebook, an export), it is a table like any other. Where
they do, a few lines of script of ours make each heading a button that sorts. A library would do more and would put
hundreds of kilobytes into every saved notebook (docs/decisions tells which were weighed).

What is left out is said in the caption, never silently cut.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

MOST_ROWS = 500
MOST_COLUMNS = 60
LONGEST_CELL = 500
NUMERIC = ("byte", "short", "int", "integer", "long", "float", "double", "decimal")

# The class is named twice to outweigh the notebook's own rules for tables.
STYLE = """
.sparkyard-table{overflow:auto;max-height:32em;margin:2px 0}
.sparkyard-table.sparkyard-table p{margin:0 0 2px;opacity:.85}
.sparkyard-table.sparkyard-table th{position:sticky;top:0;text-align:left;white-space:nowrap;
background:var(--jp-layout-color0,#fff)}
.sparkyard-table.sparkyard-table td{text-align:left;max-width:40em;overflow-wrap:anywhere}
.sparkyard-table.sparkyard-table :is(td.n,th[data-type=n]){text-align:right;font-variant-numeric:tabular-nums}
.sparkyard-table i{opacity:.7}
.sparkyard-table th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer}
.sparkyard-table th[aria-sort=ascending] button::after{content:" \\25B2";content:" \\25B2"/""}
.sparkyard-table th[aria-sort=descending] button::after{content:" \\25BC";content:" \\25BC"/""}
"""

# Null is last in both directions; equal values keep their order (Array.sort is stable).
SCRIPT = """
(() => {
  const box = document.getElementById(ID);
  if (!box) return;
  const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("thead th")];
  const said = box.querySelector("[role=status]"), order = new Intl.Collator(undefined, {numeric: false});
  heads.forEach((head, column) => {
    const button = document.createElement("button"), numeric = head.dataset.type === "n";
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
      const key = row => {
        const cell = row.cells[column];
        return cell.dataset.null ? null : cell.dataset.v ?? cell.textContent;
      };
      const keyed = [...body.rows].map(row => [key(row), row]);
      keyed.sort(([a], [b]) => a === null ? (b === null ? 0 : 1) : b === null ? -1
        : sign * (numeric ? (Number(a) - Number(b) || isNaN(a) - isNaN(b)) : order.compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      said.textContent = `Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`;
    });
  });
})();
"""


@dataclass(frozen=True)
class Column:
    """A column's name and Spark's name of its type, or a nested type as Spark's JSON has it."""

    name: str
    type: Any

    @property
    def numeric(self) -> bool:
        """Whether it sorts as numbers."""
        return isinstance(self.type, str) and self.type.startswith(NUMERIC)


@dataclass(frozen=True)
class Table:
    """Columns and rows as the driver sent them, and a sentence about what is missing."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    note: str | None = None

    @classmethod
    def of_schema(cls, schema: dict[str, Any], rows: Sequence[Sequence[Any]], note: str | None = None) -> "Table":
        """From Spark's JSON schema."""
        columns = tuple(Column(str(field["name"]), field["type"]) for field in schema.get("fields", ()))
        return cls(columns, rows, note)

    def bundle(self) -> dict[str, str]:
        """For the notebook."""
        return {"text/plain": self.text(), "text/html": self.html()}

    @property
    def caption(self) -> str:
        """How many rows there are, and what is not shown."""
        rows, columns = len(self.rows), len(self.columns)
        parts = [f"{rows:,} row{'s' if rows != 1 else ''}"]
        if rows > MOST_ROWS:
            parts.append(f"the first {MOST_ROWS:,} are shown")
        if columns > MOST_COLUMNS:
            parts.append(f"{MOST_COLUMNS} of {columns} columns are shown")
        if self.note:
            parts.append(self.note.rstrip("."))
        return "; ".join(parts)

    def html(self) -> str:
        """The table, with its style and script."""
        columns = self.columns[:MOST_COLUMNS]
        ident = f"sparkyard-{uuid.uuid4().hex}"
        head = "".join(
            f'<th scope="col" data-type="{"n" if column.numeric else "t"}" title="{escape(_type(column.type))}">'
            f"{escape(column.name)}</th>"
            for column in columns
        )
        body = "".join(
            "<tr>" + "".join(_cell(value, column) for value, column in zip(row, columns, strict=False)) + "</tr>"
            for row in self.rows[:MOST_ROWS]
        )
        return (
            f'<div id="{ident}" class="sparkyard-table" role="region" tabindex="0" aria-label="Result table">'
            f"<style>{STYLE}</style>"
            f'<p id="{ident}-rows">{escape(self.caption)}</p><table aria-labelledby="{ident}-rows">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            '<span role="status" style="position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden">'
            f"</span></div><script>{SCRIPT.replace('ID', json.dumps(ident), 1)}</script>"
        )

    def text(self) -> str:
        """A fixed-width table for consoles and exports."""
        columns = self.columns[:MOST_COLUMNS]
        shown = [[_plain(value)[:40] for value in row[: len(columns)]] for row in self.rows[:20]]
        names = [column.name[:40] for column in columns]
        widths = [max(map(len, texts)) for texts in zip(names, *shown, strict=False)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()
                 for row in [names, *shown]]  # fmt: skip
        more = [f"... {len(self.rows) - 20:,} more"] if len(self.rows) > 20 else []
        return "\n".join([*lines, *more, f"({self.caption})"])


def _cell(value: Any, column: Column) -> str:
    if value is None:
        return '<td data-null="1"><i>null</i></td>'
    text = _plain(value)
    if column.numeric:
        return f'<td class="n">{escape(text)}</td>'
    if len(text) > LONGEST_CELL:
        return f"<td>{escape(text[:LONGEST_CELL])}<i>&hellip; {len(text) - LONGEST_CELL:,} characters more</i></td>"
    return f"<td>{escape(text)}</td>"


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _type(spark_type: Any) -> str:
    if isinstance(spark_type, str):
        return spark_type
    return str(spark_type.get("type", "")) if isinstance(spark_type, dict) else ""
