"""What a person reads while a pod starts."""

from typing import Any

import pytest

from sparkyard_spawner.pod_words import Names, phase_of, room_words
from support.pods import container, event, pod

LAB = "registry.example.com/lab:1"
NAMES = Names({LAB: "JupyterLab 4"}, {"fetch": "Fetching the team's examples"})
PULLING = event("Pulling", f'Pulling image "{LAB}"')
PULLED = event("Pulled", f'Successfully pulled image "{LAB}" in 12.3s')
CREATING = {"reason": "ContainerCreating"}


@pytest.mark.parametrize(
    ("found", "events", "message"),
    [
        (None, [], "Asking the cluster for a server"),
        (pod(node=None), [], "Looking for a machine"),
        (
            pod(node=None, unschedulable="0/2 nodes are available: 2 Insufficient cpu."),
            [],
            "Waiting for a machine: of 2 machines, 2 have too little free CPU",
        ),
        (
            pod(node=None, unschedulable="0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            [],
            "Waiting for the volume of your folders",
        ),
        (
            pod(node=None, unschedulable="0/2 nodes are available: 2 Insufficient cpu."),
            [event("TriggeredScaleUp", of=None)],
            "The cluster is adding a machine for your server",
        ),
        (pod(), [event("Scheduled", of=None)], "Connecting your folders"),
        (
            pod(containerStatuses=[container(waiting=CREATING)]),
            [event("FailedMount", "MountVolume.SetUp failed for volume x:\n timed out", of=None)],
            "Still waiting for your folders: MountVolume.SetUp failed for volume x: timed out",
        ),
        (
            pod(containerStatuses=[container(waiting=CREATING)]),
            [PULLING],
            f"Fetching the image JupyterLab 4 ({LAB}); the first time on a machine this takes a while",
        ),
        (pod(containerStatuses=[container(waiting=CREATING)]), [PULLING, PULLED], "Connecting your folders"),
        (
            pod(containerStatuses=[container(waiting=CREATING)]),
            [PULLING, PULLED, PULLING],
            f"Fetching the image JupyterLab 4 ({LAB}); the first time on a machine this takes a while",
        ),
        (
            pod(
                initContainerStatuses=[container("fetch", running={})],
                containerStatuses=[container(waiting={"reason": "PodInitializing"})],
            ),
            [],
            "Fetching the team's examples",
        ),
        (
            pod(
                initContainerStatuses=[container("sparkyard-folders", running={})],
                containerStatuses=[container(waiting={"reason": "PodInitializing"})],
            ),
            [],
            "Making the shared folders ready",
        ),
        (
            pod(
                initContainerStatuses=[container("fetch", terminated={"exitCode": 0})],
                containerStatuses=[container(waiting={"reason": "PodInitializing"})],
            ),
            [],
            "Preparing your server",
        ),
        (
            pod(
                initContainerStatuses=[container("fetch", terminated={"exitCode": 0})],
                containerStatuses=[container(running={"startedAt": "x"})],
            ),
            [PULLING, PULLED],
            "Starting JupyterLab",
        ),
    ],
)
def test_the_phase(found: dict[str, Any] | None, events: list[dict[str, Any]], message: str) -> None:
    assert phase_of(found, events, NAMES).message == message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            ("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: 0/3 nodes are available: "
            "3 No preemption victims found for incoming pod."),
            "of 3 machines, 1 has too little free memory and 2 have too little free CPU",
        ),
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "of 1 machine, 1 has too few free GPUs (nvidia.com/gpu)",
        ),
        (
            ("0/4 nodes are available: 1 node(s) had untolerated taint {dedicated: spark}, 2 node(s) were unschedulable"
            ", 1 node(s) didn't match Pod's node affinity/selector."),
            ("of 4 machines, 1 is kept for other work (dedicated), 2 take no new work and 1 is not of the kind that "
            "the profile asks for"),
        ),
        ("0/1 nodes are available: 1 Too many pods.", "of 1 machine, 1 has no place for another server"),
        ("0/2 nodes are available: 2 node(s) had a new kind of trouble.",
         "of 2 machines, 2 not possible: node(s) had a new kind of trouble"),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("0/0 nodes are available: none.", "the cluster has no machine"),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes ...",
            "the volume of a folder of yours is not there yet",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "teams" not found. preemption: ...',
            "there is no volume claim teams",
        ),
        ("x" * 500, "x" * 197),
    ],
)  # fmt: skip
def test_the_schedulers_sentence(said: str, words: str) -> None:
    assert room_words(said) == words
