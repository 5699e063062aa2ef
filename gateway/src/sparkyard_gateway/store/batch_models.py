"""The tables of batches, the attempts at them, and what happened to them; and the records that the rest sees.

An attempt is a row of its own: a batch that is tried again, with more memory say, has another. Times are milliseconds
since the epoch, ``ended_at`` and ``removed_at`` as of sessions.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from sparkyard_gateway.store.models import metadata

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("owner", String(255), nullable=False),
    Column("team", String(255)),
    Column("name", String(128)),
    Column("profile", String(255), nullable=False),
    Column("backend", String(32), nullable=False),
    Column("request", JSON, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("gateway", String(255), nullable=False),
    Column("idempotency_key", String(255)),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("removed_at", BigInteger),
    UniqueConstraint("owner", "idempotency_key"),
    # A name is free again as soon as its batch has ended.
    Index(
        "uq_batches_owner_name",
        "owner",
        "name",
        unique=True,
        sqlite_where=text("ended_at IS NULL AND removed_at IS NULL"),
        postgresql_where=text("ended_at IS NULL AND removed_at IS NULL"),
    ),
    Index("ix_batches_removed_at", "removed_at"),
    Index("ix_batches_gateway", "gateway"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("batch_id", Integer, ForeignKey("batches.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("handle", JSON),
    Column("app_id", String(255)),
    Column("spark_ui", String(255)),
    Column("exit_code", Integer),
    Column("reason", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    UniqueConstraint("batch_id", "number"),
    sqlite_autoincrement=True,
)

batch_events = Table(
    "batch_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("batch_id", Integer, ForeignKey("batches.id"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_batch_events_batch_id", "batch_id"),
    Index("ix_batch_events_at", "at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What is known of a batch before it has an id."""

    owner: str
    team: str | None
    name: str | None
    profile: str
    backend: str
    request: dict[str, Any]
    spec: dict[str, Any]
    state: str
    gateway: str
    idempotency_key: str | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """An attempt's row."""

    id: int
    batch_id: int
    number: int
    handle: dict[str, Any] | None = None
    app_id: str | None = None
    spark_ui: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started_at: int | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord(NewBatch):
    """A batch's row, and that of its last attempt."""

    id: int
    attempt: AttemptRecord
    reason: str | None = None
    ended_at: int | None = None
    removed_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent:
    """Something that happened to a batch, for usage and for the record."""

    at: int
    batch_id: int
    event: str
    detail: dict[str, Any] = field(default_factory=dict)
