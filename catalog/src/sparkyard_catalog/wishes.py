"""What a person asks for, and the sizes and times in it, each judged by what the profile has for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sparkyard_catalog import standing
from sparkyard_catalog.errors import Refused
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.quantities import seconds, spark_bytes
from sparkyard_catalog.sizes import Memory, Number, Timeout
from sparkyard_catalog.spelling import brief

T = TypeVar("T")

SIZE_KEYS = {
    "driver_memory": standing.DRIVER_MEMORY,
    "driver_cores": standing.DRIVER_CORES,
    "executor_memory": standing.EXECUTOR_MEMORY,
    "executor_cores": standing.EXECUTOR_CORES,
    "executors": standing.EXECUTORS,
}
"""The setting of Spark's that says the same as a choice."""


@dataclass(frozen=True)
class SessionChoices:
    """What a person asks for. None and empty mean: as the profile has it.

    `conf` may say in Spark's own keys what has a field here too; images are said there alone.
    """

    profile: str | None = None
    kind: str | None = None
    driver_memory: str | None = None
    driver_cores: int | None = None
    executor_memory: str | None = None
    executor_cores: int | None = None
    executors: int | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    jars: tuple[str, ...] = ()
    py_files: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    file: str | None = None
    """What a batch runs; a session has none."""
    queue: str | None = None
    proxy_user: str | None = None
    idle_timeout: str | None = None
    lifetime: str | None = None


class Wishes:
    """The sizes and times in a request. Each method returns what is granted, or raises Refused."""

    def __init__(self, profile: Profile, request: SessionChoices, keys: Mapping[str, str]) -> None:
        """Judge a request; `keys` is how its sender wrote each choice."""
        self._profile = profile.name
        self._request = request
        self._keys = keys

    def number(self, choice: str, size: Number) -> int:
        """A number of cores or executors."""
        key, value = self._asked(choice)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)  # in conf all is text
        if value is None:
            return size.default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= size.max:
            raise self._refusal(key, value, size.allowed)
        return value

    def memory(self, choice: str, size: Memory) -> str:
        """An amount of memory, as Spark writes it."""
        key, value = self._asked(choice)
        if value is None:
            return size.default
        try:
            asked = spark_bytes(value) if isinstance(value, str) else -1
        except ValueError as error:
            raise self._refusal(key, value, size.allowed, f", because {error}") from None
        if not spark_bytes(size.min) <= asked <= spark_bytes(size.max):
            raise self._refusal(key, value, size.allowed)
        return str(value).lower()

    def time(self, choice: str, timeout: Timeout | None) -> float | None:
        """A time in seconds; None where the profile has no such limit and none is asked for."""
        value: object = getattr(self._request, choice)
        key = self._keys[choice]
        if timeout is None:
            if value is not None:
                raise self._refusal(key, value, "no such limit")
            return None
        if value is None:
            return seconds(timeout.default)
        try:
            asked = seconds(value) if isinstance(value, str) else 0
        except ValueError as error:
            raise self._refusal(key, value, timeout.allowed, f", because {error}") from None
        if not 0 < asked <= seconds(timeout.max):
            raise self._refusal(key, value, timeout.allowed)
        return asked

    def _asked(self, choice: str) -> tuple[str, object]:
        """The value of a choice, and the key that it came under."""
        field_value: object = getattr(self._request, choice)
        conf_key = SIZE_KEYS[choice]
        conf_value = self._request.conf.get(conf_key)
        if conf_value is None:
            return self._keys[choice], field_value
        if field_value is not None and str(field_value) != str(conf_value):
            raise asked_twice(conf_key, self._profile, field_value, conf_value)
        return conf_key, conf_value

    def _refusal(self, key: str, value: object, allowed: str, why: str = "") -> Refused:
        message = f"{key} '{brief(value)}' is not granted by profile '{self._profile}'{why}; it allows {allowed}."
        return Refused(key, self._profile, message, allowed)


def asked_twice(key: str, profile: str | None, one: object, other: object) -> Refused:
    """The refusal of a request that says two things at once."""
    message = f"{key} is asked for twice, as '{brief(one)}' and as '{brief(other)}'; ask for one."
    return Refused(key, profile, message, "one value")
