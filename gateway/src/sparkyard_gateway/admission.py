"""Whether one more session or batch may be: its key, its name, and how many there are.

Each refusal says what would be right.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sparkyard_catalog import SessionSpec
from sparkyard_gateway.errors import Misdirected, Rejected
from sparkyard_gateway.names import check_key, check_name
from sparkyard_gateway.ownership import Owned
from sparkyard_gateway.store.models import NOBODY
from sparkyard_gateway.store.repository import DuplicateError, FullError, Limits

PLACES = {"kubernetes": "Kubernetes", "livy": "an upstream Livy", "local": "the gateway's own machine"}
"""The backends in a person's words."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many of what may run at once, and what makes room."""

    words: str
    limits: Limits
    advice: str

    def check(self, name: str | None, owner: str, among: Iterable[Owned], creating: Counter[str]) -> None:
        """Raise Rejected where one of this owner's may not be added to these and those that are being created."""
        check_name(name)
        running = [each for each in among if not each.state.ended and not each.removed and each.owner != NOBODY]
        mine = [each for each in running if each.owner == owner]
        if name is not None and any(each.name == name for each in mine):
            raise duplicate(name)
        if self.limits.all is not None and len(running) + creating.total() >= self.limits.all:
            raise self.full(everybody=True)
        if self.limits.each is not None and len(mine) + creating[owner] >= self.limits.each:
            raise self.full(everybody=False)

    def full(self, *, everybody: bool) -> Rejected:
        """As many run as may: of everybody, or of this owner."""
        if everybody:
            return Rejected(f"too many {self.words}: this gateway runs at most {self.limits.all} at a time")
        return Rejected(f"too many {self.words}: you may run at most {self.limits.each} at a time; {self.advice}")


T = TypeVar("T", bound=Owned)


class Keys(Protocol):
    """The store, as far as it knows what was made with which key."""

    async def of_key(self, owner: str, key: str) -> int | None:
        """Which one was made with this idempotency key."""

    async def is_shown(self, number: int) -> bool:
        """Whether clients may still see this one, here or at another gateway."""


class Admission(Generic[T]):
    """Lets one more in, once for each Idempotency-Key."""

    def __init__(self, word: str, room: Room, keys: Keys, live: Mapping[int, T]) -> None:
        self._word = word
        self._room = room
        self._keys = keys
        self._live = live
        self._creating: Counter[str] = Counter()
        self.shared = False
        """Where several gateways run, the database counts."""

    async def admit(
        self,
        owner: str,
        name: str | None,
        key: str | None,
        judge: Callable[[], Awaitable[SessionSpec]],
        add: Callable[[SessionSpec, Limits | None], Awaitable[T]],
    ) -> T:
        """What this key has made, else what `add` makes of what `judge` grants. Raises Rejected or Misdirected."""
        if key is not None:
            check_key(key)
            known = await self._made_with(owner, key)
            if known is not None:
                return known
        spec = await judge()
        self._room.check(name, owner, self._live.values(), self._creating)
        self._creating[owner] += 1
        try:
            return await add(spec, self._room.limits if self.shared else None)
        except FullError as error:
            raise self._room.full(everybody=str(error) == "all") from None
        except DuplicateError:
            known = await self._made_with(owner, key) if key is not None else None
            if known is not None:
                return known
            raise duplicate(name) from None
        finally:
            self._creating[owner] -= 1

    async def _made_with(self, owner: str, key: str) -> T | None:
        number = await self._keys.of_key(owner, key)
        if number is None:
            return None
        live = self._live.get(number)
        if live is not None and not live.removed:
            return live
        if live is None and await self._keys.is_shown(number):
            raise Misdirected(f"The {self._word} {number} belongs to another gateway.", number)
        raise Rejected(f"The {self._word} {number} that was created with this Idempotency-Key is gone")


def duplicate(name: str | None) -> Rejected:
    """The name is another running one's."""
    return Rejected(f"Duplicate session name: {name}")


def check_batches_run(backend: str, among: Collection[str]) -> None:
    """Raise Rejected where drivers are started by a backend that runs no batches: none shall run elsewhere instead."""
    if backend not in among:
        raise Rejected(f"batches do not run on {PLACES[backend]} yet; run the same file from a session")
