"""When a server will be stopped: from what the hub knows and what it does."""

from datetime import UTC, datetime, timedelta

import pytest

from sparkyard_sparkmagic.idle import End, Known, Limits, answer, end_of, known_of

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("environment", "limits"),
    [
        ({}, Limits(0, 0, 600)),
        ({"SPARKYARD_IDLE_SECONDS": "14400", "SPARKYARD_IDLE_WARNING_SECONDS": "300"}, Limits(14400, 0, 300)),
        ({"SPARKYARD_IDLE_SECONDS": "600", "SPARKYARD_IDLE_WARNING_SECONDS": "600"}, Limits(600, 0, 300)),
        ({"SPARKYARD_IDLE_SECONDS": "x", "SPARKYARD_MAX_AGE_SECONDS": "100"}, Limits(0, 100, 50)),
        ({"SPARKYARD_IDLE_SECONDS": "-5"}, Limits(0, 0, 600)),
    ],
)
def test_the_limits_are_those_of_the_spawner(environment: dict[str, str], limits: Limits) -> None:
    assert Limits.of(environment) == limits


@pytest.mark.parametrize(
    ("limits", "known", "end"),
    [
        (Limits(0, 0), Known(NOON, NOON), None),
        (Limits(3600, 0), Known(NOON, NOON + HOUR), End(NOON + 2 * HOUR, "idle")),
        (Limits(3600, 0), Known(NOON, None), End(NOON + HOUR, "idle")),
        (Limits(3600, 0), Known(None, None), None),
        (Limits(0, 7200), Known(NOON, NOON + HOUR), End(NOON + 2 * HOUR, "age")),
        (Limits(3600, 5400), Known(NOON, NOON + HOUR), End(NOON + 1.5 * HOUR, "age")),
        (Limits(3600, 5400), Known(NOON, NOON), End(NOON + HOUR, "idle")),
    ],
)
def test_the_first_reason_ends_it(limits: Limits, known: Known, end: End | None) -> None:
    assert end_of(limits, known) == end


def test_what_the_hub_says_of_a_server_is_understood() -> None:
    servers = {"": {"started": "2026-11-26T12:00:00.000000Z", "last_activity": "2026-11-26T13:00:00"}, "b": {}}
    assert known_of({"servers": servers}, "") == Known(NOON, NOON + HOUR)
    assert known_of({"servers": servers}, "b") == Known(None, None)
    assert known_of({"name": "ann"}, "") == Known(None, None)


def test_a_browser_is_told_seconds_and_never_less_than_none() -> None:
    limits = Limits(3600, 0, 600)
    assert answer(limits, None, NOON) == {"ends_in": None, "why": None, "warning": 600, "idle": 3600}
    assert answer(limits, End(NOON + HOUR, "idle"), NOON)["ends_in"] == 3600
    assert answer(limits, End(NOON, "idle"), NOON + HOUR)["ends_in"] == 0
