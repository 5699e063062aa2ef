"""Completion: which code the cursor is in, and what the session's answer becomes."""

import pytest

from sparkyard_sparkmagic import completion
from sparkyard_sparkmagic.completion import Remote
from sparkyard_sparkmagic.keeper import SessionKeeper
from support.scripted_gateway import ScriptedGateway


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("spark.|", Remote("spark.", 6, "pyspark", 0)),
        ("%%spark -o df\nspark.|", Remote("spark.", 6, "pyspark", 14)),
        ("# c\n%%sql\nSEL|", Remote("SEL", 3, "sql", 10)),
        ("%%sq|l\nSELECT", None),
        ("%%local\nx.|", None),
        ("%tim|", None),
    ],
)
def test_where_the_cursor_is(cell: str, place: Remote | None) -> None:
    assert completion.locate(cell.replace("|", ""), cell.index("|"), "spark", "#") == place


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("sc.|", Remote("sc.", 3, "spark", 0)),
        ("// c\n%%sql\nSEL|", Remote("SEL", 3, "sql", 11)),
        ("%%pyspark\nsc.|", Remote("sc.", 3, "pyspark", 10)),
        ("%%spark -o df\nsc.|", Remote("sc.", 3, "spark", 14)),
        ("%%r\nrnor|", Remote("rnor", 4, "sparkr", 4)),
    ],
)
def test_where_the_cursor_is_in_the_scala_kernel(cell: str, place: Remote) -> None:
    assert completion.locate(cell.replace("|", ""), cell.index("|"), "spark", "//", "spark") == place


def test_the_answers_places_are_counted_in_the_cell(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.completion = {
        "candidates": ["range", "read"], "cursorStart": 6, "cursorEnd": 7,
        "matches": [{"text": "range", "type": "function"}, {"text": "read", "type": "property"}],
    }  # fmt: skip
    keeper.ready(lambda view, seconds: None)
    reply = completion.ask(keeper, Remote("spark.r", 7, "pyspark", 14))
    assert reply is not None
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["range", "read"], 20, 21)
    typed = reply["metadata"]["_jupyter_types_experimental"]
    assert [one["type"] for one in typed] == ["function", "property"]
    assert gateway.sent("POST", "/completion")[0][3] == {"code": "spark.r", "kind": "pyspark", "cursor": 7}


def test_a_plain_livys_answer_replaces_the_word(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.completion = {"candidates": ["parallelize"]}
    keeper.ready(lambda view, seconds: None)
    reply = completion.ask(keeper, Remote("sc.par", 6, "pyspark", 0))
    assert reply is not None
    assert (reply["cursor_start"], reply["cursor_end"]) == (3, 6)


def test_before_the_session_is_ready_there_is_none(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.start_seconds = 30
    keeper.begin()
    assert completion.ask(keeper, Remote("x", 1, "pyspark", 0)) is None
