"""The values of the chart, for the hub's configuration."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

SECRET = Path("/usr/local/etc/jupyterhub/secret")
NAMES = Path("/usr/local/etc/jupyterhub/config")


def get_config(key: str, default: Any = None) -> Any:
    """The value under a dotted key."""
    try:
        return reduce(lambda found, part: found[part], key.split("."), json.loads((SECRET / "values.yaml").read_text()))
    except (KeyError, TypeError):
        return default


def get_secret_value(key: str) -> str:
    """A secret that the chart has made."""
    return (SECRET / key).read_text()


def get_name(key: str) -> str:
    """What an object is named in this release."""
    return (NAMES / key).read_text()
