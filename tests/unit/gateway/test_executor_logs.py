"""Executors' logs and what happened to pods, kept on a cluster that does what a real one won't do on demand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import executor_logs, pod_ends, pod_log, pod_records, pod_watch
from sparkyard_gateway.backends.cluster import ClusterAway, ClusterRefused
from sparkyard_gateway.backends.executors import Executor, Kept, State
from sparkyard_gateway.backends.pod_book import PodBook
from support.scripted_cluster import RUNNING
from support.waiting import until_async as until

from .test_kubernetes_backend import NAME, Here, order

LABELS = {"sparkyard/installation": "n", "sparkyard/session": "7", "sparkyard/role": "executor"}
START = "2026-01-01T00:00:00Z"
RUNS = {"phase": "Running", "containerStatuses": [{"name": "executor", "state": {"running": {"startedAt": START}}}]}


def over(code: int, reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "startedAt": START}}
    return {"phase": "Failed", "containerStatuses": [{"name": "executor", "state": state}]}


def line(words: str, second: int = 1) -> bytes:
    return f"2026-01-01T00:00:{second:02}.5Z {words}".encode()


class WithExecutors(Here):
    """A backend, a driver that runs, and its executors."""

    uid = ""

    async def driver(self) -> None:
        self.uid = (await self.start())["uid"]
        self.cluster.change(NAME, **RUNNING)

    async def executor(self, number: int, *, owner: str | None = None, **status: Any) -> str:
        """One more; returns its uid."""
        name = f"exec-{number}"
        owners = [{"kind": "Pod", "uid": owner or self.uid}]
        labels = {**LABELS, "spark-exec-id": str(number)}
        metadata = {"name": name, "labels": labels, "ownerReferences": owners, "creationTimestamp": START}
        made = await self.cluster.create("spark", "pods", {"metadata": metadata, "spec": {}})
        self.cluster.change(name, **(status or RUNS))
        uid: str = made["metadata"]["uid"]
        return uid

    def mark(self, name: str) -> None:
        """Spark has seen its end."""
        pod = self.cluster.objects["spark", "pods", name]
        pod["metadata"]["labels"]["spark-exec-inactive"] = "true"
        self.cluster.change(name, **pod["status"])

    def names(self) -> set[str]:
        return self.cluster.names("pods") - {NAME}

    async def book(self) -> PodBook:
        return await self.backend.records.book(7)

    async def known(self, uid: str) -> Executor:
        await until(lambda: uid in self.backend.records._books[7].executors)
        return (await self.book()).executors[uid]

    async def until_kept(self, uid: str, kept: Kept) -> Executor:
        await self.known(uid)
        await until(lambda: self.backend.records._books[7].executors[uid].kept is kept)
        return await self.known(uid)

    async def log(self, uid: str) -> list[str]:
        book = await self.book()
        return book.log_of(book.executors[uid]).page(0, -1)[2][2:]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module, name, seconds in (
        (pod_ends, "FIRST_PAUSE", 0.02),
        (pod_ends, "LONGEST_PAUSE", 0.05),
        (pod_watch, "FIRST_PAUSE", 0.02),
        (pod_log, "FIRST_PAUSE", 0.02),
        (pod_records, "SAVE_SECONDS", 0.01),
        (executor_logs, "TURN_SECONDS", 0.02),
        (executor_logs, "PAUSE_SECONDS", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)
    made = WithExecutors(tmp_path)
    await made.driver()
    yield made
    await made.backend.close()


async def test_a_log_is_read_and_then_the_pod_goes_once_spark_has_seen_the_end(here):
    here.cluster.lines_of["exec-1"] = [line("one"), line("two", 2)]
    uid = await here.executor(1)
    await here.known(uid)
    here.cluster.change("exec-1", **over(137, "OOMKilled"))
    ended = await here.until_kept(uid, Kept.WHOLE)
    assert (ended.state, ended.number) == (State.FAILED, "1")
    assert "ran out of memory" in ended.reason
    assert await here.log(uid) == ["one", "two"]
    assert here.names() == {"exec-1"}
    here.mark("exec-1")
    await until(lambda: not here.names())
    assert await here.log(uid) == ["one", "two"]


async def test_what_only_says_that_it_is_an_executor_is_none(here):
    foreign = await here.executor(1, owner="another-driver")
    own = await here.executor(2)
    await here.known(own)
    here.cluster.change("exec-1", **over(1))
    here.mark("exec-1")
    await asyncio.sleep(0.2)
    assert foreign not in (await here.book()).executors
    assert here.names() == {"exec-1", "exec-2"}
    assert not [each for each in here.cluster.asked if each[0] == "exec-1"]


async def test_those_that_run_are_looked_at_in_turns_and_not_streamed(here, monkeypatch):
    monkeypatch.setattr(executor_logs, "ROUND_SECONDS", 0.05)
    here.cluster.lines_of["exec-1"] = [line("one")]
    uid = await here.executor(1)
    await here.known(uid)
    await until(lambda: here.cluster.asked.count(("exec-1", "executor", False)) > 2)
    assert await here.log(uid) == ["one"]
    assert ("exec-1", "executor", True) not in here.cluster.asked


async def test_of_many_only_the_newest_are_looked_at_and_kept(here, monkeypatch):
    monkeypatch.setattr(executor_logs, "MOST_KEPT", 2)
    uids = [await here.executor(number) for number in range(6)]
    for number in range(6):
        here.cluster.lines_of[f"exec-{number}"] = [line(f"of {number}")]
        here.cluster.change(f"exec-{number}", **over(0, "Completed"))
        await here.known(uids[number])
        await until(lambda n=number: here.backend.records._books[7].executors[uids[n]].kept is not Kept.GROWING)
    kept = [(await here.known(uid)).kept for uid in uids]
    assert kept.count(Kept.WHOLE) == 2
    assert kept.count(Kept.DROPPED) == 4
    folders = {each.name for each in (here.folder / "7" / "executors").iterdir()}
    assert folders == {uid for uid, each in zip(uids, kept, strict=True) if each is Kept.WHOLE}


async def test_whoever_reads_gets_what_is_there_and_a_follower_a_stream_for_a_while(here, monkeypatch):
    monkeypatch.setattr(executor_logs, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(executor_logs, "WANTED_SECONDS", 0.3)
    here.cluster.lines_of["exec-1"] = [line("one")]
    uid = await here.executor(1)
    executor = await here.known(uid)
    here.cluster.lines_of["exec-1"].append(line("two", 2))
    await here.backend.records.freshen(executor, follow=False)
    assert await here.log(uid) == ["one", "two"]
    await here.backend.records.freshen(executor, follow=True)
    await until(lambda: ("exec-1", "executor", True) in here.cluster.asked)
    here.cluster.lines_of["exec-1"].append(line("three", 3))
    while await here.log(uid) != ["one", "two", "three"]:
        await asyncio.sleep(0.01)
    reader = here.backend.records._logs._readers[uid]
    await until(lambda: not reader.log.following)


async def test_no_more_are_followed_at_once_than_may_be(here, monkeypatch):
    monkeypatch.setattr(executor_logs, "STREAMS", 1)
    first, second = await here.executor(1), await here.executor(2)
    for uid in (first, second):
        await here.backend.records.freshen(await here.known(uid), follow=True)
    await until(lambda: ("exec-1", "executor", True) in here.cluster.asked)
    assert ("exec-2", "executor", True) not in here.cluster.asked


async def test_one_that_is_being_deleted_is_followed_to_its_end(here):
    uid = await here.executor(1)
    await here.known(uid)
    here.cluster.change("exec-1", deleted=True, **RUNS)
    await until(lambda: ("exec-1", "executor", True) in here.cluster.asked)
    here.cluster.lines_of["exec-1"] = [line("its last words")]
    while await here.log(uid) != ["its last words"]:
        await asyncio.sleep(0.01)
    here.cluster.remove("exec-1")
    ended = await here.until_kept(uid, Kept.WHOLE)
    assert ended.state is State.ENDED


@pytest.mark.parametrize("gone", [True, False])
async def test_what_its_node_has_no_more_is_a_log_in_part(here, gone):
    here.cluster.lines_of["exec-1"] = [line("one")]
    uid = await here.executor(1)
    await until(lambda: ("exec-1", "executor", False) in here.cluster.asked)
    here.cluster.gone_logs.add("exec-1")
    if gone:
        here.cluster.remove("exec-1")
    else:
        here.cluster.change("exec-1", **over(1))
    await here.until_kept(uid, Kept.PART)
    assert await here.log(uid) == ["one"]


async def test_one_that_never_ran_has_no_log(here):
    uid = await here.executor(1, phase="Pending")
    await here.known(uid)
    here.cluster.remove("exec-1")
    await here.until_kept(uid, Kept.NONE)
    assert ("exec-1", "executor", False) not in here.cluster.asked


async def test_a_cluster_that_is_away_is_asked_again(here):
    uid = await here.executor(1)
    await here.known(uid)
    here.cluster.lines_of["exec-1"] = [line("one")]
    here.cluster.refuses["log exec-1"] = ClusterAway("the node does not answer")  # type: ignore[assignment]
    here.cluster.change("exec-1", **over(1))
    await until(lambda: here.cluster.asked.count(("exec-1", "executor", False)) > 2)
    del here.cluster.refuses["log exec-1"]
    await here.until_kept(uid, Kept.WHOLE)
    assert await here.log(uid) == ["one"]


# kill -9


async def test_the_next_gateway_reads_what_ended_meanwhile_and_remembers_the_rest(here):
    here.cluster.lines_of = {"exec-1": [line("one")], "exec-2": [line("two")], "exec-3": [line("three")]}
    first, second, third = [await here.executor(number) for number in (1, 2, 3)]
    here.cluster.change("exec-1", **over(137, "OOMKilled"))
    here.cluster.happen(first, "Killing", "Stopping container executor")
    await here.until_kept(first, Kept.WHOLE)
    await here.known(third)
    path = here.folder / "7" / "pods.json"
    await until(lambda: path.exists() and len(json.loads(path.read_text())["executors"]) == 3)
    handle = {"namespace": "spark", "pod": NAME, "uid": here.uid}
    before = here.backend
    await before.close()
    here.cluster.change("exec-2", **over(1))
    here.cluster.remove("exec-3")
    here.backend = here.another()
    assert await here.backend.adopt(7, handle) == handle
    await here.until_kept(second, Kept.WHOLE)
    assert await here.log(second) == ["two"]
    assert (await here.until_kept(third, Kept.PART)).state is State.ENDED
    assert (await here.known(first)).state is State.FAILED
    assert await here.log(first) == ["one"]
    assert [each.words for each in (await here.book()).events] == ["It is being ended."]


async def test_a_file_that_is_no_book_is_an_empty_one(tmp_path):
    (tmp_path / "pods.json").write_text("{")
    assert PodBook.load(tmp_path).executors == {}
    assert PodBook.load(tmp_path / "absent").events == []


# The end of a session


async def test_at_the_end_of_a_session_all_is_read_and_told(here):
    here.cluster.lines_of = {"exec-1": [line("one")], "exec-2": [line("two")]}
    first, second = await here.executor(1), await here.executor(2)
    await here.known(second)
    here.cluster.change("exec-1", **over(0, "Completed"))
    await until(lambda: here.backend.records._books[7].executors[first].over)
    here.cluster.lingering.add(NAME)
    handle = {"namespace": "spark", "pod": NAME, "uid": here.uid}
    stopping = asyncio.create_task(here.backend.stop(7, handle, 0))
    # What still runs is followed before its driver is ended, and goes with that.
    await until(lambda: ("exec-2", "executor", True) in here.cluster.asked)
    here.cluster.remove(NAME)
    await stopping
    assert here.cluster.names("pods") == set()
    await here.backend.forget(7, keep_log=True)
    book = await here.book()
    assert {uid: each.kept for uid, each in book.executors.items()} == {first: Kept.WHOLE, second: Kept.WHOLE}
    assert (await here.log(first), await here.log(second)) == (["one"], ["two"])
    assert here.backend.records._logs._readers == {}


# Events


async def test_events_are_kept_also_those_that_come_before_their_pod(here):
    here.cluster.happen(here.uid, "Scheduled", "Successfully assigned spark/x to node-1")
    here.cluster.happen("u-of-nobody", "Scheduled", "x", name="e-2")
    await until(lambda: here.backend.records._books[7].events)
    expected = f"u-{int(here.cluster.objects['spark', 'pods', NAME]['metadata']['resourceVersion']) + 4}"
    here.cluster.happen(expected, "FailedScheduling", "0/1 nodes.", name="e-3", type="Warning")
    await until(lambda: expected in here.backend.records._held._by_pod)
    uid = await here.executor(1)
    assert uid == expected
    await until(lambda: len(here.backend.records._books[7].events) == 2)
    told = (await here.book()).events
    assert {(each.who, each.words, each.warning) for each in told} == {
        ("driver", "It was given node node-1.", False),
        ("executor 1", "No node can take it so far: 0/1 nodes.", True),
    }


@pytest.mark.parametrize("error", [ClusterAway("reset"), ClusterRefused(410, "too old resource version")])
async def test_events_that_nobody_watched_are_found_and_none_is_counted_twice(here, error):
    here.cluster.happen(here.uid, "Pulled", "m")
    await until(lambda: here.backend.records._books[7].events)
    here.cluster.deaf = True
    here.cluster.happen(here.uid, "Pulled", "m")
    here.cluster.happen(here.uid, "Started", "m", name="e-2")
    here.cluster.stop_watching(error)
    await until(lambda: len(here.backend.records._books[7].events) == 2)
    assert {each.reason: each.count for each in (await here.book()).events} == {"Pulled": 2, "Started": 1}


async def test_a_chart_without_the_right_to_events_costs_the_events_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pod_watch, "FIRST_PAUSE", 0.02)
    made = WithExecutors(tmp_path)
    made.cluster.refuses["list events"] = ClusterRefused(403, "events is forbidden")
    await made.driver()
    uid = await made.executor(1)
    assert (await made.known(uid)).state is State.RUNNING
    await made.backend.close()


def test_events_of_pods_that_nobody_knows_are_held_within_bounds(monkeypatch):
    monkeypatch.setattr(pod_records, "MOST_HELD", 3)
    held = pod_records._Held()
    for number in range(5):
        held.add(f"p{number // 2}", {"metadata": {"uid": f"e{number}"}})
    held.add("p2", {"metadata": {"uid": "e4"}})
    assert [len(list(held.take(pod))) for pod in ("p0", "p1", "p2", "p2")] == [0, 2, 1, 0]


# Memory


async def test_memory_is_what_the_cluster_measures_and_a_limit_is_always_told(here):
    handle = {"namespace": "spark", "pod": NAME, "uid": here.uid}
    limit = here.backend.memory_limit(7)
    assert limit is not None
    assert limit > 1 << 30
    assert await here.backend.memory({7: handle}) == {}
    uid = await here.executor(1)
    await here.known(uid)
    here.backend.records._books[7].executors[uid] = Executor(
        uid=uid, number="1", pod="exec-1", namespace="spark", state=State.RUNNING, memory=1 << 20
    )
    assert here.backend.memory_limit(7) == limit + (1 << 20)
    later = here.another()
    here.cluster.usage = {NAME: "3Mi", "exec-1": "2Mi", "a-neighbour": "9Mi"}
    here.backend._memory = later._memory
    assert await here.backend.memory({7: handle, 8: None}) == {7: 5 << 20}
    assert here.backend.memory_limit(8) is None
    await later.close()


async def test_what_a_driver_waits_for_in_vain_stands_in_its_log_once(tmp_path):
    made = WithExecutors(tmp_path)
    await made.backend.start(order())
    await until(lambda: made.cluster.watchers)
    for _ in range(2):
        made.cluster.change(NAME, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes."}])
    await until(lambda: any("DRIVER Waiting for a node" in each for each in made.backend.log_tail(7, 9)))
    made.cluster.change(NAME, **RUNNING)
    await until(lambda: "The driver's pod runs; Spark is starting." in made.told)
    assert len([each for each in made.backend.log_tail(7, 9) if "DRIVER" in each]) == 1
    await made.backend.close()
