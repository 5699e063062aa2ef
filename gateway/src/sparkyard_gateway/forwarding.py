"""A request goes to whoever holds its session or batch: this gateway, or another one on the same database.

Around the application, so that no route knows of other gateways:

    /sessions/{id or name}..., /batches/{id or name}...      answered here, or by the owner; asked again where it dies
    /spark-ui/{id}..., /spark-ui/batches/{id}..., /ui/sessions/{id}..., /driver/v1/{id}/bootstrap      likewise
    /driver/v1/{id}/events..., /driver/v1/batches/{id}/events...      likewise
    GET /sessions, GET /batches      one's own and the others', put together
    POST /sessions, POST /batches    here; with an Idempotency-Key that another gateway knows, what that one made

An answer 421 (Misdirected), from here or from a peer, never reaches a client: it says that the session has moved on.
With SQLite there are no others, and none of this is there.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import httpx
import structlog
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparkyard_gateway.auth import Identities
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import GatewayError, Misdirected, Unavailable
from sparkyard_gateway.event_intake import LARGEST_PIECE
from sparkyard_gateway.holdings import Held, Holding
from sparkyard_gateway.listing import Listing
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.ownership import LARGEST_ID, may_see
from sparkyard_gateway.peers import (
    BUFFERED_BYTES,
    FORWARDED,
    SEEK,
    Peers,
    Question,
    UnreachableError,
    answer_headers,
    header,
    may_be_repeated,
    question_of,
)
from sparkyard_gateway.replay import Captured, Replay
from sparkyard_gateway.store.gateways import GatewayRecord
from sparkyard_gateway.whereabouts import Whereabouts

_OF_ONE = re.compile(
    r"/(?P<area>sessions|batches|spark-ui/batches|spark-ui|ui/sessions|driver/v1/batches|driver/v1)/(?P<reference>[^/]+)(?P<after>(?:/.*)?)"
)
_HOLDING = {"sessions": 0, "spark-ui": 0, "ui/sessions": 0, "driver/v1": 0} | dict.fromkeys(
    ("batches", "spark-ui/batches", "driver/v1/batches"), 1
)
_UIS = frozenset({"spark-ui", "spark-ui/batches"})
_DRIVERS = frozenset({"driver/v1", "driver/v1/batches"})
_API = frozenset({"sessions", "batches"})
PAUSE_SECONDS = 0.2
HERE_SECONDS = 5.0
"""How long a request waits for this gateway to know whether its sessions are still its own."""
KNOWN_OWNERS = 10_000
LARGEST_CLAIM = 4096

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Meant:
    """A request's session or batch, as its path says."""

    holding: Holding
    area: str
    reference: str
    after: str


class _Route(NamedTuple):
    """What metrics take for a route: which one it was, the owner counts."""

    path: str


_FORWARDED = _Route("(forwarded)")


