"""The warm pool, told by what clients see of it: a session that is idle at once, and nothing before."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.hub_stand_in import HubStandIn
from support.running_gateway import RunningGateway
from support.waiting import until

from .conftest import CATALOG, SIMULATED, client, new_session, run
from .test_sessions import alive, driver_pid

GIB = 1024**3
EVERYBODY = ("alice", "ada", "lee", "olga", "etl")


def catalog(warm: int, **change: str) -> str:
    text = CATALOG + f"    sessions: {{warm: {warm}, idle_timeout: {{default: 1h, max: 12h}}}}\n"
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Yard:
    """A gateway with a warm pool, and what a test wants to know of it."""

    def __init__(self, folder: Path, gateway: RunningGateway) -> None:
        self.folder = folder
        self.gateway = gateway
        self._before: dict[str, float] = {}

    def edit(self, text: str) -> None:
        """As an admin saves the catalog."""
        new = self.folder / "catalog.new"
        new.write_text(text)
        new.replace(self.folder / "catalog.yaml")

    def memory(self, free: float) -> None:
        new = self.folder / "memory.new"
        new.write_text(str(free))
        new.replace(self.folder / "memory")

    def metrics(self) -> dict[str, float]:
        lines = httpx.get(f"{self.gateway.url}/metrics", timeout=30).text.splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name.removeprefix("sparkyard_gateway_"): float(value) for name, _, value in pairs}

    def count_from_here(self) -> None:
        self._before = self.metrics()

    def counted(self, name: str) -> float:
        """By how much a counter has grown in this test."""
        return self.metrics().get(name, 0.0) - self._before.get(name, 0.0)

    @property
    def idle(self) -> float:
        return self.metrics().get('warm_drivers_idle{profile="small"}', 0)

    def until_idle(self, count: int) -> None:
        until(lambda: self.idle == count)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"file:{self.folder}/state/gateway.sqlite?mode=ro", uri=True, timeout=30) as database:
            return database.execute(query).fetchall()

    def nobodys(self) -> list[int]:
        """The sessions that are nobody's, and live."""
        query = "SELECT id FROM sessions WHERE owner = '' AND ended_at IS NULL AND removed_at IS NULL ORDER BY id"
        return [int(str(number)) for (number,) in self.rows(query)]

    def pids(self) -> dict[int, int]:
        """The drivers' processes, by session."""
        rows = self.rows("SELECT id, json_extract(handle, '$.pid') FROM sessions WHERE ended_at IS NULL")
        return {int(str(number)): int(str(pid)) for number, pid in rows if pid is not None}


