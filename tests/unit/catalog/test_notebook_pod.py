"""What a profile says of its notebook pods: what is refused with which words, and what a person gets of it."""

from typing import Any

import pytest

from sparkyard_catalog import Person, load, resolve_server

TEAM_FOLDER = {"claim": "teams", "mount": "/shared/team", "access": "write", "gid": 2000}
LIBRARY = {"claim": "library", "folder": "books", "mount": "/shared/library"}


def with_pod(example: dict[str, Any], **pod: Any) -> dict[str, Any]:
    example["profiles"]["small"]["notebook"]["pod"] = pod
    return example


@pytest.mark.parametrize(
    ("pod", "place", "words"),
    [
        ({"arch": "arm64"}, "arch", "known: architecture, environment"),
        ({"architecture": "arm"}, "architecture", "did you mean 'arm64'?"),
        ({"node_selector": {"pool": True}}, "node_selector.pool", 'put it in quotes: "true"'),
        ({"node_selector": {"a b": "c"}}, "node_selector.a b", "is not the key of a label"),
        ({"node_selector": {"pool": "-x"}}, "node_selector.pool", "is not the value of a label"),
        (
            {"architecture": "arm64", "node_selector": {"kubernetes.io/arch": "arm64"}},
            "node_selector",
            "is what architecture says",
        ),
        ({"tolerations": [{"value": "x"}]}, "tolerations[0]", "operator Equal needs a key"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, "tolerations[0].value", "takes no value"),
        ({"tolerations": [{"key": "a", "effect": "NoSchedul"}]}, "tolerations[0].effect", "did you mean 'NoSchedule'?"),
        ({"tolerations": [{"key": "a", "seconds": 5}]}, "tolerations[0].seconds", "NoExecute alone"),
        ({"priority_class": "High"}, "priority_class", "use lower-case letters"),
        ({"gpu": 1}, "gpu", "stands where a mapping (key: value) is needed"),
        ({"gpu": {"count": 0}}, "gpu.count", "out of range"),
        ({"scratch": "10G"}, "scratch", "write 10Gi"),
        ({"shared": [{"mount": "/shared"}]}, "shared[0].claim", "the key 'claim' is missing"),
        ({"shared": [{**LIBRARY, "mount": "shared"}]}, "shared[0].mount", "is not a path to mount at"),
        ({"shared": [{**LIBRARY, "mount": "/shared/../etc"}]}, "shared[0].mount", "is not a path to mount at"),
        ({"shared": [{**LIBRARY, "mount": "/etc/passwd"}]}, "shared[0].mount", "belongs to the image's system"),
        ({"shared": [{**LIBRARY, "folder": "../other"}]}, "shared[0].folder", "is not a folder in a volume"),
        ({"shared": [{**LIBRARY, "folder": "/books"}]}, "shared[0].folder", "is not a folder in a volume"),
        ({"shared": [{**LIBRARY, "folder": "{user}"}]}, "shared[0].folder", "is not a folder in a volume"),
        ({"shared": [{**LIBRARY, "access": "rw"}]}, "shared[0].access", "known: read, write"),
        ({"shared": [{**LIBRARY, "gid": 0}]}, "shared[0].gid", "out of range"),
        ({"shared": [{**LIBRARY, "groups": ["dta"]}]}, "shared[0].groups[0]", "did you mean 'data'?"),
        ({"shared": [{**LIBRARY, "teams": ["dta"]}]}, "shared[0].teams[0]", "did you mean 'data'?"),
        ({"init": [{"name": "a", "title": "A", "command": []}]}, "init[0].command", "at least one entry"),
        ({"init": [{"name": "A", "title": "A", "command": ["x"]}]}, "init[0].name", "can't be a name here"),
        ({"init": [{"name": "notebook", "title": "A", "command": ["x"]}]}, "init[0].name", "a container of ours"),
        (
            {"init": [{"name": "a", "title": "A", "command": ["x"], "image": "sprak"}]},
            "init[0].image",
            "did you mean 'spark'?",
        ),
        (
            {"init": [{"name": "a", "title": "A", "command": ["x"]}, {"name": "a", "title": "B", "command": ["y"]}]},
            "init",
            "two steps are called 'a'",
        ),
        ({"environment": {"A-B": "x"}}, "environment.A-B", "can't be an environment variable"),
        ({"environment": {"JUPYTERHUB_API_TOKEN": "x"}}, "environment.JUPYTERHUB_API_TOKEN", "set by JupyterHub"),
        ({"environment": {"sparkyard_profile": "x"}}, "environment.sparkyard_profile", "set by JupyterHub"),
    ],
)
def test_mistakes_are_told_with_their_place(example, problems, pod, place, words) -> None:
    found = problems(with_pod(example, **pod))
    assert len(found) == 1, found
    assert found[0].key == f"profiles.small.notebook.pod.{place}"
    assert found[0].line > 1
    assert words in found[0].message


