"""Whom a client of ours trusts to sign a server's certificate."""

import ssl
from pathlib import Path


def authorities_for(url: str, ca_file: Path | None = None) -> ssl.SSLContext:
    """The file's authorities or the system's, for https; for an address without TLS an empty list, which trusts nobody.

    The system's list takes megabytes in each client that holds it.
    """
    if url.startswith("https:"):
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