@pytest.fixture(scope="module")
def shared(hub: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    (folder / "catalog.yaml").write_text(catalog(1))
    (folder / "memory").write_text(str(64 * GIB))
    gateway = RunningGateway(
        folder, hub.url, "--driver-program", str(SIMULATED), "--catalog", str(folder / "catalog.yaml"),
        "--stop-drivers-on-exit", "--sweep-seconds", "0.1", "--identity-ttl-seconds", "1", "--max-sessions", "6",
        module="support.gateway_with_memory", forked=True,
    )  # fmt: skip
    gateway.extra_environment = {"SPARKYARD_TEST_MEMORY": str(folder / "memory")}
    gateway.start()
    yield Yard(folder, gateway)
    gateway.stop()


@pytest.fixture
def yard(shared: Yard) -> Yard:
    """The gateway with one warm driver, and nothing else that lives."""
    shared.edit(catalog(1))
    shared.memory(64 * GIB)
    for name in ("alice", "bob"):
        with client(shared.gateway, f"token-of-{name}") as asking:
            for session in asking.get("/sessions").json()["sessions"]:
                asking.delete(f"/sessions/{session['id']}")
    shared.until_idle(1)
    until(lambda: shared.rows("SELECT count(*) FROM sessions WHERE ended_at IS NULL")[0][0] == 1)
    shared.count_from_here()
    return shared


@pytest.fixture
def alice(yard: Yard) -> Iterator[httpx.Client]:
    with client(yard.gateway, "token-of-alice") as made:
        yield made


def test_a_session_that_takes_a_warm_driver_is_idle_in_the_answer_of_the_post(yard, alice):
    (warm,) = yard.nobodys()
    made = alice.post("/sessions", json={"kind": "pyspark", "name": "first", "idleTimeout": "10m"})
    assert made.status_code == 201
    session = made.json()
    assert (session["id"], session["state"], session["owner"]) == (warm, "idle", "alice")
    assert (session["name"], session["kind"], session["idleTimeout"]) == ("first", "pyspark", "10m")
    assert (session["appId"], session["proxyUser"]) == ("local-1", "alice")
    assert run(alice, warm, "6 * 7")["output"]["data"]["text/plain"] == "42"
    assert run(alice, warm, "os.environ['USER']")["output"]["data"]["text/plain"] == "'alice'"
    assert alice.get("/sessions/first").json()["id"] == warm
    events = [event for (event,) in yard.rows(f"SELECT event FROM events WHERE session_id = {warm} ORDER BY id")]
    assert events == ["created", "started", "ready", "taken"]
    assert yard.counted('warm_hits_total{profile="small"}') == 1
    assert yard.counted('session_starts_total{outcome="ready",profile="small"}') == 1


def test_the_pool_is_refilled_and_what_was_used_is_never_given_to_another(yard, alice):
    used = []
    for _ in range(3):
        yard.until_idle(1)
        session = alice.post("/sessions", json={"kind": "pyspark"}).json()
        assert session["state"] == "idle"
        used.append((session["id"], driver_pid(alice, session["id"])))
        assert alice.delete(f"/sessions/{session['id']}").status_code == 200
    assert len({number for number, _ in used}) == len({pid for _, pid in used}) == 3
    for number, pid in used:
        until(lambda pid=pid: not alive(pid))
        assert number not in yard.nobodys()


def test_two_at_once_never_get_the_same(yard):
    yard.edit(catalog(3))
    yard.until_idle(3)
    names = ["alice", "bob"] * 3
    ready = threading.Barrier(len(names))

    def ask(name: str) -> tuple[str, int]:
        with client(yard.gateway, f"token-of-{name}") as asking:
            ready.wait()
            return name, asking.post("/sessions", json={"kind": "pyspark"}).json()["id"]

    with ThreadPoolExecutor(len(names)) as threads:
        made = list(threads.map(ask, names))
    assert len({number for _, number in made}) == len(names)
    for name, number in made:
        with client(yard.gateway, f"token-of-{name}") as asking:
            answer = asking.get(f"/sessions/{number}?wait=60&state=starting").json()
            assert (answer["owner"], answer["state"]) == (name, "idle")
            assert run(asking, number, "bootstrap['session']")["output"]["data"]["text/plain"] == str(number)
    hits = yard.counted('warm_hits_total{profile="small"}')
    misses = yard.counted('warm_misses_total{profile="small",reason="empty"}')
    assert hits >= 3
    assert hits + misses == len(names)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"conf": {"spark.sql.shuffle.partitions": "7"}}, "other_settings"),
        ({"driverMemory": "1g"}, "other_settings"),
        ({"warm": False}, "declined"),
    ],
)
def test_who_asks_for_something_else_gets_a_driver_of_their_own(yard, alice, wish, reason):
    (warm,) = yard.nobodys()
    session = alice.post("/sessions", json={"kind": "pyspark", **wish}).json()
    assert session["id"] != warm
    assert yard.nobodys() == [warm]
    assert alice.get(f"/sessions/{session['id']}?wait=60&state=starting").json()["state"] == "idle"
    assert yard.counted(f'warm_misses_total{{profile="small",reason="{reason}"}}') == 1


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_sees_a_warm_driver(yard, person):
    (warm,) = yard.nobodys()
    with client(yard.gateway, f"token-of-{person}") as asking:
        unknown = asking.get("/sessions/999999")
        assert unknown.status_code == 404
        assert asking.get("/sessions").json()["total"] == 0
        code, completion = {"code": "1", "kind": "pyspark"}, {"code": "1", "kind": "pyspark", "cursor": 1}
        for method, path, body in [
            ("GET", "", None), ("GET", "/state", None), ("GET", "/log", None), ("GET", "/statements", None),
            ("GET", "/statements/0", None), ("GET", "/record", None), ("GET", "/record/log", None),
            ("GET", "/exception", None), ("POST", "/statements", code), ("POST", "/completion", completion),
            ("POST", "/connect", None), ("POST", "/interrupt", None), ("POST", "/stop", None),
            ("POST", "/statements/0/cancel", None), ("DELETE", "", None),
        ]:  # fmt: skip
            answer = asking.request(method, f"/sessions/{warm}{path}", json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.text == unknown.text.replace("999999", str(warm))
    assert yard.nobodys() == [warm]
    assert yard.metrics()['sessions{state="idle"}'] == 0


def test_warm_drivers_count_in_no_limit(yard, alice):
    yard.edit(catalog(3))
    yard.until_idle(3)
    assert [alice.post("/sessions", json={}).status_code for _ in range(6)] == [201] * 6
    refused = alice.post("/sessions", json={})
    assert refused.status_code == 400
    assert "at most 6 at a time" in refused.json()["msg"]
    for session in alice.get("/sessions").json()["sessions"]:
        alice.delete(f"/sessions/{session['id']}")
    yard.until_idle(3)


def test_a_name_or_a_key_that_is_taken_takes_no_driver(yard, alice):
    first = alice.post("/sessions", json={"name": "once"}, headers={"Idempotency-Key": "k"}).json()
    yard.until_idle(1)
    (warm,) = yard.nobodys()
    assert alice.post("/sessions", json={"name": "other"}, headers={"Idempotency-Key": "k"}).json()["id"] == first["id"]
    refused = alice.post("/sessions", json={"name": "once"})
    assert refused.status_code == 400
    assert "Duplicate session name" in refused.json()["msg"]
    assert yard.nobodys() == [warm]


def test_no_timeout_runs_before_it_is_taken(yard, alice):
    yard.edit(catalog(1, **{"default: 1h": "default: 1s"}))
    (warm,) = yard.nobodys()
    born = yard.rows(f"SELECT ready_at FROM sessions WHERE id = {warm}")[0][0]
    until(lambda: yard.rows(f"SELECT strftime('%s', 'now') * 1000 - {born} > 3000")[0][0] == 1)
    assert yard.nobodys() == [warm]
    assert alice.post("/sessions", json={}).json()["id"] == warm
    dead = until(lambda: (found := alice.get(f"/sessions/{warm}").json())["state"] == "dead" and found)
    assert "its idle timeout" in dead["stateReason"]


def test_after_a_killed_gateway_warm_drivers_are_as_warm_as_before(yard, alice):
    session = alice.post(
        "/sessions", json={"kind": "pyspark", "name": "mine"}, headers={"Idempotency-Key": "key"}
    ).json()["id"]
    yard.until_idle(1)
    (warm,) = yard.nobodys()
    pids = yard.pids()
    yard.gateway.kill()
    yard.gateway.start()
    again = alice.post("/sessions", json={}, headers={"Idempotency-Key": "key"}).json()
    assert (again["id"], again["name"], again["owner"]) == (session, "mine", "alice")
    yard.until_idle(1)
    assert yard.nobodys() == [warm]
    assert run(alice, session, "os.getpid()")["output"]["data"]["text/plain"] == str(pids[session])
    with client(yard.gateway, "token-of-bob") as bob:
        made = bob.post("/sessions", json={"kind": "pyspark"}).json()
        assert (made["id"], made["owner"], made["state"]) == (warm, "bob", "idle")
        assert driver_pid(bob, warm) == pids[warm]


def test_killed_in_the_midst_of_takings_none_is_lost_or_given_twice(yard):
    yard.edit(catalog(4))
    yard.until_idle(4)
    (last,) = yard.rows("SELECT max(id) FROM events")[0]
    killed = threading.Event()

    def name_of(number: int) -> str:
        return ("alice", "bob")[number % 2]

    def ask(number: int) -> int:
        """As a client does that won't give up."""
        with client(yard.gateway, f"token-of-{name_of(number)}") as asking:
            while True:
                try:
                    answer = asking.post(
                        "/sessions", json={"kind": "pyspark"}, headers={"Idempotency-Key": f"key-{number}"}
                    )
                except httpx.TransportError:
                    assert killed.wait(120)
                else:
                    assert answer.status_code == 201, answer.text
                    session: int = answer.json()["id"]
                    return session

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask, number) for number in range(6)]
        until(lambda: yard.rows(f"SELECT count(*) FROM events WHERE event = 'taken' AND id > {last}")[0][0] >= 1)
        yard.gateway.kill()
        yard.gateway.start()
        killed.set()
        made = [each.result() for each in asked]
    assert len(set(made)) == 6
    for number, session in enumerate(made):
        with client(yard.gateway, f"token-of-{name_of(number)}") as asking:
            found = asking.get(f"/sessions/{session}?wait=60&state=starting").json()
            assert (found["state"], found["owner"]) == ("idle", name_of(number))
            assert run(asking, session, "os.environ['USER']")["output"]["data"]["text/plain"] == f"'{name_of(number)}'"
            assert run(asking, session, "bootstrap['session']")["output"]["data"]["text/plain"] == str(session)
    owned = yard.rows("SELECT idempotency_key, count(*) FROM sessions WHERE idempotency_key LIKE 'key-%' GROUP BY 1")
    assert sorted(owned) == [(f"key-{number}", 1) for number in range(6)]
    taken = yard.rows("SELECT session_id, count(*) FROM events WHERE event = 'taken' GROUP BY 1 HAVING count(*) > 1")
    assert taken == []
    yard.until_idle(4)
    assert len(yard.nobodys()) == 4


