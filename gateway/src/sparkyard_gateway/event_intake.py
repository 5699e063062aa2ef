"""What drivers in pods send of their event logs: whose it is, and whether it may be kept.

A session's driver shows the token of its session, as on its line. A batch has no line: it shows a token that is made
for its attempt from the service's own, so that every gateway knows it again and none has to write it down. Either
opens one place, its own.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sparkyard_gateway.backends.base import Application, BatchOrder, Carriage
from sparkyard_gateway.backends.carried_logs import (
    CarriedLogs,
    NoRoomError,
    OutOfPlaceError,
    StrangeNameError,
    place_of,
)
from sparkyard_gateway.batches import Batches
from sparkyard_gateway.drivers import Drivers
from sparkyard_gateway.errors import EventLogFull, NoSuchRoute, TooMany, Unauthenticated, Unavailable
from sparkyard_gateway.live_batch import LiveBatch

LARGEST_PIECE = 256 * 1024
AT_ONCE, AT_ONCE_OF_ONE = 16, 3
"""How many pieces are in memory at a time, of all and of one owner; others wait to be read, or are to come again."""


class EventTokens:
    """Of attempts at batches."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest((secret or secrets.token_hex(32)).encode(), b"sparkyard-gateway/event-log", "sha256")

    def of(self, batch: int, key: str, attempt: int) -> str:
        """The token; `key` is what stays the same of the batch."""
        return hmac.new(self._key, f"{batch} {key} {attempt}".encode(), hashlib.sha256).hexdigest()


class Carriages:
    """Equips batches."""

    def __init__(self, tokens: EventTokens, addresses: Callable[[], Sequence[str]]) -> None:
        self.tokens = tokens
        self._addresses = addresses

    def of(self, order: BatchOrder) -> Carriage:
        """What its driver is told."""
        bases = self._addresses()
        urls = tuple(f"{base}/driver/v1/batches/{order.batch}" for base in bases)
        return Carriage(urls, self.tokens.of(order.batch, order.key, order.attempt))


class EventIntake:
    """Takes it."""

    def __init__(self, logs: CarriedLogs, drivers: Drivers, batches: Batches, tokens: EventTokens) -> None:
        self._logs = logs
        self._drivers = drivers
        self._batches = batches
        self._tokens = tokens
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._taking: Counter[str] = Counter()
        logs.runs = self.runs
        batches.carried = self.application

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """While a piece of this owner's is read and kept. Raises TooMany."""
        if self._taking[owner] >= AT_ONCE_OF_ONE:
            raise TooMany("Several pieces of this user's event logs are on their way already.")
        self._taking[owner] += 1
        try:
            async with self._turns:
                yield
        finally:
            self._taking[owner] -= 1
            self._taking += Counter()  # forget those at zero

    def of_session(self, number: int, token: str | None, epoch: str | None) -> tuple[str, str]:
        """(place, owner) for a session's driver. Raises Unauthenticated, Forbidden and Unavailable."""
        session = self._drivers.admit(number, token, epoch)
        return place_of(session.id, batch=False), session.owner

    def of_batch(self, number: int, token: str | None) -> tuple[str, str]:
        """(place, owner) for a batch's driver. Raises Unauthenticated and Unavailable."""
        if self._drivers.suspended():
            raise Unavailable("This gateway may no longer speak for its batches. Call again.")
        batch = self._batches.live.get(number) or self._removed(number)
        if batch is None or token is None or batch.ended.is_set():
            raise Unauthenticated("No driver of a batch here has this token.")
        wanted = self._tokens.of(batch.id, batch.key, batch.attempt)
        if not hmac.compare_digest(wanted, token):
            raise Unauthenticated("No driver of a batch here has this token.")
        return place_of(batch.id, batch=True), batch.owner

    def _removed(self, number: int) -> LiveBatch | None:
        """A batch that clients see no more, and which has not ended yet."""
        return next((each for each in self._batches.running.values() if each.id == number), None)

    def runs(self, place: str) -> bool:
        """Whether what has this place may still write, as far as this gateway knows. Called from other threads."""
        kind, _, number = place.rpartition("-")
        if kind:
            batch = self._batches.live.get(int(number))
            return batch is not None and not batch.ended.is_set()
        return self._drivers.lives(int(number))

    async def application(self, batch: LiveBatch) -> Application | None:
        """What has left an event log here: of a batch that was over before anybody could ask its UI."""
        found = await asyncio.to_thread(self._logs.applications, place_of(batch.id, batch=True))
        return Application(found[-1]) if found and batch.backend == "kubernetes" else None

    async def have(self, place: str, application: str) -> Mapping[str, Any]:
        """How much of each file is here."""
        try:
            return {"have": await asyncio.to_thread(self._logs.have, place, application)}
        except StrangeNameError:
            raise NoSuchRoute from None

    async def take(
        self, place: str, owner: str, application: str, name: str, at: int, data: bytes
    ) -> tuple[bool, Mapping[str, Any]]:
        """Keep a piece: whether it goes on where the file ends, and how much of file and log is here.

        Raises EventLogFull.
        """
        try:
            have = await asyncio.to_thread(self._logs.append, place, owner, application, name, at, data)
            kept = await asyncio.to_thread(self._logs.have, place, application)
            return True, {"have": have, "all": sum(kept.values())}
        except OutOfPlaceError as where:
            return False, {"have": where.have}
        except StrangeNameError:
            raise NoSuchRoute from None
        except NoRoomError:
            raise EventLogFull("There is no room for more of this event log.") from None
