"""Batches as pods, when gateways die and the cluster does what a real one won't do on demand."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import pod_batches, pod_ends, pod_log, pod_watch, stray_pods
from sparkyard_gateway.backends.base import Application, AttemptEnd, BackendError, BatchOrder
from sparkyard_gateway.backends.cluster import ClusterAway, ClusterRefused
from sparkyard_gateway.backends.pod_batches import PodBatches
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import Terms
from sparkyard_gateway.backends.pod_uis import PodUis
from sparkyard_gateway.ui_keys import UiKeys
from support.scripted_cluster import RUNNING, ScriptedCluster, ended
from support.waiting import until_async as until

GATE = {"name": "sparkyard/begin"}
NEVER = AttemptEnd(None, began=False)


class SilentUis(PodUis):
    """Spark UIs that never answer."""

    async def application(self, attempt: int, address: str) -> Application | None:
        return None


class Here:
    """A cluster, and gateways on it with what each was told."""

    def __init__(self, folder: Path) -> None:
        self.cluster = ScriptedCluster()
        self.ended: list[tuple[int, AttemptEnd]] = []
        self.told: list[str | None] = []
        self.wanted: set[int] = set()
        self.folder = folder
        self.gateways: list[PodBatches] = []
        self.backend = self.another()

    def another(self) -> PodBatches:
        """As a gateway after this one, or beside it, has it."""
        terms = Terms(installation="n", namespace="spark")

        async def wanted(number: int) -> bool:
            return number in self.wanted

        made = PodBatches(
            self.cluster,  # type: ignore[arg-type]
            terms,
            self.folder,
            PodObjects(self.cluster, terms),  # type: ignore[arg-type]
            SilentUis(UiKeys("secret")),
            lambda number, end: self.ended.append((number, end)),
            lambda _number, phase: self.told.append(phase),
            wanted,
        )
        self.gateways.append(made)
        return made

    async def prepare(self, attempt: int = 5) -> dict[str, Any]:
        watched = len(self.cluster.watchers)
        handle = await self.backend.prepare(order(attempt))
        await until(lambda: len(self.cluster.watchers) > watched or self.cluster.watchers)
        return handle

    async def run(self, attempt: int = 5) -> dict[str, Any]:
        handle = await self.prepare(attempt)
        await self.backend.begin(attempt)
        self.cluster.change(handle["pod"], **RUNNING)
        await until(lambda: self.told and self.told[-1] is None)
        return handle

    def pod(self, handle: dict[str, Any]) -> dict[str, Any] | None:
        return self.cluster.objects.get(("spark", "pods", handle["pod"]))

    def gates(self, handle: dict[str, Any]) -> list[dict[str, str]]:
        pod = self.pod(handle)
        assert pod is not None
        gates: list[dict[str, str]] = pod["spec"].get("schedulingGates", [])
        return gates


def order(attempt: int = 5) -> BatchOrder:
    return BatchOrder(
        attempt=attempt, owner="ann", app_name="a", cores=1, file="s3a://jobs/etl.py",
        conf={"spark.driver.memory": "1g", "spark.kubernetes.driver.container.image": "sparkyard/spark:3.5"},
    )  # fmt: skip


@pytest.fixture
async def here(tmp_path, monkeypatch):
    for module, name, seconds in (
        (pod_batches, "FIRST_PAUSE", 0.02),
        (pod_batches, "LOG_SECONDS", 0.1),  # this cluster's logs have no end
        (pod_ends, "FIRST_PAUSE", 0.02),
        (pod_ends, "LONGEST_PAUSE", 0.05),
        (stray_pods, "SWEEP_SECONDS", 0.02),
        (stray_pods, "STRAY_SECONDS", 0.1),
        (pod_watch, "FIRST_PAUSE", 0.02),
        (pod_watch, "LONGEST_PAUSE", 0.05),
        (pod_log, "FIRST_PAUSE", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)
    made = Here(tmp_path)
    yield made
    for each in made.gateways:
        await each.close()


# Prepared, and begun


async def test_it_stands_at_its_gate_with_two_secrets_until_it_is_told_to_begin(here):
    handle = await here.prepare()
    assert here.gates(handle) == [GATE]
    assert here.cluster.names("secrets") == {handle["pod"], f"{handle['pod']}-executors"}
    assert (await here.backend.end_of(5)).began is False
    await here.backend.begin(5)
    assert here.gates(handle) == []
    assert (await here.backend.end_of(5)).began is True
    assert here.ended == []


async def test_gates_of_others_stay(here):
    handle = await here.prepare()
    here.cluster.objects["spark", "pods", handle["pod"]]["spec"]["schedulingGates"].append({"name": "queue"})
    await here.backend.begin(5)
    assert here.gates(handle) == [{"name": "queue"}]


async def test_a_beginning_whose_answer_is_lost_is_asked_for_again(here):
    handle = await here.prepare()
    here.cluster.loses_answer_of = "merge pods"
    beginning = asyncio.create_task(here.backend.begin(5))
    await until(lambda: not here.gates(handle))
    here.cluster.loses_answer_of = ""
    await beginning
    assert (await here.backend.end_of(5)).began is True


async def test_where_kubernetes_does_not_let_it_begin_it_never_does_and_says_why(here):
    handle = await here.prepare()
    here.cluster.refuses["merge pods"] = ClusterRefused(403, "gateway cannot patch pods")
    await here.backend.begin(5)
    await until(lambda: here.ended)
    ((_, end),) = here.ended
    assert (end.began, end.code) == (False, None)
    assert "gateway cannot patch pods" in (end.verdict or "")
    assert here.pod(handle) is None


async def test_what_it_waits_for_and_that_it_runs(here):
    handle = await here.prepare()
    assert here.told == []
    await here.backend.begin(5)
    why = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    here.cluster.change(handle["pod"], phase="Pending", conditions=[why])
    await until(lambda: any("0/3 nodes" in (each or "") for each in here.told))
    here.cluster.change(handle["pod"], **RUNNING)
    await until(lambda: here.told[-1] is None)


async def test_an_image_that_never_comes_is_an_end_that_is_not_tried_again(here):
    handle = await here.prepare()
    await here.backend.begin(5)
    waiting = {"reason": "ErrImagePull", "message": "manifest unknown"}
    statuses = [{"name": "driver", "state": {"waiting": waiting}}]
    here.cluster.change(handle["pod"], phase="Pending", podIP="10.0.0.7", containerStatuses=statuses)
    await until(lambda: here.ended)
    ((_, end),) = here.ended
    assert end.began is False
    assert "cannot be pulled: manifest unknown" in (end.verdict or "")


async def test_a_pod_that_cannot_be_made_is_refused_with_a_sentence(here):
    here.cluster.refuses["create pods"] = ClusterRefused(403, "pods is forbidden: exceeded quota: full")
    with pytest.raises(BackendError, match="no room in its quota"):
        await here.backend.prepare(order())


# Its end


async def test_its_exit_code_comes_with_the_whole_log(here):
    here.cluster.lines.append(b"2026-01-01T00:00:00.000000001Z the last word")
    handle = await here.run()
    here.cluster.change(handle["pod"], **ended(3))
    await until(lambda: here.ended)
    assert here.ended == [(5, AttemptEnd(3))]
    assert "the last word" in (await here.backend.log_page(5, 0, -1))[2]
    # The pod stays until its end is written down.
    assert here.pod(handle) is not None
    await here.backend.stop(5, handle, 0)
    assert here.cluster.names("pods") == here.cluster.names("secrets") == set()


async def test_one_that_somebody_else_deleted(here):
    handle = await here.run()
    here.cluster.remove(handle["pod"])
    await until(lambda: here.ended)
    assert "was deleted: by somebody who may" in (here.ended[0][1].verdict or "")


async def test_a_stop_is_no_verdict(here):
    handle = await here.run()
    await here.backend.stop(5, handle, 0)
    end = await here.backend.end_of(5)
    assert (end.asked, end.verdict) == (True, None)
    assert here.pod(handle) is None


async def test_a_stop_asks_until_kubernetes_answers(here):
    handle = await here.run()
    here.cluster.away = True
    stopping = asyncio.create_task(here.backend.stop(5, handle, 0))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    here.cluster.away = False
    await stopping
    assert here.pod(handle) is None


async def test_its_ports_are_those_of_its_own_pod(here):
    handle = await here.run()
    assert await here.backend.listens(5, handle, "10.0.0.7", 4440)
    assert not await here.backend.listens(5, handle, "10.0.0.8", 4440)
    assert not await here.backend.listens(6, handle, "10.0.0.7", 4440)


async def test_its_application_is_told_by_an_executors_label_where_no_ui_answers(here):
    handle = await here.run()
    assert await here.backend.application(5, handle) is None
    for number, told in enumerate(("spark-1f2e", "<script>")):
        labels = {
            "sparkyard/installation": "n",
            "sparkyard/attempt": "5",
            "sparkyard/role": "executor",
            "spark-app-selector": told,
        }
        owners = [{"kind": "Pod", "uid": handle["uid"]}]
        pod = {"metadata": {"name": f"exec-{number}", "labels": labels, "ownerReferences": owners}, "spec": {}}
        await here.cluster.create("spark", "pods", pod)
    while (found := await here.backend.application(5, handle)) is None:
        await asyncio.sleep(0.02)
    assert (found.id, found.ui) == ("spark-1f2e", None)


# Another gateway


async def test_one_at_its_gate_never_begins_after_its_gateway(here):
    handle = await here.prepare()
    later = here.another()
    assert await later.adopt(5, handle) == handle
    await until(lambda: here.ended)
    assert set(here.ended) == {(5, NEVER)}
    assert await later.end_of(5) == NEVER
    # The first one was only slow, and wakes up.
    await here.backend.begin(5)
    assert here.pod(handle) is None
    assert here.cluster.names("pods") == set()


async def test_one_that_has_begun_is_watched_and_never_withheld(here):
    handle = await here.run()
    here.told.clear()
    later = here.another()
    await later.adopt(5, handle)
    await until(lambda: None in here.told)
    assert await later.withhold(5) is False
    assert (await later.end_of(5)).began is True
    here.cluster.change(handle["pod"], **ended(0, "Completed"))
    await until(lambda: here.ended)
    assert here.ended[-1] == (5, AttemptEnd(0))


async def test_an_end_that_no_gateway_saw(here):
    handle = await here.run()
    await here.backend.let_go(5)
    here.cluster.change(handle["pod"], **ended(7))
    await here.another().adopt(5, handle)
    await until(lambda: here.ended)
    assert here.ended == [(5, AttemptEnd(7))]


async def test_one_that_is_gone_has_begun_for_all_that_is_known(here):
    handle = await here.prepare()
    await here.backend.let_go(5)
    here.cluster.remove(handle["pod"])
    later = here.another()
    await later.adopt(5, handle)
    await until(lambda: here.ended)
    ((_, end),) = here.ended
    assert end.began is True
    assert "no gateway saw how it ended" in (end.verdict or "")


async def test_a_cluster_that_is_away_at_a_start_is_asked_again(here):
    handle = await here.run()
    later = here.another()
    here.cluster.away = True
    assert await later.adopt(5, handle) == handle
    assert here.ended == []
    here.told.clear()
    here.cluster.away = False
    await until(lambda: None in here.told)


async def test_withheld_once_it_is_withheld_for_whoever_asks(here):
    handle = await here.prepare()
    later = here.another()
    await later.adopt(5, handle)
    assert await later.withhold(5) is True
    assert await later.withhold(5) is True
    await until(lambda: here.ended)
    assert set(here.ended) == {(5, NEVER)}


async def test_what_changed_since_it_was_seen_is_looked_at_again(here, monkeypatch):
    """Another gateway lets it begin between this one's look and its delete: it has begun, and is not deleted."""
    handle = await here.prepare()
    look = here.cluster.find

    async def find_then_lose(*arguments: str) -> dict[str, Any] | None:
        found = await look(*arguments)
        if here.gates(handle):
            await here.backend.begin(5)
        return found

    later = here.another()
    monkeypatch.setattr(here.cluster, "find", find_then_lose)
    await later.adopt(5, handle)
    assert await later.withhold(5) is False
    assert here.pod(handle) is not None
    assert here.ended == []


