"""What a pod waits for and why it ended, in sentences, from what Kubernetes says of it."""

from typing import Any

import pytest

from sparkyard_gateway.backends import pod_reasons
from sparkyard_gateway.backends.base import AttemptEnd
from sparkyard_gateway.backends.pod_reasons import (
    attempt_end,
    driver_end,
    executor_end,
    executor_waits,
    gated,
    hopeless,
    over,
    phase,
    stuck,
)

OOM = (
    "The batch's driver ran out of memory: it took more than its pod may have (1434Mi), and Kubernetes ended it "
    "(OOMKilled). Bring less into the driver, or raise driverMemory."
)
IMAGE = "registry.example.com/spark:3.5"


def pod(
    container: str = "driver", *, deleted: bool = False, node: str | None = "node-1", **status: Any
) -> dict[str, Any]:
    limits = {"limits": {"memory": "1434Mi"}}
    metadata = {"name": "sparkyard-n-7-1", "uid": "u", "labels": {"spark-exec-id": "3"}}
    return {
        "metadata": {**metadata, "deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else metadata,
        "spec": {"nodeName": node, "containers": [{"name": container, "image": IMAGE, "resources": limits}]},
        "status": status,
    }


def at(container: str = "driver", *, deleted: bool = False, **state: Any) -> dict[str, Any]:
    return pod(container, deleted=deleted, containerStatuses=[{"name": container, "state": state}])


def condition(kind: str, **words: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, **words}]}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (pod(node=None), "Waiting for a node for the driver."),
        (
            pod(
                node=None,
                **condition(
                    "PodScheduled",
                    status="False",
                    reason="Unschedulable",
                    message="0/3 nodes are available: 3 Insufficient memory.",
                ),
            ),
            "Waiting for a node that can take the driver: 0/3 nodes are available: 3 Insufficient memory.",
        ),
        (pod(), "The driver is going to node node-1."),
        (at(waiting={"reason": "ContainerCreating"}), "Node node-1 pulls the driver's image"),
        (
            at(waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image: i/o timeout"}),
            f"The driver's image {IMAGE} cannot be pulled so far: Back-off pulling image: i/o timeout",
        ),
        (at(waiting={"reason": "CreateContainerConfigError", "message": "no key"}), "does not start: no key"),
        (at(running={"startedAt": "x"}), "The driver's pod runs; Spark is starting."),
        (at(deleted=True, running={}), "The driver's pod is being ended."),
    ],
)
def test_what_a_driver_waits_for(seen, words) -> None:
    assert words in phase(seen)


@pytest.mark.parametrize(
    ("why", "message", "for_good"),
    [
        ("ErrImagePull", "rpc error: code = NotFound desc = ... spark:9: not found", True),
        ("ImagePullBackOff", "Back-off pulling image: pull access denied, repository does not exist", True),
        ("ImagePullBackOff", "Back-off pulling image: dial tcp: i/o timeout", False),
        ("ErrImageNeverPull", "Container image is not present with pull policy of Never", True),
        ("InvalidImageName", "couldn't parse image name", True),
        ("CreateContainerError", 'exec: "python3": executable file not found in $PATH', True),
        ("ContainerCreating", "", False),
    ],
)
def test_what_will_never_start_is_told_from_what_may_yet(why, message, for_good) -> None:
    told = hopeless(at(waiting={"reason": why, "message": message}))
    assert (told is not None) is for_good
    if told:
        assert IMAGE in told


