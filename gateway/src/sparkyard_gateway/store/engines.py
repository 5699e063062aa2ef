"""How SQLAlchemy reaches SQLite or PostgreSQL, and what differs between the two for whoever writes."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

DISK_FULL = "53100"
"""PostgreSQL's word for it."""

CONNECT_SECONDS = 5
SILENT_SECONDS = 10
"""After how long without a sign of life from PostgreSQL's machine a connection is given up."""


def database_url(url: str | None, state_dir: Path, password_file: Path | None) -> URL:
    """Where the database is; SQLite in the state folder where nothing else is said."""
    if url is None:
        return URL.create("sqlite", database=str(state_dir.absolute() / "gateway.sqlite"))
    made = make_url(url)
    if made.drivername == "postgresql":
        made = made.set(drivername="postgresql+psycopg")
    if password_file is not None:
        made = made.set(password=password_file.read_text(encoding="utf-8").strip())
    return made


def make_engine(url: URL) -> Engine:
    """The engine for this address; it connects when first used."""
    return _sqlite(url) if is_sqlite(url) else _postgresql(url)


def is_sqlite(url: URL) -> bool:
    """Whether one process has this database for itself."""
    return url.get_backend_name() == "sqlite"


def _postgresql(url: URL) -> Engine:
    waits = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": SILENT_SECONDS // 2,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
        "application_name": "sparkyard-gateway",
        # A gateway that is stopped in the midst of a transaction must not hold a lock that others wait for.
        "options": "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s",
    }
    # No ping before each use: a connection that has died is noticed by its first failure, and replaced.
    return create_engine(
        url, pool_size=2, max_overflow=0, connect_args=waits, json_serializer=dump_json, hide_parameters=True
    )


def _sqlite(url: URL) -> Engine:
    waits = {"timeout": 5.0, "check_same_thread": False}
    engine = create_engine(url, connect_args=waits, json_serializer=dump_json, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes too late for a read that leads to a write: see SQLAlchemy's pysqlite notes.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def dump_json(value: Any) -> str:
    """JSON that PostgreSQL takes as well: what a driver says may hold numbers that JSON does not know."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _name: None))


def transaction_number(connection: Connection) -> str | None:
    """A name by which this transaction's fate can be asked for later; None where a commit fails in the open."""
    if connection.dialect.name == "sqlite":
        return None
    return connection.execute(text("SELECT pg_current_xact_id()::text")).scalar()


def was_committed(connection: Connection, number: str) -> bool | None:
    """What became of a transaction whose commit was never answered; None while the database is still at it."""
    fate = connection.execute(text("SELECT pg_xact_status(CAST(:number AS xid8))"), {"number": number}).scalar()
    return None if fate == "in progress" else fate == "committed"


def is_away(error: BaseException) -> bool:
    """Whether the database could not be used, rather than that it refused what was asked of it."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, OperationalError))


def was_stale(error: BaseException) -> bool:
    """Whether a connection had died: another one may do."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_disk_full(error: BaseException) -> bool:
    """Whether the database's disk has no room."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(cause, "sqlstate", None) == DISK_FULL
