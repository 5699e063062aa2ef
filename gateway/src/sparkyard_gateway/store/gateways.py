"""Gateways on one database: who runs, by leases, and whose each session and batch is.

Every transaction of a gateway begins by moving its own row's `beat` (`GatewayRows.begin_transaction`). That renews its
lease, and it is the fence: whoever takes a gateway for dead sets its `life` to null on the condition that its beat has
not moved, and from that moment none of its transactions can begin. One that has begun holds the row, and the taker
waits for it. So a gateway that was frozen for an hour wakes up to find that it can write nothing.

No clock is compared with another machine's: whether a beat stands still, each gateway judges by its own steady clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, Table, case, false, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from sparkyard_gateway.store.batch_models import BatchRecord, attempts, batches
from sparkyard_gateway.store.batches import batch_records
from sparkyard_gateway.store.database import Database, FencedError
from sparkyard_gateway.store.models import SessionRecord, gateways, sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """A gateway's row."""

    name: str
    life: str | None
    beat: int
    lease_seconds: float
    url: str
    driver_url: str
    place: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a gateway has taken over; `far` are the batches that ran where it cannot look."""

    sessions: Sequence[SessionRecord] = ()
    batches: Sequence[BatchRecord] = ()
    far: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Living:
    """What may still run anywhere: sessions, attempts at batches, and (session, owner, application)."""

    sessions: frozenset[int] = frozenset()
    attempts: frozenset[int] = frozenset()
    applications: Sequence[tuple[int, str, str]] = field(default=())


_COLUMNS = [gateways.c[name] for name in GatewayRecord.__dataclass_fields__]
_BEAT = text(
    "UPDATE gateways SET beat = beat + 1, seen_at = clock_timestamp() WHERE name = :name AND life = :life "
    "RETURNING pg_current_xact_id()::text"
)


class GatewayRows:
    """The table of gateways, and sessions and batches as far as they belong to one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # One's own row

    async def register(self, me: GatewayRecord) -> None:
        """Begin to run, in place of whatever ran under this name. Raises StoreUnavailable."""
        values = {name: getattr(me, name) for name in GatewayRecord.__dataclass_fields__}
        new = insert(gateways).values(**values, seen_at=func.clock_timestamp())
        # The beat goes on: whoever watches this row sees it move.
        kept = {**values, "beat": gateways.c.beat + 1, "seen_at": func.clock_timestamp()}
        query = new.on_conflict_do_update(index_elements=[gateways.c.name], set_=kept)
        self._database.begin_transaction = self._fence(me)
        await self._database.write_unfenced(lambda connection: connection.execute(query))

    @staticmethod
    def _fence(me: GatewayRecord) -> Callable[[Connection], str | None]:
        mine = {"name": me.name, "life": me.life}

        def begin(connection: Connection) -> str | None:
            number: str | None = connection.execute(_BEAT, mine).scalar()
            if number is None:
                raise FencedError
            return number

        return begin

    async def beat(self) -> None:
        """Renew the lease, which every transaction does. Raises StoreUnavailable or Misdirected."""
        await self._database.write(lambda _connection: None)

    async def leave(self, name: str) -> None:
        """Stop running: the last thing written."""
        query = update(gateways).where(gateways.c.name == name).values(life=None)
        await self._database.write(lambda connection: connection.execute(query))

    # Others'

    async def all(self) -> list[GatewayRecord]:
        """Every gateway that ever ran here."""
        query = select(*_COLUMNS).order_by(gateways.c.name)
        return await self._database.read(
            lambda connection: [GatewayRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def declare_dead(self, found: GatewayRecord) -> None:
        """End the life of a gateway whose beat stands still; nothing where it has moved after all."""
        still = gateways.c.name == found.name, gateways.c.life == found.life, gateways.c.beat == found.beat
        query = update(gateways).where(*still).values(life=None)
        await self._database.write(lambda connection: connection.execute(query))

    # Sessions and batches

    async def claim(self, me: GatewayRecord, abandoned_seconds: float, *, own: bool) -> Claimed:
        """Make all mine that a gateway left which does not run; with `own`, also what an earlier life left.

        What runs as a process only where it can be found again, or where its gateway has been away for so long that
        it has ended by itself, or never will be seen again.
        """
        dead = select(gateways.c.name).where(gateways.c.life.is_(None))
        here = dead.where(
            or_(
                gateways.c.place == me.place,
                gateways.c.seen_at < func.clock_timestamp() - text(f"interval '{float(abandoned_seconds)} seconds'"),
            )
        )
        taken: dict[Table, dict[int, str]] = {sessions: {}, batches: {}}

        def change(connection: Connection) -> Claimed:
            for table, before in taken.items():
                before.clear()
                mine = _left(table, me.name, own=own) | table.c.gateway.in_(here)
                mine = mine | (table.c.backend != "local") & table.c.gateway.in_(dead)
                found = select(table.c.id, table.c.gateway).where(_matters(table), mine)
                before.update((row[0], row[1]) for row in connection.execute(found.with_for_update(skip_locked=True)))
                if before:
                    values = {"term": table.c.term + 1} if table is sessions else {}
                    taking = update(table).where(table.c.id.in_(before)).values(gateway=me.name, **values)
                    connection.execute(taking)
            rows = select(sessions).where(sessions.c.id.in_(taken[sessions])).order_by(sessions.c.id)
            places = {row[0]: row[1] for row in connection.execute(select(gateways.c.name, gateways.c.place))}
            return Claimed(
                [SessionRecord(**row) for row in connection.execute(rows).mappings()] if taken[sessions] else [],
                batch_records(connection, batches.c.id.in_(taken[batches])) if taken[batches] else [],
                frozenset(n for n, name in taken[batches].items() if places.get(name, me.place) != me.place),
            )

        def undo(connection: Connection) -> None:
            for table, before in taken.items():
                if before:
                    back = case({number: literal(name) for number, name in before.items()}, value=table.c.id)
                    connection.execute(update(table).where(table.c.id.in_(before)).values(gateway=back))

        return await self._database.write(change, undo)

    async def owner_of(self, table: Table, number: int) -> str | None:
        """Whose a session or batch is; None where clients may see no such one."""
        query = select(table.c.gateway).where(table.c.id == number, table.c.removed_at.is_(None))
        return await self._database.read(lambda connection: connection.execute(query).scalar())

    async def shown_sessions(self, *, name: str | None = None, of: Iterable[str] = ()) -> list[SessionRecord]:
        """What clients may still see of the sessions of this name, or of these gateways'."""
        query = select(sessions).where(_shown(sessions, name, of)).order_by(sessions.c.id)
        return await self._database.read(
            lambda connection: [SessionRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def shown_batches(self, *, name: str | None = None, of: Iterable[str] = ()) -> list[BatchRecord]:
        """What clients may still see of the batches of this name, or of these gateways'."""
        which = _shown(batches, name, of)
        return await self._database.read(lambda connection: batch_records(connection, which))

    async def driver(self, number: int) -> tuple[str, str, int] | None:
        """(gateway, hash of the driver's token, epoch) of a session whose driver may still run."""
        query = select(sessions.c.gateway, sessions.c.token_hash, sessions.c.epoch)
        alive = query.where(sessions.c.id == number, sessions.c.ended_at.is_(None))
        found = await self._database.read(lambda connection: connection.execute(alive).first())
        return None if found is None else (found[0], found[1], found[2])

    async def living(self) -> Living:
        """What may still run, everybody's."""
        drivers = select(sessions.c.id, sessions.c.owner, sessions.c.app_id).where(sessions.c.ended_at.is_(None))
        trials = select(attempts.c.id, batches.c.owner, attempts.c.app_id).join(batches)
        trials = trials.where(attempts.c.ended_at.is_(None))

        def look(connection: Connection) -> Living:
            found, tried = list(connection.execute(drivers)), list(connection.execute(trials))
            return Living(
                frozenset(row.id for row in found),
                frozenset(row.id for row in tried),
                [(row.id, row.owner, row.app_id) for row in (*found, *tried) if row.app_id is not None],
            )

        return await self._database.read(look)


def _matters(table: Table) -> ColumnElement[bool]:
    return or_(table.c.removed_at.is_(None), table.c.ended_at.is_(None))


def _left(table: Table, name: str, *, own: bool) -> ColumnElement[bool]:
    """What an earlier life of this gateway left, or one from before there was a table of gateways."""
    if not own:
        return false()
    return or_(table.c.gateway == name, table.c.gateway.not_in(select(gateways.c.name)))


def _shown(table: Table, name: str | None, of: Iterable[str]) -> ColumnElement[bool]:
    which = table.c.name == name if name is not None else table.c.gateway.in_(list(of))
    return which & table.c.removed_at.is_(None)
