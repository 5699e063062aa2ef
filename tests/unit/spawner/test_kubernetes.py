"""KubeSpawner itself, as far as it goes without a cluster: what options reach the pod it would make."""

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient, ApiException
from kubespawner import KubeSpawner
from traitlets import TraitError
from traitlets.config import Config

from sparkyard_spawner import NoProfile, ServerRefused, StartFailed, configure_kubernetes
from sparkyard_spawner.kubernetes import KubernetesSpawner
from support.pod_security import containers, violations
from support.pods import container as status_of
from support.pods import event as event_of
from support.pods import pod as pod_of

HERE = Path(__file__).parent
EVIL = "evil.io/x:1"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner looks for a cluster as it is made; here is none."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)


def spawner(
    user_options: dict[str, Any],
    *,
    groups: tuple[str, ...] = ("scientists",),
    catalog: Path = HERE / "catalog.yaml",
    **settings: Any,
) -> KubernetesSpawner:
    user = SimpleNamespace(
        name="sam",
        escaped_name="sam",
        id=1,
        url="/user/sam/",
        admin=False,
        groups=[SimpleNamespace(name=group) for group in groups],
    )
    hub = SimpleNamespace(public_host="", url="http://hub", base_url="/hub/", api_url="http://hub/hub/api")
    config = Config()
    config.CatalogSpawnerMixin.catalog_path = str(catalog)
    config.CatalogSpawnerMixin.gateway_url = "http://gateway:8000"
    configure_kubernetes(
        config,
        home_path="/home/jovyan",
        home_size="1Gi",
        home_storage_class=None,
        uid=1000,
        gid=1000,
        room_seconds=120,
    )
    config.KubernetesSpawner.update(settings)
    return KubernetesSpawner(_mock=True, user=user, hub=hub, config=config, user_options=user_options)


async def pod(of: KubernetesSpawner) -> Any:
    await of.load_user_options()
    return (await of.get_pod_manifest()).to_dict()["spec"]


async def test_kubespawner_itself_can_be_passed() -> None:
    """The reason for our class. When this fails, KubeSpawner has learned to validate, and it can be made simpler."""
    config = Config()
    ours = {"display_name": "Ours", "default": True, "kubespawner_override": {"image": "registry.example.com/lab:1"}}
    ours_only = {
        "enabled": True,
        "validation_regex": "registry.example.com/.*",
        "kubespawner_override": {"image": "{value}"},
    }
    image = {"display_name": "Image", "choices": {"ours": ours}, "unlisted_choice": ours_only}
    config.KubeSpawner.profile_list = [{"display_name": "Small", "slug": "small", "profile_options": {"image": image}}]
    plain = KubeSpawner(_mock=True, config=config, user_options={"image--unlisted-choice": EVIL})

    await plain.load_user_options()

    assert plain.image == EVIL


@pytest.mark.parametrize(
    "options",
    [
        {"image--unlisted-choice": EVIL},
        {"profile": "small", "image--unlisted-choice": EVIL},
        {"profile-option-small--image--unlisted-choice": EVIL},
        {"image": EVIL},
        {"profile": "small", "image": EVIL},
        {"kubespawner_override": {"image": EVIL}},
        {"profile": "reserved"},
        {"profile": "Small"},
        {"profile": "small\n"},
        {"profile": "large", "driver_image": f"registry.example.com/science/../x@sha256:{'a' * 64}"},
    ],
)
async def test_no_option_passes_the_catalog(options: dict[str, Any]) -> None:
    sams = spawner(options)
    before = sams.image

    with pytest.raises(ServerRefused) as refused:
        await sams.load_user_options()

    assert refused.value.status_code == 403
    assert sams.image == before


async def test_an_empty_list_of_profiles_is_a_refusal_and_no_default_server() -> None:
    for options in ({}, {"profile": "small"}):
        with pytest.raises(NoProfile) as refused:
            await spawner(options, groups=("others",)).load_user_options()
        assert refused.value.status_code == 403


