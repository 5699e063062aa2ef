"""A driver far away claims its bootstrap: once, with the code in its arguments, while its session is starting.

The driver makes its token itself and sends it with the code; the row then holds that token's hash instead of
`UNCLAIMED`. That is one conditional update, so that of two who claim only one can succeed, whatever dies in the
midst. A driver that repeats its claim with its own token, because our answer got lost, is answered again. Another
token with the right code means that two hold the code. Which of them is the thief cannot be told, so the session
ends: the thief may have been first.
"""

import hmac
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from sparkyard_gateway.backends import submission
from sparkyard_gateway.config import Settings
from sparkyard_gateway.credentials import CLAIM, UNCLAIMED
from sparkyard_gateway.driver_file import driver_digest
from sparkyard_gateway.errors import Forbidden, StoreUnavailable, Unauthenticated
from sparkyard_gateway.live import LiveSession, token_hash
from sparkyard_gateway.orders import order
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import SessionState
from sparkyard_gateway.store.repository import Store

NO_CLAIM = "No session here waits for a driver with this claim."
STOLEN = (
    "The claim of this session's driver was used twice: somebody who could read it, in a process's arguments on the "
    "cluster or in a log there, may have taken the driver's place. To be safe the session was ended. "
    "Tell your operator, and start a new one."
)

log = structlog.get_logger(__name__)


class ClaimRequest(BaseModel):
    """What a driver sends. Newer drivers may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    claim: Annotated[str, Field(max_length=256, repr=False)]
    token: Annotated[str, Field(min_length=32, max_length=256, pattern=r"^[A-Za-z0-9_-]+$", repr=False)]
    driver: Annotated[str, Field(max_length=64)] = ""


class Claims:
    """Answers them."""

    def __init__(self, settings: Settings, store: Store, sessions: Sessions) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions
        self._digest = driver_digest()

    async def redeem(self, number: int, request: ClaimRequest) -> dict[str, Any]:
        """The bootstrap. Raises Unauthenticated alike for whatever is no claim, Forbidden for a second use."""
        session = self._sessions.live.get(number)
        kept = session.spec.get(CLAIM) if session is not None else None
        if session is None or kept is None or not hmac.compare_digest(token_hash(request.claim), kept):
            log.warning("claim_refused", session=number)
            raise Unauthenticated(NO_CLAIM)
        if not session.state.active:
            raise Unauthenticated(NO_CLAIM)
        if session.token_hash == UNCLAIMED:
            if session.state is not SessionState.STARTING:
                raise Unauthenticated(NO_CLAIM)
            await self._take(session, request.token)
        elif not session.knows_token(request.token):
            log.error("claim_used_twice", session=session.id, user=session.owner)
            self._sessions.end(session, STOLEN)
            raise Forbidden("This claim has been used already; the session is being ended.")
        if request.driver != self._digest:
            # It may work all the same: both speak the same protocol. The operator should still bring it up to date.
            log.warning("driver_file_differs", session=session.id, theirs=request.driver, ours=self._digest)
        return submission.bootstrap(
            order(session, "", self._settings, self._sessions.driver_url, self._sessions.gateways())
        )

    async def _take(self, session: LiveSession, token: str) -> None:
        # In memory first: a second claim that comes while the first is being written is a second claim.
        session.token_hash = token_hash(token)
        try:
            taken = await self._store.claim_session(session.id, session.epoch, UNCLAIMED, session.token_hash)
        except StoreUnavailable:
            session.token_hash = UNCLAIMED
            raise
        if not taken:
            log.error("claim_of_another_gateways_session", session=session.id)
            raise Forbidden("Another gateway has answered this claim.")
        log.info("driver_claimed", session=session.id, user=session.owner)
