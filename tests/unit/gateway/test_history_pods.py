"""Pods that show what has ended: made for who looks, within bounds, and none is left."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.backends import history_pods
from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.cluster import ClusterRefused
from sparkyard_gateway.backends.history_manifests import HistoryOrder, history_pod, history_secret
from sparkyard_gateway.backends.history_pods import HistoryPods
from sparkyard_gateway.backends.pod_objects import PodObjects
from sparkyard_gateway.backends.pod_places import Terms
from sparkyard_gateway.ui_keys import UiKeys
from support.scripted_cluster import ScriptedCluster, ended
from support.waiting import until_async as until

TERMS = Terms(installation="n", namespace="spark")
PULLING = {"waiting": {"reason": "ErrImageNeverPull", "message": "not there"}}


def order(owner: str = "ann", mark: str = "m1", **changed: Any) -> HistoryOrder:
    known: dict[str, Any] = {
        "gateway": "gateway-0", "owner": owner, "mark": mark, "namespace": "spark", "image": "sparkyard/spark:3.5",
        "memory_mib": 512, "idle_seconds": 600, "limit": 512 * 1024 * 1024,
        "place": {"nodes": {"kubernetes.io/arch": "arm64"}}, "costs": {"sparkyard/team": "crew"},
    }  # fmt: skip
    return HistoryOrder(**{**known, **changed})


def test_what_the_pod_is() -> None:
    pod = history_pod(order(), TERMS, "program")
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "spark-executor"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert {next(key for key in each if key != "name") for each in spec["volumes"]} == {
        "configMap",
        "secret",
        "emptyDir",
    }
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "896Mi"}
    assert spec["activeDeadlineSeconds"] == 12 * 3600
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    labels = pod["metadata"]["labels"]
    assert labels["sparkyard/role"] == "history"
    assert labels["sparkyard/history"] == "gateway-0"
    assert (labels["sparkyard/user"], labels["sparkyard/team"]) == ("ann", "crew")
    # No watch for sessions or batches takes it for one of theirs.
    assert not {"sparkyard/session", "sparkyard/attempt"} & labels.keys()


def test_its_keys_are_in_its_secret_alone() -> None:
    pod = history_pod(order(), TERMS, "program")
    pod["metadata"]["uid"] = "u-1"
    conf = {"spark.ssl.ui.keyStorePassword": "s3cret", "spark.ssl.ui.port": "0"}
    secret = history_secret(order(), pod, conf, {"ui-key.p12": b"k"}, (b"own", b"clients"))
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    told = json.loads(base64.b64decode(secret["data"]["history.json"]))
    assert told["conf"]["spark.ssl.historyServer.keyStorePassword"] == "s3cret"
    assert told["conf"]["spark.ssl.historyServer.port"] == "4440"
    assert not [key for key in told["conf"] if key.startswith("spark.ssl.ui.")]
    assert "s3cret" not in json.dumps(pod)


class Here:
    """History pods on a scripted cluster; each answers as soon as it runs."""

    def __init__(self, most: int = 2) -> None:
        self.cluster = ScriptedCluster()
        keys = UiKeys("secret")
        self.pods = HistoryPods(
            self.cluster,  # type: ignore[arg-type]
            TERMS,
            PodObjects(self.cluster, TERMS, keys),  # type: ignore[arg-type]
            keys,
            "gateway-0",
            most=most,
            idle_seconds=600,
        )

    @property
    def names(self) -> set[str]:
        return self.cluster.names("pods")

    async def runs(self, name: str) -> None:
        await until(lambda: name in self.names)
        state = {"containerStatuses": [{"name": "driver", "state": {"running": {}}}]}
        self.cluster.change(name, phase="Running", podIP="127.0.0.1", **state)

    async def shown(self, wanted: HistoryOrder) -> history_pods.HistoryPod:
        asking = asyncio.create_task(self.pods.pod_for(wanted))
        await self.runs(f"sparkyard-n-history-{wanted.mark}")
        return await asking


@pytest.fixture
async def here(monkeypatch):
    monkeypatch.setattr(history_pods, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(history_pods, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(history_pods, "IN_USE_SECONDS", 0.0)

    async def answers(pods: HistoryPods, pod: history_pods.HistoryPod) -> bool:
        pod.stayed = asyncio.get_running_loop().time()
        return pod.name in pods._cluster.names("pods")  # type: ignore[attr-defined]

    # What answers is told by the program's own tests; here is no pod that could.
    monkeypatch.setattr(HistoryPods, "_told", answers)
    made = Here()
    yield made
    await made.pods.close()


async def test_all_that_one_person_looks_at_is_in_one_pod_and_nobody_elses(here):
    first = await here.shown(order(mark="m1"))
    assert await here.pods.pod_for(order(mark="m2")) is first
    second = await here.shown(order("bob", mark="m3"))
    assert (first.name, second.name) == ("sparkyard-n-history-m1", "sparkyard-n-history-m3")
    assert here.cluster.names("secrets") == {first.name, second.name}


async def test_the_one_that_was_looked_at_longest_ago_gives_way(here):
    await here.shown(order("ann", mark="m1"))
    await here.shown(order("bob", mark="m2"))
    await here.shown(order("eve", mark="m3"))
    assert here.names == {"sparkyard-n-history-m2", "sparkyard-n-history-m3"}


async def test_of_those_that_are_looked_at_none_gives_way(here):
    for owner, mark in (("ann", "m1"), ("bob", "m2")):
        (await here.shown(order(owner, mark=mark))).busy += 1
    with pytest.raises(BackendError, match="2 people look"):
        await here.pods.pod_for(order("eve", mark="m3"))


async def test_one_that_is_gone_is_made_anew(here):
    first = await here.shown(order(mark="m1"))
    here.cluster.remove(first.name)
    first.stayed = -1000
    assert (await here.shown(order(mark="m2"))).name == "sparkyard-n-history-m2"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Pending", "containerStatuses": [{"name": "driver", "state": PULLING}]}, "cannot be pulled"),
        (ended(70), "ended before it was ready"),
    ],
)
async def test_one_that_will_never_run_is_told_and_removed(here, status, words):
    asking = asyncio.create_task(here.pods.pod_for(order()))
    await until(lambda: here.names)
    here.cluster.change("sparkyard-n-history-m1", **status)
    with pytest.raises(BackendError, match=words):
        await asking
    assert here.names == set()


async def test_what_kubernetes_refuses_is_told_in_its_words(here):
    here.cluster.refuses["create pods"] = ClusterRefused(403, "exceeded quota: crew")
    with pytest.raises(BackendError, match="exceeded quota: crew"):
        await here.pods.pod_for(order())


async def test_where_its_secret_cannot_be_made_no_pod_is_left(here):
    here.cluster.refuses["create secrets"] = ClusterRefused(403, "no")
    with pytest.raises(BackendError):
        await here.pods.pod_for(order())
    assert here.names == set()


async def test_what_an_earlier_life_left_goes_and_anothers_stays_while_it_runs(here):
    for mark, gateway in (("old", "gateway-0"), ("theirs", "gateway-1"), ("over", "gateway-1")):
        await here.cluster.create("spark", "pods", history_pod(order(mark=mark, gateway=gateway), TERMS, "program"))
    here.cluster.change("sparkyard-n-history-over", **ended(0))
    mine = await here.shown(order("bob", mark="mine"))
    here.pods.open(frozenset({"spark"}))
    await until(lambda: here.names == {mine.name, "sparkyard-n-history-theirs"})


async def test_one_that_nobody_looks_at_is_ended(here):
    pod = await here.shown(order())
    here.pods.open(frozenset({"spark"}))
    pod.used -= 1000
    await until(lambda: here.names == set())


async def test_a_log_that_cannot_be_brought_is_told(here, tmp_path: Path):
    pod = await here.shown(order())
    (tmp_path / "events_1").write_bytes(b"x")
    with pytest.raises(BackendError, match="could not be brought"):
        await here.pods.bring(pod, "spark-1", 1, lambda: [tmp_path / "events_1"])
    assert pod.brought == {}
