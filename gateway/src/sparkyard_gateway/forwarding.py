"""A request goes to whoever owns its session: this gateway, or another one on the same database.

Around the application, so that no route knows of other gateways:

    /sessions/{id or name}..., /spark-ui/{id}...   answered here, or by the owner; asked again where the owner dies
    GET /sessions                                  one's own and the others', put together
    POST /sessions                                 here; with an Idempotency-Key that another gateway knows, its session

An answer 421 (Misdirected), from here or from a peer, never reaches a client: it says that the session has moved on.
With SQLite there are no others, and none of this is there.
"""

import asyncio
import re
from collections.abc import Callable

import httpx
import structlog
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparkyard_gateway.auth import Identities
from sparkyard_gateway.errors import GatewayError, Misdirected, Unavailable
from sparkyard_gateway.listing import Listing
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.ownership import LARGEST_ID, may_see
from sparkyard_gateway.peers import (
    BUFFERED_BYTES,
    FORWARDED,
    Peers,
    Question,
    UnreachableError,
    answer_headers,
    header,
    may_be_repeated,
    question_of,
)
from sparkyard_gateway.replay import Captured, Replay
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.store.gateways import GatewayRecord, GatewayRows

_OF_A_SESSION = re.compile(r"(?P<before>.*?/(?:sessions|spark-ui)/)(?P<reference>[^/]+)(?P<after>(?:/.*)?)")
_SESSIONS = frozenset({"/sessions", "/sessions/"})
PAUSE_SECONDS = 0.2
HERE_SECONDS = 5.0
"""How long a request waits for this gateway to know whether its sessions are still its own."""
KNOWN_OWNERS = 10_000

log = structlog.get_logger(__name__)