async def test_the_form_is_the_catalogs() -> None:
    sams = spawner({})

    assert sams.run_options_from_form({"profile": ["large"], "large.executors": ["3"]}) == {
        "profile": "large",
        "executors": 3,
    }
    for fields in ({"image": [EVIL]}, {"profile-option-small--image--unlisted-choice": [EVIL]}):
        with pytest.raises(ServerRefused):
            sams.run_options_from_form(fields)
        with pytest.raises(ServerRefused):
            sams.options_from_query(fields)


async def test_the_start_itself_refuses() -> None:
    """Whatever called it: nothing is asked of Kubernetes for a choice that is not granted."""
    sams = spawner({"image": EVIL})
    with pytest.raises(ServerRefused):
        await sams.start()


async def test_the_pod_has_what_the_catalog_grants() -> None:
    spec = await pod(spawner({"profile": "large", "driver_memory": "4g"}))

    (container,) = spec["containers"]
    assert container["image"] == "registry.example.com/lab:1"
    assert container["resources"]["limits"] == {"cpu": 1.0, "memory": 2**30}
    assert container["resources"]["requests"] == {"cpu": 0.1, "memory": 256 * 2**20}
    assert spec["automount_service_account_token"] is False
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert env["SPARKYARD_PROFILE"] == "large"
    assert env["SPARKYARD_GATEWAY_URL"] == "http://gateway:8000"
    assert '"driverMemory": "4g"' in env["SPARKYARD_SESSION_DEFAULTS"]


def test_a_profile_list_beside_the_catalog_is_a_mistake() -> None:
    with pytest.raises(TraitError, match="profile_list is not used: profiles are in the catalog"):
        spawner({}, profile_list=[{"display_name": "Mine", "slug": "mine"}])


# The whole pod ------------------------------------------------------------------------------------------------------

EVERYTHING = """
      pod:
        architecture: arm64
        node_selector: {pool: notebooks}
        tolerations: [{key: dedicated, value: notebooks, effect: NoSchedule}]
        gpu: {count: 1}
        scratch: 1Gi
        shared:
          - {claim: teams, folder: books, mount: /shared/books, access: write, gid: 2000}
        init:
          - {name: greet, title: Greeting, command: [sh, -c, 'echo {not_a_template} ${HOME}']}
        environment: {GREETING: "{hello} {username}"}
"""


@pytest.fixture
def full_catalog(tmp_path: Path) -> Path:
    """The catalog with a profile whose pod has everything that a pod can have."""
    before, _, after = (
        (HERE / "catalog.yaml").read_text().partition("    groups: [scientists]\n    notebook: *notebook\n")
    )
    notebook = f"    groups: [scientists]\n    notebook:\n      <<: *notebook{EVERYTHING}"
    path = tmp_path / "catalog.yaml"
    path.write_text(f"{before}{notebook}{after}")
    return path


async def manifest(of: KubernetesSpawner) -> Any:
    """The pod as it is sent to the API server."""
    await of.load_user_options()
    async with ApiClient() as client:
        return client.sanitize_for_serialization(await of.get_pod_manifest())


async def test_a_pod_with_everything(full_catalog: Path) -> None:
    made = await manifest(spawner({"profile": "large"}, catalog=full_catalog))
    spec = made["spec"]

    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    assert spec["enableServiceLinks"] is False
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64", "pool": "notebooks"}
    assert [tolerated["key"] for tolerated in spec["tolerations"]] == ["dedicated", "nvidia.com/gpu"]
    assert spec["securityContext"]["supplementalGroups"] == [2000]
    assert [container["name"] for container in spec["initContainers"]] == ["sparkyard-folders", "greet"]
    for container in containers(spec):
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]
    (notebook,) = spec["containers"]
    assert notebook["resources"]["limits"]["nvidia.com/gpu"] == 1
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"][:2]}
    assert claims == {"home": "home-sam", "shared-0": "teams"}
    # What the admin wrote arrives as written: KubeSpawner's templates have no say in it.
    assert spec["initContainers"][1]["command"] == ["sh", "-c", "echo {not_a_template} ${HOME}"]
    env = {variable["name"]: variable["value"] for variable in notebook["env"]}
    assert env["GREETING"] == "{hello} {username}"
    assert env["HOME"] == env["JUPYTERHUB_ROOT_DIR"] == notebook["workingDir"] == "/home/jovyan"
    labels = made["metadata"]["labels"]
    assert {key: labels[key] for key in labels if key.startswith("sparkyard/")} == {
        "sparkyard/user": "sam",
        "sparkyard/profile": "large",
    }


