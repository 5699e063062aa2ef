"""The names that clients give: to sessions and batches, and to a request that they may repeat."""

import re

from sparkyard_gateway.errors import Rejected

_NAME = re.compile(r"[\w.@:+\- ]{1,128}")
_KEY = re.compile(r"[!-~]{1,255}")


def check_name(name: str | None) -> None:
    """Raises Rejected for a name that could be taken for an id, or for more than a name."""
    if name is not None and (not _NAME.fullmatch(name) or name.isdecimal()):
        raise Rejected(f"Invalid session name: {name}")


def check_key(key: str) -> None:
    """Raises Rejected for what is no idempotency key."""
    if not _KEY.fullmatch(key):
        raise Rejected("Idempotency-Key must be 1 to 255 visible ASCII characters")
