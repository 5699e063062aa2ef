"""The rules by which a profile opens Spark settings to its users: each says which values of one setting are granted.

A value reaches a rule as text, as it came in the request. No rule grants control characters, which would end a line of
a properties file, nor `${`, which Spark would replace by an environment variable or another setting after the check.
Zero means 'no limit' to settings such as spark.driver.maxResultSize, so a cap on memory or time doesn't grant it unless
the catalog names it as the least.
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry, Plain
from sparkyard_catalog.quantities import Duration, SparkMemory, seconds, spark_bytes

LONGEST_VALUE = 4096


class _Rule(Entry):
    limits: ClassVar[bool] = True
    """Whether the rule limits the value: settings that load code or take resources are opened only by one that does."""

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        raise NotImplementedError

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        raise NotImplementedError


def _ordered(low: float | None, high: float) -> None:
    if low is not None and low > high:
        raise PydanticCustomError("order", "max is below min; make max at least min", {"at": "max"})


class IntegerRule(_Rule):
    """A whole number up to a cap."""

    type: Literal["integer"]
    """The kind of rule."""
    min: int = Field(default=0, strict=True)
    """The least value that is granted."""
    max: int = Field(strict=True)
    """The greatest value that is granted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered(self.min, self.max)
        return self

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        return re.fullmatch(r"-?[0-9]{1,18}", value) is not None and self.min <= int(value) <= self.max

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return f"a whole number from {self.min} to {self.max}"


class NumberRule(_Rule):
    """A number, such as a fraction, up to a cap."""

    type: Literal["number"]
    """The kind of rule."""
    min: float = 0
    """The least value that is granted."""
    max: float
    """The greatest value that is granted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered(self.min, self.max)
        return self

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        number = re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", value)
        return number is not None and self.min <= float(value) <= self.max

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return f"a number from {self.min:g} to {self.max:g}"


class MemoryRule(_Rule):
    """An amount of memory with its unit, up to a cap."""

    type: Literal["memory"]
    """The kind of rule."""
    min: SparkMemory = "1b"
    """The least amount that is granted, such as 64m. 0b grants zero, which many settings take for 'no limit'."""
    max: SparkMemory
    """The greatest amount that is granted, such as 1g."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered(spark_bytes(self.min), spark_bytes(self.max))
        return self

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        try:
            return spark_bytes(self.min) <= spark_bytes(value) <= spark_bytes(self.max)
        except ValueError:
            return False

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        low = f"from {self.min} " if spark_bytes(self.min) > 1 else ""
        return f"memory {low}up to {self.max}, with its unit"


class DurationRule(_Rule):
    """A time with its unit, up to a cap."""

    type: Literal["duration"]
    """The kind of rule."""
    min: Duration = "1ms"
    """The shortest time that is granted, such as 10s. 0s grants zero, which many settings take for 'no limit'."""
    max: Duration
    """The longest time that is granted, such as 10m."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered(seconds(self.min), seconds(self.max))
        return self

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        try:
            return seconds(self.min) <= seconds(value) <= seconds(self.max)
        except ValueError:
            return False

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        low = f"from {self.min} " if seconds(self.min) > 0.001 else ""
        return f"a time {low}up to {self.max}, with its unit"


class OneOfRule(_Rule):
    """One of a list of values."""

    type: Literal["one_of"]
    """The kind of rule."""
    values: tuple[Plain, ...] = Field(min_length=1)
    """The values that are granted, exactly as written."""

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        return value in self.values

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return "one of " + ", ".join(self.values)


def _compiles(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is not a regular expression: {error}") from None
    return text


class PatternRule(_Rule):
    """A text that a regular expression matches from end to end."""

    type: Literal["pattern"]
    """The kind of rule."""
    pattern: Annotated[str, AfterValidator(_compiles)]
    """The regular expression (Python's). It must match the whole value: no ^ or $ is needed."""
    describe: str | None = None
    """The pattern in words, for the sentence that a refused user reads."""

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        return re.fullmatch(self.pattern, value) is not None

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return self.describe or f"a text that matches {self.pattern}"


class BooleanRule(_Rule):
    """True or false."""

    type: Literal["boolean"]
    """The kind of rule."""

    def grants(self, value: str) -> bool:
        """Whether this value is granted."""
        return value in ("true", "false")

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return "true or false"


class AnyRule(_Rule):
    """Any value. Settings that load code, name secrets or take resources cannot be opened by it."""

    limits: ClassVar[bool] = False
    type: Literal["any"]
    """The kind of rule."""

    def grants(self, value: str) -> bool:  # noqa: ARG002
        """Whether this value is granted."""
        return True

    @property
    def allowed(self) -> str:
        """What is granted, as a phrase."""
        return "any value"


Rule = Annotated[
    IntegerRule | NumberRule | MemoryRule | DurationRule | OneOfRule | PatternRule | BooleanRule | AnyRule,
    Field(discriminator="type"),
]


def why_unfit(value: str) -> str | None:
    """Why a value can't be granted by any rule at all, as the end of a sentence; None where it can."""
    if len(value) > LONGEST_VALUE:
        return f"it is longer than {LONGEST_VALUE} characters"
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        return "it holds a line break or another control character"
    if "${" in value:
        return "Spark would replace the ${...} in it after the check"
    return None
