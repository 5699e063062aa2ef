"""Sealed texts: what this gateway wrote and gave away, such as a cookie, and can trust when it comes back.

A sealed text is for the gateway's eyes alone, and good until its time is up: its holder can neither read nor change
it. So it may stand in a cookie or an address and yet hold a token. Each purpose has a key of its own, derived from the
service's token, which every gateway beside this one has too.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SKEW_SECONDS = 60
"""How far the clocks of two gateways may differ."""
NONCE_BYTES = 12
"""Random for each text; with a purpose's few texts a day, no two are ever the same."""


class Seal:
    """Seals and opens texts of one purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._key = AESGCM(hmac.digest(secret.encode(), f"sparkyard-gateway/{purpose}".encode(), hashlib.sha256))

    def seal(self, seconds: float, **content: Any) -> str:
        """A text that holds `content` for some seconds; safe in a cookie, a path and a query."""
        now = int(time.time())
        payload = json.dumps({**content, "from": now, "until": now + int(seconds)}, separators=(",", ":")).encode()
        nonce = os.urandom(NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._key.encrypt(nonce, payload, None)).rstrip(b"=").decode()

    def open(self, text: str | None) -> dict[str, Any] | None:
        """What was sealed; None where it is not ours, its time is up, or has not come: a clock was set back."""
        try:
            sealed = base64.urlsafe_b64decode((text or "") + "=" * (-len(text or "") % 4))
            payload = self._key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (binascii.Error, ValueError, InvalidTag):
            return None
        content: dict[str, Any] = json.loads(payload)
        return content if content["from"] - SKEW_SECONDS <= time.time() < content["until"] else None
