"""The rules for one setting's values."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sparkyard_catalog.rules import Rule, why_unfit

ADAPTER: TypeAdapter[Any] = TypeAdapter(Rule)


@pytest.mark.parametrize(
    ("rule", "granted", "refused"),
    [
        ({"type": "integer", "min": 1, "max": 10}, ["1", "10", "05"], ["0", "11", "-1", "1.0", "", "ten", " 1", "٣"]),
        ({"type": "integer", "min": -1, "max": 10}, ["-1"], ["-2", "--1"]),
        ({"type": "number", "min": 0.2, "max": 0.8}, ["0.5", "0.2"], ["0.9", "nan", "inf", "1e-1", ".5"]),
        ({"type": "memory", "max": "1g"}, ["1g", "512m", "1048576k"], ["2g", "1025m", "1024", "1.5g", "-1g", ""]),
        ({"type": "memory", "min": "384m", "max": "1g"}, ["384m"], ["383m"]),
        # Zero is 'no limit' to many settings: it is granted where the catalog says so.
        ({"type": "memory", "max": "1g"}, ["1b"], ["0b", "0m", "0"]),
        ({"type": "memory", "min": "0b", "max": "1g"}, ["0b"], []),
        ({"type": "duration", "max": "1h"}, ["1ms"], ["0s", "0ms"]),
        ({"type": "duration", "min": "0s", "max": "1h"}, ["0s"], []),
        ({"type": "duration", "min": "10s", "max": "10m"}, ["10s", "600s", "10m"], ["9s", "11m", "60", "1h"]),
        ({"type": "one_of", "values": ["zstd", "lz4"]}, ["zstd"], ["ZSTD", "snappy", "zstd "]),
        ({"type": "one_of", "values": [1, True, 0.5]}, ["1", "true", "0.5"], ["True"]),
        ({"type": "pattern", "pattern": "[a-z]+"}, ["abc"], ["abc1", "1abc", "abc\n", ""]),
        ({"type": "pattern", "pattern": "a|b"}, ["a", "b"], ["ac", "cb"]),
        ({"type": "boolean"}, ["true", "false"], ["True", "1", "yes", ""]),
        ({"type": "any"}, ["", "whatever"], []),
    ],
)
def test_what_a_rule_grants(rule: dict[str, Any], granted: list[str], refused: list[str]) -> None:
    made = ADAPTER.validate_python(rule)
    assert [value for value in granted if not made.grants(value)] == []
    assert [value for value in refused if made.grants(value)] == []
    assert made.allowed


def test_a_pattern_may_be_described() -> None:
    rule = ADAPTER.validate_python({"type": "pattern", "pattern": "[a-z]+", "describe": "lower-case letters"})
    assert rule.allowed == "lower-case letters"


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "integer"},
        {"type": "integer", "min": 2, "max": 1},
        {"type": "integer", "max": "3"},
        {"type": "integer", "max": True},
        {"type": "memory", "max": "lots"},
        {"type": "memory", "min": "2g", "max": "1g"},
        {"type": "duration", "min": "2h", "max": "1h"},
        {"type": "number", "min": 1, "max": 0.5},
        {"type": "one_of", "values": []},
        {"type": "pattern", "pattern": "("},
        {"type": "boolean", "max": 1},
        {"type": "regex"},
        {},
    ],
)
def test_what_is_no_rule(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(rule)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "\x7f", "${env:SECRET}", "x" * 5000])
def test_values_that_no_rule_grants(value: str) -> None:
    assert why_unfit(value)


def test_ordinary_values_are_fit() -> None:
    assert why_unfit("Größe 5 $ {x} %") is None
