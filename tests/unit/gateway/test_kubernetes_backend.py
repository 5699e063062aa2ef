"""The backend for Kubernetes, when the cluster does what a real one won't do on demand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import kubernetes, pod_ends, pod_log, pod_watch, stray_pods
from sparkyard_gateway.backends.base import BackendAway, BackendError, DriverOrder, Ended
from sparkyard_gateway.backends.cluster import ClusterAway, ClusterRefused
from sparkyard_gateway.backends.kubernetes import KubernetesBackend
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import Terms
from support.scripted_cluster import RUNNING, ScriptedCluster, ended
from support.waiting import until_async as until

NAME = "sparkyard-n-7-1"


class Here:
    """A backend on a scripted cluster, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.cluster = ScriptedCluster()
        self.ended: list[tuple[int, Ended]] = []
        self.told: list[str] = []
        self.wanted: set[int] = set()
        self.folder = folder
        self.backend = self.another()

    def another(self) -> KubernetesBackend:
        """As a gateway after this one has it."""
        terms = Terms(installation="n", namespace="spark")

        async def wanted(number: int) -> bool:
            return number in self.wanted

        return KubernetesBackend(
            self.cluster,  # type: ignore[arg-type]
            terms,
            self.folder,
            PodObjects(self.cluster, terms),  # type: ignore[arg-type]
            lambda number, why: self.ended.append((number, why)),
            lambda _number, phase: self.told.append(phase),
            wanted,
        )

    async def start(self) -> dict[str, Any]:
        handle = await self.backend.start(order())
        await until(lambda: self.cluster.watchers)
        return handle


def order(session: int = 7, epoch: int = 1) -> DriverOrder:
    return DriverOrder(
        session_id=session, epoch=epoch, owner="ann", url=f"ws://g/driver/v1/{session}", token="t", kind="pyspark",
        app_name="a", cores=1,
        conf={"spark.driver.memory": "1g", "spark.kubernetes.driver.container.image": "sparkyard/spark:3.5"},
    )  # fmt: skip


@pytest.fixture
async def here(tmp_path, monkeypatch):
    for module, name, seconds in (
        (kubernetes, "FIRST_PAUSE", 0.02),
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
    await made.backend.close()


# Start


async def test_a_driver_is_a_pod_with_two_secrets_that_belong_to_it(here):
    handle = await here.start()
    assert (handle["namespace"], handle["pod"]) == ("spark", NAME)
    assert here.cluster.names("pods") == {NAME}
    assert here.cluster.names("secrets") == {NAME, f"{NAME}-executors"}
    assert len(here.cluster.names("configmaps")) == 1
    secret = here.cluster.objects["spark", "secrets", NAME]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == handle["uid"]


async def test_no_pod_is_left_where_its_secret_is_refused(here):
    here.cluster.refuses["create secrets"] = ClusterRefused(403, "exceeded quota: objects, secrets=1")
    with pytest.raises(BackendError, match="has no room in its quota: exceeded quota: objects"):
        await here.backend.start(order())
    assert here.cluster.names("pods") == set()


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (ClusterRefused(403, 'pods "x" is forbidden: violates PodSecurity'), "does not allow it in namespace"),
        (ClusterRefused(404, 'namespaces "spark" not found'), "must make it, and name it in spark.namespaces"),
        (ClusterRefused(422, 'Pod "x" is invalid: spec.x'), "Kubernetes refused its pod: Pod"),
    ],
)
async def test_a_refusal_is_a_sentence(here, refused, words):
    here.cluster.refuses["create pods"] = refused
    with pytest.raises(BackendError, match=words):
        await here.backend.start(order())


async def test_a_cluster_that_is_away_is_told_in_a_sentence(here):
    here.cluster.away = True
    with pytest.raises(BackendError, match="Kubernetes does not answer the gateway"):
        await here.backend.start(order())
    assert await here.backend.problem() == "Kubernetes does not answer: it is down"


