"""The store: written in order, kept while the database is away, and brought up to its version."""

import asyncio
import dataclasses
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.store import migrations
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.models import Event, NewSession, StatementRecord, metadata
from sparkyard_gateway.store.repository import DuplicateError, Store

NEW = NewSession(
    owner="alice", team=None, name="n", kind="pyspark", profile="small", backend="local", request={}, spec={},
    state="starting", token_hash="h", gateway="g", idempotency_key=None, created_at=1, active_at=1,
)  # fmt: skip


@pytest.fixture
async def database(tmp_path):
    made = Database(database_url(None, tmp_path, None))
    migrations.upgrade(made.engine)
    made.open()
    yield made
    await made.close()


@pytest.fixture
def store(database):
    return Store(database)


def _statement(number: int, **values) -> StatementRecord:
    return StatementRecord(session_id=1, id=number, kind="pyspark", code="1", state="waiting", created_at=1, **values)


def test_the_versions_lead_to_the_tables_of_the_models(tmp_path):
    made = Database(database_url(None, tmp_path, None))
    assert migrations.upgrade(made.engine)
    assert not migrations.upgrade(made.engine)
    with made.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [migrations.HEAD]


def test_a_database_of_a_later_version_is_not_touched(tmp_path):
    made = Database(database_url(None, tmp_path, None))
    migrations.upgrade(made.engine)
    with sqlite3.connect(tmp_path / "gateway.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="9999, and this gateway knows none later"):
        made.prepare()


def test_a_file_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "gateway.sqlite").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        Database(database_url(None, tmp_path, None)).prepare()


async def test_ids_are_never_used_twice(store, tmp_path):
    first = await store.add_session(NEW, "created")
    with sqlite3.connect(tmp_path / "gateway.sqlite") as connection:
        connection.execute("DELETE FROM events")
        connection.execute("DELETE FROM sessions")
    assert await store.add_session(NEW, "created") == first + 1


async def test_a_name_is_unique_among_an_owners_running_sessions(store):
    first = await store.add_session(NEW, "created")
    with pytest.raises(DuplicateError):
        await store.add_session(NEW, "created")
    await store.add_session(dataclasses.replace(NEW, owner="bob"), "created")
    await store.add_session(dataclasses.replace(NEW, name=None), "created")
    await store.update_session(first, ended_at=5)
    await store.add_session(NEW, "created")


async def test_one_that_fails_does_not_take_its_neighbours_with_it(store):
    await store.add_session(NEW, "created")
    results = await asyncio.gather(
        store.add_statement(_statement(0)),
        store.add_statement(_statement(0)),
        store.add_statement(_statement(1)),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [type(None), DuplicateError, type(None)]
    assert [each.id for each in await store.statement_range(1, 0, 9)] == [0, 1]


async def test_an_outcome_and_its_acknowledgement_are_one(store):
    await store.add_session(NEW, "created")
    await store.add_statement(_statement(0))
    written = asyncio.Event()
    store.finish_statement_soon(_statement(0, output="{}"), acked=7, written=written.set)
    await asyncio.wait_for(written.wait(), 2)
    (session,) = await store.shown_sessions()
    assert session.acked == 7
    assert (await store.statement(1, 0)).output == "{}"


async def test_what_nobody_waits_for_is_kept_while_the_database_is_away(store, database, tmp_path):
    await store.add_session(NEW, "created")
    holder = sqlite3.connect(tmp_path / "gateway.sqlite", isolation_level=None)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    database.engine.dispose()

    @event.listens_for(database.engine, "connect")
    def impatient(connection, _record):
        connection.execute("PRAGMA busy_timeout=20")

    holder.execute("BEGIN EXCLUSIVE")
    store.update_session_soon(1, reason="first")
    store.update_session_soon(1, reason="second")
    with pytest.raises(StoreUnavailable, match="Try again shortly"):
        await store.add_statement(_statement(0))
    await asyncio.sleep(0.1)
    assert not store.healthy
    holder.execute("COMMIT")
    for _ in range(100):
        await asyncio.sleep(0.05)
        if store.healthy:
            break
    (session,) = await store.shown_sessions()
    assert session.reason == "second"
    assert await store.statement_range(1, 0, 9) == []


async def test_closing_writes_what_is_queued(tmp_path):
    made = Database(database_url(None, tmp_path, None))
    migrations.upgrade(made.engine)
    made.open()
    store = Store(made)
    await store.add_session(NEW, "created")
    for number in range(200):
        store.update_session_soon(1, reason=str(number), event=Event(at=number, session_id=1, event="e"))
    await made.close()
    with sqlite3.connect(tmp_path / "gateway.sqlite") as connection:
        assert connection.execute("SELECT reason FROM sessions").fetchone() == ("199",)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (201,)


async def test_events_tell_what_happened(store):
    await store.add_session(NEW, "created")
    await store.update_session(1, event=Event(at=2, session_id=1, event="ready", detail={"ms": 5}))
    found = await store.session_events(1)
    assert [(each.event, each.detail) for each in found] == [
        ("created", {"owner": "alice", "profile": "small", "kind": "pyspark"}),
        ("ready", {"ms": 5}),
    ]


async def test_of_two_who_claim_a_session_one_succeeds_and_may_repeat_it(store):
    number = await store.add_session(dataclasses.replace(NEW, token_hash="unclaimed"), "created")
    took = await asyncio.gather(*(store.claim_session(number, 1, "unclaimed", f"hash-{n}") for n in range(5)))
    assert sorted(took) == [False, False, False, False, True]
    mine = f"hash-{took.index(True)}"
    assert await store.claim_session(number, 1, "unclaimed", mine)
    assert not await store.claim_session(number, 1, "unclaimed", "hash-9")
    assert not await store.claim_session(number, 2, "unclaimed", mine), "another epoch is another driver"
    assert not await store.claim_session(number + 1, 1, "unclaimed", mine)
    (record,) = await store.shown_sessions()
    assert record.token_hash == mine


def test_the_password_comes_from_its_file_and_is_not_shown(tmp_path):
    (tmp_path / "password").write_text("s3cret\n")
    url = database_url("postgresql+psycopg://sparkyard@db/sparkyard", tmp_path, tmp_path / "password")
    assert url.password == "s3cret"
    assert "s3cret" not in str(url)


async def test_sqlite_runs_with_a_write_ahead_log(store, database, tmp_path):
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert {path.name for path in tmp_path.iterdir()} >= {"gateway.sqlite", "gateway.sqlite-wal"}
