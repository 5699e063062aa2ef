"""Gateways on one database: who runs, by leases, and whose each session is.

Every transaction of a gateway begins by moving its own row's `beat` (`GatewayRows.begin_transaction`). That renews its
lease, and it is the fence: whoever takes a gateway for dead sets its `life` to null on the condition that its beat has
not moved, and from that moment none of its transactions can begin. One that has begun holds the row, and the taker
waits for it. So a gateway that was frozen for an hour wakes up to find that it can write nothing.

No clock is compared with another machine's: whether a beat stands still, each gateway judges by its own steady clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, false, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

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


_COLUMNS = [gateways.c[name] for name in GatewayRecord.__dataclass_fields__]
_BEAT = text(
    "UPDATE gateways SET beat = beat + 1, seen_at = clock_timestamp() WHERE name = :name AND life = :life "
    "RETURNING pg_current_xact_id()::text"
)
_MATTERS = or_(sessions.c.removed_at.is_(None), sessions.c.ended_at.is_(None))


class GatewayRows:
    """The table of gateways, and the sessions as far as they belong to one."""

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

    # Sessions

    async def claim(self, me: GatewayRecord, abandoned_seconds: float, *, own: bool) -> list[SessionRecord]:
        """Make all sessions mine that a gateway left which does not run; with `own`, also what an earlier life left.

        Drivers of the local backend only where they can be found again, or where they have ended by themselves since.
        """
        dead = select(gateways.c.name).where(gateways.c.life.is_(None))
        here = dead.where(
            or_(
                gateways.c.place == me.place,
                gateways.c.seen_at < func.clock_timestamp() - text(f"interval '{float(abandoned_seconds)} seconds'"),
            )
        )
        mine = or_(
            sessions.c.gateway == me.name if own else false(),
            sessions.c.gateway.in_(here),
            (sessions.c.backend != "local") & sessions.c.gateway.in_(dead),
        )
        before: dict[int, str] = {}

        def change(connection: Connection) -> list[SessionRecord]:
            before.clear()
            found = select(sessions.c.id, sessions.c.gateway).where(_MATTERS, mine).with_for_update(skip_locked=True)
            before.update((number, gateway) for number, gateway in connection.execute(found))
            if not before:
                return []
            taken = sessions.c.id.in_(before)
            connection.execute(update(sessions).where(taken).values(gateway=me.name, term=sessions.c.term + 1))
            rows = connection.execute(select(sessions).where(taken).order_by(sessions.c.id)).mappings()
            return [SessionRecord(**row) for row in rows]

        def undo(connection: Connection) -> None:
            if before:
                back = case(
                    {number: literal(gateway) for number, gateway in before.items()},
                    value=sessions.c.id,
                )
                connection.execute(update(sessions).where(sessions.c.id.in_(before)).values(gateway=back))

        return await self._database.write(change, undo)

    async def owner_of(self, number: int) -> str | None:
        """Whose a session is; None where clients may see no such session."""
        query = select(sessions.c.gateway).where(sessions.c.id == number, sessions.c.removed_at.is_(None))
        return await self._database.read(lambda connection: connection.execute(query).scalar())

    async def named(self, name: str) -> list[SessionRecord]:
        """The sessions of this name that clients may still see, everybody's."""
        return await self._records(sessions.c.name == name)

    async def sessions_of(self, names: Iterable[str]) -> list[SessionRecord]:
        """What clients may still see of these gateways' sessions."""
        return await self._records(sessions.c.gateway.in_(list(names)))

    async def _records(self, which: ColumnElement[bool]) -> list[SessionRecord]:
        query = select(sessions).where(which, sessions.c.removed_at.is_(None)).order_by(sessions.c.id)
        return await self._database.read(
            lambda connection: [SessionRecord(**row) for row in connection.execute(query).mappings()]
        )

    async def driver(self, number: int) -> tuple[str, str, int] | None:
        """(gateway, hash of the driver's token, epoch) of a session whose driver may still run."""
        query = select(sessions.c.gateway, sessions.c.token_hash, sessions.c.epoch)
        alive = query.where(sessions.c.id == number, sessions.c.ended_at.is_(None))
        found = await self._database.read(lambda connection: connection.execute(alive).first())
        return None if found is None else (found[0], found[1], found[2])

    async def running(self) -> frozenset[int]:
        """The sessions, everybody's, whose drivers may still run."""
        query = select(sessions.c.id).where(sessions.c.ended_at.is_(None))
        return await self._database.read(lambda connection: frozenset(connection.execute(query).scalars()))