async def test_a_lost_answer_does_not_make_a_second_pod(here):
    here.cluster.loses_answer_of = "pods"
    handle = await here.start()
    assert here.cluster.objects["spark", "pods", NAME]["metadata"]["uid"] == handle["uid"]
    assert here.cluster.names("secrets") == {NAME, f"{NAME}-executors"}


# Watch


async def test_the_end_is_told_once_with_its_reason_and_a_complete_log(here):
    await here.start()
    here.cluster.change(NAME, **RUNNING)
    here.cluster.lines = [b"2026-01-01T00:00:00.1Z one", b"2026-01-01T00:00:00.2Z two"]
    here.cluster.change(NAME, **ended(137, "OOMKilled"))
    here.cluster.change(NAME, deleted=True, **ended(137, "OOMKilled"))
    await until(lambda: here.ended)
    ((number, why),) = here.ended
    assert (number, why.clean, why.decisive) == (7, False, True)
    assert "ran out of memory" in why.reason
    assert here.backend.log_tail(7, 2) == ["one", "two"]


async def test_phases_are_told_while_it_starts(here):
    await here.start()
    here.cluster.change(NAME, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes."}])
    await until(lambda: any("a node that can take the driver: 0/1 nodes." in each for each in here.told))


async def test_a_driver_whose_image_is_not_there_is_given_up(here):
    await here.start()
    waiting = {"reason": "ErrImagePull", "message": "sparkyard/spark:3.5: not found"}
    here.cluster.change(NAME, containerStatuses=[{"name": "driver", "state": {"waiting": waiting}}])
    await until(lambda: here.ended)
    assert "cannot be pulled: sparkyard/spark:3.5: not found" in here.ended[0][1].reason


async def test_a_pod_that_somebody_deleted(here):
    await here.start()
    here.cluster.change(NAME, **RUNNING)
    here.cluster.remove(NAME)
    await until(lambda: here.ended)
    assert f"pod {NAME} was deleted" in here.ended[0][1].reason


@pytest.mark.parametrize("error", [ClusterAway("reset"), ClusterRefused(410, "too old resource version")])
async def test_what_happened_while_nobody_watched_is_found(here, error):
    await here.start()
    here.cluster.deaf = True
    here.cluster.remove(NAME)
    here.cluster.stop_watching(error)
    await until(lambda: here.ended)
    assert "was deleted" in here.ended[0][1].reason


async def test_silence_is_not_death(here):
    await here.start()
    here.cluster.change(NAME, **RUNNING)
    here.cluster.away = True
    here.cluster.stop_watching(ClusterAway("reset"))
    await asyncio.sleep(0.2)
    here.cluster.away = False
    await until(lambda: here.cluster.watchers)
    assert here.ended == []
    here.cluster.change(NAME, **ended(1))
    await until(lambda: here.ended)


async def test_only_the_pods_own_address_is_believed(here):
    handle = await here.start()
    assert not await here.backend.listens(7, handle, "10.0.0.7", 4040)
    here.cluster.change(NAME, **RUNNING)
    await until(lambda: "The driver's pod runs; Spark is starting." in here.told)
    assert await here.backend.listens(7, handle, "10.0.0.7", 4040)
    assert not await here.backend.listens(7, handle, "169.254.169.254", 80)
    assert not await here.backend.listens(8, handle, "10.0.0.7", 4040)


async def test_an_executors_end_stands_in_the_drivers_log(here):
    await here.start()
    labels = {
        "sparkyard/installation": "n", "sparkyard/session": "7", "sparkyard/role": "executor", "spark-exec-id": "1",
    }  # fmt: skip
    owner = {"kind": "Pod", "uid": here.cluster.objects["spark", "pods", NAME]["metadata"]["uid"]}
    metadata = {"name": "exec-1", "labels": labels, "ownerReferences": [owner]}
    await here.cluster.create("spark", "pods", {"metadata": metadata, "spec": {}})
    state = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "its last line"}}
    here.cluster.change("exec-1", containerStatuses=[{"name": "executor", "state": state}])
    await until(lambda: "    | its last line" in here.backend.log_tail(7, 5))
    assert any("EXECUTOR Executor 1 (exec-1) ran out of memory" in each for each in here.backend.log_tail(7, 5))
    assert here.ended == []


