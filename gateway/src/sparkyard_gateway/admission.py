"""Whether one more session or batch may be: its name, and how many there are. Each refusal says what would be right."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sparkyard_gateway.errors import Rejected
from sparkyard_gateway.names import check_name
from sparkyard_gateway.ownership import Owned
from sparkyard_gateway.store.models import NOBODY
from sparkyard_gateway.store.repository import Limits

PLACES = {"kubernetes": "Kubernetes", "livy": "an upstream Livy", "local": "the gateway's own machine"}
"""The backends in a person's words."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many of what may run at once, and what makes room."""

    word: str
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
            return Rejected(f"too many {self.word}: this gateway runs at most {self.limits.all} at a time")
        return Rejected(f"too many {self.word}: you may run at most {self.limits.each} at a time; {self.advice}")


def duplicate(name: str | None) -> Rejected:
    """The name is another running one's."""
    return Rejected(f"Duplicate session name: {name}")


def check_batches_run(backend: str, among: Collection[str]) -> None:
    """Raise Rejected where drivers are started by a backend that runs no batches: none shall run elsewhere instead."""
    if backend not in among:
        raise Rejected(f"batches do not run on {PLACES[backend]} yet; run the same file from a session")