@pytest.mark.parametrize(
    ("seen", "gone", "words", "clean"),
    [
        (
            at(terminated={"reason": "OOMKilled", "exitCode": 137}),
            False,
            "ran out of memory: it took more than its pod may have (1434Mi)",
            False,
        ),
        (at(terminated={"reason": "OOMKilled", "exitCode": 0}), False, "ran out of memory", False),
        (at(terminated={"reason": "OOMKilled", "exitCode": 137}), True, "ran out of memory", False),
        (at(terminated={"reason": "Completed", "exitCode": 0}), False, "ended by itself (exit code 0)", True),
        (at(terminated={"reason": "Error", "exitCode": 71}), False, "exit code 71: Spark's JVM was lost", False),
        (at(terminated={"reason": "Error", "exitCode": 9}), False, "The driver ended with exit code 9.", False),
        (
            at(terminated={"reason": "StartError", "exitCode": 128, "message": "no python3"}),
            False,
            "could not run (StartError): no python3",
            False,
        ),
        (
            at(deleted=True, terminated={"reason": "Error", "exitCode": 143}),
            False,
            "pod sparkyard-n-7-1 was deleted",
            False,
        ),
        (at(running={}), True, "pod sparkyard-n-7-1 was deleted", False),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            False,
            "was evicted from its node by Kubernetes: The node was low on resource: memory.",
            False,
        ),
        (
            pod(phase="Failed", **condition("DisruptionTarget", reason="PreemptionByScheduler")),
            True,
            "a pod of higher priority needed its place",
            False,
        ),
        (pod(phase="Failed", reason="NodeLost", message="the node is lost"), False, "the node is lost", False),
    ],
)
def test_why_a_driver_ended(seen, gone, words, clean) -> None:
    ended = driver_end(seen, gone=gone)
    assert words in ended.reason
    assert ended.reason.endswith(".") or ended.reason.endswith("lost")
    assert ended.clean is clean
    assert ended.decisive is not (
        "ended by itself" in words or "exit code" in words or "could not" in words or "lost" in words
    )


@pytest.mark.parametrize(
    ("seen", "gone", "words"),
    [
        (at("executor", running={}), False, None),
        (at("executor", terminated={"reason": "Completed", "exitCode": 0}), False, None),
        (at("executor", deleted=True, terminated={"reason": "Error", "exitCode": 143}), False, None),
        (at("executor", running={}), True, None),
        (
            at("executor", terminated={"reason": "OOMKilled", "exitCode": 137}),
            False,
            "Executor 3 (sparkyard-n-7-1) ran out of memory",
        ),
        (at("executor", deleted=True, terminated={"reason": "OOMKilled", "exitCode": 137}), True, "ran out of memory"),
        (
            at("executor", terminated={"reason": "Error", "exitCode": 1, "message": "a\nb"}),
            False,
            "ended with exit code 1",
        ),
        (
            at("executor", waiting={"reason": "ErrImagePull", "message": "not found"}),
            False,
            f"its image {IMAGE} cannot be pulled: not found",
        ),
    ],
)
def test_why_an_executor_ended_that_nobody_told_to(seen, gone, words) -> None:
    end = executor_end(seen, gone=gone)
    assert (end.reason if end else None) is None if words is None else end is not None and words in end.reason


def test_an_executors_last_words() -> None:
    end = executor_end(at("executor", terminated={"reason": "Error", "exitCode": 1, "message": "java.lang.X\n  at y"}))
    assert end is not None
    assert end.lines == ("java.lang.X", "  at y")


def test_an_executor_without_a_node() -> None:
    said = condition("PodScheduled", status="False", message="0/1 nodes are available: 1 Insufficient cpu.")
    assert executor_waits(pod("executor", node=None, **said)) == (
        "An executor waits for a node that can take it: 0/1 nodes are available: 1 Insufficient cpu."
    )
    assert executor_waits(pod("executor", **said)) is None


@pytest.mark.parametrize(
    ("seen", "is_over"),
    [
        (pod(), False),
        (at(running={}), False),
        (at(terminated={"exitCode": 0}), True),
        (pod(phase="Failed"), True),
        (pod(phase="Unknown"), False),
        (at(deleted=True, running={}), False),
    ],
)
def test_nobody_is_dead_before_nothing_of_them_runs(seen, is_over) -> None:
    assert over(seen) is is_over


