"""The three ways in which sizes and times are written: Spark's memory, Kubernetes' quantities, and durations.

Spark memory   `512m`, `2g`: what driverMemory and spark.*.memory take. A number without a unit is refused, because
               Spark reads it as bytes for one key and as mebibytes for the next. `1.5g` is refused, as Spark does.
Kubernetes     `512Mi`, `2Gi` of memory and `0.5` or `500m` of CPU: what pods take.
Durations      `30s`, `10m`, `1h`, `2d`.

The functions raise ValueError with a message that says what would be right.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sparkyard_catalog.spelling import brief

SPARK_MEMORY = r"^[0-9]{1,12}([bB]|[kmgtKMGT][bB]?)$"
KUBERNETES_MEMORY = r"^[0-9]{1,12}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti)$"
DURATION = r"^[0-9]{1,12}(ms|s|m|min|h|d)$"

_BINARY = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def spark_bytes(text: str) -> int:
    """The bytes in a memory string of Spark's."""
    # Not text.lower(): it makes an ASCII k of the Kelvin sign.
    if match := re.fullmatch(r"([0-9]{1,12})([bB]|[kmgtKMGT][bB]?)", text):
        return int(match[1]) * _BINARY[match[2][0].lower()]
    text = brief(text)
    if re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"'{text}' has no unit; write {text}m or {text}g as Spark does")
    if match := re.fullmatch(r"([0-9]+)\.([0-9]+)([gGtT])[bB]?", text):
        smaller = {"g": "m", "t": "g"}[match[3].lower()]
        whole = round(float(f"{match[1]}.{match[2]}") * 1024)
        raise ValueError(f"'{text}' is a fraction, which Spark does not take; write {whole}{smaller}")
    if match := re.fullmatch(r"([0-9]+)([KMGT])i", text):
        raise ValueError(f"'{text}' is Kubernetes' writing; Spark's is {match[1]}{match[2].lower()}")
    raise ValueError(f"'{text}' is not an amount of memory; write it as Spark does, such as 512m or 2g")


def kubernetes_bytes(text: str) -> int:
    """The bytes in a memory quantity of Kubernetes'."""
    if match := re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([KMGT])i", text):
        return int(float(match[1]) * _BINARY[match[2].lower()])
    text = brief(text)
    if match := re.fullmatch(r"([0-9.]+)([kKmMgGtT])[bB]?", text):
        raise ValueError(f"'{text}' is ambiguous; write {match[1]}{match[2].upper()}i, as Kubernetes does")
    raise ValueError(f"'{text}' is not an amount of memory; write it as Kubernetes does, such as 512Mi or 2Gi")


def cpu_count(value: float | str) -> float:
    """The CPUs in a Kubernetes quantity: a number, or thousandths with an m."""
    if isinstance(value, str):
        if match := re.fullmatch(r"([0-9]{1,7})m", value):
            value = int(match[1]) / 1000
        elif re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", value):
            value = float(value)
        else:
            raise ValueError(f"'{value}' is not an amount of CPU; write it as Kubernetes does, such as 0.5 or 500m")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1024:
        raise ValueError(f"{value!r} is not an amount of CPU; write a number of CPUs above 0, such as 0.5 or 2")
    return float(value)


def seconds(text: str) -> float:
    """The seconds in a duration."""
    if match := re.fullmatch(r"([0-9]{1,12})(ms|s|m|min|h|d)", text):
        return int(match[1]) * _SECONDS[match[2]]
    text = brief(text)
    if re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"'{text}' has no unit; write {text}s, {text}m or {text}h")
    raise ValueError(f"'{text}' is not a duration; write it as 30s, 10m, 1h or 2d")


def _spark_memory(text: str) -> str:
    spark_bytes(text)
    return text.lower()


def _kubernetes_memory(text: str) -> str:
    kubernetes_bytes(text)
    return text


def _duration(text: str) -> str:
    seconds(text)
    return text


def _text_of_number(value: object) -> object:
    """Let a bare number reach the parser, whose message names the unit that it lacks."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


SparkMemory = Annotated[
    str,
    BeforeValidator(_text_of_number),
    AfterValidator(_spark_memory),
    WithJsonSchema({"type": "string", "pattern": SPARK_MEMORY, "examples": ["512m", "2g"]}),
]
KubernetesMemory = Annotated[
    str,
    BeforeValidator(_text_of_number),
    AfterValidator(_kubernetes_memory),
    WithJsonSchema({"type": "string", "pattern": KUBERNETES_MEMORY, "examples": ["512Mi", "2Gi"]}),
]
Cpu = Annotated[
    float,
    BeforeValidator(cpu_count),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^[0-9]+m$"}]}),
]
Duration = Annotated[
    str,
    BeforeValidator(_text_of_number),
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION, "examples": ["30s", "10m", "1h"]}),
]
Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]
