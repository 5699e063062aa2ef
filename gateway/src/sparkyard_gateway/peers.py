"""Asking another gateway, in the caller's own name.

The owner of a session authenticates the caller itself, so gateways need not trust one another: what travels is the
caller's own Authorization header, and a mark that keeps a request from going in circles.
"""

import asyncio
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
from starlette.types import Scope

from sparkyard_gateway.membership import Membership
from sparkyard_gateway.store.gateways import GatewayRecord

FORWARDED = "sparkyard-forwarded"
"""The header with the name of the gateway that forwards: whoever gets it does not forward again."""
SEEK = "sparkyard-seek"
"""The header of a question about a history that any gateway may have, whoever owns what it is of (`whereabouts`)."""
_REQUEST_ID = "x-request-id"
BUFFERED_BYTES = 32 * 1024 * 1024
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "date", "server"}
)


class UnreachableError(Exception):
    """The peer did not answer. `taken`: whether it may have got the request."""

    def __init__(self, *, taken: bool) -> None:
        super().__init__()
        self.taken = taken


@dataclass(frozen=True, slots=True)
class Question:
    """A request to pass on."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


def question_of(scope: Scope, path: str, body: bytes, name: str) -> Question:
    """A client's request as another gateway shall get it, from the gateway `name`."""
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    kept = {key: value for key, value in headers.items() if key not in _HOP_BY_HOP and key != "content-length"}
    # What is between here and the client is packed here.
    kept["accept-encoding"] = "identity"
    kept[FORWARDED] = name
    kept.pop(SEEK, None)  # only gateways ask so
    number = structlog.contextvars.get_contextvars().get("request")
    if number is not None:
        kept[_REQUEST_ID] = str(number)
    client: tuple[str, int] | None = scope.get("client")
    if client is not None:
        kept.setdefault("x-forwarded-for", client[0])
    if scope["method"] == "POST" and path.endswith("/statements"):
        # So that it can be asked again, should the owner die with it: a statement is taken once.
        kept.setdefault("idempotency-key", f"forwarded-{secrets.token_hex(16)}")
    return Question(scope["method"], path, scope["query_string"].decode("latin-1"), kept, body)


def may_be_repeated(question: Question) -> bool:
    """Whether asking twice does no more than asking once."""
    if question.method in {"GET", "DELETE"} or "idempotency-key" in question.headers:
        return True
    if "/driver/v1/" in question.path and "/events/" in question.path:
        return True  # each piece says where it goes on
    return question.path.rpartition("/")[2] in {"cancel", "stop", "connect", "completion", "bootstrap"}


class Peers:
    """Connections to the other gateways."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._client = httpx.AsyncClient(
            # No limit for an answer: some wait for a minute. That a peer is gone is known by its lease.
            timeout=httpx.Timeout(10.0, connect=2.0, read=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def ask(self, peer: GatewayRecord, question: Question) -> httpx.Response:
        """The answer of a peer, its body still to be read. Raises UnreachableError, at once where the peer is dead."""
        request = self._client.build_request(
            question.method,
            f"{peer.url}{question.path}{'?' + question.query if question.query else ''}",
            headers=question.headers,
            content=question.body,
        )
        answering = asyncio.ensure_future(self._client.send(request, stream=True))
        gone = asyncio.ensure_future(self.gone(peer))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise UnreachableError(taken=True)
            return answering.result()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnreachableError(taken=False) from error
        except httpx.HTTPError as error:
            raise UnreachableError(taken=True) from error
        finally:
            gone.cancel()
            answering.cancel()

    async def read(self, answer: httpx.Response) -> bytes:
        """The body of an answer. Raises UnreachableError."""
        try:
            return b"".join([chunk async for chunk in answer.aiter_raw()])
        except httpx.HTTPError as error:
            raise UnreachableError(taken=True) from error
        finally:
            await answer.aclose()

    async def fetch(self, peer: GatewayRecord, question: Question, seconds: float) -> tuple[int, bytes]:
        """Status and body. Raises UnreachableError."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self.ask(peer, question)
                return answer.status_code, await self.read(answer)
        except TimeoutError as error:
            raise UnreachableError(taken=True) from error

    async def fetch_json(self, peer: GatewayRecord, question: Question, seconds: float) -> dict[str, Any] | None:
        """The JSON of an answer; None where the peer has none to give."""
        try:
            status, body = await self.fetch(peer, question, seconds)
        except UnreachableError:
            return None
        return json.loads(body) if status == 200 else None

    async def gone(self, peer: GatewayRecord) -> None:
        """Return when that run of the peer's is over."""

        def gone() -> bool:
            now = self._membership.peers.get(peer.name)
            return now is None or now.life != peer.life

        while not gone():
            await self._membership.changed.wait_until(gone, 60.0)


def answer_headers(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    """What a client gets of a peer's headers."""
    return [
        (key.lower().encode("latin-1"), value.encode("latin-1"))
        for key, value in headers.multi_items()
        if key.lower() not in _HOP_BY_HOP and key.lower() != _REQUEST_ID
    ]


def header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """One of a request's or an answer's headers."""
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in headers if key == wanted), None)
