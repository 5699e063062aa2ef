"""Local values on their way to Spark."""

import datetime
import decimal
import json

import pandas as pd
import pytest

from sparkyard_sparkmagic import send
from sparkyard_sparkmagic.errors import MagicError


def arrived(code: str) -> tuple[list[list[object]], dict[str, object]]:
    """What the session would be given."""
    names: dict[str, object] = {"_sparkyard_receive": lambda rows, schema: (json.loads(rows), json.loads(schema))}
    exec(code.rpartition("\n")[2], names)
    rows, schema = names["there"]  # type: ignore[misc]
    return rows, {field["name"]: field["type"] for field in schema["fields"]}


def test_a_text_arrives_whatever_quotes_it_holds() -> None:
    value = "it's \"quoted\" '''thrice''' \\ \n end"
    names: dict[str, object] = {}
    exec(send.text("there", value), names)
    assert names["there"] == value


def test_a_frame_keeps_its_types() -> None:
    frame = pd.DataFrame(
        {
            "zip": ["01234", "it's"],
            "n": [2**53 + 1, 2],
            "x": [1.5, float("nan")],
            "maybe": pd.array([1, None], dtype="Int64"),
            "yes": [True, False],
            "day": [datetime.date(2020, 1, 2), None],
            "at": pd.to_datetime(["2020-01-02T03:04:05", None]),
            "cost": [decimal.Decimal("1.10"), None],
            "raw": [b"\x00", None],
        }
    )
    rows, types = arrived(send.frame("there", frame, -1))
    assert types == {
        "zip": "string", "n": "long", "x": "double", "maybe": "long", "yes": "boolean", "day": "date",
        "at": "timestamp", "cost": "decimal(38,18)", "raw": "binary",
    }  # fmt: skip
    assert rows[0] == ["01234", 2**53 + 1, 1.5, 1, True, "2020-01-02", "2020-01-02T03:04:05", "1.10", "AA=="]
    assert rows[1] == ["it's", 2, "nan", None, False, None, None, None, None]


def test_only_the_first_rows_go_if_asked() -> None:
    rows, _ = arrived(send.frame("there", pd.DataFrame({"n": range(10)}), 3))
    assert rows == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: send.text("there", 1), "a int, not a text"),
        (lambda: send.frame("there", "x", 1), "a str, not a pandas DataFrame"),
        (lambda: send.text("not a name", "x"), "not the name of a variable"),
        (lambda: send.frame("there", pd.DataFrame({"m": [1, "a"]}), 9), "column 'm' holds int, str"),
    ],
)
def test_what_cannot_be_sent_is_refused(make: object, says: str) -> None:
    with pytest.raises(MagicError, match=says):
        make()  # type: ignore[operator]
