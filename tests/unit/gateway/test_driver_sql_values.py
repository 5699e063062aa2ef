import datetime
import decimal

import pytest

from sparkyard_gateway.driver.java_errors import java_frames
from sparkyard_gateway.driver.sql_interpreter import as_json

STRUCT = {
    "type": "struct",
    "fields": [
        {"name": "x", "type": "integer", "nullable": False, "metadata": {}},
        {"name": "at", "type": "date", "nullable": True, "metadata": {}},
    ],
}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "integer", None),
        (True, "boolean", True),
        (9223372036854775807, "long", 9223372036854775807),
        ("é", "string", "é"),
        (1.5, "double", 1.5),
        (float("nan"), "double", None),
        (float("-inf"), "double", None),
        (decimal.Decimal("12.34"), "decimal(10,2)", 12.34),
        (decimal.Decimal("1.50"), "decimal(5,2)", 1.5),
        (decimal.Decimal("0.1"), "decimal(5,2)", 0.1),
        (decimal.Decimal("12345678901234567890.12"), "decimal(30,2)", "12345678901234567890.12"),
        (datetime.date(2020, 1, 2), "date", "2020-01-02"),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "timestamp_ntz", "2020-01-02T03:04:05"),  # noqa: DTZ001  it has no zone
        (datetime.timedelta(days=1, seconds=2), "interval day to second", "1 day, 0:00:02"),
        (bytearray(b"a\xff"), "binary", [97, -1]),
        ([1, None], {"type": "array", "elementType": "integer", "containsNull": True}, [1, None]),
        ({1: 2.5}, {"type": "map", "keyType": "integer", "valueType": "double", "valueContainsNull": True}, {"1": 2.5}),
    ],
)  # fmt: skip
def test_values_are_as_livys_json(value: object, kind: object, expected: object) -> None:
    assert as_json(value, kind) == expected


def test_timestamps_are_in_utc_and_keep_their_fractions() -> None:
    local = datetime.datetime(2020, 1, 2, 3, 4, 5, 678000)  # noqa: DTZ001  as Spark hands it over
    utc = local.astimezone(datetime.UTC)
    assert as_json(local, "timestamp") == utc.strftime("%Y-%m-%dT%H:%M:%S.678Z")


def test_a_struct_is_its_schema_and_values() -> None:
    answered = as_json((1, datetime.date(2020, 1, 2)), STRUCT)
    assert answered == {
        "schema": [
            {"name": "x", "dataType": {}, "nullable": False, "metadata": {"map": {}}},
            {"name": "at", "dataType": {}, "nullable": True, "metadata": {"map": {}}},
        ],
        "values": [1, "2020-01-02"],
    }


def test_frames_of_java_end_where_we_called() -> None:
    text = "o.a.E: no\n\tat a.B.c(B.scala:1)\n\tat d.E.f(E.scala:2)\n\tat jdk.internal.reflect.X(X)\n\tat py4j.Y(Y)\n"
    assert java_frames(text + "Caused by: x\n\tat g.H.i(H)\n") == ["a.B.c(B.scala:1)", "d.E.f(E.scala:2)"]