async def test_a_start_does_not_add_to_the_one_before(full_catalog: Path) -> None:
    sams = spawner({"profile": "large"}, catalog=full_catalog, tolerations=[{"key": "hub", "operator": "Exists"}])
    first = await manifest(sams)
    assert first == await manifest(sams)
    sams.user_options = {"profile": "small"}
    plain = await manifest(sams)
    assert [tolerated["key"] for tolerated in plain["spec"]["tolerations"]] == ["hub"]
    assert "initContainers" not in plain["spec"]
    assert "nodeSelector" not in plain["spec"]
    assert [volume["name"] for volume in plain["spec"]["volumes"]] == ["home"]
    assert "GREETING" not in {variable["name"] for variable in plain["spec"]["containers"][0]["env"]}


async def test_what_a_chart_sets_of_kubespawner_does_not_win() -> None:
    """The zero-to-jupyterhub chart sets KubeSpawner's own settings; ours are of our class."""
    user = SimpleNamespace(name="sam", escaped_name="sam", id=1, url="/user/sam/", admin=False, groups=[])
    config = Config()
    config.KubeSpawner.update({"uid": 0, "fs_gid": 100, "automount_service_account_token": True, "privileged": True})
    config.KubeSpawner.pvc_name_template = "claim-{username}"
    configure_kubernetes(
        config, home_path="/h", home_size="1Gi", home_storage_class="fast", uid=1500, gid=1600, room_seconds=1
    )
    made = KubernetesSpawner(_mock=True, user=user, config=config)
    assert (made.uid, made.gid, made.fs_gid, made.privileged) == (1500, 1600, 1600, False)
    assert made.automount_service_account_token is False
    assert made.delete_pvc is False
    assert (made.pvc_name, made.storage_class, made.storage_capacity) == ("home-sam", "fast", "1Gi")


# A start that fails -------------------------------------------------------------------------------------------------