class Forwarding:
    """Finds owners and asks them."""

    def __init__(
        self,
        settings: Settings,
        membership: Membership,
        identities: Identities,
        holdings: tuple[Holding, Holding],
    ) -> None:
        """`holdings` are sessions and batches."""
        self._settings = settings
        self._membership = membership
        self._identities = identities
        self._holdings = holdings
        self._peers = Peers(membership)
        self.listing = Listing(membership, identities, self._peers)
        self.whereabouts = Whereabouts(membership, self._peers)
        self._owners: dict[tuple[str, int], str] = {}

    async def close(self) -> None:
        """Hang up."""
        await self._peers.close()

    async def handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Raises GatewayError, where no answer has begun."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        meant = self._meant(path)
        all_of = next((each for each in self._holdings if path in {f"/{each.word}", f"/{each.word}/"}), None)
        if header(scope["headers"], FORWARDED) is not None:
            await self._membership.wait_unless_suspended(HERE_SECONDS)
            sought = meant is not None and meant.area in _UIS and header(scope["headers"], SEEK) is not None
            if meant is not None and not sought and not self._is_here(meant):
                raise Misdirected("This is not here.")
            await app(scope, receive, send)
        elif meant is not None:
            limit = _limit(meant) if meant.area in _DRIVERS else self._settings.max_body_bytes
            await self._of_one(app, scope, Replay(receive, limit, self._settings.body_seconds), send, meant)
        elif all_of is not None and scope["method"] == "GET":
            await self._membership.wait_unless_suspended(HERE_SECONDS)
            await self.listing.handle(all_of, app, scope, receive, send)
        elif all_of is not None and scope["method"] == "POST":
            request = Replay(receive, self._settings.max_body_bytes, self._settings.body_seconds)
            await self._create(all_of, app, scope, request, send)
        else:
            await app(scope, receive, send)

    def _meant(self, path: str) -> _Meant | None:
        found = _OF_ONE.fullmatch(path)
        if found is None:
            return None
        return _Meant(self._holdings[_HOLDING[found["area"]]], found["area"], found["reference"], found["after"])

    @staticmethod
    def _is_here(meant: _Meant) -> bool:
        return meant.reference.isdecimal() and int(meant.reference) in meant.holding.live

    def _patience(self) -> Callable[[], bool]:
        """Whether to go on asking: until a dead owner's sessions must have been taken over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 2 * self._membership.lease_seconds + 10
        return lambda: loop.time() < end

    async def _pause(self) -> None:
        await self._membership.changed.wait_until(lambda: False, PAUSE_SECONDS)

    # One session or batch

    async def _of_one(self, app: ASGIApp, scope: Scope, request: Replay, send: Send, meant: _Meant) -> None:
        if meant.area in _API and not await self._known(header(scope["headers"], "authorization")):
            # The route says what is wrong, and nobody's body is kept, let alone passed on, who is nobody.
            await app(scope, request.again(), send)
            return
        patient = self._patience()
        question: Question | None = None
        asked = False
        while patient():
            number, owner = await self._locate(meant, header(scope["headers"], "authorization"))
            live = meant.holding.live.get(number)
            if owner is None and live is None and asked and scope["method"] == "DELETE" and not meant.after:
                # Its owner did it, and died before it could say so.
                await JSONResponse({"msg": "deleted"})(scope, request.again(), send)
                return
            if owner is None:
                if await self._here(app, scope, request, send, live):
                    return
            elif (peer := self._membership.peers.get(owner)) is not None:
                question = question or await self._question(scope, request, meant, number)
                try:
                    if await self._there(peer, question, scope, request, send):
                        return
                except UnreachableError as error:
                    self._consider(error, question, peer)
                    asked = asked or error.taken
            self._owners.pop((meant.holding.word, number), None)
            await self._pause()
        raise Unavailable(
            "The gateway that runs this session does not answer, and no other one could take it over yet. Try again."
        )

    async def _known(self, authorization: str | None) -> bool:
        try:
            await self._identities.caller_of(authorization)
        except GatewayError:
            return False
        return True

    async def _locate(self, meant: _Meant, authorization: str | None) -> tuple[int, str | None]:
        """(the id, the gateway that has it); no gateway where this one can tell, be it that there is none."""
        reference, holding = meant.reference, meant.holding
        if not (reference.isascii() and reference.isdecimal()):
            return await self._locate_name(meant, authorization) if await self._known(authorization) else (0, None)
        number = int(reference) if len(reference) < 20 else LARGEST_ID + 1
        if number in holding.live or number > LARGEST_ID:
            return number, None
        key = holding.word, number
        if key not in self._owners:
            owner = await holding.owner_of(number)
            if owner is None:
                return number, None
            if len(self._owners) >= KNOWN_OWNERS:
                self._owners.clear()
            self._owners[key] = owner
        return number, self._owners[key]

    async def _locate_name(self, meant: _Meant, authorization: str | None) -> tuple[int, str | None]:
        """As `ownership.find` chooses among one's own."""
        caller = await self._identities.caller_of(authorization)
        holding, name = meant.holding, meant.reference
        known: list[tuple[Held, str | None]] = [
            (each, None) for each in holding.live.values() if each.name == name and may_see(caller, each)
        ]
        if not any(each.owner == caller.name and not each.state.ended for each, _ in known):
            for other, gateway in await holding.named(name):
                if other.id not in holding.live and may_see(caller, other):
                    known.append((other, gateway))
        known.sort(key=lambda pair: (pair[0].owner == caller.name, not pair[0].state.ended, pair[0].id))
        return (known[-1][0].id, known[-1][1]) if known else (0, None)

    async def _here(self, app: ASGIApp, scope: Scope, request: Replay, send: Send, live: Held | None) -> bool:
        """Answer from here; returns False where the session turns out to have moved on."""
        if live is not None:
            await self._membership.wait_unless_suspended(HERE_SECONDS)
        dropped = False

        async def unless_moved(message: Message) -> None:
            nonlocal dropped
            if message["type"] == "http.response.start":
                # What was done and acknowledged stays so; what was only looked at may be old by now.
                done = scope["method"] != "GET" and message["status"] < 400
                dropped = message["status"] == Misdirected.status or (live is not None and live.moved and not done)
            if not dropped:
                await send(message)

        await app(scope, request.again(), unless_moved)
        return not dropped

    async def _question(self, scope: Scope, request: Replay, meant: _Meant, number: int) -> Question:
        prefix, raw = scope.get("root_path", ""), scope["raw_path"].decode("latin-1")
        found = _OF_ONE.fullmatch(raw.removeprefix(prefix))
        path = f"{prefix}/{found['area']}/{number}{found['after']}" if found else raw
        wanted = scope["method"] != "GET" and meant.area in _API | _DRIVERS
        return question_of(scope, path, await request.body() if wanted else b"", self._membership.name)

    async def _there(self, peer: GatewayRecord, question: Question, scope: Scope, request: Replay, send: Send) -> bool:
        """Have the owner answer; returns False where it is the owner no more. Raises UnreachableError."""
        scope["route"] = _FORWARDED
        answer = await self._peers.ask(peer, question)
        if answer.status_code == Misdirected.status:
            await answer.aclose()
            return False
        await self._pass_on(peer, answer, request, send)
        return True

    @staticmethod
    def _consider(error: UnreachableError, question: Question, peer: GatewayRecord) -> None:
        log.warning("peer_unreachable", gateway=peer.name, path=question.path)
        if error.taken and not may_be_repeated(question):
            raise Unavailable(
                "The gateway that runs this session went away in the midst of this request, which may have been done "
                "or not. Look before you try again."
            ) from None

    async def _pass_on(self, peer: GatewayRecord, answer: httpx.Response, request: Replay, send: Send) -> None:
        headers = answer_headers(answer.headers)
        length = answer.headers.get("content-length", "")
        whole = length.isdecimal() and int(length) <= BUFFERED_BYTES
        if whole:
            body = await self._peers.read(answer)
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        # It may never end by itself: not after its reader has gone, nor where the peer's machine fell silent.
        ends = [
            asyncio.ensure_future(each)
            for each in (_stream(answer, send), request.until_gone(), self._peers.gone(peer))
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if ends[0].done():
                ends[0].result()
        except httpx.HTTPError:
            # Without an end: its reader shall not take it for whole.
            log.warning("answer_broke_off", gateway=peer.name)
        finally:
            for each in ends:
                each.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await answer.aclose()

    # A new one

    async def _create(self, holding: Holding, app: ASGIApp, scope: Scope, request: Replay, send: Send) -> None:
        patient = self._patience()
        while patient():
            made = Captured()
            await app(scope, request.again(), made.take)
            if made.status != Misdirected.status:
                await made.give(send)
                return
            known = header(made.headers, "sparkyard-session")
            if known is not None and await self._made_elsewhere(holding, scope, int(known), send):
                return
            await self._pause()
        raise Unavailable("This gateway lost touch with the others while it made this. Look, then try again.")

    async def _made_elsewhere(self, holding: Holding, scope: Scope, number: int, send: Send) -> bool:
        """Answer a repeated POST with what the first one made, at another gateway."""
        owner = await holding.owner_of(number)
        peer = self._membership.peers.get(owner or "")
        if peer is None:
            return False
        path = f"{scope.get('root_path', '')}/{holding.word}/{number}"
        asked = question_of({**scope, "method": "GET", "query_string": b""}, path, b"", self.name)
        try:
            status, body = await self._peers.fetch(peer, asked, HERE_SECONDS)
        except UnreachableError:
            return False
        if status != 200:
            return False
        await Response(body, 201, {"Location": path}, "application/json")(scope, _nothing, send)
        return True

    @property
    def name(self) -> str:
        """This gateway's."""
        return self._membership.name


def _limit(meant: _Meant) -> int:
    """How much a driver may send: a piece of its event log, or its claim."""
    return LARGEST_PIECE if meant.after.startswith("/events/") else LARGEST_CLAIM


async def _stream(answer: httpx.Response, send: Send) -> None:
    async for chunk in answer.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
