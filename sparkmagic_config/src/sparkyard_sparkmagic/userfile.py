"""~/sparkyard.toml: what a person wants of every session, in a small file of their own.

It is read anew for each session that starts, so a mended file needs no kernel restart.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.request import Source, checked

LARGEST = 64 * 1024


def read(path: Path) -> Mapping[str, Any]:
    """The file as a layer of a session's request; nothing where there is no file."""
    shown = f"~/{path.name}"
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigurationError(f"{shown} is larger than {LARGEST // 1024} KiB; it should hold a few settings")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{shown} cannot be read: {error}") from None
    try:
        layer = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f'{shown} is not TOML: {error}. A right line reads: executorMemory = "4g"') from None
    if isinstance(layer.get("conf"), dict):
        layer["conf"] = _flat(layer["conf"])
    return checked(layer, Source(shown, lambda key: _line_of(key, text)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    # TOML reads an unquoted spark.sql.shuffle.partitions = 64 as tables within tables.
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _line_of(key: str, text: str) -> int | None:
    pattern = re.compile(rf"""\s*\[?\s*["']?{re.escape(key)}["']?\s*[=\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), None)
