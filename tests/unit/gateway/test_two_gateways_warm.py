"""Two gateways on one PostgreSQL, each with warm drivers: what is nobody's stays so, and what is taken its owner's."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from support.running_gateway import RunningGateway

from .conftest import client, run
from .test_outages import value
from .test_pool import catalog
from .test_sessions import alive, driver_pid, until
from .test_two_gateways import knows, taken_over


def idle(gateway: RunningGateway) -> list[int]:
    """How many warm drivers this gateway has to give."""
    text = httpx.get(f"{gateway.url}/metrics", timeout=30).text
    return [int(float(each)) for each in re.findall(r'_warm_drivers_idle{profile="small"} (\S+)', text)]


class Pair(tuple[RunningGateway, RunningGateway]):
    """Gateways `a` and `b`, and what stands in their database."""

    rows: Callable[[str], list[tuple[Any, ...]]]

    def nobodys(self) -> dict[int, tuple[str, int]]:
        """The drivers that are nobody's, with the gateway they belong to and their process."""
        query = "SELECT id, gateway, handle->>'pid' FROM sessions WHERE owner = '' AND ended_at IS NULL"
        return {number: (name, int(pid or 0)) for number, name, pid in self.rows(query)}


@pytest.fixture
def pair(start_mortal, postgres, tmp_path, request):
    (tmp_path / "catalog.yaml").write_text(catalog(1))
    lease, *options = getattr(request, "param", (100.0,))
    database = postgres.new_database()
    shared = ("--database-url", postgres.url(database), "--lease-seconds", str(lease), "--warm-memory-free-mib", "0")
    both = Pair(start_mortal(*shared, *options, "--instance", name, log=name) for name in ("a", "b"))
    for each, other in (both, both[::-1]):
        until(lambda each=each, other=other: knows(each, other))  # asks with a session, which takes a warm driver
    for each in both:
        until(lambda each=each: idle(each) == [1])
    with postgres.connect(database) as connection:
        both.rows = lambda query: connection.execute(query).fetchall()
        yield both


@pytest.mark.parametrize("pair", [(100.0, "--max-sessions-per-user", "2", "--max-sessions", "3")], indirect=True)
def test_each_keeps_its_own_which_count_when_they_are_taken(pair):
    with client(pair[0], "token-of-alice") as at_a, client(pair[1], "token-of-alice") as at_b:
        first = at_a.post("/sessions", json={"kind": "pyspark"}).json()
        second = at_b.post("/sessions", json={"kind": "pyspark"}).json()
        assert [each["state"] for each in (first, second)] == ["idle", "idle"]
        assert first["id"] != second["id"]
        for alice in (at_a, at_b):
            assert alice.get("/sessions").json()["total"] == 2
            for each in (first, second):
                assert value(run(alice, each["id"], "os.environ['USER']")) == "'alice'"
        for each in pair:
            until(lambda each=each: idle(each) == [1])
        assert "at most 2" in at_b.post("/sessions", json={"kind": "pyspark"}).json()["msg"]
    with client(pair[0], "token-of-bob") as bob, client(pair[1], "token-of-ada") as ada:
        assert bob.post("/sessions", json={"kind": "pyspark"}).status_code == 201
        assert "at most 3" in ada.post("/sessions", json={"kind": "pyspark"}).json()["msg"]
        # An admin sees three sessions at either, and no warm driver, whosever gateway has it.
        assert ada.get("/sessions").json()["total"] == 3
        seen = {each["id"] for each in ada.get("/sessions").json()["sessions"]}
        for number in range(1, max(seen) + 3):
            assert (ada.get(f"/sessions/{number}").status_code == 200) == (number in seen)


def test_one_key_at_both_takes_one(pair):
    with client(pair[0], "token-of-alice") as at_a, client(pair[1], "token-of-alice") as at_b:
        key = {"Idempotency-Key": "once"}
        ask = (at_a, at_b) * 3
        with ThreadPoolExecutor(len(ask)) as threads:
            made = list(threads.map(lambda who: who.post("/sessions", json={"kind": "pyspark"}, headers=key), ask))
        assert {each.status_code for each in made} == {201}
        assert len({each.json()["id"] for each in made}) == 1
        assert at_a.get("/sessions").json()["total"] == at_b.get("/sessions").json()["total"] == 1


@pytest.mark.parametrize("pair", [(4.0,)], indirect=True)
def test_a_killed_gateway_leaves_its_warm_drivers_and_what_was_taken_to_the_other(pair):
    a, b = pair
    with client(a, "token-of-alice") as at_a, client(b, "token-of-alice") as at_b, client(b, "token-of-bob") as bob:
        key = {"Idempotency-Key": "mine"}
        mine = at_a.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"]
        pid = driver_pid(at_a, mine)
        until(lambda: idle(a) == [1])
        left = {number for number, (name, _) in pair.nobodys().items() if name == "a"}
        a.kill()
        taken_over(b, mine)
        assert at_b.post("/sessions", json={"kind": "pyspark"}, headers=key).json()["id"] == mine
        assert driver_pid(at_b, mine) == pid
        assert value(run(at_b, mine, "os.environ['USER']")) == "'alice'"
        # One is enough for the gateway that is left, be it its own or the other's; what is too much ends.
        until(lambda: [name for name, _ in pair.nobodys().values()] == ["b"])
        until(lambda: idle(b) == [1])
        ((kept, (_, warm)),) = pair.nobodys().items()
        theirs = bob.post("/sessions", json={"kind": "pyspark"}).json()
        assert (theirs["id"], theirs["state"], theirs["owner"]) == (kept, "idle", "bob")
        assert driver_pid(bob, kept) == warm != pid
        assert alive(pid)
        # The killed one comes back, and keeps one again.
        a.start()
        until(lambda: idle(a) == idle(b) == [1])
        assert mine not in pair.nobodys()
        assert left.isdisjoint(number for number, (name, _) in pair.nobodys().items() if name == "a")