def test_a_long_message_is_cut() -> None:
    message = "x" * 10_000
    assert len(hopeless(at(waiting={"reason": "InvalidImageName", "message": message})) or "") < 1000
    assert pod_reasons.LONGEST < 1000


# A batch


@pytest.mark.parametrize(
    ("seen", "gone", "end"),
    [
        (at(terminated={"exitCode": 0, "reason": "Completed"}), False, AttemptEnd(0)),
        (at(terminated={"exitCode": 3, "reason": "Error"}), False, AttemptEnd(3)),
        # A process of it was killed, and it made up for that.
        (at(terminated={"exitCode": 0, "reason": "OOMKilled"}), False, AttemptEnd(0)),
        (at(terminated={"exitCode": 137, "reason": "OOMKilled"}), False, AttemptEnd(137, verdict=OOM)),
        # It had ended when its pod was deleted.
        (at(terminated={"exitCode": 0, "reason": "Completed"}, deleted=True), True, AttemptEnd(0)),
        (
            at(terminated={"exitCode": 143, "reason": "Error"}, deleted=True),
            False,
            AttemptEnd(
                143,
                verdict="The batch's pod sparkyard-n-7-1 was deleted: by somebody who may, or with its node.",
            ),
        ),
        (
            at(running={}),
            True,
            AttemptEnd(
                None, verdict="The batch's pod sparkyard-n-7-1 was deleted: by somebody who may, or with its node."
            ),
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            False,
            AttemptEnd(
                None,
                verdict="The batch's driver was evicted from its node by Kubernetes: The node was low on resource: "
                "memory.",
            ),
        ),
        (
            at(terminated={"exitCode": 128, "reason": "StartError", "message": "exec: python3: not found"}),
            False,
            AttemptEnd(
                None,
                began=False,
                verdict="The batch's driver could not run (StartError): exec: python3: not found.",
            ),
        ),
        # Whether it has run nobody knows: so it is not run again.
        (
            at(terminated={"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "could not be located"}),
            False,
            AttemptEnd(
                None,
                verdict="Nobody saw how the batch's driver ended (ContainerStatusUnknown): could not be located.",
            ),
        ),
        (
            pod(phase="Failed", message="Pod was rejected"),
            False,
            AttemptEnd(None, verdict="Kubernetes ended the batch's pod: Pod was rejected"),
        ),
    ],
)
def test_how_an_attempt_at_a_batch_ended(seen, gone, end) -> None:
    assert attempt_end(seen, gone=gone) == end


@pytest.mark.parametrize(
    ("gates", "stands"), [([{"name": "sparkyard/begin"}], True), ([{"name": "a-queue"}], False), (None, False)]
)
def test_whether_a_batchs_pod_stands_at_its_gate(gates, stands) -> None:
    assert gated({"spec": {"schedulingGates": gates}}) is stands


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes."}
GATED = {"schedulingGates": [{"name": "sparkyard/begin"}]}


@pytest.mark.parametrize(
    ("spec", "status", "words"),
    [
        ({"nodeName": None}, {}, None),
        ({"nodeName": None}, {"conditions": [UNSCHEDULED]}, "Waiting for a node that can take the driver: 0/1 nodes."),
        ({"nodeName": None, **GATED}, {"conditions": [UNSCHEDULED]}, None),
        ({"nodeName": "n"}, {"containerStatuses": [{"name": "driver", "state": {"running": {}}}]}, None),
        (
            {"nodeName": "n"},
            {"containerStatuses": [{"name": "driver", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
            None,
        ),
        (
            {"nodeName": "n"},
            {
                "containerStatuses": [
                    {"name": "driver", "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}}
                ]
            },
            "cannot be pulled so far: x",
        ),
    ],
)
def test_what_a_driver_may_wait_for_in_vain(spec, status, words) -> None:
    found = stuck({"metadata": {"name": "p"}, "spec": spec, "status": status})
    assert (found is None) if words is None else (words in (found or ""))
