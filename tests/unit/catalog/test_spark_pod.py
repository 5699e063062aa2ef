"""What a profile says of the pods of its drivers and executors: what is refused and how, and what is granted."""

from typing import Any

import pytest

from sparkyard_catalog import Person, SessionChoices, load, resolve_session


def with_pod(example: dict[str, Any], part: str, **pod: Any) -> dict[str, Any]:
    example["profiles"]["small"]["spark"][part]["pod"] = pod
    return example


@pytest.mark.parametrize(
    ("pod", "place", "words"),
    [
        ({"capacity": "on-demand"}, "capacity", "did you mean 'on_demand'?"),
        ({"cpu": "half"}, "cpu", "is not an amount of CPU"),
        ({"scratch": "10g"}, "scratch", "write 10Gi"),
        ({"architecture": "x86"}, "architecture", "known: amd64, arm64"),
        ({"tolerations": [{"value": "x"}]}, "tolerations[0]", "operator Equal needs a key"),
        ({"priority_class": "High"}, "priority_class", "use lower-case letters"),
        ({"volumes": [{"mount": "/data"}]}, "volumes[0].claim", "the key 'claim' is missing"),
        ({"volumes": [{"claim": "d", "mount": "/etc/x"}]}, "volumes[0].mount", "belongs to the image's system"),
        ({"volumes": [{"claim": "d", "mount": "/var/sparkyard/x"}]}, "volumes[0].mount", "is the pod's own"),
        ({"volumes": [{"claim": "d", "mount": "/d", "folder": "../x"}]}, "volumes[0].folder", "is not a folder"),
        ({"volumes": [{"claim": "d", "mount": "/d"}, {"claim": "e", "mount": "/d"}]}, "volumes", "are mounted at /d"),
        ({"host_path": "/"}, "host_path", "known: architecture, capacity"),
    ],
)
@pytest.mark.parametrize("part", ["driver", "executor"])
def test_mistakes_are_told_with_their_place(example, problems, part, pod, place, words) -> None:
    found = problems(with_pod(example, part, **pod))
    assert len(found) == 1, found
    assert found[0].key == f"profiles.small.spark.{part}.pod.{place}"
    assert words in found[0].message


@pytest.mark.parametrize(
    ("dynamic", "place", "words"),
    [
        ({"min": -1}, "min", "out of range"),
        ({"idle_timeout": 60}, "idle_timeout", "has no unit"),
        ({"idle": "60s"}, "idle", "known: cached_idle_timeout, idle_timeout, min"),
    ],
)
def test_mistakes_in_what_comes_and_goes(example, problems, dynamic, place, words) -> None:
    example["profiles"]["small"]["spark"]["executor"]["dynamic"] = dynamic
    (found,) = problems(example)
    assert found.key == f"profiles.small.spark.executor.dynamic.{place}"
    assert words in found.message


@pytest.mark.parametrize("name", ["Data_Science", "kube.system", "-x"])
def test_a_teams_namespace_is_a_name_that_kubernetes_takes(example, problems, name) -> None:
    example["teams"]["data"]["namespace"] = name
    (found,) = problems(example)
    assert found.key == "teams.data.namespace"


def test_what_is_granted(example, write) -> None:
    example["teams"]["data"]["namespace"] = "spark-data"
    example["nodes"] = {
        "spot": {"node_selector": {"pool": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
    }
    with_pod(example, "driver", capacity="on_demand", architecture="arm64", cpu="250m", priority_class="drivers")
    with_pod(
        example, "executor", capacity="spot", scratch="10Gi", node_selector={"disk": "nvme"},
        volumes=[{"claim": "data", "mount": "/data", "folder": "{team}"}],
    )  # fmt: skip
    example["profiles"]["small"]["spark"]["executor"]["dynamic"] = {"min": 1}
    spec = resolve_session(load(write(example)), Person("ann", frozenset({"data"})), SessionChoices(profile="small"))

    assert spec.pods.as_json() == {
        "namespace": "spark-data",
        "driver": {
            "nodes": {"karpenter.sh/capacity-type": "on-demand", "kubernetes.io/arch": "arm64"},
            "tolerations": (),
            "priority_class": "drivers",
            "cpu": 0.25,
            "scratch": None,
            "volumes": (),
        },
        "executor": {
            "nodes": {"pool": "spot", "disk": "nvme"},
            "tolerations": ({"key": "spot", "operator": "Exists"},),
            "priority_class": None,
            "cpu": None,
            "scratch": 10 * 1024**3,
            "volumes": ({"claim": "data", "folder": "data", "mount": "/data", "access": "read"},),
        },
        "dynamic": {"min": 1, "idle_timeout": "60s", "cached_idle_timeout": "20m"},
    }


def test_nobody_is_confined_to_a_namespace_without_a_team(example, write) -> None:
    spec = resolve_session(load(write(example)), Person("ann", frozenset({"data"})), SessionChoices(profile="small"))
    assert (spec.pods.namespace, spec.pods.dynamic) == (None, None)
