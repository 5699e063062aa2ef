"""What a driver that is about to be started shall prove itself with.

A backend that starts the driver itself hands it a token, unseen by others. A driver far away is submitted through
another server and can be given arguments only, which others read: it gets a code to claim its bootstrap with, once
(`claims`).
"""

import secrets
from dataclasses import dataclass, field
from typing import Any

from sparkyard_gateway.live import token_hash

UNCLAIMED = "unclaimed"
"""In place of a token's hash while there is no token yet; no token has this hash."""
CLAIM = "claim"
"""Where a session's `spec` keeps the hash of the code."""

_CLAIMING = frozenset({"livy"})
"""Backends whose drivers claim."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secret that goes into the order, and what the row keeps of it."""

    secret: str = field(repr=False)
    token_hash: str
    kept: dict[str, Any]


def credentials(backend: str) -> Credentials:
    """New ones, for a driver of this backend."""
    secret = secrets.token_urlsafe(32)
    if backend in _CLAIMING:
        return Credentials(secret, UNCLAIMED, {CLAIM: token_hash(secret)})
    return Credentials(secret, token_hash(secret), {})
