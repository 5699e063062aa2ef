"""Sizes: what a process may take, as a default and a cap."""

from typing import Any, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry, OneValueOr
from sparkyard_catalog.quantities import (
    Count,
    Cpu,
    Duration,
    KubernetesMemory,
    SparkMemory,
    kubernetes_bytes,
    seconds,
    spark_bytes,
)


def _cap_below_default(default: object, cap: object) -> PydanticCustomError:
    return PydanticCustomError(
        "order", "max {cap} is below default {default}; raise max or lower default",
        {"cap": str(cap), "default": str(default), "at": "max"},
    )  # fmt: skip


def _limit_below_guarantee() -> PydanticCustomError:
    return PydanticCustomError("order", "limit is below guarantee; raise limit or lower guarantee", {"at": "limit"})


class Number(OneValueOr):
    """A number with a default and a cap. Written as one plain number, users may only take less."""

    default: Count
    """What a session gets where its user asks for nothing."""
    max: Count
    """The most that a user may ask for."""

    @classmethod
    def one_value(cls) -> dict[str, Any]:
        """The JSON Schema of the short form."""
        return {"type": "integer", "minimum": 1}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.default:
            raise _cap_below_default(self.default, self.max)
        return self

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return "1" if self.max == 1 else f"1 to {self.max}"


class Memory(OneValueOr):
    """An amount of memory with a default and a cap. Written as one plain amount, users may only take less."""

    default: SparkMemory
    """What a session gets where its user asks for nothing, as Spark writes memory: 2g."""
    max: SparkMemory
    """The most that a user may ask for."""
    min: SparkMemory = "512m"
    """The least that a user may ask for. Spark itself does not start below 450m."""

    @classmethod
    def one_value(cls) -> dict[str, Any]:
        """The JSON Schema of the short form."""
        return {"type": "string", "examples": ["1g"]}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if spark_bytes(self.max) < spark_bytes(self.default):
            raise _cap_below_default(self.default, self.max)
        if spark_bytes(self.default) < spark_bytes(self.min):
            raise PydanticCustomError(
                "order", "default {default} is below min {least}; raise default or lower min",
                {"default": self.default, "least": self.min, "at": "default"},
            )  # fmt: skip
        return self

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return f"{self.min} to {self.max}"


class Timeout(OneValueOr):
    """A time with a default and a cap. Written as one plain time, users may only ask for less."""

    default: Duration
    """The time where the user asks for none, such as 1h."""
    max: Duration
    """The longest that a user may ask for."""

    @classmethod
    def one_value(cls) -> dict[str, Any]:
        """The JSON Schema of the short form."""
        return {"type": "string", "examples": ["1h"]}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if seconds(self.max) < seconds(self.default):
            raise _cap_below_default(self.default, self.max)
        return self

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return f"up to {self.max}"


class CpuShare(Entry):
    """CPU of a notebook server."""

    guarantee: Cpu = 0.1
    """What is reserved, in CPUs."""
    limit: Cpu
    """What it may use at most, in CPUs."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.limit < self.guarantee:
            raise _limit_below_guarantee()
        return self


class MemoryShare(Entry):
    """Memory of a notebook server."""

    guarantee: KubernetesMemory = "256Mi"
    """What is reserved, such as 512Mi."""
    limit: KubernetesMemory
    """What it may use at most, such as 2Gi; a server that takes more is ended."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if kubernetes_bytes(self.limit) < kubernetes_bytes(self.guarantee):
            raise _limit_below_guarantee()
        return self
