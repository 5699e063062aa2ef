"""Why a pod won't start: each kind of trouble with its sentence, and what is no trouble at all."""

import json
from typing import Any

import pytest

from sparkyard_spawner.pod_trouble import trouble_of, why_late, why_not_made
from sparkyard_spawner.pod_words import Names
from support.pods import container, event, pod

LAB = "registry.example.com/lab:1"
NAMES = Names({LAB: "JupyterLab 4"}, {"fetch": "Fetching examples"})
NO_CPU = "0/1 nodes are available: 1 Insufficient cpu."


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod(containerStatuses=[container(waiting={"reason": reason, "message": message})])


@pytest.mark.parametrize(
    ("found", "events"),
    [
        (pod(node=None), []),
        (pod(node=None, unschedulable=NO_CPU), [event("TriggeredScaleUp", of=None)]),
        (pod(node=None, unschedulable=NO_CPU), [event("Nominated", of=None)]),
        (pod(), []),
        (waiting("ContainerCreating"), [event("FailedMount", "x", of=None)]),
        (waiting("PodInitializing"), []),
        (pod(containerStatuses=[container(running={})]), []),
        (pod(initContainerStatuses=[container("fetch", terminated={"exitCode": 0})]), []),
        (pod(initContainerStatuses=[container("fetch", running={})]), []),
    ],
)
def test_what_is_no_trouble(found: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert trouble_of(found, events, NAMES) is None


@pytest.mark.parametrize(
    ("found", "events", "lasting", "words"),
    [
        (pod(node=None, unschedulable=NO_CPU), [], "room", "No machine of the cluster can take your server: of 1"),
        (
            pod(node=None, unschedulable='0/1 nodes are available: persistentvolumeclaim "teams" not found.'),
            [],
            "final",
            "A folder that the profile mounts is missing: there is no volume claim teams. Tell",
        ),
        (
            waiting("ErrImagePull", f'failed to resolve reference "{LAB}": {LAB}: not found'),
            [],
            "final",
            f"The image JupyterLab 4 ({LAB}) was not found",
        ),
        (
            # What was wrong is by now in the events alone.
            waiting("ImagePullBackOff", f'Back-off pulling image "{LAB}"'),
            [event("Failed", f'Failed to pull image "{LAB}": 401 Unauthorized')],
            "final",
            "(unauthorized)",
        ),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "{LAB}"'),
            [event("Failed", f'Failed to pull image "{LAB}": dial tcp: i/o timeout')],
            "image",
            "could not be fetched: its registry does not answer",
        ),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "{LAB}"'),
            [event("Failed", "x: not found", of="other")],
            "image",
            "could not be fetched",
        ),
        (
            waiting(
                "RunContainerError", 'runc create failed: exec: "jupyterhub-singleuser": executable file not found'
            ),
            [],
            "final",
            f"The image JupyterLab 4 ({LAB}) has no jupyterhub-singleuser, which starts in it.",
        ),
        (waiting("ErrImageNeverPull"), [], "final", "is not on the machine"),
        (waiting("InvalidImageName", "couldn't parse"), [], "final", "is no name of an image"),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            [],
            "final",
            'your server: secret "x" not found.',
        ),
        (
            pod(containerStatuses=[container(terminated={"exitCode": 3, "reason": "Error"})]),
            [],
            "final",
            "JupyterLab ended while it was starting (exit status 3)",
        ),
        (
            pod(
                containerStatuses=[
                    container(waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1, "reason": "Error"})
                ]
            ),
            [],
            "final",
            "JupyterLab ended while it was starting (exit status 1)",
        ),
        (
            # It has been started again already: the same trouble.
            pod(containerStatuses=[container(running={}, last={"exitCode": 1, "reason": "Error"})]),
            [],
            "final",
            "JupyterLab ended while it was starting (exit status 1)",
        ),
        (
            pod(containerStatuses=[container(terminated={"exitCode": 137, "reason": "OOMKilled"})]),
            [],
            "final",
            "JupyterLab ran out of memory",
        ),
        (
            pod(
                containerStatuses=[container(terminated={"exitCode": 128, "reason": "StartError", "message": "no sh"})]
            ),
            [],
            "final",
            "JupyterLab could not be started: no sh.",
        ),
        (
            pod(initContainerStatuses=[container("fetch", terminated={"exitCode": 2, "reason": "Error"})]),
            [],
            "final",
            "The step 'Fetching examples' failed (exit status 2)",
        ),
        (
            # A step's main process may survive what its children were killed for.
            pod(initContainerStatuses=[container("fetch", terminated={"exitCode": 0, "reason": "OOMKilled"})]),
            [],
            "final",
            "The step 'Fetching examples' ran out of memory",
        ),
        (
            pod(initContainerStatuses=[container("sparkyard-folders", terminated={"exitCode": 1, "reason": "Error"})]),
            [],
            "final",
            "The folders that your team shares could not be made",
        ),
        (
            pod(phase="Failed", reason="OutOfcpu", message="Pod was rejected: Node didn't have enough resource: cpu"),
            [],
            "final",
            "The machine turned your server away: Pod was rejected: Node didn't have enough resource: cpu. Try again.",
        ),
    ],
)
def test_each_trouble_has_its_sentence(
    found: dict[str, Any], events: list[dict[str, Any]], lasting: str, words: str
) -> None:
    trouble = trouble_of(found, events, NAMES)
    assert trouble is not None
    assert trouble.lasting == lasting
    assert words in trouble.message
    assert "\n" not in trouble.message


@pytest.mark.parametrize(
    ("found", "events", "words"),
    [
        (None, [], "The cluster did not make the server."),
        (pod(node=None, unschedulable=NO_CPU), [], "No machine of the cluster"),
        (
            waiting("ContainerCreating"),
            [event("FailedMount", "no such volume", of=None)],
            "Your folders could not be connected: no such volume.",
        ),
        (
            waiting("ContainerCreating"),
            [event("FailedCreatePodSandBox", "no address", of=None)],
            "The last that the cluster said: no address.",
        ),
        (pod(), [], "The cluster did not say why."),
    ],
)
def test_a_late_start_tells_the_last_that_was_known(
    found: dict[str, Any] | None, events: list[dict[str, Any]], words: str
) -> None:
    assert words in why_late(found, events, NAMES)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (
            403,
            (
                'pods "jupyter-sam" is forbidden: exceeded quota: servers, requested: limits.memory=2Gi,pods=1, used: '
                "limits.memory=7Gi,pods=10, limited: limits.memory=8Gi,pods=10"
            ),
            "7Gi of 8Gi memory in use, and this needs 2Gi; 10 of 10 servers in use, and this needs 1",
        ),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "security rules refuse"),
        (
            422,
            (
                "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'images' denied request: "
                "only images of registry.example.com"
            ),
            "The cluster's rules refuse the server that the profile describes: only images of registry.example.com.",
        ),
        (
            403,
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "namespace's limits",
        ),
        (403, 'pods is forbidden: User "system:hub" cannot create resource "pods"', "The hub has no right"),
        (403, 'pods "x" is forbidden: no PriorityClass with name high was found', "no PriorityClass with name high"),
        (500, "", "status 500"),
    ],
)
def test_what_the_api_server_refuses(status: int, said: str, words: str) -> None:
    assert words in why_not_made(status, json.dumps({"message": said}))


@pytest.mark.parametrize("body", [None, b"", "no json", "[]", b"\xff"])
def test_an_answer_that_is_none(body: Any) -> None:
    assert why_not_made(502, body) == "The cluster refuses to make the server: status 502. Tell an administrator."