class Cluster:
    """A cluster that makes what it is asked for and then does what a test says: nothing of it is started."""

    def __init__(self) -> None:
        self.pods: dict[str, Any] = {}
        self.claims: dict[str, str] = {}
        self.refusal: ApiException | None = None
        self.then: dict[str, Any] = {}
        self.log = ""

    async def create_namespaced_pod(self, _namespace: str, pod: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.pods[pod.metadata.name] = self.then
        return SimpleNamespace(metadata=SimpleNamespace(uid="u1"))

    async def delete_namespaced_pod(self, name: str, **_: Any) -> None:
        self.pods.pop(name, None)

    async def create_namespaced_persistent_volume_claim(self, namespace: str, body: Any) -> None:
        self.claims[body.metadata.name] = "Pending"

    async def read_namespaced_persistent_volume_claim(self, name: str, namespace: str) -> Any:
        return SimpleNamespace(status=SimpleNamespace(phase=self.claims[name]))

    async def delete_namespaced_persistent_volume_claim(self, name: str, namespace: str) -> None:
        del self.claims[name]

    async def read_namespaced_pod_log(self, *_: Any, **__: Any) -> str:
        return self.log


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """What the spawner's API and its watches show."""
    cluster = Cluster()
    watched = property(lambda _: SimpleNamespace(pods={f"ns/{name}": pod for name, pod in cluster.pods.items()}))

    async def nothing_to_do(_self: Any, replace: bool = False) -> None:
        """The watches are the cluster's own dictionaries."""

    monkeypatch.setattr(KubernetesSpawner, "pod_reflector", watched)
    monkeypatch.setattr(KubernetesSpawner, "event_reflector", None)
    monkeypatch.setattr(KubernetesSpawner, "_start_watching_pods", nothing_to_do)
    monkeypatch.setattr(KubernetesSpawner, "_start_watching_events", nothing_to_do)
    return cluster


def starting(cluster: Cluster, **settings: Any) -> KubernetesSpawner:
    sams = spawner({"profile": "small"}, namespace="ns", **settings)
    sams.api = cluster
    sams.api_token = "t0ken-of-the-server"
    return sams


NO_IMAGE = pod_of(containerStatuses=[status_of(waiting={"reason": "ErrImagePull", "message": "x: not found"})])
CRASHED = pod_of(containerStatuses=[status_of(terminated={"exitCode": 3, "reason": "Error"})])
NO_ROOM = pod_of(node=None, unschedulable="0/1 nodes are available: 1 Insufficient cpu.")


@pytest.mark.parametrize(
    ("then", "words"), [(NO_IMAGE, "was not found"), (CRASHED, "exit status 3"), (NO_ROOM, "1 has too little free CPU")]
)
async def test_a_start_that_cannot_succeed_says_why_and_leaves_nothing(
    cluster: Cluster, then: dict[str, Any], words: str
) -> None:
    cluster.then = then
    with pytest.raises(StartFailed) as failed:
        await starting(cluster, room_seconds=0).start()
    assert words in failed.value.jupyterhub_message
    assert cluster.pods == {}
    assert cluster.claims == {}


async def test_a_home_that_has_a_volume_is_kept(cluster: Cluster) -> None:
    cluster.then = CRASHED
    sams = starting(cluster)

    async def bind(namespace: str, body: Any) -> None:
        cluster.claims[body.metadata.name] = "Bound"

    cluster.create_namespaced_persistent_volume_claim = bind  # type: ignore[method-assign]
    with pytest.raises(StartFailed):
        await sams.start()
    assert cluster.claims == {"home-sam": "Bound"}


async def test_the_last_lines_are_shown_without_the_servers_token(cluster: Cluster) -> None:
    cluster.then, cluster.log = CRASHED, "Traceback\nbad token t0ken-of-the-server\n"
    with pytest.raises(StartFailed) as failed:
        await starting(cluster).start()
    assert failed.value.log_lines == ("Traceback", "bad token [secret]")


async def test_a_refusal_of_the_cluster_is_a_sentence_and_the_token_is_in_no_log(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    said = "exceeded quota: servers, requested: pods=1, used: pods=2, limited: pods=2"
    cluster.refusal = ApiException(status=403)
    cluster.refusal.body = json.dumps({"message": said})
    sams = starting(cluster)
    sams.log = logging.getLogger("spawner")
    with caplog.at_level(logging.DEBUG), pytest.raises(StartFailed) as failed:
        await sams.start()
    assert "2 of 2 servers in use, and this needs 1" in failed.value.jupyterhub_message
    assert cluster.claims == {}
    assert "t0ken-of-the-server" not in caplog.text


async def test_a_pod_that_ends_with_the_same_name_is_not_this_starts(cluster: Cluster) -> None:
    """The pod of the start before has the name, and its trouble is none of this one's."""
    sams = starting(cluster)
    sams._pod_uid = "another"
    cluster.pods["jupyter-sam"] = CRASHED
    sams.pod_name = "jupyter-sam"
    assert sams._own_pod() is None


async def test_a_start_that_takes_too_long_says_what_was_last_known(cluster: Cluster) -> None:
    cluster.then = pod_of()
    sams = starting(cluster, start_timeout=1)
    sams._own_events = lambda: [event_of("FailedMount", "no such volume", of=None)]  # type: ignore[method-assign]
    with pytest.raises(StartFailed, match=r"did not start within 1 seconds\..*could not be connected: no such volume"):
        await sams.start()
    assert cluster.pods == {}


async def test_the_page_is_told_each_step_once_a_second_at_most(cluster: Cluster) -> None:
    sams = starting(cluster)
    steps = sams.progress()
    first = await anext(steps)
    assert (first["message"], first["progress"]) == ("Asking the cluster for a server", 5)
    sams._pod_uid, sams.pod_name = "u1", "jupyter-sam"
    cluster.pods["jupyter-sam"] = pod_of(containerStatuses=[status_of(running={})])
    async with asyncio.timeout(60):
        while (step := await anext(steps))["phase"] != "Starting JupyterLab":
            pass
    assert step["progress"] == 75
    # The bar goes no way back.
    cluster.pods["jupyter-sam"] = pod_of(node=None)
    async with asyncio.timeout(60):
        while (step := await anext(steps))["phase"] != "Looking for a machine":
            pass
    assert step["progress"] == 75
