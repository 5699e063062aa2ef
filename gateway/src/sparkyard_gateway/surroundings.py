"""Around every request: the hub's path, HEAD by way of GET, the headers of every answer, its number and its line in
the log, and its place in the metrics.

Written as plain ASGI: Starlette's BaseHTTPMiddleware costs more than a whole statement's bookkeeping.
"""

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparkyard_gateway.metrics import Metrics

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
REQUEST_ID = b"x-request-id"

_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
_WAITS = re.compile(rb"(?:^|&)wait=")

log = structlog.get_logger("sparkyard_gateway.requests")


class Surroundings:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, prefix: str, metrics: Metrics) -> None:
        self._app = app
        self._prefix = prefix
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if self._prefix and (path == self._prefix or path.startswith(self._prefix + "/")):
            scope["root_path"] = self._prefix
        structlog.contextvars.clear_contextvars()
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        number = _number(scope)
        structlog.contextvars.bind_contextvars(request=number.decode())
        if method == "HEAD":
            # A copy: the server looks into its own for whether a body is due.
            scope = {**scope, "method": "GET"}
        status, begun = 0, time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers}
                headers.extend(each for each in HEADERS if each[0] not in given)
                headers.append((REQUEST_ID, number))
                message["headers"] = headers
            elif method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, answer)
        finally:
            self._metrics.in_flight.dec()
            self._account(scope, method, status, time.monotonic() - begun)

    def _account(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        known = method if method in METHODS else "other"
        self._metrics.requests.labels(known, route, str(status)).inc()
        if not _WAITS.search(scope["query_string"]):
            self._metrics.request_seconds.labels(known, route).observe(seconds)
        # What only looks and finds is of no interest unless somebody looks for it; nor are pieces of an event log.
        usual = method in {"GET", "HEAD"} or (route.startswith("/driver/v1/") and "/events/" in route)
        write = log.debug if usual and 0 < status < 400 else log.info
        write("request", method=known, route=route, status=status, ms=round(seconds * 1000, 1))


def _number(scope: Scope) -> bytes:
    """The request's number: its sender's, if that is one, so that it can be followed through a proxy."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(8).encode()
