"""What a Spark session gets, and the sentence for what it does not."""

import sys
from typing import Any

import pytest

from sparkyard_catalog import Catalog, Person, Refused, SessionChoices, resolve_session

DIGEST = "sha256:" + "a" * 64
OWN = f"registry.example.com/data/mine@{DIGEST}"
DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
EXECUTOR_IMAGE = "spark.kubernetes.executor.container.image"
BOTH_IMAGES = "spark.kubernetes.container.image"


def large(**choices: Any) -> SessionChoices:
    return SessionChoices(profile="large", **choices)


def test_without_wishes_the_default_profile_as_it_stands(catalog: Catalog, ada: Person) -> None:
    spec = resolve_session(catalog, ada, SessionChoices())
    assert (spec.profile, spec.team, spec.spark_version) == ("small", "data", "3.5")
    assert (spec.driver_memory, spec.driver_cores) == ("1g", 1)
    assert (spec.executor_memory, spec.executor_cores, spec.executors) == ("1g", 1, 1)
    assert spec.conf == {
        "spark.driver.memory": "1g",
        "spark.driver.cores": "1",
        "spark.executor.memory": "1g",
        "spark.executor.cores": "1",
        "spark.executor.instances": "1",
        DRIVER_IMAGE: "registry.example.com/spark:3.5",
        EXECUTOR_IMAGE: "registry.example.com/spark:3.5",
    }
    assert (spec.idle_timeout_seconds, spec.lifetime_seconds) == (3600, None)
    assert spec.environment is not None
    assert spec.environment.python == f"{sys.prefix}/bin/python"
    assert spec.environment.spark_home is not None
    assert spec.environment.spark_home.endswith("/pyspark")


def test_all_wishes_within_the_caps(catalog: Catalog, ada: Person) -> None:
    request = large(
        driver_memory="8g",
        driver_cores=4,
        executor_memory="16G",
        executor_cores=1,
        executors=20,
        conf={
            DRIVER_IMAGE: "old",
            EXECUTOR_IMAGE: OWN,
            "spark.sql.shuffle.partitions": "2000",
            "spark.sql.ansi.enabled": "true",
            "spark.driver.maxResultSize": "4g",
        },
        jars=("s3a://bucket/libraries/a.jar",),
        idle_timeout="4h",
        lifetime="1h",
        proxy_user="ada",
        queue="default",
    )
    spec = resolve_session(catalog, ada, request)
    assert spec.profile == "large"
    assert (spec.driver_image.name, spec.driver_image.ref) == ("old", "registry.example.com/spark:old")
    assert spec.environment is not None
    assert spec.environment.python == str(catalog.folder / "environments/old/bin/python")
    assert (spec.executor_image.name, spec.executor_image.ref) == (None, OWN)
    assert spec.executor_image.environment is None
    assert spec.jars == ("s3a://bucket/libraries/a.jar",)
    assert (spec.idle_timeout_seconds, spec.lifetime_seconds) == (14400, 3600)
    assert spec.conf == {
        "spark.sql.shuffle.partitions": "2000",
        "spark.speculation": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.hadoop.fs.s3a.endpoint": "https://s3.example.com",
        "spark.sql.ansi.enabled": "true",
        "spark.driver.maxResultSize": "4g",
        "spark.driver.memory": "8g",
        "spark.driver.cores": "4",
        "spark.executor.memory": "16g",
        "spark.executor.cores": "1",
        "spark.executor.instances": "20",
        DRIVER_IMAGE: "registry.example.com/spark:old",
        EXECUTOR_IMAGE: OWN,
    }


def test_sizes_may_be_asked_for_in_sparks_keys(catalog: Catalog, ada: Person) -> None:
    conf = {"spark.sparkyard.profile": "large", "spark.executor.memory": "6g", "spark.executor.instances": "7"}
    spec = resolve_session(catalog, ada, SessionChoices(executors=7, conf=conf))
    assert (spec.profile, spec.executor_memory, spec.executors) == ("large", "6g", 7)
    assert "spark.sparkyard.profile" not in spec.conf


def test_one_key_for_both_images_yields_to_the_two(catalog: Catalog, ada: Person) -> None:
    spec = resolve_session(catalog, ada, large(conf={BOTH_IMAGES: "old"}))
    assert (spec.driver_image.name, spec.executor_image.name) == ("old", "old")
    spec = resolve_session(catalog, ada, large(conf={BOTH_IMAGES: "old", DRIVER_IMAGE: "spark"}))
    assert (spec.driver_image.name, spec.executor_image.name) == ("spark", "old")
    assert BOTH_IMAGES not in spec.conf


def test_a_listed_image_by_its_reference_is_that_image(catalog: Catalog, ada: Person) -> None:
    spec = resolve_session(catalog, ada, large(conf={DRIVER_IMAGE: "registry.example.com/spark:old"}))
    assert spec.driver_image.name == "old"


