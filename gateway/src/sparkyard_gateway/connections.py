"""A client's connection, with bounds on what it may keep this process waiting for, and how much it may say first.

uvicorn bounds neither the head of a request nor the time it may take, and waits for ever for its peer to read. Each is
cheap for whoever does it and costs this process memory and a descriptor, so:

    head    at most `HEAD_BYTES`, and all of it within `head_seconds` of its first byte, or of the connection
    read    an answer, or a message to a driver, of which nothing was read for `reader_seconds` is given up

How large a body may be and how long it may take is said where bodies are read: `routes.dependencies.body`.
"""

import asyncio
from asyncio.events import TimerHandle
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_BYTES = 64 * 1024


class _Watch:
    """Gives a connection up whose peer has stopped reading. One that reads slowly is left alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer: TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """What was written waits to be read."""
        self._timer = self._loop.call_later(self._seconds, self._look, transport, transport.get_write_buffer_size())

    def end(self) -> None:
        """It was read, or the peer is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.Transport, before: int) -> None:
        if transport.get_write_buffer_size() >= before:
            # Not `close`, which would wait for what is written to be read.
            transport.abort()
        else:
            self.begin(transport)


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol for HTTP, with these bounds."""

    head_seconds: ClassVar[float]
    reader_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._reader = _Watch(self.loop, self.reader_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and should say something."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._stop_head_timer()
        self._reader.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a request is understood."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._head_bytes = False, 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are another request's head."""
        super().on_message_complete()
        self._in_head = True

    def pause_writing(self) -> None:
        """The client reads more slowly than is written."""
        super().pause_writing()
        self._reader.begin(self.transport)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._reader.end()
        super().resume_writing()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class DriverConnection(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, which only drivers speak here, with its bound."""

    reader_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reader = _Watch(self.loop, self.reader_seconds)

    def start_keepalive(self) -> None:
        """The handshake is over: its request and answer, kilobytes for each driver, are of no more use.

        The parser holds the request as well, and the application its headers, one of which is the driver's token; so
        they are emptied.
        """
        super().start_keepalive()
        self.request.headers.clear()
        self.scope["headers"] = []
        del self.request, self.response

    def connection_lost(self, exc: Exception | None) -> None:
        """The driver is gone."""
        self._reader.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The driver does not read."""
        super().pause_writing()
        self._reader.begin(self.transport)

    def resume_writing(self) -> None:
        """It reads again."""
        self._reader.end()
        super().resume_writing()


def http_connection(head_seconds: float, reader_seconds: float) -> type[asyncio.Protocol]:
    """The class for clients' connections, with these bounds."""
    return type("Connection", (HttpConnection,), {"head_seconds": head_seconds, "reader_seconds": reader_seconds})


def driver_connection(reader_seconds: float) -> type[asyncio.Protocol]:
    """The class for drivers' connections, with this bound."""
    return type("Connection", (DriverConnection,), {"reader_seconds": reader_seconds})
