"""The backend for an upstream Livy, when that one does what the real one won't do on demand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import livy, upstream_rounds
from sparkyard_gateway.backends.base import BackendAway, BackendError, DriverOrder, Ended
from sparkyard_gateway.backends.livy import LivyBackend
from sparkyard_gateway.backends.submission import Terms, batch_name
from sparkyard_gateway.backends.upstream import UpstreamAway, UpstreamRefused
from support.waiting import until_async as until

NAME = batch_name("n", 7, 1)


class ScriptedUpstream:
    """An upstream whose silence, forgetfulness and lost answers a test decides."""

    def __init__(self) -> None:
        self.batches: dict[int, dict[str, Any]] = {}
        self.away = False
        self.loses_answers = False
        self.asked = 0
        self.deleted: list[int] = []
        self.lines = ["stdout: ", "\nstderr: "]

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise UpstreamAway("it is down")

    async def close(self) -> None:
        """Nothing is open."""

    async def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if any(each["name"] == body["name"] for each in self.batches.values()):
            raise UpstreamRefused(400, "Duplicate session name")
        number = len(self.batches)
        self.batches[number] = {"id": number, "name": body["name"], "state": "running", "proxyUser": "ann"}
        if self.loses_answers:
            raise UpstreamAway("the answer is lost")
        return self.batches[number]

    async def find(self, reference: int | str) -> dict[str, Any] | None:
        self._answer()
        found = [each for each in self.batches.values() if reference in (each["id"], each["name"])]
        return found[0] if found else None

    async def all(self) -> AsyncIterator[dict[str, Any]]:
        self._answer()
        for each in self.batches.values():
            yield each

    async def log(self, number: int) -> tuple[list[str], bool]:
        self._answer()
        return self.lines, True

    async def delete(self, number: int) -> None:
        self._answer()
        self.deleted.append(number)
        self.batches.pop(number, None)


class Here:
    """A backend, what it reported, and who is on the line."""

    def __init__(self, folder: Path) -> None:
        self.upstream = ScriptedUpstream()
        self.ended: list[tuple[int, Ended]] = []
        self.told: list[str] = []
        self.on_line: set[int] = set()
        self.folder = folder
        self.backend = self.another()

    def another(self) -> LivyBackend:
        return LivyBackend(
            self.upstream,  # type: ignore[arg-type]
            Terms(driver_file="file:///driver.py", impersonate=True, namespace="n"),
            self.folder,
            lambda number, ended: self.ended.append((number, ended)),
            lambda number: number in self.on_line,
            lambda _number, phase: self.told.append(phase),
            poll_seconds=0.05,
        )

    async def start(self) -> dict[str, Any]:
        return await self.backend.start(order())


def order() -> DriverOrder:
    return DriverOrder(
        session_id=7, epoch=1, owner="ann", url="wss://g/driver/v1/7", token="c", kind="pyspark", app_name="a", conf={},
        cores=1,
    )  # fmt: skip


@pytest.fixture
async def here(tmp_path, monkeypatch):
    for name, seconds in {"TICK_SECONDS": 0.01, "FIRST_PAUSE": 0.02, "LONGEST_AWAY": 0.1, "FORGOTTEN_SECONDS": 0.2,
                          "LOG_SECONDS": 0.05, "FRESH_SECONDS": 0.0}.items():  # fmt: skip
        monkeypatch.setattr(livy, name, seconds)
    for name, seconds in {"FIRST_AWAY": 0.02, "LONGEST_AWAY": 0.1}.items():
        monkeypatch.setattr(upstream_rounds, name, seconds)
    made = Here(tmp_path)
    yield made
    await made.backend.close()


async def test_a_lost_answer_does_not_start_a_second_driver(here):
    here.upstream.loses_answers = True
    assert await here.start() == {"batch": 0, "name": NAME}
    assert len(here.upstream.batches) == 1


async def test_an_upstream_that_is_away_is_told_in_a_sentence(here):
    here.upstream.away = True
    with pytest.raises(BackendError, match="the upstream Livy does not answer"):
        await here.start()


async def test_silence_never_declares_a_driver_dead_and_is_asked_ever_less(here):
    await here.start()
    here.upstream.away = True
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 5)
    assert here.ended == []
    here.upstream.away = False
    here.upstream.batches[0]["state"] = "dead"
    await until(lambda: here.ended)
    assert here.ended[0][0] == 7
    assert not here.ended[0][1].clean


async def test_a_batch_of_the_same_number_and_another_name_is_somebody_elses(here):
    handle = await here.start()
    here.upstream.batches[0] = {"id": 0, "name": "not-ours", "state": "dead"}
    here.on_line.add(7)
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 5)
    assert here.ended == [], "its own driver is on the line, so it lives"
    here.on_line.clear()
    await until(lambda: here.ended)
    assert "no longer knows the driver's batch" in here.ended[0][1].reason
    await here.backend.stop(7, handle, 0)
    assert here.upstream.deleted == [], "what is not ours is not ended"


async def test_a_connection_that_breaks_is_looked_at_at_once(here, monkeypatch):
    here.backend._poll_seconds = 1000.0
    here.on_line.add(7)
    await here.start()
    await until(lambda: here.backend._watches[7].pause == 1000.0)
    here.upstream.batches[0]["state"] = "killed"
    here.on_line.clear()
    await until(lambda: here.ended)


async def test_a_driver_without_a_handle_is_found_by_its_name(here):
    handle = await here.start()
    await here.backend.close()
    here.backend = here.another()
    here.upstream.away = True
    with pytest.raises(BackendAway):
        await here.backend.adopt(7, None)
    here.upstream.away = False
    assert await here.backend.adopt(7, None) == handle
    assert await here.backend.adopt(8, None) is None, "that one was never submitted"


async def test_a_driver_whose_start_was_not_answered_is_ended_all_the_same(here):
    here.upstream.loses_answers = True
    find = here.upstream.find

    async def away(_reference: int | str) -> None:
        raise UpstreamAway("it is down")

    here.upstream.find = away
    with pytest.raises(BackendError):
        await here.start()
    here.upstream.find = find
    await here.backend.stop(7, None, 0)
    assert here.upstream.deleted == [0]


async def test_after_an_end_that_was_reported_nobody_is_asked_again(here):
    await here.start()
    here.upstream.batches[0]["state"] = "success"
    await until(lambda: here.ended)
    assert here.ended[0][1].clean
    asked = here.upstream.asked
    await here.backend.stop(7, None, 0)
    assert here.upstream.asked == asked


async def test_of_several_epochs_the_newest_is_the_driver(here):
    for number, (epoch, state) in enumerate([(1, "running"), (3, "running"), (2, "running"), (4, "dead")]):
        here.upstream.batches[number] = {"id": number, "name": batch_name("n", 7, epoch), "state": state}
    here.upstream.batches[9] = {"id": 9, "name": batch_name("n", 77, 9), "state": "running"}
    assert await here.backend.adopt(7, None) == {"batch": 1, "name": batch_name("n", 7, 3)}


async def test_a_stop_goes_on_until_the_upstream_has_heard_it(here):
    handle = await here.start()
    here.upstream.away = True
    stopping = asyncio.create_task(here.backend.stop(7, handle, 0))
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 3)
    assert not stopping.done()
    here.upstream.away = False
    await asyncio.wait_for(stopping, 30)
    assert here.upstream.deleted == [0]
    await here.backend.stop(7, handle, 0)
    assert here.upstream.deleted == [0], "a second time there is nothing to end"


async def test_a_driver_in_nobodys_name_is_ended_at_once(here):
    submit = here.upstream.submit

    async def in_no_name(body: dict[str, Any]) -> dict[str, Any]:
        return {**await submit(body), "proxyUser": None}

    here.upstream.submit = in_no_name
    with pytest.raises(BackendError, match="in your name"):
        await here.start()
    assert here.upstream.deleted == [0]


async def test_another_gateways_batch_is_left_alone_and_one_too_many_is_ended(here):
    handle = await here.start()
    await here.backend.let_go(7)
    here.upstream.batches[0]["state"] = "dead"
    asked = here.upstream.asked
    await asyncio.sleep(0.1)
    assert (here.ended, here.upstream.asked) == ([], asked)
    here.upstream.batches[0]["state"] = "running"
    here.upstream.away = True
    await here.backend.discard(handle)
    assert here.upstream.deleted == []
    here.upstream.away = False
    await here.backend.discard({**handle, "name": "not-ours"})
    assert here.upstream.deleted == []
    await here.backend.discard(handle)
    assert here.upstream.deleted == [0]


async def test_it_says_what_keeps_it_from_starting_drivers(here):
    assert await here.backend.problem() is None
    here.upstream.away = True
    assert await here.backend.problem() == "The upstream Livy does not answer: it is down"


@pytest.mark.parametrize(
    ("vouched", "host", "port", "listens"),
    [
        ("http://10.0.0.7:4040", "10.0.0.7", 4040, True),
        ("http://10.0.0.7:4040/", "10.0.0.7", 4040, True),
        ("http://10.0.0.7:4040", "10.0.0.8", 4040, False),
        ("http://10.0.0.7:4040", "10.0.0.7", 22, False),
        ("https://10.0.0.7:4040", "10.0.0.7", 4040, False),
        ("http://rm.example.com:8088/proxy/application_1_2/", "10.0.0.7", 4040, False),
        ("http://[", "10.0.0.7", 4040, False),
        (None, "10.0.0.7", 4040, False),
    ],
)
async def test_only_the_upstream_vouches_for_a_spark_ui(here, vouched, host, port, listens):
    handle = await here.start()
    here.upstream.batches[0]["appInfo"] = {"sparkUiUrl": vouched}
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 2)
    assert await here.backend.listens(7, handle, host, port) is listens
    assert not await here.backend.listens(8, None, host, port)


async def test_what_it_waits_for_is_told_while_it_starts(here):
    await here.start()
    here.upstream.batches[0]["state"] = "starting"
    await until(lambda: any("the cluster has not started it yet" in phase for phase in here.told))
    here.upstream.batches[0]["state"] = "running"
    await until(lambda: here.told[-1] == "The upstream Livy runs the driver; Spark is starting.")


async def test_the_log_outlives_the_batch(here):
    handle = await here.start()
    here.upstream.lines = ["stdout: ", "a", "b", "\nstderr: "]
    assert (await here.backend.log_page(7, 0, -1))[2][2:] == ["a", "b"]
    here.upstream.lines = ["stdout: ", "b", "c", "\nstderr: "]
    await here.backend.stop(7, handle, 0)
    assert (await here.backend.log_page(7, 0, -1))[2][2:] == ["a", "b", "c"]
    assert here.backend.log_tail(7, 1) == ["c"]
    await here.backend.forget(7, keep_log=True)
    assert here.backend.log_tail(7, 1) == ["c"]
    await here.backend.forget(7, keep_log=False)
    assert not (here.folder / "7").exists()
