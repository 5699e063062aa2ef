"""A warm driver's row becomes somebody's: once, whoever else asks for it at the same moment."""

import dataclasses
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from sparkyard_gateway.store.models import NOBODY, Event, Taking, events, sessions

_EVENT = "taken"


class Take:
    """One taking, as a change of the database and what takes it back."""

    def __init__(self, number: int, taking: Taking) -> None:
        self._number = number
        self._values = dataclasses.asdict(taking)
        detail = {"owner": taking.owner, "kind": taking.kind}
        self._event = Event(at=taking.created_at, session_id=number, event=_EVENT, detail=detail)
        self._before: dict[str, Any] | None = None

    def do(self, connection: Connection) -> bool:
        """Say whether it was free. The update alone decides: of two at once only one finds the row as it must be."""
        free = (
            sessions.c.id == self._number,
            sessions.c.owner == NOBODY,
            sessions.c.state == "idle",
            sessions.c.ended_at.is_(None),
            sessions.c.removed_at.is_(None),
        )
        columns = [sessions.c[name] for name in self._values]
        found = connection.execute(select(*columns).where(*free)).mappings().first()
        taken = connection.execute(update(sessions).where(*free).values(**self._values)).rowcount == 1
        self._before = dict(found) if taken and found is not None else None
        if taken:
            connection.execute(insert(events), dataclasses.asdict(self._event))
        return taken

    def undo(self, connection: Connection) -> None:
        """Make it nobody's again: whoever asked has been told that it failed."""
        if self._before is not None:
            connection.execute(update(sessions).where(sessions.c.id == self._number).values(**self._before))
            connection.execute(delete(events).where(events.c.session_id == self._number, events.c.event == _EVENT))
