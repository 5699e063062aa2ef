"""The database goes away and comes back: callers are told, what nobody waits for is kept, and nothing is done twice."""

import dataclasses
import sqlite3
import time

import pytest
from sqlalchemy import event, text

from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.store import database as database_module
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.models import Event
from sparkyard_gateway.store.repository import Store
from support.waiting import until_async as until

from .test_store import NEW, TAKING, WARM, _statement


@pytest.fixture
async def at(postgres, tmp_path):
    """A store on PostgreSQL, which is in service again when the test is over."""
    made = Database(database_url(postgres.url(postgres.new_database()), tmp_path, None))
    made.prepare()
    made.open()
    yield Store(made)
    await made.close()


async def test_a_locked_file_is_waited_for_in_order(tmp_path):
    database = Database(database_url(None, tmp_path, None))
    database.prepare()
    database.open()
    store = Store(database)
    await store.add_session(NEW, "created")
    holder = sqlite3.connect(tmp_path / "gateway.sqlite", isolation_level=None)
    database.engine.dispose()

    @event.listens_for(database.engine, "connect")
    def impatient(connection, _record):
        connection.execute("PRAGMA busy_timeout=20")

    holder.execute("BEGIN EXCLUSIVE")
    store.update_session_soon(1, reason="first")
    store.update_session_soon(1, reason="second")
    with pytest.raises(StoreUnavailable, match="Try again shortly"):
        await store.add_statement(_statement(0))
    assert not store.healthy
    holder.execute("COMMIT")
    await until(lambda: store.healthy)
    (session,) = await store.shown_sessions()
    assert session.reason == "second"
    assert await store.statement_range(1, 0, 9) == []
    await database.close()


