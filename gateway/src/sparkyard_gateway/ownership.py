"""Whose a thing of the gateway's is, and who else may see it and stop it: the rules, as functions of names.

    owner       sees it, uses it, ends it
    lead        of the team that it was recorded for: sees it and ends it
    admin       likewise, whosesoever it is
    anybody else gets the very answer of a thing that does not exist; so does everybody, admins included, of a
                warm driver, which is nobody's until it is taken: there is nothing of anybody's to see in it

Code runs in a session for its owner alone. Whoever ran code in another's session would act with that person's files
and credentials, and nobody could tell afterwards who did it: to see and stop what others run needs no such power.

Leads and admins have it by a token that carries it (`auth.OVERSEE`), and no notebook's token does.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.errors import BadNumber, Forbidden, SessionNotFound
from sparkyard_gateway.store.models import NOBODY

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
    """Whether the caller may see and end it."""
    if owned.owner == NOBODY:
        return False
    leads = owned.team is not None and owned.team in caller.leads
    return not owned.removed and (owned.owner == caller.name or caller.sees_all or leads)


def check_may_use(caller: Caller, owned: Owned) -> None:
    """Raises Forbidden where the caller, who may see it, may not act in the owner's place."""
    if owned.owner != caller.name:
        raise Forbidden(
            f"This is {owned.owner}'s: code runs in it for {owned.owner} alone. You may look at it, cancel what runs "
            "in it, and stop or delete it."
        )


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
        # Names are unique per owner among the running; a lead may see several, and gets the own one.
        named.sort(key=lambda each: (each.owner == caller.name, not each.state.ended, each.id))
        found = named[-1] if named else None
    if found is None or not may_see(caller, found):
        raise SessionNotFound(reference)
    return found


def visible(caller: Caller, among: Iterable[T]) -> list[T]:
    """Those of them that the caller may see."""
    return [each for each in among if may_see(caller, each)]