class Forwarding:
    """Finds owners and asks them."""

    def __init__(
        self,
        max_body_bytes: int,
        rows: GatewayRows,
        membership: Membership,
        sessions: Sessions,
        identities: Identities,
        prefix: str,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._rows = rows
        self._membership = membership
        self._sessions = sessions
        self._identities = identities
        self._peers = Peers(membership)
        self._listing = Listing(rows, membership, sessions, identities, self._peers, prefix)
        self._owners: dict[int, str] = {}

    async def close(self) -> None:
        """Hang up."""
        await self._peers.close()

    async def handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Raises GatewayError, where no answer has begun."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = _OF_A_SESSION.fullmatch(path) if path.startswith(("/sessions/", "/spark-ui/")) else None
        if header(scope["headers"], FORWARDED) is not None:
            await self._membership.wait_unless_suspended(HERE_SECONDS)
            if found is not None and not self._is_here(found["reference"]):
                raise Misdirected("This session is not here.")
            await app(scope, receive, send)
        elif found is not None:
            await self._of_a_session(app, scope, Replay(receive, self._max_body_bytes), send, found)
        elif path in _SESSIONS and scope["method"] == "GET":
            await self._membership.wait_unless_suspended(HERE_SECONDS)
            await self._listing.handle(app, scope, receive, send)
        elif path in _SESSIONS and scope["method"] == "POST":
            await self._create(app, scope, Replay(receive, self._max_body_bytes), send)
        else:
            await app(scope, receive, send)

    def _is_here(self, reference: str) -> bool:
        return reference.isdecimal() and int(reference) in self._sessions.live

    def _patience(self) -> Callable[[], bool]:
        """Whether to go on asking: until a dead owner's sessions must have been taken over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 2 * self._membership.lease_seconds + 10
        return lambda: loop.time() < end

    async def _pause(self) -> None:
        await self._membership.changed.wait_until(lambda: False, PAUSE_SECONDS)

    # One session

    async def _of_a_session(self, app: ASGIApp, scope: Scope, request: Replay, send: Send, path: re.Match[str]) -> None:
        patient = self._patience()
        question: Question | None = None
        asked = False
        while patient():
            number, owner = await self._locate(path["reference"], header(scope["headers"], "authorization"))
            live = self._sessions.live.get(number)
            if owner is None and live is None and asked and scope["method"] == "DELETE" and not path["after"]:
                # Its owner did it, and died before it could say so.
                await JSONResponse({"msg": "deleted"})(scope, request.again(), send)
                return
            if owner is None:
                if await self._here(app, scope, request, send, live):
                    return
            elif (peer := self._membership.peers.get(owner)) is not None:
                question = question or await self._question(scope, request, number)
                try:
                    if await self._there(peer, question, send):
                        return
                except UnreachableError as error:
                    self._consider(error, question, peer)
                    asked = asked or error.taken
            self._owners.pop(number, None)
            await self._pause()
        raise Unavailable(
            "The gateway that runs this session does not answer, and no other one could take it over yet. Try again."
        )

    async def _locate(self, reference: str, authorization: str | None) -> tuple[int, str | None]:
        """(the session's id, the gateway that has it); no gateway where this one can tell, be it that there is none."""
        if not (reference.isascii() and reference.isdecimal()):
            return await self._locate_name(reference, authorization)
        number = int(reference) if len(reference) < 20 else LARGEST_ID + 1
        if number in self._sessions.live or number > LARGEST_ID:
            return number, None
        if number not in self._owners:
            owner = await self._rows.owner_of(number)
            if owner is None:
                return number, None
            if len(self._owners) >= KNOWN_OWNERS:
                self._owners.clear()
            self._owners[number] = owner
        return number, self._owners[number]

    async def _locate_name(self, name: str, authorization: str | None) -> tuple[int, str | None]:
        """As `Sessions.find` chooses among one's own."""
        if authorization is None:
            return 0, None
        try:
            caller = await self._identities.caller_of(authorization)
        except GatewayError:
            return 0, None  # the route says what is wrong
        known: list[tuple[LiveSession, str | None]] = [
            (each, None) for each in self._sessions.visible(caller) if each.name == name
        ]
        if not any(each.owner == caller.name and not each.state.ended for each, _ in known):
            for record in await self._rows.named(name):
                other = LiveSession.of(record)
                if other.id not in self._sessions.live and may_see(caller, other):
                    known.append((other, record.gateway))
        known.sort(key=lambda pair: (pair[0].owner == caller.name, not pair[0].state.ended, pair[0].id))
        return (known[-1][0].id, known[-1][1]) if known else (0, None)

    async def _here(self, app: ASGIApp, scope: Scope, request: Replay, send: Send, live: LiveSession | None) -> bool:
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

    async def _question(self, scope: Scope, request: Replay, number: int) -> Question:
        raw = scope["raw_path"].decode("latin-1")
        found = _OF_A_SESSION.fullmatch(raw)
        path = f"{found['before']}{number}{found['after']}" if found else raw
        return question_of(scope, path, await request.body(), self._membership.name)

    async def _there(self, peer: GatewayRecord, question: Question, send: Send) -> bool:
        """Have the owner answer; returns False where it is the owner no more. Raises UnreachableError."""
        answer = await self._peers.ask(peer, question)
        if answer.status_code == Misdirected.status:
            await answer.aclose()
            return False
        await self._pass_on(answer, send)
        return True

    @staticmethod
    def _consider(error: UnreachableError, question: Question, peer: GatewayRecord) -> None:
        log.warning("peer_unreachable", gateway=peer.name, path=question.path)
        if error.taken and not may_be_repeated(question):
            raise Unavailable(
                "The gateway that runs this session went away in the midst of this request, which may have been done "
                "or not. Look before you try again."
            ) from None

    async def _pass_on(self, answer: httpx.Response, send: Send) -> None:
        headers = answer_headers(answer.headers)
        length = answer.headers.get("content-length", "")
        whole = length.isdecimal() and int(length) <= BUFFERED_BYTES
        if whole:
            body = await self._peers.read(answer)
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        try:
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()

    # A new session

    async def _create(self, app: ASGIApp, scope: Scope, request: Replay, send: Send) -> None:
        patient = self._patience()
        while patient():
            made = Captured()
            await app(scope, request.again(), made.take)
            if made.status != Misdirected.status:
                await made.give(send)
                return
            known = header(made.headers, "sparkyard-session")
            if known is not None and await self._made_elsewhere(scope, int(known), send):
                return
            await self._pause()
        raise Unavailable("This gateway lost touch with the others while it made your session. Look, then try again.")

    async def _made_elsewhere(self, scope: Scope, number: int, send: Send) -> bool:
        """Answer a repeated POST with what the first one made, at another gateway."""
        owner = await self._rows.owner_of(number)
        peer = self._membership.peers.get(owner or "")
        if peer is None:
            return False
        prefix = scope.get("root_path", "")
        asked = question_of(
            {**scope, "method": "GET", "query_string": b""}, f"{prefix}/sessions/{number}", b"", self.name
        )
        try:
            status, body = await self._peers.fetch(peer, asked, HERE_SECONDS)
        except UnreachableError:
            return False
        if status != 200:
            return False
        location = {"Location": f"{prefix}/sessions/{number}"}
        await Response(body, 201, location, "application/json")(scope, _nothing, send)
        return True

    @property
    def name(self) -> str:
        """This gateway's."""
        return self._membership.name


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
