"""What a driver is told at birth, and the only place where its token is read.

The gateway hands over one JSON object through an inherited descriptor or a private file, or, to a driver far away, as
the answer to its claim (`claim`), because argv, the environment and Spark's conf are readable by the user's code and
often by other users.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Sequence


class BootstrapError(Exception):
    """The bootstrap is missing or wrong; the message says what would be right."""


class ClaimRefused(BootstrapError):  # noqa: N818  reads as what happened
    """The gateway does not accept a driver's claim of its bootstrap, and will not."""


@dataclass(frozen=True)
class Bootstrap:
    """A session's birth certificate. Limits count characters of text or bytes of JSON."""

    session: int
    url: str
    token: str = field(repr=False)
    work_dir: str
    kind: str = "pyspark"
    app_name: str = "sparkyard"
    conf: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 1
    gateways: Sequence[str] = ()  # where else it may call, without the path
    heartbeat_seconds: float = 10.0
    orphan_seconds: float = 3600.0
    stop_seconds: float = 5.0
    output_limit: int = 4 * 1024 * 1024
    message_limit: int = 12 * 1024 * 1024
    sql_rows: int = 1000
    spill_limit: int = 256 * 1024 * 1024
    ca_file: str = ""
    class_archive: str = ""
    events_dir: str = ""  # where Spark writes its event log, if that is to be carried to the gateway


_REQUIRED: Dict[str, type] = {"session": int, "url": str, "token": str, "work_dir": str}
_NUMBERS = (
    "heartbeat_seconds",
    "orphan_seconds",
    "stop_seconds",
    "output_limit",
    "message_limit",
    "sql_rows",
    "spill_limit",
    "epoch",
)


def from_json(text: str) -> Bootstrap:
    """Check and freeze a bootstrap document; keys we do not know are left to newer drivers."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BootstrapError(f"the bootstrap is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BootstrapError("the bootstrap must be a JSON object")
    for key, kind in _REQUIRED.items():
        if not isinstance(document.get(key), kind):
            raise BootstrapError(f"the bootstrap needs {key!r} as {kind.__name__}")
    for key in _NUMBERS:
        value = document.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise BootstrapError(f"{key!r} in the bootstrap must be a number of at least 0")
    conf = document.get("conf", {})
    if not isinstance(conf, dict):
        raise BootstrapError("'conf' in the bootstrap must be an object of Spark settings")
    known: Dict[str, Any] = {key: document[key] for key in Bootstrap.__dataclass_fields__ if key in document}
    known["conf"] = {str(key): _spark_text(value) for key, value in conf.items()}
    return Bootstrap(**known)


def read_descriptor(descriptor: int) -> Bootstrap:
    """Read the inherited descriptor to its end and close it, so that no code run later can read it again."""
    try:
        with os.fdopen(descriptor, "rb") as stream:
            return from_json(stream.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BootstrapError(f"descriptor {descriptor} cannot be read: {error}") from None


def read_file(path: str) -> Bootstrap:
    """Read the private file and delete it where its folder lets us (a mounted Secret is read-only)."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BootstrapError(f"{path} cannot be read: {error}") from None
    with contextlib.suppress(OSError):
        os.unlink(path)
    return from_json(text)


def _spark_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
