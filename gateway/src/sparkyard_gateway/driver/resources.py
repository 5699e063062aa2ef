"""Files of this program that are no modules, read the same way from a folder and from a zip application."""

from __future__ import annotations

import os


def read(name: str) -> bytes:
    """A file beside this module. Raises OSError where there is none."""
    folder = os.path.dirname(__file__)
    loader = globals().get("__loader__")
    data: bytes = loader.get_data(os.path.join(folder, name))  # type: ignore[union-attr]
    return data


def digest() -> str:
    """Which build of this program it is, where it was made into one file; else nothing."""
    try:
        return read("digest").decode("ascii").strip()
    except (OSError, AttributeError, UnicodeDecodeError):
        return ""
