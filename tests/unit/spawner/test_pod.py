"""From the catalog's grant to a pod: the table of what becomes what, always within the restricted level."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import Person, load, resolve_server
from sparkyard_catalog.granted_image import ImageSpec
from sparkyard_catalog.granted_pod import Mount, PodSpec, Step
from sparkyard_spawner.pod import _MAKE_FOLDERS, Base, cost_labels, literal, pod_settings
from support.pod_security import violations

HERE = Path(__file__).parent
BASE = Base(home="/home/jovyan", uid=1000, gid=1000)
NOTHING = PodSpec(
    nodes={}, tolerations=(), priority_class=None, devices={}, scratch=None, mounts=(), steps=(), environment={}
)
TEAM = Mount("teams", "data", "/shared/team", writable=True, gid=2000)
LIBRARY = Mount("library", "books", "/shared/library", writable=False, gid=None)
FETCH = Step("fetch", "Fetching", ImageSpec("git", "git", "registry.example.com/git:1"), ("sh", "-c", "echo {x} ${y}"))


@pytest.fixture(scope="module")
def granted() -> Any:
    return resolve_server(load(HERE / "catalog.yaml"), Person("sam", frozenset({"scientists"})), {"profile": "large"})


def settings(granted: Any, base: Base = BASE, **pod: Any) -> dict[str, Any]:
    return pod_settings(replace(granted, pod=replace(NOTHING, **pod)), "sam", base)


@pytest.mark.parametrize(
    ("pod", "base", "expected"),
    [
        ({}, {}, {"node_selector": {}, "tolerations": [], "priority_class_name": "", "extra_resource_limits": {}}),
        ({"nodes": {"kubernetes.io/arch": "arm64"}}, {}, {"node_selector": {"kubernetes.io/arch": "arm64"}}),
        (
            {"nodes": {"pool": "b"}},
            {"node_selector": {"pool": "a", "z": "1"}},
            {"node_selector": {"pool": "b", "z": "1"}},
        ),
        (
            {"tolerations": ({"key": "b", "operator": "Exists"},)},
            {"tolerations": [{"key": "a", "operator": "Exists"}]},
            {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]},
        ),
        ({}, {"priority_class": "servers"}, {"priority_class_name": "servers"}),
        ({"priority_class": "mine"}, {"priority_class": "servers"}, {"priority_class_name": "mine"}),
        ({"devices": {"nvidia.com/gpu": 2}}, {}, {"extra_resource_limits": {"nvidia.com/gpu": 2}}),
        (
            {},
            {"pod": {"dnsPolicy": "Default"}},
            {"extra_pod_config": {"dnsPolicy": "Default", "enableServiceLinks": False}},
        ),
        ({}, {}, {"cmd": ["jupyterhub-singleuser"], "init_containers": []}),
        ({"mounts": (LIBRARY,)}, {}, {"cmd": ["jupyterhub-singleuser"]}),
        (
            {"mounts": (TEAM,)},
            {},
            {"cmd": ["sh", "-c", 'umask 0007; exec "$0" "$@"', "jupyterhub-singleuser"]},
        ),
        (
            {"mounts": (TEAM, LIBRARY)},
            {},
            {
                "volume_mounts": [
                    {"name": "home", "mountPath": "/home/jovyan"},
                    {"name": "shared-0", "mountPath": "/shared/team", "subPath": "data", "readOnly": False},
                    {"name": "shared-1", "mountPath": "/shared/library", "subPath": "books", "readOnly": True},
                ],
                "volumes": [
                    {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}},
                    {"name": "shared-0", "persistentVolumeClaim": {"claimName": "teams"}},
                    {"name": "shared-1", "persistentVolumeClaim": {"claimName": "library"}},
                ],
            },
        ),
        (
            {"mounts": (LIBRARY, replace(LIBRARY, folder="maps", path="/shared/maps"))},
            {},
            {
                "volumes": [
                    {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}},
                    {"name": "shared-0", "persistentVolumeClaim": {"claimName": "library"}},
                ]
            },
        ),
        (
            {"scratch": 2**30},
            {"volumes": [{"name": "extra", "emptyDir": {}}]},
            {
                "volumes": [
                    {"name": "extra", "emptyDir": {}},
                    {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}},
                    {"name": "scratch", "emptyDir": {"sizeLimit": "1073741824"}},
                ]
            },
        ),
    ],
)
def test_what_becomes_what(granted: Any, pod: dict[str, Any], base: dict[str, Any], expected: dict[str, Any]) -> None:
    found = settings(granted, replace(BASE, **base), **pod)
    assert {key: found[key] for key in expected} == expected


def test_whoever_shares_folders_is_in_their_groups(granted: Any) -> None:
    found = settings(granted, mounts=(TEAM, replace(TEAM, gid=3000, path="/b"), replace(TEAM, gid=1000, path="/c")))
    assert found["pod_security_context"]["supplementalGroups"] == [2000, 3000]
    assert found["pod_security_context"]["fsGroup"] == 1000


def test_the_operator_cannot_loosen_the_pods_security_by_accident(granted: Any) -> None:
    base = replace(BASE, pod_security={"runAsNonRoot": False, "runAsUser": 0, "supplementalGroups": [50]})
    context = settings(granted, base)["pod_security_context"]
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 1000)
    assert context["supplementalGroups"] == [50]


def test_steps_have_the_servers_folders_and_size(granted: Any) -> None:
    (maker, fetch) = settings(granted, mounts=(TEAM,), steps=(FETCH,), environment={"A": "{b}"})["init_containers"]
    assert maker["name"] == "sparkyard-folders"
    assert maker["volumeMounts"] == [{"name": "shared-0", "mountPath": "/claims/shared-0"}]
    assert fetch["image"] == "registry.example.com/git:1"
    assert fetch["command"] == ["sh", "-c", "echo {{x}} ${{y}}"]
    assert fetch["env"] == [{"name": "A", "value": "{{b}}"}, {"name": "HOME", "value": "/home/jovyan"}]
    assert [mount["mountPath"] for mount in fetch["volumeMounts"]] == ["/home/jovyan", "/shared/team"]
    for container in (maker, fetch):
        assert container["resources"]["requests"] == {"cpu": "0.1", "memory": str(256 * 2**20)}
        assert container["resources"]["limits"] == {"cpu": "1.0", "memory": str(2**30)}


@pytest.mark.parametrize(
    ("user", "team", "expected"),
    [
        ("sam", "data", {"sparkyard/user": "sam", "sparkyard/team": "data", "sparkyard/profile": "large"}),
        ("sam", None, {"sparkyard/user": "sam", "sparkyard/profile": "large"}),
    ],
)
def test_labels_for_cost(granted: Any, user: str, team: str | None, expected: dict[str, str]) -> None:
    assert cost_labels(replace(granted, team=team), user) == expected


@pytest.mark.parametrize(
    "name",
    [
        "sam",
        "sam.o'neil@example.com",
        "Ünal",
        "x" * 200,
        "-dash",
        "dash-",
        "a--b",
        "",
        "日本",
        "a\n",
        "{username}",
        "%7b",
    ],
)
def test_any_user_name_makes_a_valid_label(granted: Any, name: str) -> None:
    import re  # noqa: PLC0415

    value = cost_labels(granted, name)["sparkyard/user"]
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)


def test_names_that_look_alike_stay_apart(granted: Any) -> None:
    names = ["a@b.c", "a-b.c", "a b.c", "A@B.C", "a@b-c", "x" * 64, "x" * 65]
    assert len({cost_labels(granted, name)["sparkyard/user"] for name in names}) == len(names)


@pytest.mark.parametrize("value", ["{user}", "{", "}}", {"a": ["{x}"]}, 5, None, ("a{b}",)])
def test_literal_survives_a_template(value: Any) -> None:
    def expand(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: expand(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [expand(inner) for inner in value]
        return value.format(user="evil") if isinstance(value, str) else value

    assert expand(literal(value)) == (list(value) if isinstance(value, tuple) else value)


def test_the_folder_maker_makes_folders_that_a_team_can_change(tmp_path: Path) -> None:
    import os  # noqa: PLC0415

    made, found = tmp_path / "teams" / "data", tmp_path / "found"
    found.mkdir(mode=0o755)
    group = str(os.getgid())
    subprocess.run(["sh", "-c", _MAKE_FOLDERS, "x", str(made), group, str(found), "-"], check=True)
    assert made.stat().st_mode & 0o7777 == 0o2770
    assert found.stat().st_mode & 0o777 == 0o755
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert subprocess.run(["sh", "-c", _MAKE_FOLDERS, "x", str(blocked / "a"), "-"], check=False).returncode != 0


def test_every_pod_is_within_the_restricted_level(granted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged as a pod that KubeSpawner makes of it, in test_kubernetes.py; here the settings alone are looked at."""
    found = settings(granted, mounts=(TEAM, LIBRARY), steps=(FETCH,), scratch=1, devices={"nvidia.com/gpu": 1})
    spec = {
        "securityContext": found["pod_security_context"],
        "volumes": found["volumes"],
        "initContainers": found["init_containers"],
        "containers": [{"name": "notebook", "securityContext": found["container_security_context"]}],
    }
    assert violations(spec) == []
