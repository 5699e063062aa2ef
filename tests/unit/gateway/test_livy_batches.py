"""Batches at an upstream Livy, when that one does what the real one won't do on demand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import livy_batches, upstream_rounds
from sparkyard_gateway.backends.base import AttemptEnd, BatchOrder, Handle
from sparkyard_gateway.backends.livy_batches import LivyBatches
from sparkyard_gateway.backends.livy_ends import FORGOTTEN, NOT_IN_YOUR_NAME, end_of
from sparkyard_gateway.backends.submission import Terms, epoch_of, job_name
from sparkyard_gateway.backends.upstream import UpstreamAway, UpstreamRefused
from sparkyard_gateway.batch_ends import judge
from sparkyard_gateway.states import BatchState
from support.waiting import until_async as until

NAME = job_name("n", "7-1000")


class ScriptedUpstream:
    """An upstream whose silence, forgetfulness and lost answers a test decides."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.posted: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.deleted: list[int] = []
        self.lines = ["stdout: ", "\nstderr: "]
        self.away = self.loses_answers = self.loses_requests = False
        self.refuses: str | None = None
        self.impersonates = True
        self.held: asyncio.Event | None = None
        self.asked = 0

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise UpstreamAway("it is down")

    async def close(self) -> None:
        """Nothing is open."""

    async def submit(self, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        self._answer()
        self.posted.append(body)
        self.keys.add(key)
        if self.held is not None:
            await self.held.wait()
        if "-probe-" in body["name"]:
            return {"id": 99, "name": body["name"], "proxyUser": body["proxyUser"] if self.impersonates else None}
        if self.loses_requests:
            raise UpstreamAway("the request is lost")
        if any(each["name"] == body["name"] for each in self.batches):
            raise UpstreamRefused(400, "Rejected, Reason: Duplicate session name: Some(x) for session 1")
        made = {"id": len(self.batches), "name": body["name"], "state": "starting", "proxyUser": body.get("proxyUser")}
        self.batches.append(made)
        if self.refuses is not None:
            raise UpstreamRefused(400, self.refuses)
        if self.loses_answers:
            raise UpstreamAway("the answer is lost")
        return made

    async def find(self, reference: int | str) -> dict[str, Any] | None:
        self._answer()
        return next((each for each in self.batches if reference in (each["id"], each["name"])), None)

    async def log(self, number: int) -> tuple[list[str], bool]:
        self._answer()
        return self.lines, True

    async def delete(self, number: int) -> None:
        self._answer()
        self.deleted.append(number)
        self.batches = [each for each in self.batches if each["id"] != number]

    @property
    def users(self) -> list[dict[str, Any]]:
        """The bodies that hold what a person wants run."""
        return [body for body in self.posted if "-probe-" not in body["name"]]


class Here:
    """A backend, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.upstream = ScriptedUpstream()
        self.ended: list[AttemptEnd] = []
        self.waits: list[str | None] = []
        self.known: list[Handle] = []
        self.folder = folder
        self.backend = self.another()

    def another(self) -> LivyBatches:
        return LivyBatches(
            self.upstream,  # type: ignore[arg-type]
            Terms(driver_file="file:///driver.py", impersonate=True, namespace="n"),
            self.folder,
            lambda _attempt, end: self.ended.append(end),
            lambda _attempt, phase: self.waits.append(phase),
            lambda _attempt, handle: self.known.append(handle),
            poll_seconds=0.05,
        )

    async def run(self) -> Handle:
        handle = await self.backend.prepare(order())
        await self.backend.begin(7)
        return handle


def order() -> BatchOrder:
    return BatchOrder(
        attempt=7, key="7-1000", owner="ann", app_name="a", conf={}, cores=1, file="s3a://b/etl.py", args=("x",)
    )


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    for name, seconds in {"TICK_SECONDS": 0.01, "FIRST_PAUSE": 0.02, "FORGOTTEN_SECONDS": 0.2, "SETTLE_SECONDS": 0.2,
                          "FRESH_SECONDS": 0.0}.items():  # fmt: skip
        monkeypatch.setattr(livy_batches, name, seconds)
    for name, seconds in {"FIRST_AWAY": 0.02, "LONGEST_AWAY": 0.1}.items():
        monkeypatch.setattr(upstream_rounds, name, seconds)
    made = Here(tmp_path)
    yield made
    await made.backend.close()


async def test_prepared_it_has_posted_nothing_and_begun_it_has_posted_once(here):
    handle = await here.backend.prepare(order())
    assert handle == {"name": NAME, "as": "ann"}
    assert here.upstream.posted == []
    await here.backend.begin(7)
    await here.backend.begin(7)
    (body,) = here.upstream.users
    assert (body["name"], body["proxyUser"], body["file"], body["args"]) == (NAME, "ann", "s3a://b/etl.py", ["x"])
    assert NAME in here.upstream.keys
    assert here.known == [{"name": NAME, "as": "ann", "batch": 0}]
    await until(lambda: here.waits[-1:] and "has not started it yet" in str(here.waits[-1]))
    here.upstream.batches[0]["state"] = "running"
    await until(lambda: here.waits[-1] is None)
    here.upstream.batches[0] |= {"state": "success", "appId": "application_1_2"}
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(0)]
    found = await here.backend.application(7, handle)
    assert found is not None
    assert found.id == "application_1_2"


async def test_a_lost_answer_is_resolved_by_looking(here):
    here.upstream.loses_answers = True
    await here.run()
    await until(lambda: here.known)
    assert here.known[-1]["batch"] == 0
    assert len(here.upstream.users) == 1
    assert here.ended == []


async def test_a_request_that_never_arrived_may_be_made_anew_by_the_same_name(here):
    here.upstream.loses_requests = True
    await here.run()
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(None, began=False)]
    here.upstream.loses_requests = False
    assert (await here.run())["name"] == NAME
    assert [each["name"] for each in here.upstream.batches] == [NAME]


async def test_one_that_arrives_late_and_again_runs_once(here):
    """A gateway that was frozen in its POST, and the one that took over: the second is refused, and finds the first."""
    await here.run()
    await here.backend.let_go(7)
    await here.run()
    await until(lambda: len(here.known) == 2)
    assert here.known[1] == here.known[0]
    assert len(here.upstream.batches) == 1
    assert here.ended == []


async def test_a_gateway_that_died_after_its_post_finds_it_by_name_and_one_that_died_before_lets_it_be_made_anew(here):
    handle = await here.run()
    await here.backend.close()
    here.backend = here.another()
    assert await here.backend.adopt(7, handle) == handle
    assert not (await here.backend.end_of(7)).began
    await until(lambda: len(here.known) == 2)
    assert (await here.backend.end_of(7)).began
    await here.backend.close()
    here.upstream.batches.clear()
    here.backend = here.another()
    await here.backend.adopt(7, handle)
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(None, began=False)]
    assert len(here.upstream.users) == 1


async def test_one_that_the_upstream_had_and_forgot_is_never_run_again(here):
    handle = {**await here.run(), **here.known[-1]}
    await here.backend.close()
    here.upstream.batches[0] = {"id": 0, "name": "somebody else's", "state": "running"}
    here.backend = here.another()
    await here.backend.adopt(7, handle)
    assert (await here.backend.end_of(7)).began
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(None, told="error", said=FORGOTTEN)]
    await here.backend.stop(7, handle, 0)
    assert here.upstream.deleted == [99], "what is not ours is not ended"


async def test_while_the_upstream_is_away_nothing_is_dead(here):
    await here.run()
    here.upstream.away = True
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 5)
    assert here.ended == []
    here.upstream.away = False
    here.upstream.batches[0]["state"] = "dead"
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(None, told="dead")]


async def test_an_upstream_that_is_away_when_it_begins_is_asked_again(here):
    here.upstream.away = True
    await here.run()
    assert here.waits == ["The upstream Livy does not answer; it is asked again."]
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 3)
    assert here.ended == []
    here.upstream.away = False
    await until(lambda: here.ended)
    assert here.ended == [AttemptEnd(None, began=False)]


async def test_one_that_the_upstream_surely_never_got_is_ended_without_asking_it(here):
    here.upstream.away = True
    handle = await here.run()
    await here.backend.stop(7, handle, 0)
    assert await here.backend.end_of(7) == AttemptEnd(None, began=False)
    assert here.upstream.posted == []


async def test_a_refusal_is_final_and_its_phantom_is_cleared_away(here):
    here.upstream.refuses = "requirement failed: Local path /x cannot be added"
    await here.run()
    (end,) = here.ended
    assert (end.began, end.told) == (True, "error")
    assert end.said == "The upstream Livy refused to start the batch: requirement failed: Local path /x cannot be added"
    assert here.upstream.batches == []


async def test_nothing_of_a_persons_is_posted_where_it_would_run_in_another_name(here):
    here.upstream.impersonates = False
    await here.run()
    assert here.ended == [AttemptEnd(None, told="error", said=NOT_IN_YOUR_NAME)]
    assert here.upstream.users == []
    assert here.upstream.deleted == [99]


async def test_one_that_came_in_another_name_all_the_same_is_ended(here):
    here.upstream.loses_answers = True
    await here.run()
    here.upstream.batches[0]["proxyUser"] = "livy"
    await until(lambda: here.ended)
    assert here.ended[0].said == NOT_IN_YOUR_NAME
    assert here.upstream.batches == []


async def test_stopped_before_it_began_it_is_never_posted(here):
    handle = await here.backend.prepare(order())
    await here.backend.stop(7, handle, 0)
    await here.backend.begin(7)
    assert here.upstream.posted == []
    assert await here.backend.end_of(7) == AttemptEnd(None, began=False)


async def test_stopped_while_it_is_being_posted_it_is_ended_as_soon_as_it_is_there(here):
    await here.backend.prepare(order())
    here.backend._proven_until = float("inf")
    here.upstream.held = asyncio.Event()
    beginning = asyncio.create_task(here.backend.begin(7))
    await until(lambda: here.upstream.posted)
    stopping = asyncio.create_task(here.backend.stop(7, {"name": NAME, "as": "ann"}, 0))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    here.upstream.held.set()
    await asyncio.wait_for(asyncio.gather(beginning, stopping), 30)
    assert here.upstream.deleted == [0]
    assert await here.backend.end_of(7) == AttemptEnd(None, asked=True)


async def test_a_stop_goes_on_until_the_upstream_has_heard_it(here):
    handle = await here.run()
    here.upstream.away = True
    stopping = asyncio.create_task(here.backend.stop(7, handle, 0))
    asked = here.upstream.asked
    await until(lambda: here.upstream.asked > asked + 3)
    assert not stopping.done()
    here.upstream.away = False
    await asyncio.wait_for(stopping, 30)
    assert here.upstream.batches == []


async def test_one_that_was_deleted_for_clients_is_ended_by_its_handle_alone(here):
    handle = await here.run()
    await here.backend.close()
    here.backend = here.another()
    await here.backend.stop(7, handle, 0)
    assert here.upstream.batches == []
    await here.backend.stop(8, None, 0)


async def test_one_that_ended_by_itself_before_it_was_stopped_says_so(here):
    handle = await here.run()
    here.upstream.batches[0]["state"] = "success"
    await here.backend.stop(7, handle, 0)
    assert 0 not in here.upstream.deleted
    assert await here.backend.end_of(7) == AttemptEnd(0)


async def test_let_go_or_abandoned_it_is_not_posted_and_nothing_is_told(here):
    handle = await here.backend.prepare(order())
    await here.backend.let_go(7)
    await here.backend.begin(7)
    handle = await here.backend.prepare(order())
    await here.backend.abandon(7, handle)
    await here.backend.begin(7)
    assert here.upstream.posted == []
    assert not await here.backend.withhold(7)
    await here.run()
    await here.backend.let_go(7)
    here.upstream.batches[0]["state"] = "dead"
    await asyncio.sleep(0.1)
    assert here.ended == []


async def test_the_log_outlives_the_batch(here):
    handle = await here.run()
    here.upstream.lines = ["stdout: ", "a", "b", "\nstderr: "]
    assert (await here.backend.log_page(7, 0, -1))[2][2:] == ["a", "b"]
    here.upstream.lines = ["stdout: ", "b", "c", "\nstderr: "]
    await here.backend.stop(7, handle, 0)
    await here.backend.forget(7, keep_log=True)
    assert (await here.backend.log_page(7, 0, -1))[2][2:] == ["a", "b", "c"]
    assert here.backend.log_tail(7, 1) == ["c"]
    await here.backend.forget(7, keep_log=False)
    assert not (here.folder / "7").exists()


@pytest.mark.parametrize(
    ("found", "lines", "state", "reason"),
    [
        ({"state": "success"}, [], "success", None),
        ({"state": "dead"}, ["x", "KeyError"], "dead", "The batch failed. Its last line: KeyError"),
        (
            {"state": "dead", "exitCode": 3},
            ["half way"],
            "dead",
            "The batch ended with exit code 3. Its last line: half",
        ),
        ({"state": "dead", "exitCode": 0}, ["y"], "dead", "The batch failed."),
        ({"state": "dead", "exitCode": True}, ["y"], "dead", "The batch failed."),
        ({"state": "dead"}, ["User application exited with status 4"], "dead", "The batch ended with exit code 4."),
        ({"state": "dead"}, ["exitCode: 137"], "killed", "The batch was killed (SIGKILL)"),
        ({"state": "killed"}, ["y"], "killed", "The batch was killed where it ran"),
        ({"state": "killed", "stateReason": "Over."}, ["y"], "killed", "Over."),
        ({"state": "error"}, [], "error", "The batch failed."),
    ],
)
def test_an_end_is_told_in_our_words(found, lines, state, reason):
    end = end_of(found, lines)
    assert end is not None
    judged, why = judge(end, lines)
    assert judged is BatchState(state)
    assert why is None if reason is None else why is not None and why.startswith(reason)


@pytest.mark.parametrize("state", ["starting", "running", "recovering", "idle", "", None, 7])
def test_what_is_no_end_is_none(state):
    assert end_of({"state": state}, []) is None


def test_a_batchs_name_is_never_taken_for_a_sessions():
    assert epoch_of(job_name("n", "7-1000"), "n", 7) is None
    assert job_name("n", "7-1000") == "sparkyard-n-b7-1000"