# After a gateway's death


async def test_a_driver_is_found_again_by_its_handle(here):
    handle = await here.start()
    here.cluster.change(NAME, **RUNNING)
    await here.backend.close()
    here.backend = here.another()
    assert await here.backend.adopt(7, json.loads(json.dumps(handle))) == handle
    await until(lambda: here.cluster.watchers)
    here.cluster.change(NAME, **ended(0, "Completed"))
    await until(lambda: here.ended)
    assert here.ended[0][1].clean


async def test_a_driver_that_ended_meanwhile_still_tells_why(here):
    handle = await here.start()
    await here.backend.close()
    here.cluster.change(NAME, **ended(137, "OOMKilled"))
    here.backend = here.another()
    assert await here.backend.adopt(7, handle) == handle
    await until(lambda: here.ended)
    assert "ran out of memory" in here.ended[0][1].reason


async def test_another_pod_of_the_same_name_is_not_it(here):
    handle = await here.start()
    assert await here.another().adopt(7, {**handle, "uid": "another"}) is None
    here.cluster.remove(NAME)
    assert await here.another().adopt(7, handle) is None


async def test_a_cluster_that_is_away_says_nothing_about_a_driver(here):
    handle = await here.start()
    here.cluster.away = True
    for known in (handle, None):
        with pytest.raises(BackendAway):
            await here.backend.adopt(7, known)


async def test_a_pod_that_waits_for_its_secret_is_started_anew(here):
    """The gateway died between the pod and what it was about to be told."""
    await here.start()
    await here.backend.close()
    here.backend = here.another()
    here.backend.open(frozenset({"spark"}))
    assert await here.backend.adopt(7, None) is None
    await here.backend.stop(7, None, 0)
    assert here.cluster.names("pods") == here.cluster.names("secrets") == set()


async def test_a_running_pod_is_found_by_its_number(here):
    handle = await here.start()
    here.cluster.change(NAME, **RUNNING)
    await here.backend.close()
    here.backend = here.another()
    here.backend.open(frozenset({"spark"}))
    assert await here.backend.adopt(7, None) == handle


# End


async def test_stop_returns_when_nothing_is_left(here):
    handle = await here.start()
    here.cluster.change(NAME, **RUNNING)
    here.cluster.lingering.add(NAME)
    stopping = asyncio.create_task(here.backend.stop(7, handle, 0))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    here.cluster.lingering.clear()
    here.cluster.remove(NAME)
    await stopping
    assert here.cluster.names("pods") == here.cluster.names("secrets") == set()
    assert here.ended == []  # who asked for it does not need to be told


async def test_a_cluster_that_is_away_is_asked_until_it_has_ended_it(here):
    handle = await here.start()
    here.cluster.away = True
    stopping = asyncio.create_task(here.backend.stop(7, handle, 0))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    here.cluster.away = False
    await stopping
    assert here.cluster.names("pods") == set()


async def test_a_pod_that_no_session_wants_is_ended(here):
    await here.start()
    await here.backend.close()
    here.backend = here.another()
    here.wanted = {7}
    here.backend.open(frozenset({"spark"}))
    await asyncio.sleep(0.4)
    assert here.cluster.names("pods") == {NAME}
    here.wanted = set()
    await until(lambda: not here.cluster.names("pods"))


async def test_another_gateways_driver_is_let_go(here):
    await here.start()
    here.wanted = {7}
    await here.backend.let_go(7)
    here.cluster.change(NAME, **ended(0))
    await asyncio.sleep(0.1)
    assert here.ended == []


async def test_what_was_made_for_nothing_is_discarded(here):
    handle = await here.start()
    await here.backend.discard({**handle, "uid": "another"})
    assert here.cluster.names("pods") == {NAME}
    await here.backend.discard(handle)
    assert here.cluster.names("pods") == set()
