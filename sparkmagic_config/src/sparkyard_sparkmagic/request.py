"""What a session is asked for: the profile's defaults, under ~/sparkyard.toml, under %%configure.

Words: a *layer* is one of these three, a mapping in Livy's keys. Merging takes the later layer key by key, and
inside ``conf`` setting by setting, so that naming one Spark setting never drops the others. A null takes a key back
to the profile's default. `driver_image` and `executor_image` are short for Spark's own two settings.

What is checked here is shape: known keys, right types, a memory size that Spark can read. What the profile *permits*
is the gateway's to say.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparkyard_sparkmagic.errors import ConfigurationError

DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
EXECUTOR_IMAGE = "spark.kubernetes.executor.container.image"
BOTH_IMAGES = "spark.kubernetes.container.image"
SHORTHANDS = {"driver_image": DRIVER_IMAGE, "executor_image": EXECUTOR_IMAGE}

MEMORY = re.compile(r"\d+[kmgtp]?b?", re.IGNORECASE)
OURS = {
    "kind": "the kernel decides it",
    "proxyUser": "the gateway takes it from your login",
    "heartbeatTimeoutInSecond": "the kernel decides it",
}


@dataclass(frozen=True)
class Shape:
    """What a key's value must look like."""

    right: str
    fits: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_memory(value: Any) -> bool:
    return isinstance(value, str) and MEMORY.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


_SIZE = Shape('a size such as "512m" or "4g"', _is_memory)
_COUNT = Shape("a whole number from 1 up, without quotes", _is_int)
_TEXT = Shape("a text in quotes", _is_text)
_TEXTS = Shape('a list of texts, such as ["a", "b"]', _is_texts)

SHAPES: Mapping[str, Shape] = {
    "driverMemory": _SIZE,
    "driverCores": _COUNT,
    "executorMemory": _SIZE,
    "executorCores": _COUNT,
    "numExecutors": _COUNT,
    "driver_image": _TEXT,
    "executor_image": _TEXT,
    "conf": Shape('Spark settings, such as {"spark.sql.shuffle.partitions": "64"}', lambda v: isinstance(v, dict)),
    "jars": _TEXTS,
    "pyFiles": _TEXTS,
    "files": _TEXTS,
    "archives": _TEXTS,
    "queue": _TEXT,
    "name": _TEXT,
    "ttl": _TEXT,
    "idleTimeout": _TEXT,
    "profile": _TEXT,
    "warm": Shape("true or false, without quotes", lambda value: isinstance(value, bool)),
}


@dataclass(frozen=True)
class Source:
    """Where a layer was written, to be named when something in it is wrong."""

    name: str
    line_of: Callable[[str], int | None]

    def problem(self, key: str, message: str) -> ConfigurationError:
        """An error that says where, which key, and what."""
        line = self.line_of(key.rpartition("conf.")[2])
        where = self.name if line is None else f"{self.name}, line {line}"
        return ConfigurationError(f"{where}: {key}: {message}")


def checked(layer: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The layer with its values in Spark's form and its shorthands written out; raises ConfigurationError."""
    result: dict[str, Any] = {}
    conf: dict[str, str | None] = {}
    for key, value in layer.items():
        if key in OURS:
            raise source.problem(key, f"cannot be set here, because {OURS[key]}; take it out")
        shape = SHAPES.get(key)
        if shape is None:
            raise source.problem(key, _unknown(key))
        if value is None:
            if key in SHORTHANDS:
                conf[SHORTHANDS[key]] = None
            else:
                result[key] = None
        elif not shape.fits(value):
            raise source.problem(key, f"must be {shape.right}, not {_shown(value)}")
        elif key == "conf":
            conf.update({name: _setting(name, one, source) for name, one in value.items()})
        elif key in SHORTHANDS:
            conf[SHORTHANDS[key]] = value
        else:
            result[key] = value
    if conf:
        result["conf"] = conf
    return result


def merged(defaults: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """One body from the profile's defaults and checked layers, the last one strongest."""
    body = {**defaults, "conf": dict(defaults.get("conf") or {})}
    for layer in layers:
        for key, value in layer.items():
            if key == "conf":
                _merge_conf(body["conf"], value or {}, defaults.get("conf") or {})
            elif value is not None:
                body[key] = value
            elif key in defaults:
                body[key] = defaults[key]
            else:
                body.pop(key, None)
    if not body["conf"]:
        del body["conf"]
    return body


def _merge_conf(conf: dict[str, str], layer: Mapping[str, str | None], defaults: Mapping[str, str]) -> None:
    if layer.get(BOTH_IMAGES) is not None:
        # Spark prefers the two specific settings: left from a weaker layer, they would make this one do nothing.
        for name in (DRIVER_IMAGE, EXECUTOR_IMAGE):
            conf.pop(name, None)
    for name, value in layer.items():
        if value is not None:
            conf[name] = value
        elif name in defaults:
            conf[name] = defaults[name]
        else:
            conf.pop(name, None)


def _setting(name: str, value: Any, source: Source) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise source.problem(f"conf.{name}", f"must be a text, a number or true or false, not {_shown(value)}")


def _unknown(key: str) -> str:
    if key.startswith("spark."):
        return f'is a Spark setting: write it inside conf, as "conf": {{"{key}": ...}}'
    near = difflib.get_close_matches(key.lower().replace("-", "_"), [name.lower() for name in SHAPES], n=1, cutoff=0.6)
    if near:
        meant = next(name for name in SHAPES if name.lower() == near[0])
        return f"is not known; did you mean {meant}?"
    return f"is not known; known are {', '.join(SHAPES)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