def test_an_edited_catalog_replaces_and_ends_warm_drivers(yard, alice):
    (first,) = yard.nobodys()
    pid = yard.pids()[first]
    yard.edit(catalog(1, **{"memory: {default: 512m": "memory: {default: 600m"}))
    until(lambda: yard.nobodys() not in ([first], []))
    until(lambda: not alive(pid))
    yard.until_idle(1)
    (second,) = yard.nobodys()
    assert second > first
    assert alice.post("/sessions", json={}).json()["id"] == second
    yard.until_idle(1)
    yard.edit(catalog(0))
    until(lambda: yard.nobodys() == [])
    assert alice.get(f"/sessions/{second}").json()["state"] == "idle"
    assert alice.post("/sessions", json={}).json()["state"] == "starting"
    assert yard.counted('warm_failures_total{profile="small"}') == 0


def test_the_pool_shrinks_when_memory_is_short_and_grows_again(yard, alice):
    yard.edit(catalog(3))
    yard.until_idle(3)
    mine = new_session(alice)
    yard.until_idle(3)
    pids = [yard.pids()[number] for number in yard.nobodys()]
    yard.memory(1 * GIB)
    until(lambda: yard.nobodys() == [])
    until(lambda: not any(map(alive, pids)))
    assert yard.metrics()['warm_drivers_wanted{profile="small"}'] == 3
    assert alice.get(f"/sessions/{mine}").json()["state"] == "idle"
    assert alice.post("/sessions", json={}).json()["state"] == "starting"
    assert yard.counted('warm_misses_total{profile="small",reason="empty"}') == 1
    yard.memory(64 * GIB)
    yard.until_idle(3)


