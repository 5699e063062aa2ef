"""Spans of time as Livy reads them."""

import pytest

from sparkyard_gateway.times import span_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("30m", 1800),
        ("30min", 1800),
        ("10s", 10),
        ("100ms", 0.1),
        ("1d", 86400),
        ("500", 0.5),
        (" 5S ", 5),
    ],
)
def test_spans(text, seconds):
    assert span_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "", "-5s", "1.5h", "5 weeks", "s", "9" * 20, "٣s"])
def test_what_is_no_span(text):
    with pytest.raises(ValueError, match=r".*"):
        span_seconds(text)
