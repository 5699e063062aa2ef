"""The cell of %%configure: JSON, read into a layer of a session's request.

The lines that errors name are counted in the cell as the user sees it: its first line is the magic's own.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.request import Source, checked

NAME = "%%configure"
EXAMPLE = '{"executorMemory": "4g", "conf": {"spark.sql.shuffle.partitions": "64"}}'


def read(cell: str) -> Mapping[str, Any]:
    """The cell as a layer; raises ConfigurationError naming the line, the key, and what would be right."""
    if not cell.strip():
        return {}
    try:
        layer = json.loads(cell, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{NAME}, line {error.lineno + 1}, column {error.colno}: not JSON ({error.msg}). "
            f"A right cell reads: {EXAMPLE}"
        ) from None
    if not isinstance(layer, dict):
        raise ConfigurationError(f"{NAME} takes a JSON object. A right cell reads: {EXAMPLE}")
    return checked(layer, Source(NAME, lambda key: line_of(key, cell)))


def line_of(key: str, cell: str) -> int | None:
    """The line of the notebook's cell where `key` is set."""
    pattern = re.compile(rf'"{re.escape(key)}"\s*:')
    return next((number for number, line in enumerate(cell.splitlines(), 2) if pattern.search(line)), None)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ConfigurationError(f"{NAME}: {key} is set twice; keep one of them")
        result[key] = value
    return result
