"""An HTTP client of few instructions, so that a load on two cores measures the server."""

import asyncio
import json
from typing import Any


class LeanClient:
    """One keep-alive connection to the gateway, in one person's name."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: token {token}\r\nContent-Type: application/json\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and decoded body of the answer."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        received = await self._reader.readuntil(b"\r\n\r\n")
        lines = received.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        text = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), json.loads(text)

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