async def test_what_a_gateway_left_that_died_before_it_wrote_it_down_is_replaced(here):
    left = await here.prepare()
    handle = await here.another().prepare(order())
    assert here.pod(left) is None
    assert here.gates(handle) == [GATE]
    assert handle["pod"] != left["pod"]


async def test_an_attempt_that_runs_already_is_not_prepared_again(here):
    await here.run()
    with pytest.raises(BackendError, match="has begun already"):
        await here.another().prepare(order())
    assert len(here.cluster.names("pods")) == 1


async def test_one_that_was_let_go_of_is_not_begun(here):
    handle = await here.prepare()
    await here.backend.let_go(5)
    await here.backend.begin(5)
    assert here.gates(handle) == [GATE]


async def test_one_that_was_prepared_for_nothing_is_ended_and_nobody_is_told(here):
    handle = await here.prepare()
    other = await here.another().prepare(order(6))
    await here.backend.abandon(5, handle)
    assert here.cluster.names("pods") == {other["pod"]}
    assert here.ended == []


async def test_a_pod_whose_gate_is_lost_from_sight_while_it_began_is_not_run_again(here):
    """Its beginning was asked for, no answer came, and then the pod was gone."""
    handle = await here.prepare()
    here.cluster.refuses["merge pods"] = ClusterAway("no answer")  # type: ignore[assignment]
    beginning = asyncio.create_task(here.backend.begin(5))
    await asyncio.sleep(0.05)
    here.cluster.remove(handle["pod"])
    await until(lambda: here.ended)
    ((_, end),) = here.ended
    assert end.began is True
    await beginning


async def test_one_that_vanishes_before_it_was_told_to_begin_never_began(here):
    handle = await here.prepare()
    here.cluster.remove(handle["pod"])
    await until(lambda: here.ended)
    assert here.ended == [(5, NEVER)]


# Strays


async def test_pods_that_no_batch_wants_are_ended_and_others_are_not(here):
    here.wanted = {6}
    stray, others = await here.prepare(5), await here.another().prepare(order(6))
    await here.backend.let_go(5)
    session = {
        "metadata": {"name": "sparkyard-n-5-1", "labels": {"sparkyard/installation": "n", "sparkyard/session": "5"}}
    }
    await here.cluster.create("spark", "pods", {**session, "spec": {}})
    await until(lambda: here.pod(stray) is None)
    assert here.cluster.names("pods") == {others["pod"], "sparkyard-n-5-1"}
