"""The list of sessions, of all gateways: each is asked for what the caller may see of its own.

A gateway that does not answer, or runs no more while nobody has taken over yet, is left out only as a witness: its
sessions are in the database, in the state that was last written.
"""

import asyncio
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sparkyard_gateway.auth import Identities
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.ownership import may_see
from sparkyard_gateway.peers import Peers, Question, UnreachableError, header, question_of
from sparkyard_gateway.rendering import session_answer
from sparkyard_gateway.replay import Captured
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.store.gateways import GatewayRecord, GatewayRows

DEFAULT_PAGE = 100
PEER_SECONDS = 5.0
_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)


class Listing:
    """Puts the list together."""

    def __init__(
        self,
        rows: GatewayRows,
        membership: Membership,
        sessions: Sessions,
        identities: Identities,
        peers: Peers,
        prefix: str,
    ) -> None:
        self._rows = rows
        self._membership = membership
        self._sessions = sessions
        self._identities = identities
        self._peers = peers
        self._prefix = prefix

    async def handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET /sessions."""
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        first, size = query.get("from", "0"), query.get("size", str(DEFAULT_PAGE))
        alone = not self._membership.peers and not self._membership.not_running
        if alone or not _NUMBER.fullmatch(first) or not _NUMBER.fullmatch(size):
            await app(scope, receive, send)
            return
        begin, end = max(0, int(first)), max(0, int(first)) + max(0, int(size))
        # The first so many of everybody hold the page that is wanted of all.
        whole = {**scope, "query_string": urlencode({**query, "from": "0", "size": str(end)}).encode()}
        mine = Captured()
        await app(whole, receive, mine.take)
        if mine.status != 200:
            await mine.give(send)
            return
        lists, left_out = [json.loads(mine.body)], set(self._membership.not_running)
        asked = question_of(whole, scope["raw_path"].decode("latin-1"), b"", self._membership.name)
        peers = list(self._membership.peers.values())
        for peer, answer in zip(peers, await asyncio.gather(*(self._ask(each, asked) for each in peers)), strict=True):
            if answer is None:
                left_out.add(peer.name)
            else:
                lists.append(answer)
        if left_out:
            lists.append(await self._from_rows(left_out, header(scope["headers"], "authorization")))
        sessions: dict[int, Any] = {}
        total = 0
        for each in lists:
            # One that moves just now may be seen twice.
            new = [session for session in each["sessions"] if session["id"] not in sessions]
            total += each["total"] - (len(each["sessions"]) - len(new))
            sessions.update((session["id"], session) for session in new)
        page = [sessions[number] for number in sorted(sessions)][begin:end]
        body = json.dumps({"from": int(first), "total": total, "sessions": page}, ensure_ascii=False)
        await Response(body, media_type="application/json")(scope, receive, send)

    async def _ask(self, peer: GatewayRecord, question: Question) -> dict[str, Any] | None:
        try:
            status, body = await self._peers.fetch(peer, question, PEER_SECONDS)
        except UnreachableError:
            return None
        return json.loads(body) if status == 200 else None

    async def _from_rows(self, gateways: set[str], authorization: str | None) -> dict[str, Any]:
        caller = await self._identities.caller_of(authorization)
        found = [LiveSession.of(each) for each in await self._rows.sessions_of(gateways)]
        seen = [each for each in found if each.id not in self._sessions.live and may_see(caller, each)]
        answers = [session_answer(each, [], self._prefix).model_dump(mode="json", by_alias=True) for each in seen]
        return {"sessions": answers, "total": len(answers)}
