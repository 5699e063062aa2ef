"""A WebSocket client (RFC 6455) of the standard library alone, because users' images carry no other.

One thread reads; any thread may send. Text frames only, no extensions. Every failure is a `ConnectionLost`, so that the
caller has one thing to catch before it dials again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import struct
import threading
import time
from typing import Dict, Optional, Tuple
from urllib.parse import urlsplit

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FRAGMENT = 1024 * 1024
_HANDSHAKE_LIMIT = 64 * 1024


class ConnectionLost(Exception):  # noqa: N818  reads as what happened
    """The connection could not be made or is no more."""


class HandshakeRefused(ConnectionLost):
    """The server answered the handshake with another status than 101."""

    def __init__(self, status: int, line: str, location: str = "") -> None:
        super().__init__(f"the gateway refused the connection: {line}")
        self.status = status
        self.location = location


class Closed(ConnectionLost):
    """The server closed the connection and gave a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the gateway closed the connection with code {code}" + (f": {reason}" if reason else ""))
        self.code = code


class WebSocket:
    """An open connection. `receive` belongs to one thread; `send` and `ping` are safe from all."""

    def __init__(self, stream: socket.socket, leftover: bytes = b"", max_message: int = 64 * 1024 * 1024) -> None:
        self._stream = stream
        self._buffer = bytearray(leftover)
        self._max_message = max_message
        self._send_lock = threading.Lock()
        self._closing = False
        self._timeout: Optional[float] = stream.gettimeout()
        self.heard_at = time.monotonic()  # when the last frame of any kind arrived

    def send(self, text: str) -> None:
        """Send one text message, in fragments if it is long so that pings pass between them."""
        payload = text.encode("utf-8")
        if len(payload) <= _FRAGMENT:
            self._send_frame(_TEXT, payload)
            return
        view = memoryview(payload)
        with self._send_lock:
            for start in range(0, len(payload), _FRAGMENT):
                opcode = _TEXT if start == 0 else _CONTINUATION
                final = start + _FRAGMENT >= len(payload)
                self._write(_frame(opcode, bytes(view[start : start + _FRAGMENT]), final=final))

    def ping(self, payload: bytes = b"") -> None:
        """Ask the server for a sign of life; its answer keeps `receive` from timing out."""
        self._send_frame(_PING, payload)

    def receive(self, timeout: Optional[float] = None) -> Optional[str]:
        """Return the next text message, or None if there was silence for that time; control frames are no silence."""
        if timeout != self._timeout:
            # It also bounds a send into a line that nobody reads; changed rarely, as it is a system call.
            self._stream.settimeout(timeout)
            self._timeout = timeout
        parts = bytearray()
        while True:
            try:
                final, opcode, payload = self._read_frame()
            except socket.timeout:
                if parts or self._buffer:
                    raise ConnectionLost("the gateway stopped in the middle of a message") from None
                return None
            if opcode >= _CLOSE:
                self._control(opcode, payload)
                continue
            self._append(parts, opcode, payload)
            if final:
                try:
                    return parts.decode("utf-8")
                except UnicodeDecodeError:
                    raise ConnectionLost("the gateway sent text that is not UTF-8") from None

    def _append(self, parts: bytearray, opcode: int, payload: bytes) -> None:
        if opcode == _BINARY or (opcode == _TEXT) == bool(parts):
            raise ConnectionLost("the gateway sent a frame that has no place here")
        parts += payload
        if len(parts) > self._max_message:
            raise ConnectionLost(f"the gateway sent a message of more than {self._max_message} bytes")

    def close(self, code: int = 1000) -> None:
        """Say goodbye if the line still carries it, and close the socket."""
        if not self._closing:
            self._closing = True
            with contextlib.suppress(ConnectionLost):
                self._send_frame(_CLOSE, struct.pack("!H", code))
        self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word; wakes the thread in `receive`."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # a cell may have closed the descriptor
            self._stream.close()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._send_frame(_PONG, payload)
        elif opcode == _CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
            self.close(code if code != 1005 else 1000)
            raise Closed(code, payload[2:].decode("utf-8", "replace"))

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        frame = _frame(opcode, payload, final=True)
        with self._send_lock:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        try:
            self._stream.sendall(frame)
        except (OSError, ValueError) as error:
            raise ConnectionLost(f"sending to the gateway failed: {error}") from None

    def _read_frame(self) -> Tuple[bool, int, bytes]:
        self._fill(2)
        first, second = self._buffer[0], self._buffer[1]
        if first & 0x70 or second & 0x80:
            raise ConnectionLost("the gateway sent a frame with bits that were not agreed on")
        length, header = second & 0x7F, 2
        if length == 126:
            self._fill(4)
            length, header = struct.unpack_from("!H", self._buffer, 2)[0], 4
        elif length == 127:
            self._fill(10)
            length, header = struct.unpack_from("!Q", self._buffer, 2)[0], 10
        if length > self._max_message:
            raise ConnectionLost(f"the gateway sent a frame of {length} bytes")
        if first & 0x08 and (length > 125 or not first & 0x80):
            raise ConnectionLost("the gateway sent a malformed control frame")
        self._fill(header + length)
        self.heard_at = time.monotonic()
        payload = bytes(self._buffer[header : header + length])
        del self._buffer[: header + length]
        return bool(first & 0x80), first & 0x0F, payload

    def _fill(self, wanted: int) -> None:
        while len(self._buffer) < wanted:
            try:
                chunk = self._stream.recv(max(65536, min(wanted - len(self._buffer), _FRAGMENT)))
            except socket.timeout:
                raise
            except (OSError, ValueError) as error:
                raise ConnectionLost(f"reading from the gateway failed: {error}") from None
            if not chunk:
                raise ConnectionLost("the gateway ended the connection")
            self._buffer += chunk


