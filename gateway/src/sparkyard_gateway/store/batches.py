"""What is written and asked about batches, by name. The sibling of `repository`, for tables of their own."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sparkyard_gateway.errors import Misdirected
from sparkyard_gateway.store.batch_models import (
    AttemptRecord,
    BatchEvent,
    BatchRecord,
    NewBatch,
    attempts,
    batch_events,
    batches,
)
from sparkyard_gateway.store.database import Database
from sparkyard_gateway.store.repository import DuplicateError, Limits, check_room


class BatchStore:
    """Batches, attempts and their events as rows. `lost` are batches that another gateway has taken over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.lost: set[int] = set()

    async def add(self, new: NewBatch, event: str, limits: Limits | None = None) -> tuple[int, int]:
        """Write a new batch with its first attempt and event; returns the ids of both. Raises DuplicateError.

        With `limits`, which count what all gateways run, raises FullError.
        """
        made: list[int] = []

        def change(connection: Connection) -> tuple[int, int]:
            if limits is not None:
                check_room(connection, batches, new.owner, limits)
            number = _inserted(connection, insert(batches), dataclasses.asdict(new))
            made[:] = [number]
            attempt = _inserted(connection, insert(attempts), {"batch_id": number, "number": 1})
            detail = {"owner": new.owner, "profile": new.profile, "attempt": 1}
            connection.execute(
                insert(batch_events), {"at": new.created_at, "batch_id": number, "event": event, "detail": detail}
            )
            return number, attempt

        def undo(connection: Connection) -> None:
            for table, column in ((batch_events, "batch_id"), (attempts, "batch_id"), (batches, "id")):
                connection.execute(delete(table).where(table.c[column].in_(made)))

        try:
            return await self._database.write(change, undo)
        except IntegrityError as error:
            raise DuplicateError from error

    async def update(self, number: int, /, *, event: BatchEvent | None = None, **values: Any) -> None:
        """Change a batch's row and return when it is written."""
        self._hold(number)
        await self._database.write(lambda connection: _update(connection, number, values, None, {}, event))

    def update_soon(
        self,
        number: int,
        /,
        *,
        attempt: int | None = None,
        attempted: Mapping[str, Any] | None = None,
        event: BatchEvent | None = None,
        written: Callable[[], None] | None = None,
        **values: Any,
    ) -> None:
        """Change a batch's row, and that of an attempt at it, with the next commit; then call `written`."""
        if number in self.lost:
            return
        self._database.write_soon(
            lambda connection: _update(connection, number, values, attempt, attempted or {}, event), written
        )

    async def add_attempt(self, number: int, instead_of: int, at: int) -> int:
        """Write a new attempt at a batch in place of one that never began, and never will; returns its id."""
        self._hold(number)
        given_up = update(attempts).where(attempts.c.id == instead_of)

        def change(connection: Connection) -> int:
            connection.execute(given_up.values(ended_at=at, reason="It never began: its gateway was gone."))
            last = select(func.max(attempts.c.number)).where(attempts.c.batch_id == number)
            count = connection.execute(last).scalar() or 0
            return _inserted(connection, insert(attempts), {"batch_id": number, "number": count + 1})

        return await self._database.write(change)

    def _hold(self, number: int) -> None:
        if number in self.lost:
            raise Misdirected("Another gateway has taken over this batch. Try again.")

    async def shown(self) -> list[BatchRecord]:
        """Every batch that clients may still see, oldest first."""
        return await self._records(batches.c.removed_at.is_(None))

    async def shown_one(self, number: int) -> BatchRecord | None:
        """A batch that clients may still see, whichever gateway has it."""
        found = await self._records((batches.c.id == number) & batches.c.removed_at.is_(None))
        return found[0] if found else None

    async def removed_and_running(self) -> list[BatchRecord]:
        """Batches deleted for clients whose end was not seen."""
        return await self._records(batches.c.removed_at.is_not(None) & batches.c.ended_at.is_(None))

    async def _records(self, which: ColumnElement[bool]) -> list[BatchRecord]:
        return await self._database.read(lambda connection: batch_records(connection, which))

    async def of_key(self, owner: str, key: str) -> int | None:
        """Which batch was created with this idempotency key."""
        query = select(batches.c.id).where(batches.c.owner == owner, batches.c.idempotency_key == key)
        return await self._database.read(lambda connection: connection.execute(query).scalar())

    async def is_shown(self, number: int) -> bool:
        """Whether clients may still see this batch, here or at another gateway."""
        query = select(batches.c.id).where(batches.c.id == number, batches.c.removed_at.is_(None))
        return await self._database.read(lambda connection: connection.execute(query).scalar()) is not None

    async def may_run(self, attempt: int) -> bool:
        """Whether this attempt's end was not seen yet."""
        query = select(attempts.c.id).where(attempts.c.id == attempt, attempts.c.ended_at.is_(None))
        return await self._database.read(lambda connection: connection.execute(query).scalar()) is not None

    async def attempts_of(self, number: int) -> list[AttemptRecord]:
        """The attempts at a batch, in order."""
        query = select(attempts).where(attempts.c.batch_id == number).order_by(attempts.c.number)
        return await self._database.read(
            lambda connection: [AttemptRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def events_of(self, number: int) -> list[BatchEvent]:
        """What happened to a batch, in order."""
        query = select(batch_events).where(batch_events.c.batch_id == number).order_by(batch_events.c.id)
        return await self._database.read(
            lambda connection: [
                BatchEvent(at=row.at, batch_id=row.batch_id, event=row.event, detail=row.detail)
                for row in connection.execute(query)
            ]
        )


def batch_records(connection: Connection, which: ColumnElement[bool]) -> list[BatchRecord]:
    """These batches, each with its last attempt, oldest first."""
    last = (
        select(func.max(attempts.c.number))
        .where(attempts.c.batch_id == batches.c.id)
        .correlate(batches)
        .scalar_subquery()
    )
    query = (
        select(batches, *(column.label(f"attempt_{column.name}") for column in attempts.c))
        .join(attempts, (attempts.c.batch_id == batches.c.id) & (attempts.c.number == last))
        .where(which)
        .order_by(batches.c.id)
    )
    return [_record(row) for row in connection.execute(query).mappings()]


def _inserted(connection: Connection, statement: Insert, values: Mapping[str, Any]) -> int:
    key = connection.execute(statement, values).inserted_primary_key
    if key is None:
        raise RuntimeError("the database gave a new row no id")
    return int(key[0])


def _update(
    connection: Connection,
    number: int,
    values: Mapping[str, Any],
    attempt: int | None,
    attempted: Mapping[str, Any],
    event: BatchEvent | None,
) -> None:
    if values:
        connection.execute(update(batches).where(batches.c.id == number).values(**values))
    if attempt is not None and attempted:
        connection.execute(update(attempts).where(attempts.c.id == attempt).values(**attempted))
    if event is not None:
        connection.execute(insert(batch_events), dataclasses.asdict(event))


def _record(row: RowMapping) -> BatchRecord:
    attempt = {name.removeprefix("attempt_"): row[name] for name in row if str(name).startswith("attempt_")}
    batch = {name: row[name] for name in row if not str(name).startswith("attempt_")}
    return BatchRecord(**batch, attempt=AttemptRecord(**attempt))
