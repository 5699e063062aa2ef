"""Complete SQL: tables where a table stands, columns of the tables named, keywords and functions elsewhere."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

from .completion import Found, Match

_WORD = re.compile(r"[A-Za-z_]\w*$")
_TABLE_PLACE = re.compile(
    r"\b(?:from|join|into|table|update|describe|desc|view|cache|uncache)\s+(?:[\w.`]+\s*,\s*)*$", re.I
)
_TABLES = re.compile(r"\b(?:from|join|into|update|table)\s+([\w.`]+)(?:\s+(?:as\s+)?([A-Za-z_]\w*))?", re.I)
_REMEMBERED = 15.0

_WORDS = (
    "select from where group by order having limit join left right full outer inner cross semi anti on using "
    "union all intersect except distinct as case when then else end and or not in exists between like rlike "
    "ilike is null true false with insert into overwrite values create replace temporary view table database "
    "if drop alter rename add columns partition partitioned describe show tables databases functions columns "
    "cache uncache refresh explain extended over rows range unbounded preceding following current row lateral "
    "explode cast interval date timestamp array map struct asc desc nulls first last qualify pivot unpivot "
    "tablesample cluster distribute sort location options comment set reset use"
)
KEYWORDS = tuple(_WORDS.split(" "))


class SqlCompleter:
    """Knows the session's tables for a while."""

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._known: Dict[str, Tuple[float, List[str]]] = {}

    def __call__(self, code: str, cursor: int) -> Found:
        """Candidates for the word before the cursor."""
        before = code[:cursor]
        word = _WORD.search(before)
        prefix = word.group() if word else ""
        start = cursor - len(prefix)
        before = before[:start]
        if before.endswith("."):
            owner = re.search(r"([\w`]+(?:\.[\w`]+)*)\.$", before)
            matches = self._members(owner.group(1), code) if owner else []
        elif _TABLE_PLACE.search(before):
            matches = [Match(name, "table") for name in self._tables()]
        else:
            matches = self._columns_named(code)
            matches += [Match(name.upper() if prefix.isupper() else name, "keyword") for name in KEYWORDS]
            matches += [Match(name, "function") for name in _functions()]
        return Found(start, cursor, _starting(matches, prefix))

    def _members(self, owner: str, code: str) -> List[Match]:
        """Columns behind a table or its alias, or tables behind a database."""
        name = owner.replace("`", "")
        for table, alias in _TABLES.findall(code):
            if alias.lower() == name.lower():
                name = table
        columns = self._columns(name)
        return [Match(column, "column") for column in columns] or [
            Match(table, "table") for table in self._tables(name)
        ]

    def _columns_named(self, code: str) -> List[Match]:
        columns: List[str] = []
        for table, _alias in _TABLES.findall(code)[:8]:
            columns += [column for column in self._columns(table) if column not in columns]
        return [Match(column, "column") for column in columns]

    def _tables(self, database: str = "") -> List[str]:
        def ask() -> List[str]:
            within = f" in {database}" if database else ""
            return [str(row["tableName"]) for row in self._session().sql(f"show tables{within}").collect()]

        return self._remembered(f"tables {database}", ask)

    def _columns(self, table: str) -> List[str]:
        name = table.replace("`", "")
        return self._remembered(f"columns {name}", lambda: list(self._session().table(name).columns))

    def _remembered(self, key: str, ask: Callable[[], List[str]]) -> List[str]:
        with self._lock:
            at, names = self._known.get(key, (float("-inf"), []))
        if time.monotonic() - at < _REMEMBERED:
            return names
        try:
            names = ask()
        except Exception:  # noqa: BLE001  no such table, a metastore that is down: nothing to offer
            return []
        with self._lock:
            self._known[key] = (time.monotonic(), names)
        return names


def _functions() -> List[str]:
    # The functions of pyspark are those of SQL, but for a few names, and asking Spark for its list takes seconds.
    from pyspark.sql import functions  # noqa: PLC0415

    return [
        name
        for name in vars(functions)
        if name.islower() and not name.startswith("_") and callable(getattr(functions, name))
    ]


def _starting(matches: List[Match], prefix: str) -> List[Match]:
    low, seen, kept = prefix.lower(), set(), []
    for match in matches:
        if match.text.lower().startswith(low) and match.text not in seen:
            seen.add(match.text)
            kept.append(match)
    return kept