def connect(url: str, headers: Dict[str, str], timeout: float = 10.0, ca_file: str = "") -> WebSocket:
    """Dial `ws://` or `wss://` and shake hands; raises ConnectionLost."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConnectionLost(f"{url!r} is no WebSocket address: it must begin with ws:// or wss:// and name a host")
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        stream = socket.create_connection((parts.hostname, port), timeout)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "wss":
            import ssl  # noqa: PLC0415  15 ms that a plain connection need not pay

            context = ssl.create_default_context(cafile=ca_file or None)
            stream = context.wrap_socket(stream, server_hostname=parts.hostname)
    except OSError as error:
        raise ConnectionLost(f"{parts.hostname}:{port} cannot be reached: {error}") from None
    try:
        leftover = _shake_hands(stream, parts.path or "/", parts.query, f"{parts.hostname}:{port}", headers)
    except (OSError, ValueError) as error:
        stream.close()
        raise ConnectionLost(f"the handshake with {parts.hostname}:{port} failed: {error}") from None
    except ConnectionLost:
        stream.close()
        raise
    return WebSocket(stream, leftover)


def _shake_hands(stream: socket.socket, path: str, query: str, host: str, headers: Dict[str, str]) -> bytes:
    key = base64.b64encode(os.urandom(16))
    target = path + (f"?{query}" if query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]  # fmt: skip
    for name, value in headers.items():
        if any(character in value for character in "\r\n"):
            raise ValueError(f"the header {name} may not hold a line break")
        lines.append(f"{name}: {value}")
    stream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    answer = bytearray()
    while b"\r\n\r\n" not in answer:
        chunk = stream.recv(4096)
        if not chunk:
            raise ConnectionLost("the gateway ended the connection during the handshake")
        answer += chunk
        if len(answer) > _HANDSHAKE_LIMIT:
            raise ConnectionLost("the gateway's answer to the handshake has no end")
    head, _, leftover = bytes(answer).partition(b"\r\n\r\n")
    status_line, *fields = head.decode("latin-1").split("\r\n")
    words = status_line.split(" ", 2)
    named = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
    if len(words) < 2 or words[1] != "101":
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        raise HandshakeRefused(status, status_line, named.get("location", "") if status in (307, 308) else "")
    expected = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324  as the RFC wants it
    if named.get("sec-websocket-accept") != expected or named.get("upgrade", "").lower() != "websocket":
        raise ConnectionLost("the answer to the handshake is not a WebSocket server's")
    return leftover


def _frame(opcode: int, payload: bytes, *, final: bool) -> bytes:
    length = len(payload)
    first = (0x80 if final else 0) | opcode
    if length < 126:
        header = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        header = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        header = struct.pack("!BBQ", first, 0x80 | 127, length)
    mask = os.urandom(4)
    return header + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    # One big integer XOR: a loop over bytes in Python would take a second for ten megabytes.
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