def test_an_image_for_steps_has_no_spark(example, problems) -> None:
    example["images"]["git"] = {"kind": "init", "ref": "registry.example.com/git:1", "spark": "3.5"}
    (found,) = problems(example)
    assert (found.key, found.message) == ("images.git.spark", "an image for steps has no Spark; remove this key")


def test_without_a_word_the_pod_has_nothing_special(catalog, ada) -> None:
    pod = resolve_server(catalog, ada, {}).pod
    assert (pod.nodes, pod.tolerations, pod.devices, pod.mounts, pod.steps, pod.environment) == ({}, (), {}, (), (), {})
    assert (pod.priority_class, pod.scratch) == (None, None)


def test_names_are_looked_up(example, write, ada) -> None:
    example["images"]["git"] = {"kind": "init", "ref": "registry.example.com/git:1"}
    steps = [
        {"name": "examples", "title": "Fetching examples", "image": "git", "command": ["git", "clone", "x"]},
        {"name": "greet", "title": "Greeting", "command": ["true"]},
    ]
    catalog = load(
        write(
            with_pod(
                example,
                architecture="arm64",
                node_selector={"pool": "notebooks"},
                tolerations=[{"key": "dedicated", "value": "notebooks", "effect": "NoExecute", "seconds": 60}],
                gpu={"count": 2},
                priority_class="interactive",
                scratch="1Gi",
                init=steps,
                environment={"RETRIES": 3, "VERBOSE": True},
            )
        )
    )
    pod = resolve_server(catalog, ada, {}).pod
    assert pod.nodes == {"kubernetes.io/arch": "arm64", "pool": "notebooks"}
    assert pod.tolerations == (
        {
            "key": "dedicated",
            "operator": "Equal",
            "value": "notebooks",
            "effect": "NoExecute",
            "tolerationSeconds": 60,
        },
        {"key": "nvidia.com/gpu", "operator": "Exists"},
    )
    assert pod.devices == {"nvidia.com/gpu": 2}
    assert (pod.priority_class, pod.scratch) == ("interactive", 1024**3)
    assert [(step.name, step.image.ref) for step in pod.steps] == [
        ("examples", "registry.example.com/git:1"),
        ("greet", "registry.example.com/notebook:1"),
    ]
    assert pod.environment == {"RETRIES": "3", "VERBOSE": "true"}


@pytest.mark.parametrize(
    ("person", "shared", "mounted"),
    [
        (Person("ada", frozenset({"data"})), [TEAM_FOLDER], {"/shared/team": ("data", True)}),
        (Person("lea", frozenset({"leads", "data"})), [TEAM_FOLDER], {"/shared/team": ("data", True)}),
        (Person("ann", frozenset({"analysts"})), [TEAM_FOLDER], {"/shared/team": ("analytics", True)}),
        # An admin who is in no team is in none of the teams' folders.
        (Person("root", frozenset(), admin=True), [TEAM_FOLDER, LIBRARY], {"/shared/library": ("books", False)}),
        (Person("ann", frozenset({"analysts"})), [{**TEAM_FOLDER, "teams": ["data"]}], {}),
        (Person("ann", frozenset({"analysts"})), [{**LIBRARY, "groups": ["leads"]}], {}),
        # The first entry for a path that is meant for the person.
        (
            Person("lea", frozenset({"leads", "data"})),
            [{**LIBRARY, "access": "write", "groups": ["leads"]}, LIBRARY],
            {"/shared/library": ("books", True)},
        ),
        (
            Person("ada", frozenset({"data"})),
            [{**LIBRARY, "access": "write", "groups": ["leads"]}, LIBRARY],
            {"/shared/library": ("books", False)},
        ),
    ],
)
def test_who_gets_which_shared_folder(example, write, person, shared, mounted) -> None:
    catalog = load(write(with_pod(example, shared=shared)))
    found = resolve_server(catalog, person, {"profile": "small"}).pod.mounts
    assert {mount.path: (mount.folder, mount.writable) for mount in found} == mounted