def test_a_warm_driver_that_dies_is_replaced_and_never_given_out(yard, alice):
    (first,) = yard.nobodys()
    os.kill(yard.pids()[first], signal.SIGKILL)
    until(lambda: yard.counted('warm_failures_total{profile="small"}') == 1)
    until(lambda: yard.nobodys() not in ([first], []))
    yard.until_idle(1)
    assert alice.post("/sessions", json={}).json()["id"] > first
    assert yard.counted('sessions_died_total{profile="small"}') == 0


def test_a_profile_whose_drivers_cannot_start_is_left_in_peace_for_longer_each_time(yard):
    (last,) = yard.nobodys()
    python = 'ref: sparkyard/spark:3.5, local: {python: "{venv}/bin/python"}'
    yard.edit(catalog(1, **{python: python.replace("{venv}/bin", "/nowhere")}))
    until(lambda: yard.counted('warm_failures_total{profile="small"}') >= 2)
    first, second, *_ = (int(str(at)) for (at,) in yard.rows(f"SELECT created_at FROM sessions WHERE id > {last}"))
    assert second - first >= 4900
    yard.edit(catalog(1))
    yard.until_idle(1)


def test_the_metrics_count_no_warm_driver_as_a_session(yard, alice):
    alice.delete(f"/sessions/{new_session(alice)}")
    yard.until_idle(1)
    metrics = yard.metrics()
    assert sum(value for name, value in metrics.items() if name.startswith("sessions{")) <= 1  # while it is ending
    assert yard.counted('sessions_created_total{profile="small"}') == 1
    assert yard.counted('session_starts_total{outcome="ready",profile="small"}') == 1
    assert yard.counted("session_start_seconds_count") == 1
    assert metrics['warm_drivers_idle{profile="small"}'] == metrics['warm_drivers_wanted{profile="small"}'] == 1
