"""The store, on SQLite and on PostgreSQL: written in order, once, and brought up to its version."""

import asyncio
import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from sparkyard_gateway.errors import StoreUnavailable
from sparkyard_gateway.store import migrations
from sparkyard_gateway.store.batch_models import BatchEvent, NewBatch
from sparkyard_gateway.store.batches import BatchStore
from sparkyard_gateway.store.database import Database, database_url
from sparkyard_gateway.store.models import NOBODY, Event, NewSession, StatementRecord, Taking, metadata
from sparkyard_gateway.store.repository import DuplicateError, Store

NEW = NewSession(
    owner="alice", team=None, name="n", kind="pyspark", profile="small", backend="local", request={}, spec={},
    state="starting", token_hash="h", gateway="g", idempotency_key=None, created_at=1, active_at=1,
)  # fmt: skip

WARM = dataclasses.replace(NEW, owner=NOBODY, name=None, kind="shared", state="idle")
TAKING = Taking(
    owner="alice", team="ours", name="n", kind="pyspark", request={"name": "n"}, spec={"warm": True},
    idempotency_key="k", created_at=5, ready_at=5, active_at=5,
)  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Where an empty database is."""
    if request.param == "sqlite":
        return database_url(None, tmp_path, None)
    postgres = request.getfixturevalue("postgres")
    return database_url(postgres.url(postgres.new_database()), tmp_path, None)


@pytest.fixture
async def database(url):
    made = Database(url)
    made.prepare()
    made.open()
    yield made
    await made.close()


@pytest.fixture
def store(database):
    return Store(database)


def _statement(number: int, **values) -> StatementRecord:
    known = {"session_id": 1, "kind": "pyspark", "code": "1", "state": "waiting", "created_at": 1}
    return StatementRecord(id=number, **{**known, **values})


def test_the_versions_lead_to_the_tables_of_the_models(url):
    made = Database(url)
    assert migrations.upgrade(made.engine)
    assert not migrations.upgrade(made.engine)
    with made.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    made.engine.dispose()
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [migrations.HEAD]


def test_a_database_of_a_later_version_is_not_touched(url):
    made = Database(url)
    migrations.upgrade(made.engine)
    with made.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="9999, and this gateway knows none later"):
        made.prepare()
    made.engine.dispose()


def test_gateways_that_start_at_once_bring_it_up_to_its_version_once(postgres, tmp_path):
    url = database_url(postgres.url(postgres.new_database()), tmp_path, None)
    together = threading.Barrier(4)

    def prepare(_number):
        made = Database(url)
        together.wait()
        made.prepare()
        made.engine.dispose()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(prepare, range(4))) == [None] * 4


def test_a_file_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "gateway.sqlite").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        Database(database_url(None, tmp_path, None)).prepare()


def test_a_server_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"cannot be used: .*No such file"):
        Database(database_url(f"postgresql://sparkyard@/nosuch?host={tmp_path}", tmp_path, None)).prepare()


async def test_ids_are_never_used_twice(store, database):
    first = await store.add_session(NEW, "created")
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM events"))
        connection.execute(text("DELETE FROM sessions"))
    assert await store.add_session(NEW, "created") == first + 1


async def test_a_name_is_unique_among_an_owners_running_sessions(store):
    first = await store.add_session(NEW, "created")
    with pytest.raises(DuplicateError):
        await store.add_session(NEW, "created")
    await store.add_session(dataclasses.replace(NEW, owner="bob"), "created")
    await store.add_session(dataclasses.replace(NEW, name=None), "created")
    await store.update_session(first, ended_at=5)
    await store.add_session(NEW, "created")


async def test_a_warm_driver_is_taken_once_whoever_asks_at_the_same_moment(store, url):
    other = Database(url)
    other.open()
    # Gateways side by side have a PostgreSQL.
    stores = (store, Store(other)) if url.get_backend_name() != "sqlite" else (store, store)
    for _ in range(10):
        number = await store.add_session(WARM, "created")
        takings = [
            dataclasses.replace(TAKING, owner=name, name=None, idempotency_key=None)
            for name in ("alice", "bob", "ada", "lee")
        ]
        taken = await asyncio.gather(*(stores[at % 2].take_session(number, each) for at, each in enumerate(takings)))
        assert sorted(taken) == [False, False, False, True]
        row = await store.session(number)
        assert row.owner == takings[taken.index(True)].owner
        assert [each.event for each in await store.session_events(number)] == ["created", "taken"]
    await other.close()


async def test_what_is_taken_is_its_owners_in_everything(store):
    number = await store.add_session(WARM, "created")
    assert await store.take_session(number, TAKING)
    row = await store.session(number)
    assert dataclasses.asdict(TAKING).items() <= dataclasses.asdict(row).items()
    assert await store.of_key("alice", "k") == number


@pytest.mark.parametrize(
    "values", [{"state": "starting"}, {"state": "shutting_down"}, {"ended_at": 3}, {"removed_at": 3}, {"owner": "bob"}]
)
async def test_what_is_not_idle_and_nobodys_cannot_be_taken(store, values):
    number = await store.add_session(WARM, "created")
    await store.update_session(number, **values)
    before = await store.session(number)
    assert not await store.take_session(number, TAKING)
    assert await store.session(number) == before


@pytest.mark.parametrize("values", [{"name": "n"}, {"idempotency_key": "k"}])
async def test_a_name_or_a_key_that_is_taken_takes_no_driver(store, values):
    await store.add_session(dataclasses.replace(NEW, **{"name": None, **values}), "created")
    number = await store.add_session(WARM, "created")
    before = await store.session(number)
    with pytest.raises(DuplicateError):
        await store.take_session(number, TAKING)
    assert await store.session(number) == before


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


async def test_a_change_that_cannot_be_ends_neither_the_writer_nor_its_neighbours(store, database):
    def stumbles(_connection):
        raise ValueError("a mistake of ours")

    number = await store.add_session(NEW, "created")
    database.write_soon(stumbles)
    store.update_session_soon(number, reason="after it")
    with pytest.raises(ValueError, match="a mistake of ours"):
        await database.write(stumbles)
    assert database.healthy
    (session,) = await store.shown_sessions()
    assert session.reason == "after it"


async def test_what_a_driver_says_cannot_make_a_change_impossible(store):
    number = await store.add_session(NEW, "created")
    await store.add_statement(_statement(0))
    written = asyncio.Event()
    hostile = json.loads('{"ms": NaN, "more": [Infinity, "\\u0000"]}')
    store.update_session_soon(
        number,
        reason="the end\0" * 2,
        app_id="x" * 4096,
        spark_version="\0" * 100,
        event=Event(at=2, session_id=number, event="ready", detail=hostile),
    )
    store.finish_statement_soon(_statement(0, output='{"a":"\0"}', state="available"), written=written.set)
    await asyncio.wait_for(written.wait(), 10)
    (session,) = await store.shown_sessions()
    assert (session.reason, session.app_id) == ("the end\N{REPLACEMENT CHARACTER}" * 2, "x" * 255)
    assert (await store.session_events(number))[1].detail == {"ms": None, "more": [None, "\0"]}
    assert (await store.statement(number, 0)).state == "available"


async def test_an_outcome_and_its_acknowledgement_are_one(store):
    await store.add_session(NEW, "created")
    await store.add_statement(_statement(0))
    written = asyncio.Event()
    store.finish_statement_soon(_statement(0, output="{}"), acked=7, written=written.set)
    await asyncio.wait_for(written.wait(), 2)
    (session,) = await store.shown_sessions()
    assert session.acked == 7
    assert (await store.statement(1, 0)).output == "{}"


async def test_closing_writes_what_is_queued(url):
    made = Database(url)
    made.prepare()
    made.open()
    store = Store(made)
    await store.add_session(NEW, "created")
    for number in range(200):
        store.update_session_soon(1, reason=str(number), event=Event(at=number, session_id=1, event="e"))
    await made.close()
    again = Database(url)
    with again.engine.connect() as connection:
        assert connection.execute(text("SELECT reason FROM sessions")).scalar() == "199"
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 201
    again.engine.dispose()


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
    url = database_url("postgresql://sparkyard@db/sparkyard", tmp_path, tmp_path / "password")
    assert (url.password, url.drivername) == ("s3cret", "postgresql+psycopg")
    assert "s3cret" not in str(url)


async def test_sqlite_runs_with_a_write_ahead_log(tmp_path):
    made = Database(database_url(None, tmp_path, None))
    made.prepare()
    with made.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert {path.name for path in tmp_path.iterdir()} >= {"gateway.sqlite", "gateway.sqlite-wal"}
    made.engine.dispose()


BATCH = NewBatch(
    owner="alice", team=None, name="nightly", profile="small", backend="local", request={"file": "f"}, spec={},
    state="starting", gateway="g", idempotency_key="k", created_at=1,
)  # fmt: skip


async def test_a_batch_has_an_attempt_of_its_own_row_and_events(database):
    store = BatchStore(database)
    number, attempt = await store.add(BATCH, "created")
    with pytest.raises(DuplicateError):
        await store.add(dataclasses.replace(BATCH, idempotency_key=None), "created")
    with pytest.raises(DuplicateError):
        await store.add(dataclasses.replace(BATCH, name=None), "created")
    written = asyncio.Event()
    ended = BatchEvent(at=9, batch_id=number, event="ended", detail={"code": 1})
    store.update_soon(
        number, attempt=attempt, attempted={"handle": {"pid": 1}, "exit_code": 1}, state="dead", ended_at=9,
        event=ended, written=written.set,
    )  # fmt: skip
    await asyncio.wait_for(written.wait(), 10)
    (record,) = await store.shown()
    assert (record.id, record.state, record.request) == (number, "dead", {"file": "f"})
    assert (record.attempt.id, record.attempt.handle, record.attempt.exit_code) == (attempt, {"pid": 1}, 1)
    assert [each.number for each in await store.attempts_of(number)] == [1]
    assert [each.event for each in await store.events_of(number)] == ["created", "ended"]
    # The name is free again, the key is not.
    other, _ = await store.add(dataclasses.replace(BATCH, idempotency_key=None), "created")
    assert await store.of_key("alice", "k") == number
    await store.update(other, removed_at=10)
    assert [each.id for each in await store.shown()] == [number]
    assert [each.id for each in await store.removed_and_running()] == [other]
