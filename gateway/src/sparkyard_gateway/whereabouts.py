"""Where the event log of what ran in a pod is kept, where several gateways run: at the one that its driver called last.

That is its owner as a rule. An owner may have taken it over from a gateway that died, though, when there was no driver
any more to send its log again; and what clients see no more has no owner to ask. So whoever is asked for a history asks
the others how much they have, in the reader's own name, and leads the reader to the one that has most.
"""

import asyncio
import dataclasses
import time

import httpx
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from sparkyard_gateway.errors import Unavailable
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.peers import SEEK, Peers, Question, UnreachableError, answer_headers, question_of
from sparkyard_gateway.store.gateways import GatewayRecord
from sparkyard_gateway.subjects import Subject

KEPT = "sparkyard-kept"
"""The answer's header to a question how much there is."""
HOW_MUCH, SHOW = "how-much", "show"
PEER_SECONDS = 5.0
BELIEVED_SECONDS = 30.0
MOST_KNOWN = 1000


class Whereabouts:
    """Finds the keeper and asks it."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers
        self._known: dict[tuple[str, int], tuple[float, str]] = {}

    async def keeper(self, scope: Scope, subject: Subject, own: int) -> GatewayRecord | None:
        """The other gateway that has most of it; None where none has more than this one. Raises Unavailable."""
        key = (subject.area, subject.id)
        until, name = self._known.get(key, (0.0, ""))
        if until < time.monotonic() or (name and name not in self._membership.peers):
            name = await self._ask(scope, own)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = (time.monotonic() + BELIEVED_SECONDS, name)
        return self._membership.peers.get(name)

    async def _ask(self, scope: Scope, own: int) -> str:
        peers = list(self._membership.peers.values())
        answers = await asyncio.gather(*(self._how_much(each, scope) for each in peers))
        sizes = {peer.name: size for peer, size in zip(peers, answers, strict=True) if size is not None}
        if not own and len(sizes) < len(peers) and not any(sizes.values()):
            raise Unavailable("The gateway that keeps this history may not have answered just now. Try again.")
        name = max(sizes, key=lambda each: sizes[each], default="")
        return name if name and sizes[name] > own else ""

    async def _how_much(self, peer: GatewayRecord, scope: Scope) -> int | None:
        try:
            async with asyncio.timeout(PEER_SECONDS):
                answer = await self._peers.ask(peer, self._question(scope, HOW_MUCH))
        except (UnreachableError, TimeoutError):
            return None
        await answer.aclose()
        told = answer.headers.get(KEPT, "0")
        return int(told) if told.isdecimal() else 0

    async def fetch(self, keeper: GatewayRecord, scope: Scope) -> Response:
        """The page as the keeper shows it. Raises Unavailable."""
        try:
            answer = await self._peers.ask(keeper, self._question(scope, SHOW))
        except UnreachableError:
            raise Unavailable("The gateway that keeps this history went away. Try again.") from None
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=_hung_up(answer))
        response.raw_headers = answer_headers(answer.headers)
        return response

    def _question(self, scope: Scope, seek: str) -> Question:
        asked = question_of(scope, scope["raw_path"].decode("latin-1"), b"", self._membership.name)
        return dataclasses.replace(asked, method="GET", headers={**asked.headers, SEEK: seek})


def _hung_up(answer: httpx.Response) -> BackgroundTask:
    return BackgroundTask(answer.aclose)
