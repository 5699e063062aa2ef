"""The Sessions page's list where several gateways run: each tells of its own, to the reader that the asked one has."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.holdings import SessionHolding
from sparkyard_gateway.listing import Listing
from sparkyard_gateway.overview import Overview
from sparkyard_gateway.ownership import may_see
from sparkyard_gateway.peers import question_of

HERE = "/ui/here"
"""Where a gateway tells of the sessions that itself holds."""


class Elsewhere:
    """Asks the others."""

    def __init__(self, name: str, listing: Listing, holding: SessionHolding, overview: Overview) -> None:
        self._name = name
        self._listing = listing
        self._holding = holding
        self._overview = overview

    async def rows(self, caller: Caller, scope: Scope) -> Mapping[int, dict[str, Any]]:
        """What the caller of this request may see of the others' sessions. Raises StoreUnavailable."""
        asked = question_of(
            {**scope, "method": "GET", "query_string": b""}, f"{scope['root_path']}{HERE}", b"", self._name
        )
        answers, silent = await self._listing.ask_all(asked)
        rows = {int(row["id"]): row for answer in answers for row in answer["sessions"]}
        if silent:
            for each in await self._holding.held_by(silent):
                if may_see(caller, each):
                    rows.setdefault(each.id, self._overview.row(caller, each))
        return rows