def test_a_fixed_setting_may_be_repeated(catalog: Catalog, ada: Person) -> None:
    assert resolve_session(catalog, ada, large(conf={"spark.speculation": "true"})).conf["spark.speculation"] == "true"


def test_who_has_one_profile_need_not_name_it(catalog: Catalog) -> None:
    assert resolve_session(catalog, Person("lea", frozenset({"leads"})), SessionChoices()).profile == "large"


@pytest.mark.parametrize(
    ("choices", "key", "allowed"),
    [
        # Sizes
        ({"driver_memory": "9g"}, "driverMemory", "1g to 8g"),
        ({"driver_memory": "512m"}, "driverMemory", "1g to 8g"),
        ({"driver_memory": "1.5g"}, "driverMemory", "1g to 8g"),
        ({"driver_memory": "2048"}, "driverMemory", "1g to 8g"),
        ({"driver_memory": 2048}, "driverMemory", "1g to 8g"),
        ({"executor_memory": "17g"}, "executorMemory", "512m to 16g"),
        ({"driver_cores": 5}, "driverCores", "1 to 4"),
        ({"driver_cores": 0}, "driverCores", "1 to 4"),
        ({"driver_cores": -1}, "driverCores", "1 to 4"),
        ({"driver_cores": True}, "driverCores", "1 to 4"),
        ({"driver_cores": 1.5}, "driverCores", "1 to 4"),
        ({"driver_cores": [1]}, "driverCores", "1 to 4"),
        ({"executors": 21}, "numExecutors", "1 to 20"),
        ({"conf": {"spark.executor.instances": "21"}}, "spark.executor.instances", "1 to 20"),
        ({"conf": {"spark.driver.memory": "9g"}}, "spark.driver.memory", "1g to 8g"),
        ({"conf": {"spark.driver.memory": "9000000000"}}, "spark.driver.memory", "1g to 8g"),
        ({"conf": {"spark.executor.cores": "four"}}, "spark.executor.cores", "1 to 4"),
        ({"executors": 2, "conf": {"spark.executor.instances": "3"}}, "spark.executor.instances", "one value"),
        ({"idle_timeout": "5h"}, "idleTimeout", "up to 4h"),
        ({"idle_timeout": "0s"}, "idleTimeout", "up to 4h"),
        ({"idle_timeout": "60"}, "idleTimeout", "up to 4h"),
        ({"lifetime": "25h"}, "ttl", "up to 24h"),
        # Images
        ({"conf": {DRIVER_IMAGE: "notebook"}}, DRIVER_IMAGE, "spark, old"),
        ({"conf": {DRIVER_IMAGE: "evil.example.com/x:1"}}, DRIVER_IMAGE, "under registry.example.com/data/"),
        ({"conf": {DRIVER_IMAGE: "registry.example.com/data/x:1"}}, DRIVER_IMAGE, "pinned by @sha256"),
        ({"conf": {DRIVER_IMAGE: f"registry.example.com/data-evil/x@{DIGEST}"}}, DRIVER_IMAGE, "spark, old"),
        ({"conf": {DRIVER_IMAGE: f"registry.example.com/data/../x@{DIGEST}"}}, DRIVER_IMAGE, "spark, old"),
        ({"conf": {DRIVER_IMAGE: ""}}, DRIVER_IMAGE, "spark, old"),
        ({"conf": {BOTH_IMAGES: "ghcr.io/acme/x:1"}}, DRIVER_IMAGE, "spark, old"),
        # Settings
        ({"conf": {"spark.foo": "1"}}, "spark.foo", "spark.sql.*"),
        ({"conf": {"spark.sql.session.timeZone": "CET"}}, "spark.sql.session.timeZone", "spark.sql.*"),
        ({"conf": {"spark.speculation": "false"}}, "spark.speculation", "spark.sql.*"),
        ({"conf": {"spark.sql.shuffle.partitions": "2001"}}, "spark.sql.shuffle.partitions", "from 1 to 2000"),
        ({"conf": {"spark.sql.adaptive.enabled": "maybe"}}, "spark.sql.adaptive.enabled", "true or false"),
        ({"conf": {"spark.sql.extensions": "x"}}, "spark.sql.extensions", "spark.sql.*"),
        ({"conf": {"spark.sql.x": "${env:HOME}"}}, "spark.sql.x", "any value"),
        ({"conf": {"spark.sql.x": "a\nspark.master yarn"}}, "spark.sql.x", "any value"),
        ({"conf": {"spark.sql.x": 5}}, "conf", "text to text"),
        ({"conf": {"spark.jars": "s3a://bucket/libraries/a.jar"}}, "spark.jars", "spark.sql.*"),
        ({"conf": {"spark.jars.packages": "evil:evil:1"}}, "spark.jars.packages", "matches"),
        ({"conf": {"spark.master": "yarn"}}, "spark.master", "spark.sql.*"),
        ({"conf": {"spark.kubernetes.namespace": "kube-system"}}, "spark.kubernetes.namespace", "spark.sql.*"),
        ({"conf": {"spark.submit.deployMode": "cluster"}}, "spark.submit.deployMode", "spark.sql.*"),
        ({"conf": {"hive.metastore.uris": "x"}}, "hive.metastore.uris", "spark.sql.*"),
        ({"conf": {"spark.sql.x\nspark.master": "x"}}, "spark.sql.x?spark.master", "spark.sql.*"),
        # Files
        ({"jars": ("file:///etc/passwd",)}, "jars", "s3a://bucket/libraries"),
        (
            {"jars": ("s3a://bucket/libraries/a.jar", "s3a://bucket/libraries/../b.jar")},
            "jars",
            "s3a://bucket/libraries",
        ),
        ({"py_files": ("http://evil.example.com/a.py",)}, "pyFiles", "s3a://bucket/libraries"),
        ({"files": ("/etc/shadow",)}, "files", "s3a://bucket/libraries"),
        ({"archives": ("hdfs:///x.zip",)}, "archives", "s3a://bucket/libraries"),
        ({"jars": (5,)}, "jars", "s3a://bucket/libraries"),
        # What is ours to decide
        ({"proxy_user": "root"}, "proxyUser", "ada"),
        ({"queue": "gold"}, "queue", "default"),
    ],
)
def test_what_goes_beyond_the_profile_is_refused(
    catalog: Catalog, ada: Person, choices: dict[str, Any], key: str, allowed: str
) -> None:
    with pytest.raises(Refused) as caught:
        resolve_session(catalog, ada, large(**choices))
    refused = caught.value
    assert refused.key == key
    assert refused.profile == "large"
    assert allowed in refused.allowed
    assert "large" in refused.message or refused.allowed == "one value"
    assert refused.message.endswith((".", "?"))
    assert "\n" not in refused.message


