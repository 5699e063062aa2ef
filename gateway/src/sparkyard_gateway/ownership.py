"""Whose is it: the one place that decides who may see a session or a batch.

Whoever may not see one gets the very answer of one that does not exist.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.errors import BadNumber, SessionNotFound

LARGEST_ID = 2**31 - 1


class State(Protocol):
    """A state, of whatever it is."""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""


class Owned(Protocol):
    """What somebody owns."""

    @property
    def id(self) -> int:
        """Its id."""

    @property
    def name(self) -> str | None:
        """Its name, unique among its owner's that run."""

    @property
    def owner(self) -> str:
        """Whose it is."""

    @property
    def team(self) -> str | None:
        """Which team it counts for."""

    @property
    def state(self) -> State:
        """Its state."""

    @property
    def removed(self) -> bool:
        """Whether it was deleted."""


T = TypeVar("T", bound=Owned)


def may_see(caller: Caller, owned: Owned) -> bool:
    """Whether the caller may see it, and do with it whatever its owner may."""
    return not owned.removed and (owned.owner == caller.name or caller.sees_all)


def find(caller: Caller, reference: str, among: Mapping[int, T]) -> T:
    """The one of this id or name, if the caller may see it.

    Raises SessionNotFound in the same way for one that is unknown and one that is somebody else's.
    """
    found: T | None = None
    if reference.isascii() and reference.isdecimal():
        number = int(reference) if len(reference) < 20 else LARGEST_ID + 1
        if number > LARGEST_ID:
            raise BadNumber(reference)
        found = among.get(number)
    else:
        named = [each for each in visible(caller, among.values()) if each.name == reference]
        # Names are unique per owner among the running; an admin may see several, and gets the own one.
        named.sort(key=lambda each: (each.owner == caller.name, not each.state.ended, each.id))
        found = named[-1] if named else None
    if found is None or not may_see(caller, found):
        raise SessionNotFound(reference)
    return found


def visible(caller: Caller, among: Iterable[T]) -> list[T]:
    """Those of them that the caller may see."""
    return [each for each in among if may_see(caller, each)]
