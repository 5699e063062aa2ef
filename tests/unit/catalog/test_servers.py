"""What a notebook server gets; its options come from anyone."""

from typing import Any

import pytest

from sparkyard_catalog import Catalog, Person, Refused, SessionChoices, resolve_server, resolve_session

DIGEST = "sha256:" + "a" * 64
OWN = f"registry.example.com/data/mine@{DIGEST}"


def test_without_options_the_default_profile(catalog: Catalog, ada: Person) -> None:
    spec = resolve_server(catalog, ada, {})
    assert (spec.profile, spec.profile_title, spec.team) == ("small", "Small", "data")
    assert (spec.image.name, spec.image.ref) == ("notebook", "registry.example.com/notebook:1")
    assert (spec.cpu_guarantee, spec.cpu_limit) == (0.1, 1)
    assert (spec.memory_guarantee, spec.memory_limit) == (256 * 1024**2, 1024**3)
    assert spec.session_defaults == {
        "driverMemory": "1g",
        "driverCores": 1,
        "executorMemory": "1g",
        "executorCores": 1,
        "numExecutors": 1,
        "conf": {
            "spark.sparkyard.profile": "small",
            "spark.kubernetes.driver.container.image": "spark",
            "spark.kubernetes.executor.container.image": "spark",
        },
    }


def test_choices_reach_the_sessions(catalog: Catalog, ada: Person) -> None:
    options = {
        "profile": "large",
        "driver_image": "old",
        "executor_image": OWN,
        "driver_cores": "4",  # as a form sends it
        "driver_memory": "8g",
        "executor_cores": 3,
        "executor_memory": None,
        "executors": "20",
    }
    spec = resolve_server(catalog, ada, options)
    assert spec.session_defaults == {
        "driverMemory": "8g",
        "driverCores": 4,
        "executorMemory": "4g",
        "executorCores": 3,
        "numExecutors": 20,
        "conf": {
            "spark.sparkyard.profile": "large",
            "spark.kubernetes.driver.container.image": "old",
            "spark.kubernetes.executor.container.image": OWN,
        },
    }
    assert spec.memory_limit == int(1.5 * 1024**3)
    conf = spec.session_defaults["conf"]
    assert resolve_session(catalog, ada, SessionChoices(driver_memory="8g", executors=20, conf=conf)).profile == "large"


@pytest.mark.parametrize(
    ("options", "key", "word"),
    [
        ({"profile": "xlarge"}, "profile", "yours: small, large"),
        ({"profile": ["large"]}, "profile", "takes one text"),
        ({"profile": ""}, "profile", "takes one text"),
        ({"profile": {"a": 1}}, "profile", "takes one text"),
        ({"profil": "large"}, "profil", "did you mean 'profile'?"),
        ({"image": "evil.io/x:1"}, "image", "There is no option 'image'"),
        ({"image--unlisted-choice": "evil.io/x:1"}, "image--unlisted-choice", "There is no option"),
        ({"profile": "large", "extra_containers": []}, "extra_containers", "There is no option"),
        ({5: "large"}, "5", "There is no option"),
        ({"<script>\n": "x"}, "<script>?", "There is no option"),
        ({"profile": "large", "driver_cores": 5}, "driver_cores", "it allows 1 to 4"),
        ({"profile": "large", "driver_cores": "-1"}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_cores": "1e3"}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_cores": [1]}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_cores": True}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_cores": 1.5}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_cores": ""}, "driver_cores", "takes one whole number"),
        ({"profile": "large", "driver_memory": "9g"}, "driver_memory", "it allows 1g to 8g"),
        ({"profile": "large", "executors": 21}, "executors", "it allows 1 to 20"),
        ({"profile": "large", "driver_image": "notebook"}, "driver_image", "it allows spark, old"),
        ({"profile": "large", "driver_image": "evil.io/x:1"}, "driver_image", "it allows spark, old"),
        ({"profile": "small", "driver_image": OWN}, "driver_image", "it allows spark."),
        ({"profile": "small", "executors": 2}, "executors", "it allows 1."),
    ],
)
def test_options_that_the_catalog_does_not_grant(
    catalog: Catalog, ada: Person, options: dict[Any, Any], key: str, word: str
) -> None:
    with pytest.raises(Refused) as caught:
        resolve_server(catalog, ada, options)
    assert caught.value.key == key
    assert word in caught.value.message


@pytest.mark.parametrize("options", [None, [], "profile", 5])
def test_options_that_are_no_mapping(catalog: Catalog, ada: Person, options: Any) -> None:
    with pytest.raises(Refused, match="not a mapping"):
        resolve_server(catalog, ada, options)


def test_who_is_in_no_group_gets_no_server(catalog: Catalog, bob: Person) -> None:
    with pytest.raises(Refused, match="No profile is open to you"):
        resolve_server(catalog, bob, {"profile": "small"})
