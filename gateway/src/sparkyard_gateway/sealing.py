"""Sealed texts: what this gateway wrote and gave away, such as a cookie, and can trust when it comes back.

A sealed text is readable by its holder and good until its time is up. Each purpose has a key of its own, derived from
the service's token, which every gateway beside this one has too.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any

TAG_BYTES = 24
SKEW_SECONDS = 60
"""How far the clocks of two gateways may differ."""


class Seal:
    """Seals and opens texts of one purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._key = hmac.digest(secret.encode(), f"sparkyard-gateway/{purpose}".encode(), hashlib.sha256)

    def seal(self, seconds: float, **content: Any) -> str:
        """A text that holds `content` for some seconds; safe in a cookie, a path and a query."""
        now = int(time.time())
        payload = json.dumps({**content, "from": now, "until": now + int(seconds)}, separators=(",", ":")).encode()
        return _encode(payload + self._tag(payload))

    def open(self, text: str | None) -> dict[str, Any] | None:
        """What was sealed; None where it is not ours, its time is up, or has not come: a clock was set back."""
        try:
            sealed = base64.urlsafe_b64decode((text or "") + "=" * (-len(text or "") % 4))
        except (binascii.Error, ValueError):
            return None
        payload, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        if not payload or not hmac.compare_digest(tag, self._tag(payload)):
            return None
        content: dict[str, Any] = json.loads(payload)
        return content if content["from"] - SKEW_SECONDS <= time.time() < content["until"] else None

    def _tag(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)[:TAG_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
