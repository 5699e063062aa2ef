"""What gateways hold, each its own: sessions and batches, as far as it matters who holds which."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from sparkyard_gateway.batches import Batches
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.ownership import Owned
from sparkyard_gateway.rendering import batch_answer, session_answer
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.store.batch_models import batches
from sparkyard_gateway.store.gateways import GatewayRows
from sparkyard_gateway.store.models import sessions


class Held(Owned, Protocol):
    """What one gateway holds at a time."""

    @property
    def moved(self) -> bool:
        """Whether another gateway has it now."""


class Holding(Protocol):
    """Those of one kind."""

    word: str
    """In paths."""

    @property
    def live(self) -> Mapping[int, Held]:
        """Those that this gateway holds."""

    async def owner_of(self, number: int) -> str | None:
        """The gateway that holds it; None where clients may see no such one."""

    async def named(self, name: str) -> Sequence[tuple[Held, str]]:
        """Those of this name that clients may still see, as last written, with the gateway that holds them."""

    async def held_by(self, gateways: Iterable[str]) -> Sequence[Held]:
        """What clients may still see of what these gateways hold, as last written."""

    def answer(self, held: Any) -> dict[str, Any]:
        """One as clients get it, without its log."""


class SessionHolding:
    """Sessions."""

    word = "sessions"

    def __init__(self, rows: GatewayRows, known: Sessions, prefix: str) -> None:
        self._rows = rows
        self._known = known
        self._prefix = prefix

    @property
    def live(self) -> Mapping[int, LiveSession]:
        """Those that this gateway holds."""
        return self._known.live

    async def owner_of(self, number: int) -> str | None:
        """The gateway that holds it."""
        return await self._rows.owner_of(sessions, number)

    async def named(self, name: str) -> Sequence[tuple[LiveSession, str]]:
        """Those of this name."""
        return [(LiveSession.of(each), each.gateway) for each in await self._rows.shown_sessions(name=name)]

    async def held_by(self, gateways: Iterable[str]) -> Sequence[LiveSession]:
        """Those of these gateways."""
        return [LiveSession.of(each) for each in await self._rows.shown_sessions(of=gateways)]

    def answer(self, held: LiveSession) -> dict[str, Any]:
        """As clients get it."""
        return session_answer(held, [], self._prefix).model_dump(mode="json", by_alias=True)


class BatchHolding:
    """Batches."""

    word = "batches"

    def __init__(self, rows: GatewayRows, known: Batches, prefix: str) -> None:
        self._rows = rows
        self._known = known
        self._prefix = prefix

    @property
    def live(self) -> Mapping[int, LiveBatch]:
        """Those that this gateway holds."""
        return self._known.live

    async def owner_of(self, number: int) -> str | None:
        """The gateway that holds it."""
        return await self._rows.owner_of(batches, number)

    async def named(self, name: str) -> Sequence[tuple[LiveBatch, str]]:
        """Those of this name."""
        return [(LiveBatch.of(each), each.gateway) for each in await self._rows.shown_batches(name=name)]

    async def held_by(self, gateways: Iterable[str]) -> Sequence[LiveBatch]:
        """Those of these gateways."""
        return [LiveBatch.of(each) for each in await self._rows.shown_batches(of=gateways)]

    def answer(self, held: LiveBatch) -> dict[str, Any]:
        """As clients get it."""
        return batch_answer(held, [], self._prefix).model_dump(mode="json", by_alias=True)
