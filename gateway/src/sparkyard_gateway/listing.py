"""The list of sessions, or of batches, of all gateways: each is asked for what the caller may see of its own.

A gateway that does not answer, or runs no more while nobody has taken over yet, is left out only as a witness: what it
holds is in the database, in the state that was last written.
"""

import asyncio
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sparkyard_gateway.auth import Identities
from sparkyard_gateway.holdings import Holding
from sparkyard_gateway.membership import Membership
from sparkyard_gateway.ownership import may_see
from sparkyard_gateway.peers import Peers, Question, header, question_of
from sparkyard_gateway.replay import Captured

DEFAULT_PAGE = 100
PEER_SECONDS = 5.0
_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)


class Listing:
    """Puts the list together."""

    def __init__(self, membership: Membership, identities: Identities, peers: Peers) -> None:
        self._membership = membership
        self._identities = identities
        self._peers = peers

    async def handle(self, holding: Holding, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET /sessions or /batches."""
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
        asked = question_of(whole, scope["raw_path"].decode("latin-1"), b"", self._membership.name)
        answers, left_out = await self.ask_all(asked)
        lists = [json.loads(mine.body), *answers]
        if left_out:
            lists.append(await self._from_rows(holding, left_out, header(scope["headers"], "authorization")))
        found: dict[int, Any] = {}
        total = 0
        for each in lists:
            # One that moves just now may be seen twice.
            new = [session for session in each["sessions"] if session["id"] not in found]
            total += each["total"] - (len(each["sessions"]) - len(new))
            found.update((session["id"], session) for session in new)
        page = [found[number] for number in sorted(found)][begin:end]
        body = json.dumps({"from": int(first), "total": total, "sessions": page}, ensure_ascii=False)
        await Response(body, media_type="application/json")(scope, receive, send)

    async def ask_all(self, question: Question) -> tuple[list[dict[str, Any]], set[str]]:
        """(the answers of the others, the names of those that gave none)."""
        peers = list(self._membership.peers.values())
        asking = (self._peers.fetch_json(each, question, PEER_SECONDS) for each in peers)
        answers = list(zip(peers, await asyncio.gather(*asking), strict=True))
        silent = {peer.name for peer, answer in answers if answer is None}
        return [answer for _, answer in answers if answer is not None], silent | self._membership.not_running

    async def _from_rows(self, holding: Holding, gateways: set[str], authorization: str | None) -> dict[str, Any]:
        caller = await self._identities.caller_of(authorization)
        found = await holding.held_by(gateways)
        answers = [holding.answer(each) for each in found if each.id not in holding.live and may_see(caller, each)]
        return {"sessions": answers, "total": len(answers)}
