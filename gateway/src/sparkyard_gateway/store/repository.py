"""What is written and asked, by name: the store's whole interface to the rest of the gateway."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, Update, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sparkyard_gateway.errors import Misdirected
from sparkyard_gateway.store.database import Database
from sparkyard_gateway.store.models import (
    NOBODY,
    Event,
    NewSession,
    SessionRecord,
    StatementRecord,
    Taking,
    events,
    sessions,
    statements,
)
from sparkyard_gateway.store.takings import Take


class DuplicateError(Exception):
    """A name or an idempotency key is taken."""


class FullError(Exception):
    """As many run as may."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How many sessions, or batches, may run at once: of everybody, and of one owner."""

    all: int | None = None
    each: int | None = None


class Store:
    """Sessions, statements and events as rows.

    `lost` are the sessions that another gateway has taken over: nothing of them is written from here, whoever asks.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.lost: set[int] = set()

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._database.healthy

    async def check(self) -> None:
        """Raise StoreUnavailable where the database does not answer."""
        await self._database.read(lambda connection: connection.execute(select(1)).scalar())

    # Sessions

    async def add_session(self, new: NewSession, event: str, limits: Limits | None = None) -> int:
        """Write a new session and its first event; returns its id. Raises DuplicateError.

        With `limits`, which count what all gateways run, raises FullError.
        """
        made: list[int] = []

        def change(connection: Connection) -> int:
            if limits is not None:
                check_room(connection, sessions, new.owner, limits)
            key = connection.execute(_INSERT_SESSION, dataclasses.asdict(new)).inserted_primary_key
            if key is None:
                raise RuntimeError("the database gave the new session no id")
            number = int(key[0])
            made[:] = [number]
            detail = {"owner": new.owner, "profile": new.profile, "kind": new.kind}
            connection.execute(
                _INSERT_EVENT, {"at": new.created_at, "session_id": number, "event": event, "detail": detail}
            )
            return number

        def undo(connection: Connection) -> None:
            connection.execute(delete(events).where(events.c.session_id.in_(made)))
            connection.execute(delete(sessions).where(sessions.c.id.in_(made)))

        try:
            return await self._database.write(change, undo)
        except IntegrityError as error:
            raise DuplicateError from error

    async def take_session(self, number: int, taking: Taking, limits: Limits | None = None) -> bool:
        """Give an idle session that is nobody's to an owner, once; says whether this call did.

        Raises DuplicateError, and FullError as `add_session` does.
        """
        self._hold(number)
        take = Take(number, taking)

        def change(connection: Connection) -> bool:
            if limits is not None:
                check_room(connection, sessions, taking.owner, limits)
            return take.do(connection)

        try:
            return await self._database.write(change, take.undo)
        except IntegrityError as error:
            raise DuplicateError from error

    async def update_session(self, number: int, /, *, event: Event | None = None, **values: Any) -> None:
        """Change a session's row and return when it is written."""
        self._hold(number)
        await self._database.write(lambda connection: _update_session(connection, number, values, event))

    async def remove_session(self, number: int, at: int, by: str | None = None) -> None:
        """Show a session no more, and return when that is written."""
        self._hold(number)
        event = Event(at=at, session_id=number, event="deleted", detail={"by": by} if by else {})
        mine: list[bool] = []

        def change(connection: Connection) -> None:
            shown = sessions.c.id == number, sessions.c.removed_at.is_(None)
            mine[:] = [connection.execute(update(sessions).where(*shown).values(removed_at=at)).rowcount == 1]
            if mine[0]:
                connection.execute(_INSERT_EVENT, dataclasses.asdict(event))

        def undo(connection: Connection) -> None:
            if mine[0]:
                _update_session(connection, number, {"removed_at": None}, None)
                connection.execute(delete(events).where(events.c.session_id == number, events.c.event == event.event))

        await self._database.write(change, undo)

    def update_session_soon(
        self,
        number: int,
        /,
        *,
        event: Event | None = None,
        written: Callable[[], None] | None = None,
        **values: Any,
    ) -> None:
        """Change a session's row with the next commit; then call `written`."""
        if number in self.lost:
            return
        self._database.write_soon(lambda connection: _update_session(connection, number, values, event), written)

    async def claim_session(self, number: int, epoch: int, unclaimed: str, token_hash: str) -> bool:
        """Give a session's row its driver's token, if it has none yet; says whether this call did, or had done."""
        mine = (sessions.c.id == number, sessions.c.epoch == epoch)

        def change(connection: Connection) -> bool:
            taken = connection.execute(
                update(sessions).where(*mine, sessions.c.token_hash == unclaimed).values(token_hash=token_hash)
            )
            if taken.rowcount == 1:
                return True
            return connection.execute(select(sessions.c.token_hash).where(*mine)).scalar() == token_hash

        return await self._database.write(change)

    async def shown_sessions(self) -> list[SessionRecord]:
        """Every session that clients may still see, oldest first."""
        query = select(sessions).where(sessions.c.removed_at.is_(None)).order_by(sessions.c.id)
        return await self._database.read(
            lambda connection: [_session(row) for row in connection.execute(query).mappings()]
        )

    async def removed_with_driver(self) -> list[SessionRecord]:
        """Sessions deleted for clients whose driver's end was not seen."""
        query = select(sessions).where(sessions.c.removed_at.is_not(None), sessions.c.ended_at.is_(None))
        return await self._database.read(
            lambda connection: [_session(row) for row in connection.execute(query).mappings()]
        )

    async def session(self, number: int) -> SessionRecord | None:
        """One session, shown or not."""
        query = select(sessions).where(sessions.c.id == number)

        def first(connection: Connection) -> SessionRecord | None:
            row = connection.execute(query).mappings().first()
            return None if row is None else _session(row)

        return await self._database.read(first)

    async def past_sessions(self, ended_after: int, before: int, size: int) -> list[SessionRecord]:
        """Sessions that are no longer shown and ended after a time, by falling id below `before`."""
        query = (
            select(sessions)
            .where(sessions.c.removed_at.is_not(None), sessions.c.ended_at > ended_after, sessions.c.id < before)
            .order_by(sessions.c.id.desc())
            .limit(size)
        )
        return await self._database.read(
            lambda connection: [_session(row) for row in connection.execute(query).mappings()]
        )

    async def is_shown(self, number: int) -> bool:
        """Whether clients may still see this session, here or at another gateway."""
        query = select(sessions.c.id).where(sessions.c.id == number, sessions.c.removed_at.is_(None))
        return await self._database.read(lambda connection: connection.execute(query).scalar()) is not None

    async def of_key(self, owner: str, key: str) -> int | None:
        """Which session was created with this idempotency key."""
        query = select(sessions.c.id).where(sessions.c.owner == owner, sessions.c.idempotency_key == key)
        return await self._database.read(lambda connection: connection.execute(query).scalar())

    # Statements

    async def add_statement(self, record: StatementRecord) -> None:
        """Write a statement before it is sent to its driver. Raises DuplicateError."""
        self._hold(record.session_id)
        values = dataclasses.asdict(record)
        undo = delete(statements).where(statements.c.session_id == record.session_id, statements.c.id == record.id)
        try:
            await self._database.write(
                lambda connection: connection.execute(_INSERT_STATEMENT, values),
                lambda connection: connection.execute(undo),
            )
        except IntegrityError as error:
            raise DuplicateError from error

    async def update_statement(self, session_id: int, number: int, **values: Any) -> None:
        """Change a statement's row and return when it is written."""
        self._hold(session_id)
        query = _statement(session_id, number).values(**values)
        await self._database.write(lambda connection: connection.execute(query))

    async def cancel_statement(self, session_id: int, number: int) -> None:
        """Write down that a statement is to be cancelled, unless it is done, and return when it is written."""
        self._hold(session_id)
        query = _statement(session_id, number).where(statements.c.state.not_in(_FINAL)).values(state="cancelling")
        await self._database.write(lambda connection: connection.execute(query))

    def begin_statement_soon(self, session_id: int, number: int, started_at: int) -> None:
        """Write down that a statement runs, with the next commit, unless more has become of it."""
        if session_id in self.lost:
            return
        waits = _statement(session_id, number).where(statements.c.state == "waiting")
        query = waits.values(state="running", started_at=started_at)
        self._database.write_soon(lambda connection: connection.execute(query))

    def finish_statement_soon(
        self, record: StatementRecord, acked: int | None = None, written: Callable[[], None] | None = None
    ) -> None:
        """Write a statement's outcome, and the number of the driver's message that brought it; then call `written`."""
        if record.session_id in self.lost:
            return
        values = {f"new_{name}": value for name, value in dataclasses.asdict(record).items()}

        def change(connection: Connection) -> None:
            connection.execute(_FINISH_STATEMENT, values)
            if acked is not None:
                connection.execute(_ACK, {"number": record.session_id, "new_acked": acked})

        self._database.write_soon(change, written)

    async def unfinished_statements(self, session_ids: Iterable[int]) -> list[StatementRecord]:
        """The statements of these sessions that have no outcome yet, in order."""
        query = (
            select(statements)
            .where(statements.c.session_id.in_(list(session_ids)))
            .where(statements.c.state.not_in(_FINAL))
            .order_by(statements.c.session_id, statements.c.id)
        )
        return await self._database.read(
            lambda connection: [StatementRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def statement_counts(self, session_ids: Iterable[int]) -> dict[int, int]:
        """How many statements each of these sessions has had."""
        query = (
            select(statements.c.session_id, func.max(statements.c.id) + 1)
            .where(statements.c.session_id.in_(list(session_ids)))
            .group_by(statements.c.session_id)
        )
        return await self._database.read(
            lambda connection: {int(number): int(count) for number, count in connection.execute(query)}
        )

    async def statement_count(self, session_id: int) -> int:
        """How many statements a session has had."""
        query = select(func.max(statements.c.id) + 1).where(statements.c.session_id == session_id)
        return await self._database.read(lambda connection: connection.execute(query).scalar() or 0)

    async def statement(self, session_id: int, number: int) -> StatementRecord | None:
        """One statement."""
        found = await self.statement_range(session_id, number, number + 1)
        return found[0] if found else None

    async def statement_range(self, session_id: int, first: int, end: int) -> list[StatementRecord]:
        """The statements from `first` up to, not including, `end`."""
        query = (
            select(statements)
            .where(statements.c.session_id == session_id, statements.c.id >= first, statements.c.id < end)
            .order_by(statements.c.id)
        )
        return await self._database.read(
            lambda connection: [StatementRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def statement_sizes(self, session_id: int, first: int, end: int) -> dict[int, int]:
        """How many characters of code and output each of these statements has."""
        size = func.length(statements.c.code) + func.coalesce(func.length(statements.c.output), 0)
        query = select(statements.c.id, size).where(
            statements.c.session_id == session_id, statements.c.id >= first, statements.c.id < end
        )
        return await self._database.read(
            lambda connection: {int(number): int(count) for number, count in connection.execute(query)}
        )

    async def statement_of_key(self, session_id: int, key: str) -> int | None:
        """Which statement was posted with this idempotency key."""
        query = select(statements.c.id).where(
            statements.c.session_id == session_id, statements.c.idempotency_key == key
        )
        return await self._database.read(lambda connection: connection.execute(query).scalar())

    def _hold(self, number: int) -> None:
        if number in self.lost:
            raise Misdirected("Another gateway has taken over this session. Try again.")

    # Events

    async def session_events(self, number: int) -> list[Event]:
        """What happened to a session, in order."""
        query = select(events).where(events.c.session_id == number).order_by(events.c.id)
        return await self._database.read(
            lambda connection: [
                Event(at=row.at, session_id=row.session_id, event=row.event, detail=row.detail)
                for row in connection.execute(query)
            ]
        )


_COUNTING = 7_302_027
"""PostgreSQL's advisory lock of whoever counts what runs."""
_FINAL = ("available", "cancelled")
_INSERT_SESSION = insert(sessions)
_INSERT_STATEMENT = insert(statements)
_INSERT_EVENT = insert(events)
_FINISH_STATEMENT = (
    update(statements)
    .where(statements.c.session_id == bindparam("new_session_id"), statements.c.id == bindparam("new_id"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("state", "output", "progress", "truncated", "started_at", "completed_at")
        }
    )
)
_ACK = update(sessions).where(sessions.c.id == bindparam("number")).values(acked=bindparam("new_acked"))


def check_room(connection: Connection, table: Table, owner: str, limits: Limits) -> None:
    """Raise FullError where no more may run. Whoever else wants to know waits until this transaction is over."""
    connection.execute(select(func.pg_advisory_xact_lock(_COUNTING)))
    there = table.c.ended_at.is_(None), table.c.removed_at.is_(None), table.c.owner != NOBODY
    running = select(func.count()).where(*there)
    if limits.all is not None and (connection.execute(running).scalar() or 0) >= limits.all:
        raise FullError("all")
    mine = running.where(table.c.owner == owner)
    if limits.each is not None and (connection.execute(mine).scalar() or 0) >= limits.each:
        raise FullError("each")


def _statement(session_id: int, number: int) -> Update:
    return update(statements).where(statements.c.session_id == session_id, statements.c.id == number)


def _update_session(connection: Connection, number: int, values: Mapping[str, Any], event: Event | None) -> None:
    if values:
        connection.execute(update(sessions).where(sessions.c.id == number).values(**values))
    if event is not None:
        connection.execute(_INSERT_EVENT, dataclasses.asdict(event))


def _session(row: RowMapping) -> SessionRecord:
    return SessionRecord(**row)