async def test_a_full_disk_is_told_as_such_and_heals(tmp_path):
    database = Database(database_url(None, tmp_path, None))
    database.prepare()
    database.open()
    store = Store(database)
    await store.add_session(NEW, "created")
    # What a full disk does to SQLite: it may use no further page. One connection serves the writer.
    await database.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=1"))
    with pytest.raises(StoreUnavailable, match="disk of the gateway's database is full"):
        await store.add_statement(_statement(0, output="x" * 100_000))
    assert not store.healthy
    assert await store.statement_range(1, 0, 9) == []
    database.write_soon(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=100000"))
    await until(lambda: store.healthy)
    await store.add_statement(_statement(0, output="x" * 100_000))
    await database.close()


async def test_a_connection_that_died_is_replaced_without_anyone_noticing(at, postgres):
    await at.add_session(NEW, "created")
    assert len(await at.shown_sessions()) == 1
    with postgres.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'sparkyard%'")
    await at.add_statement(_statement(0))
    assert len(await at.shown_sessions()) == 1


async def test_a_server_that_is_stopped_and_started_again(at, postgres):
    number = await at.add_session(NEW, "created")
    postgres.stop()
    try:
        written = []
        at.update_session_soon(number, reason="kept", written=lambda: written.append(1))
        with pytest.raises(StoreUnavailable):
            await at.add_statement(_statement(0))
        with pytest.raises(StoreUnavailable):
            await at.shown_sessions()
    finally:
        postgres.start()
    await until(lambda: written and at.healthy)
    (session,) = await at.shown_sessions()
    assert session.reason == "kept"
    assert written == [1]
    await at.add_statement(_statement(0))


async def test_health_returns_by_itself_although_nothing_else_is_to_be_written(at, postgres):
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            await at.add_session(NEW, "created")
    finally:
        postgres.start()
    await until(lambda: at.healthy)


async def test_a_server_that_falls_silent_is_told_in_seconds_and_what_it_still_does_is_taken_back(
    at, postgres, monkeypatch
):
    monkeypatch.setattr(database_module, "ANSWER_SECONDS", 0.5)
    number = await at.add_session(NEW, "created")
    postgres.freeze()
    try:
        # On its way to the server when the caller is told; the server does it once it wakes.
        with pytest.raises(StoreUnavailable):
            await at.add_statement(_statement(0))
        with pytest.raises(StoreUnavailable):
            await at.shown_sessions()
        # This one never left.
        with pytest.raises(StoreUnavailable):
            await at.add_statement(_statement(1))
        at.update_session_soon(number, reason="kept")
    finally:
        postgres.thaw()
    monkeypatch.undo()
    await until(lambda: at.healthy)
    await at.update_session(number, app_id="in order")
    assert await at.statement_range(number, 0, 9) == []
    (session,) = await at.shown_sessions()
    assert session.reason == "kept"
    await at.add_statement(_statement(0))


class LosesTheAnswer:
    """A connection that dies just before or just after the server's commit, which the client cannot tell apart."""

    def __init__(self, store: Store, postgres, *, before: bool) -> None:
        self._postgres = postgres
        self._before = before
        self._dialect = store._database.engine.dialect
        self._commit = self._dialect.do_commit
        self._dialect.do_commit = self.do_commit
        self.armed = False

    def do_commit(self, connection):
        if not self.armed:
            return self._commit(connection)
        self.armed = False
        if not self._before:
            self._commit(connection)
        with self._postgres.connect() as admin:
            backend = connection.dbapi_connection.info.backend_pid
            admin.execute("SELECT pg_terminate_backend(%s)", (backend,))
            while admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchone():
                time.sleep(0.01)
        if not self._before:
            # psycopg says nothing to a server where no transaction is open: have it notice.
            connection.cursor().execute("SELECT 1")
        return self._commit(connection)


@pytest.mark.parametrize("before", [True, False])
async def test_a_commit_that_was_not_answered_is_neither_lost_nor_done_twice(at, postgres, before):
    number = await at.add_session(NEW, "created")
    trouble = LosesTheAnswer(at, postgres, before=before)
    trouble.armed = True
    written = []
    ready = Event(at=2, session_id=number, event="ready")
    at.update_session_soon(number, reason="once", event=ready, written=lambda: written.append(1))
    await until(lambda: written)
    assert [each.event for each in await at.session_events(number)] == ["created", "ready"]
    assert written == [1]


async def taken_back(store: Store) -> None:
    """What was to be taken back has been: it comes before any later change."""
    await until(lambda: store.healthy)
    await store._database.write(lambda _connection: None)


@pytest.mark.parametrize("before", [True, False])
async def test_what_was_called_failed_and_was_committed_after_all_is_taken_back(at, postgres, before):
    number = await at.add_session(NEW, "created")
    trouble = LosesTheAnswer(at, postgres, before=before)
    trouble.armed = True
    with pytest.raises(StoreUnavailable):
        await at.add_statement(_statement(0))
    await taken_back(at)
    await at.add_statement(_statement(0))
    assert [each.id for each in await at.statement_range(number, 0, 9)] == [0]
    trouble.armed = True
    with pytest.raises(StoreUnavailable):
        await at.remove_session(number, 5)
    await taken_back(at)
    assert [each.id for each in await at.shown_sessions()] == [number]
    trouble.armed = True
    with pytest.raises(StoreUnavailable):
        await at.add_session(dataclasses.replace(NEW, name="second"), "created")
    await taken_back(at)
    with at._database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 1


@pytest.mark.parametrize("before", [True, False])
async def test_a_taking_that_was_called_failed_is_taken_back(at, postgres, before):
    number = await at.add_session(WARM, "created")
    free = await at.session(number)
    trouble = LosesTheAnswer(at, postgres, before=before)
    trouble.armed = True
    with pytest.raises(StoreUnavailable):
        await at.take_session(number, TAKING)
    await taken_back(at)
    assert await at.session(number) == free
    assert [each.event for each in await at.session_events(number)] == ["created"]
    assert await at.take_session(number, TAKING)
