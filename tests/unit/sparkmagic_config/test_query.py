"""Fetching rows with their types: the code for the driver, and reading what it printed."""

import json

import pytest

from sparkyard_sparkmagic.errors import MagicError, SparkyardError
from sparkyard_sparkmagic.query import MARK, Query

SCHEMA = '{"type":"struct","fields":[{"name":"zip","type":"string"}]}'


def printed(rows: list[list[object]], count: int | None = None) -> str:
    lines = [f"{MARK} {len(rows) if count is None else count} {SCHEMA}", *map(json.dumps, rows)]
    return "\n".join(lines)


def test_the_code_holds_any_query_as_it_is() -> None:
    text = """SELECT 'it''s', "q", \"\"\"x\"\"\" -- \\n\n FROM t"""
    code = Query.of_sql(text).code
    compile(code, "<query>", "exec")
    names: dict[str, object] = {}
    exec(code.rpartition("\n")[0], names)  # the definition alone
    seen = []
    names["_sparkyard_fetch"] = lambda frame, limit, fraction: seen.append((frame, limit, fraction))
    names["spark"] = type("Spark", (), {"sql": staticmethod(lambda query: query)})
    exec(code.rpartition("\n")[2], names)
    assert seen == [(text.strip(), 2501, None)]


def test_options() -> None:
    assert Query.of_variable("df", method="sample", maxrows=10, fraction=0.5).code.endswith(
        "_sparkyard_fetch(df, 11, 0.5)"
    )
    assert Query.of_variable("df", maxrows=-1).code.endswith("_sparkyard_fetch(df, -1, None)")
    assert Query.of_variable("df", method="sample").fraction == 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [({"method": "guess"}, "-m takes take or sample"), ({"fraction": 3.0}, "-r takes a fraction")],
)
def test_wrong_options(options: dict[str, object], says: str) -> None:
    with pytest.raises(MagicError, match=says):
        Query.of_sql("SELECT 1", **options)


@pytest.mark.parametrize("name", ["a b", "x.y", "1x", "lambda", "x; import os"])
def test_only_a_name_is_a_name(name: str) -> None:
    with pytest.raises(MagicError, match="is not the name of a variable"):
        Query.of_variable(name)


def test_rows_come_with_their_schema() -> None:
    table = Query.of_sql("x").table("a warning\n" + printed([["01234"], [None]]) + "\nstderr", None)
    assert [column.type for column in table.columns] == ["string"]
    assert table.rows == [["01234"], [None]]
    assert table.note is None


def test_more_rows_than_fetched_are_mentioned() -> None:
    table = Query.of_sql("x", maxrows=2).table(printed([["a"], ["b"], ["c"]]), None)
    assert table.rows == [["a"], ["b"]]
    assert "-n fetches another number than 2" in str(table.note)


def test_exactly_as_many_rows_as_asked_for_are_all() -> None:
    assert Query.of_sql("x", maxrows=2).table(printed([["a"], ["b"]]), None).note is None


def test_a_cut_answer_is_told_never_taken_for_whole() -> None:
    cut = printed([["a"], ["b"], ["c"]], 5)[:-3] + "\n[... 99 characters left out ...]"
    table = Query.of_sql("x").table(cut, "cut at 1,000")
    assert table.rows == [["a"], ["b"]]
    assert table.note == "only these 2 of 5 fetched rows came through: cut at 1,000"
    with pytest.raises(SparkyardError, match="too large to be sent: cut at 10"):
        Query.of_sql("x").table(f"{MARK} 3 " + SCHEMA[:20], "cut at 10")
