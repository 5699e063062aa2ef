"""KubeSpawner itself, as far as it goes without a cluster: what options reach the pod it would make."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubespawner import KubeSpawner
from traitlets import TraitError
from traitlets.config import Config

from sparkyard_spawner import NoProfile, ServerRefused
from sparkyard_spawner.kubernetes import KubernetesSpawner

HERE = Path(__file__).parent
EVIL = "evil.io/x:1"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner looks for a cluster as it is made; here is none."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)


def spawner(
    user_options: dict[str, Any], *, groups: tuple[str, ...] = ("scientists",), **settings: Any
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
    config.CatalogSpawnerMixin.catalog_path = str(HERE / "catalog.yaml")
    config.CatalogSpawnerMixin.gateway_url = "http://gateway:8000"
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