def test_a_profile_without_files_takes_none(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(
        Refused, match=r"jars 's3a://bucket/libraries/a.jar' is not granted by profile 'small'; it allows"
    ):
        resolve_session(catalog, ada, SessionChoices(jars=("s3a://bucket/libraries/a.jar",)))


def test_a_profile_without_a_lifetime_takes_none(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused, match="it allows no such limit"):
        resolve_session(catalog, ada, SessionChoices(lifetime="1h"))


def test_a_profile_of_others_and_no_profile_at_all_read_the_same(catalog: Catalog) -> None:
    ann = Person("ann", frozenset({"analysts"}))

    def answer(name: str) -> str:
        with pytest.raises(Refused) as caught:
            resolve_session(catalog, ann, SessionChoices(profile=name))
        assert caught.value.allowed == "small"
        return caught.value.message.replace(name, "X")

    assert answer("large") == answer("xlarge") == "Profile 'X' is not open to you; yours: small."


def test_a_misspelt_profile(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused, match=r"yours: small, large\. Did you mean 'large'\?"):
        resolve_session(catalog, ada, SessionChoices(profile="lagre"))


def test_two_profiles_at_once(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused, match="asked for twice"):
        resolve_session(catalog, ada, large(conf={"spark.sparkyard.profile": "small"}))


def test_who_is_in_no_group_gets_nothing(catalog: Catalog, bob: Person) -> None:
    with pytest.raises(Refused, match="No profile is open to you") as caught:
        resolve_session(catalog, bob, SessionChoices())
    assert caught.value.allowed == "nothing"


def test_an_admin_is_held_to_the_caps_too(catalog: Catalog, root: Person) -> None:
    assert resolve_session(catalog, root, large()).team is None
    with pytest.raises(Refused):
        resolve_session(catalog, root, large(executors=21))


def test_the_value_of_a_fixed_setting_is_not_given_away(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused) as caught:
        resolve_session(catalog, ada, large(conf={"spark.hadoop.fs.s3a.endpoint": "https://elsewhere"}))
    assert "is fixed by profile 'large'" in caught.value.message
    assert "s3.example.com" not in caught.value.message


def test_a_near_miss_is_pointed_out(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused, match=r"Did you mean 'spark.driver.maxResultSize'\?"):
        resolve_session(catalog, ada, large(conf={"spark.driver.maxResultsSize": "1g"}))


def test_a_huge_value_makes_no_huge_sentence(catalog: Catalog, ada: Person) -> None:
    with pytest.raises(Refused) as caught:
        resolve_session(catalog, ada, large(conf={"spark." + "x" * 100_000: "y" * 100_000}))
    assert len(caught.value.message) < 1000
