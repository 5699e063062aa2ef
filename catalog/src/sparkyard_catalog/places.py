"""Places: paths on this machine with their placeholders, and the addresses that a session's files may come from.

Two kinds of address are a person's own: `home://jobs/etl.py` lies in the home folder of whoever asks, wherever the
machine keeps it, and `{user}` in a prefix stands for the name of whoever asks.
"""

import importlib.machinery
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

_SCHEMES = ("s3a", "s3", "gs", "abfss", "abfs", "wasbs", "hdfs", "https", "http", "local", "file", "home")
_HOME = "home://"
_USER = "{user}"
_PLAIN_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}")
_PLACEHOLDERS = ("venv", "pyspark")


def _path(text: str) -> str:
    for name in re.findall(r"\{([^}]*)\}", text):
        if name not in _PLACEHOLDERS:
            raise ValueError(f"'{{{name}}}' is not known here; use {{venv}} or {{pyspark}}")
    if not text or "\0" in text:
        raise ValueError("write a path, such as {venv}/bin/python")
    return text


def _url_prefix(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES or not (rest.strip("/") or text == _HOME):
        known = ", ".join(_SCHEMES)
        raise ValueError(f"'{text}' is not an address with a path, such as s3a://bucket/libraries/ (schemes: {known})")
    # As a whole component below the first: a bucket or host of a user's own choice of name would be no prefix at all.
    if not plain_address(re.sub(r"(?<=[^/])/\{user\}(?=/|$)", "/user", text)):
        raise ValueError(
            f"'{text}' holds '..', '?', '#', '%' or a space, or {{user}} that is not a folder; write the plain address"
        )
    if text.startswith(_HOME) and text != _HOME and relative_to_home(text.removesuffix("/")) is None:
        raise ValueError(f"'{text}' is no folder of a home; write {_HOME} for all of it, or such as {_HOME}jobs/")
    return text


PathText = Annotated[str, AfterValidator(_path)]
UrlPrefix = Annotated[str, AfterValidator(_url_prefix)]


def plain_address(address: str) -> bool:
    """Whether an address means what it seems to: nothing in it that a file system would resolve elsewhere."""
    if unquote(address) != address or not re.fullmatch(r"[\x21-\x7e]+", address):
        return False
    _, _, rest = address.partition("://")
    pieces = rest.rstrip("/").split("/")
    return not re.search(r"[?#%@\\*{}\[\],;]", rest) and not any(piece in (".", "..") for piece in pieces)


def relative_to_home(address: str) -> str | None:
    """The path of a `home://` address within its owner's home; None where it is no such address."""
    found = re.fullmatch(r"home://((?:[^/]+/)*[^/]+)", address)
    return found[1] if found and plain_address(address) else None


def plain_user(user: str) -> bool:
    """Whether a user's name can stand in a path and mean nothing else there."""
    return _PLAIN_USER.fullmatch(user) is not None


def prefixes_for(user: str, prefixes: Iterable[str]) -> list[str]:
    """The prefixes with a user's name in them; without those that want one, where the name could mean another path."""
    plain = plain_user(user)
    return [prefix.replace(_USER, user) for prefix in prefixes if plain or _USER not in prefix]


def under(address: str, prefix: str) -> bool:
    """Whether an address lies under a prefix, by whole path components."""
    if address.startswith("home:") and relative_to_home(address) is None:
        return False
    scheme, _, rest = address.partition("://")
    wanted_scheme, _, wanted_rest = prefix.partition("://")
    wanted = wanted_rest.rstrip("/").split("/") if wanted_rest.strip("/") else []
    pieces = rest.split("/")
    below = pieces[len(wanted) :]
    # An empty piece, as in a//b or a/, is one place to an object store and another to a file system.
    within = pieces[: len(wanted)] == wanted and bool(below) and all(below)
    return scheme == wanted_scheme and within and plain_address(address)


def pyspark_folder() -> str:
    """The folder of the pyspark package of this interpreter, found without importing it.

    Where there is none, the folder that it would be installed to: whoever looks there says what is missing.
    """
    spec = importlib.machinery.PathFinder.find_spec("pyspark")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent)
    return str(Path(sysconfig.get_path("purelib")) / "pyspark")


def expand(text: str, folder: Path) -> str:
    """An absolute path from one with placeholders. Symlinks stay: a virtual environment's python is one."""
    filled = text.replace("{venv}", sys.prefix)
    if "{pyspark}" in filled:
        filled = filled.replace("{pyspark}", pyspark_folder())
    return os.path.abspath(folder / filled)  # noqa: PTH100  Path.resolve would follow symlinks
