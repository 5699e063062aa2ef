"""From a file to a catalog, or to every problem in it at once: line, column, key, and what would be right.

Models are checked first. Where some entries fail, the rest is still checked against each other, so that one pass of
the admin over the list mends the file.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparkyard_catalog import document
from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.consistency import inconsistencies
from sparkyard_catalog.document import Document, Place
from sparkyard_catalog.errors import CatalogError, Problem
from sparkyard_catalog.wording import sentences

_SECTIONS = ("images", "profiles", "teams", "service_accounts")


def load(path: str | os.PathLike[str]) -> Catalog:
    """The catalog in a file; raises CatalogError."""
    return parse(read_bytes(path), path)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's content, or a CatalogError that says why there is none."""
    try:
        with Path(path).open("rb") as file:
            return file.read(document.LARGEST_FILE + 1)
    except FileNotFoundError:
        message = "there is no such file; copy the example catalog.yaml there, or name another path"
    except IsADirectoryError:
        message = "this is a folder; name the file in it"
    except PermissionError:
        message = "this process may not read the file; change its owner or mode"
    except OSError as error:
        message = f"the file can't be read: {error.strerror}"
    raise CatalogError([Problem(os.fspath(path), 0, 0, "", message)])


def parse(content: bytes, path: str | os.PathLike[str]) -> Catalog:
    """The catalog in a file's content; `path` is what problems name, and where relative paths start."""
    file = os.fspath(path)
    read = document.read(content)
    problems = [Problem(file, flaw.line, flaw.column, flaw.key, flaw.message) for flaw in read.flaws]
    if read.data is None:
        if not problems:
            problems.append(Problem(file, 0, 0, "", "the file is empty; it needs at least images and profiles"))
        raise CatalogError(problems)
    if not isinstance(read.data, dict):
        kind = "a list" if isinstance(read.data, list) else "one value"
        raise CatalogError([*problems, Problem(file, 1, 1, "", f"the file is {kind}; it must be a mapping "
                                               "with the keys images and profiles")])  # fmt: skip
    folder = Path(path).absolute().parent
    catalog, found = _validate(read.data, folder)
    problems += [Problem(file, *_position(read, place), _dotted(place), text) for place, text in found]
    if catalog is None or problems:
        raise CatalogError(_without_repetition(problems))
    return catalog


def _without_repetition(problems: list[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _validate(data: dict[str, Any], folder: Path) -> tuple[Catalog | None, list[tuple[Place, str]]]:
    context = {"folder": folder, "partial": True}
    try:
        catalog = Catalog.model_validate(data, context=context)
    except ValidationError as error:
        found = list(sentences(error, data))
        rest, broken = _sound_part(data, [place for place, _ in found])
        with suppress(ValidationError):  # where nothing sound enough is left to compare
            found += inconsistencies(Catalog.model_validate(rest, context=context), broken)
        return None, found
    return catalog, list(inconsistencies(catalog))


def _sound_part(data: Mapping[str, Any], places: list[Place]) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """The data without the entries that failed, and the names of these by section."""
    rest: dict[str, Any] = {key: value for key, value in data.items() if key in Catalog.model_fields}
    broken: dict[str, set[str]] = {section: set() for section in _SECTIONS}
    for place in places:
        if len(place) >= 2 and place[0] in _SECTIONS and isinstance(rest.get(str(place[0])), dict):
            section, name = str(place[0]), str(place[1])
            broken[section].add(name)
            rest[section] = {key: value for key, value in rest[section].items() if key != name}
        elif place and place[0] not in _SECTIONS:
            rest.pop(str(place[0]), None)
    return rest, broken


def _position(read: Document, place: Place) -> tuple[int, int]:
    """Where a place is: its key, else the nearest thing around it that is in the file."""
    for length in range(len(place), 0, -1):
        if found := read.keys.get(place[:length]) or read.values.get(place[:length]):
            return found
    return 1, 1


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
