"""Spark's types in pandas: nothing guessed, nothing lost."""

import base64
import datetime
import decimal

import pandas as pd

from sparkyard_sparkmagic.frame import to_pandas
from sparkyard_sparkmagic.table import Column, Table


def column(kind: object, *values: object) -> "pd.Series[object]":
    frame = to_pandas(Table((Column("x", kind),), [[value] for value in values]))
    return frame["x"]


def test_texts_stay_texts() -> None:
    series = column("string", "01234", "1999.99", "2020-01-01", None)
    assert series.tolist() == ["01234", "1999.99", "2020-01-01", None]
    assert series.dtype == "object"


def test_whole_numbers_keep_their_digits_beside_nulls() -> None:
    assert column("long", 2**53 + 1, 2).dtype == "int64"
    series = column("long", 2**53 + 1, None)
    assert series.dtype == "Int64"
    assert series[0] == 2**53 + 1
    assert series[1] is pd.NA


def test_floats_nan_and_infinity() -> None:
    series = column("double", 1.5, float("nan"), float("inf"), None)
    assert series.dtype == "float64"
    assert series[2] == float("inf")
    assert series.isna().tolist() == [False, True, False, True]


def test_dates_times_decimals_bytes_booleans() -> None:
    assert column("date", "2020-02-29").tolist() == [datetime.date(2020, 2, 29)]
    times = column("timestamp", "2020-01-02 03:04:05.123456", "2021-01-01 00:00:00", None)
    assert times.dtype == "datetime64[ns]"
    assert times[0] == pd.Timestamp("2020-01-02T03:04:05.123456")
    assert column("decimal(10,2)", "12.30").tolist() == [decimal.Decimal("12.30")]
    assert column("binary", base64.b64encode(b"\x00x").decode()).tolist() == [b"\x00x"]
    assert column("boolean", True, False).dtype == "bool"
    assert column("boolean", True, None).dtype == "boolean"


def test_a_time_beyond_pandas_range_is_kept() -> None:
    assert column("timestamp", "9999-12-31 23:59:59").tolist() == [datetime.datetime(9999, 12, 31, 23, 59, 59)]  # noqa: DTZ001


def test_nested_values_stay_nested() -> None:
    assert column({"type": "array"}, [1, 2], None).tolist() == [[1, 2], None]


def test_no_rows_keep_their_types_and_columns_may_share_a_name() -> None:
    frame = to_pandas(Table((Column("x", "long"), Column("x", "string")), []))
    assert list(frame.columns) == ["x", "x"]
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "object"]
    assert to_pandas(Table((), [])).shape == (0, 0)
