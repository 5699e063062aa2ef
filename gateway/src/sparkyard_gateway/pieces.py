"""Outputs too long for an answer, fetched in pieces from the driver that keeps them."""

import asyncio
import secrets

from sparkyard_gateway.driver_messages import Piece
from sparkyard_gateway.errors import DriverAway, OutputNotKept, SessionNotActive
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.wire import OutputAnswer

SECONDS = 20.0
LARGEST = 1024 * 1024
"""Bytes: what one message carries."""


class Pieces:
    """Asks drivers, one message each way, and hands their answers to who asked."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, str], asyncio.Future[Piece]] = {}

    async def fetch(self, session: LiveSession, statement: int, mime: str, first: int, size: int) -> OutputAnswer:
        """A piece of a statement's output. Raises OutputNotKept, SessionNotActive, DriverAway."""
        if not session.state.active:
            raise SessionNotActive("Outputs that an answer could not hold are kept while their session lives.")
        line = session.line
        if line is None:
            raise DriverAway("The session's driver is not connected just now.")
        key = (session.id, secrets.token_hex(8))
        answer: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()
        self._asked[key] = answer
        size = min(max(0, size), LARGEST)
        request = {"t": "fetch", "request": key[1], "statement": statement, "type": mime, "from": first, "size": size}
        session.waiting += 1
        try:
            line.send(request)
            piece = await asyncio.wait_for(answer, SECONDS)
        except TimeoutError:
            raise DriverAway("The session's driver did not answer in time.") from None
        finally:
            session.waiting -= 1
            del self._asked[key]
        if not piece.found:
            raise OutputNotKept(
                f"Nothing of type {mime} is kept of statement {statement}: its answer holds all of it, or it had to "
                "make room for later outputs."
            )
        # What a driver says is its user's: only the places must make sense to who reads on.
        end = max(piece.from_, min(piece.next, piece.total))
        return OutputAnswer(
            id=statement, type=mime, from_=piece.from_, next=end, total=piece.total, text=piece.text[:LARGEST]
        )

    def arrived(self, session: LiveSession, piece: Piece) -> None:
        """A driver has answered; what nobody of its session has asked for is dropped."""
        answer = self._asked.get((session.id, piece.request))
        if answer is not None and not answer.done():
            answer.set_result(piece)
