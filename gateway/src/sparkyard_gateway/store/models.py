"""The tables, and the records that the rest of the gateway sees of them.

Plain tables and frozen records rather than mapped objects: the live state is in memory (``sparkyard_gateway.live``),
so rows are only written in passing and read at a start, and nothing needs an identity map.

Times are milliseconds since the epoch. ``ended_at`` is set when a driver is gone for good, ``removed_at`` when the
session is no longer shown to clients; the row itself stays for the record. ``epoch`` counts a session's drivers,
``term`` the gateways that owned it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Said(TypeDecorator[str]):
    """Text as somebody else's process said it: PostgreSQL would refuse a NUL."""

    impl: Any = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: "Dialect") -> str | None:
        """NULs made visible."""
        del dialect
        return None if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


class SaidLine(Said):
    """The same, cut to what its column holds."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: "Dialect") -> str | None:
        """NULs made visible, and no longer than the column."""
        said = super().process_bind_param(value, dialect)
        return None if said is None else said[: self.length]


sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("owner", String(255), nullable=False),
    Column("team", String(255)),
    Column("name", String(128)),
    Column("kind", String(16), nullable=False),
    Column("profile", String(255), nullable=False),
    Column("backend", String(32), nullable=False),
    Column("request", JSON, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Said),
    Column("app_id", SaidLine(255)),
    Column("spark_ui", SaidLine(255)),
    Column("spark_version", SaidLine(64)),
    Column("python_version", SaidLine(64)),
    Column("handle", JSON),
    Column("token_hash", String(64), nullable=False),
    Column("gateway", String(255), nullable=False),
    Column("term", Integer, nullable=False, server_default="1"),
    Column("epoch", Integer, nullable=False, server_default="1"),
    Column("acked", BigInteger, nullable=False, server_default="0"),
    Column("idempotency_key", String(255)),
    Column("created_at", BigInteger, nullable=False),
    Column("ready_at", BigInteger),
    Column("active_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("removed_at", BigInteger),
    UniqueConstraint("owner", "idempotency_key"),
    # A name is free again as soon as its session has ended.
    Index(
        "uq_sessions_owner_name",
        "owner",
        "name",
        unique=True,
        sqlite_where=text("ended_at IS NULL AND removed_at IS NULL"),
        postgresql_where=text("ended_at IS NULL AND removed_at IS NULL"),
    ),
    Index("ix_sessions_removed_at", "removed_at"),
    Index("ix_sessions_gateway", "gateway"),
    # Ids are never used twice, not even after the last row is gone.
    sqlite_autoincrement=True,
)

statements = Table(
    "statements",
    metadata,
    Column("session_id", Integer, ForeignKey("sessions.id"), primary_key=True, autoincrement=False),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("code", Said, nullable=False),
    Column("state", String(16), nullable=False),
    Column("output", Said),
    Column("progress", Float, nullable=False, server_default="0"),
    Column("truncated", Said),
    Column("idempotency_key", String(255)),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False, server_default="0"),
    Column("completed_at", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("session_id", "idempotency_key"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("session_id", Integer, ForeignKey("sessions.id"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_events_session_id", "session_id"),
    Index("ix_events_at", "at"),
)

# Who runs beside whom. `life` names one run of a gateway's process, and is null while it does not run; `beat` grows
# with each of its transactions; its `place` is where drivers of the local backend can be found again.
gateways = Table(
    "gateways",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("life", String(64)),
    Column("beat", BigInteger, nullable=False, server_default="0"),
    Column("lease_seconds", Float, nullable=False),
    Column("url", String(255), nullable=False),
    Column("driver_url", String(255), nullable=False),
    Column("place", String(1024), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What is known of a session before it has an id."""

    owner: str
    team: str | None
    name: str | None
    kind: str
    profile: str
    backend: str
    request: dict[str, Any]
    spec: dict[str, Any]
    state: str
    token_hash: str
    gateway: str
    idempotency_key: str | None
    created_at: int
    active_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord(NewSession):
    """A session's row."""

    id: int
    reason: str | None = None
    app_id: str | None = None
    spark_ui: str | None = None
    spark_version: str | None = None
    python_version: str | None = None
    handle: dict[str, Any] | None = None
    term: int = 1
    epoch: int = 1
    acked: int = 0
    ready_at: int | None = None
    ended_at: int | None = None
    removed_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRecord:
    """A statement's row; ``output`` is the JSON text of Livy's output object."""

    session_id: int
    id: int
    kind: str
    code: str
    state: str
    created_at: int
    output: str | None = None
    progress: float = 0.0
    truncated: str | None = None
    idempotency_key: str | None = None
    started_at: int = 0
    completed_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a session, for usage and for the record."""

    at: int
    session_id: int
    event: str
    detail: dict[str, Any] = field(default_factory=dict)
