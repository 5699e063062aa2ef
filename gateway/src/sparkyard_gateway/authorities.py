"""Whom a client of ours trusts to sign a server's certificate."""

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit


def authorities_for(url: str, ca_file: Path | None = None) -> ssl.SSLContext:
    """The file's authorities or the system's, for https; for an address without TLS an empty list, which trusts nobody.

    The system's list takes megabytes in each client that holds it.
    """
    if url.startswith("https:"):
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def guarded(url: str) -> bool:
    """Whether nobody on the way can read what goes to that address."""
    parts = urlsplit(url)
    if parts.scheme == "wss":
        return bool(parts.hostname)
    try:
        return parts.scheme == "ws" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.scheme == "ws" and parts.hostname == "localhost"
