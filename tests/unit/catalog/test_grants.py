"""Whatever is asked for: what is granted lies within the profile, or the answer is a refusal and nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sparkyard_catalog import (
    Catalog,
    Person,
    Refused,
    SessionChoices,
    SessionSpec,
    profiles_for,
    resolve_server,
    resolve_session,
)
from sparkyard_catalog.policy import rule_for
from sparkyard_catalog.quantities import seconds, spark_bytes
from sparkyard_catalog.references import parse
from sparkyard_catalog.servers import OPTIONS
from sparkyard_catalog.standing import Standing, standing_of

DIGEST = "sha256:" + "a" * 64
SIZES = {
    "spark.driver.memory",
    "spark.driver.cores",
    "spark.executor.memory",
    "spark.executor.cores",
    "spark.executor.instances",
}
IMAGES = {"spark.kubernetes.driver.container.image", "spark.kubernetes.executor.container.image"}

keys = st.sampled_from(
    [
        "spark.sql.shuffle.partitions", "spark.sql.ansi.enabled", "spark.sql.adaptive.enabled", "spark.sql.extensions",
        "spark.sql.catalog.x", "spark.sql.warehouse.dir", "spark.speculation", "spark.hadoop.fs.s3a.endpoint",
        "spark.driver.maxResultSize", "spark.network.timeout", "spark.serializer", "spark.jars.packages", "spark.jars",
        "spark.master", "spark.submit.deployMode", "spark.driver.extraJavaOptions", "spark.kubernetes.namespace",
        "spark.kubernetes.container.image", "spark.sparkyard.profile", "spark.plugins", *SIZES, *IMAGES,
    ]
) | st.from_regex(r"spark\.sql\.[A-Za-z.\n]{1,20}", fullmatch=True) | st.text(max_size=20)  # fmt: skip
memories = st.sampled_from(["512m", "1g", "2g", "8g", "9g", "16g", "17g", "1t", "100", "1.5g", "0b", "8193m", "2G"])
images = st.sampled_from(
    ["spark", "old", "notebook", "", f"registry.example.com/data/x@{DIGEST}", "registry.example.com/data/x:1",
     "ghcr.io/acme/x:1", f"ghcr.io/acme-evil/x@{DIGEST}", f"registry.example.com/data/../x@{DIGEST}"]
)  # fmt: skip
numbers = st.integers(-2, 25)
values = (
    memories
    | images
    | numbers.map(str)
    | st.sampled_from(["true", "false", "small", "large", "10m", "11m", "${env:X}", "a\nb"])
    | st.text(max_size=20)
)
addresses = st.lists(
    st.sampled_from(["s3a://bucket/libraries/a.jar", "s3a://bucket/libraries/../a.jar", "file:///etc/passwd"]),
    max_size=2,
).map(tuple)
requests = st.builds(
    SessionChoices,
    profile=st.none() | st.sampled_from(["small", "large", "other"]),
    driver_memory=st.none() | memories,
    driver_cores=st.none() | numbers,
    executor_memory=st.none() | memories,
    executor_cores=st.none() | numbers,
    executors=st.none() | numbers,
    conf=st.dictionaries(keys, values, max_size=3),
    jars=addresses,
    files=addresses,
    idle_timeout=st.none() | st.sampled_from(["1h", "4h", "5h", "0s", "soon"]),
    lifetime=st.none() | st.sampled_from(["1h", "24h", "25h"]),
)
# Mostly within the caps, so that enough is granted to be looked at.
modest = st.builds(
    SessionChoices,
    profile=st.sampled_from(["small", "large"]),
    driver_memory=st.none() | st.sampled_from(["1g", "2g", "8g"]),
    executors=st.none() | st.integers(1, 20),
    conf=st.dictionaries(
        st.sampled_from(["spark.sql.ansi.enabled", "spark.sql.shuffle.partitions", *IMAGES, *SIZES]),
        st.sampled_from(["1", "2", "true", "1g", "2g", "old", "spark", f"registry.example.com/data/x@{DIGEST}"]),
        max_size=2,
    ),
)
people = st.builds(
    Person, st.just("p"), st.frozensets(st.sampled_from(["data", "leads", "analysts", "kitchen"])), st.booleans()
)


def check(catalog: Catalog, person: Person, request: SessionChoices, spec: SessionSpec) -> None:
    """All that must hold of whatever is granted."""
    assert spec.profile in [profile.name for profile in profiles_for(catalog, person)]
    profile = catalog.profiles[spec.profile]
    spark = profile.spark
    # Nothing beyond a cap
    assert spark_bytes("512m") <= spark_bytes(spec.driver_memory) <= spark_bytes(spark.driver.memory.max)
    assert spark_bytes("512m") <= spark_bytes(spec.executor_memory) <= spark_bytes(spark.executor.memory.max)
    assert 1 <= spec.driver_cores <= spark.driver.cores.max
    assert 1 <= spec.executor_cores <= spark.executor.cores.max
    assert 1 <= spec.executors <= spark.executor.count.max
    assert 0 < spec.idle_timeout_seconds <= seconds(profile.sessions.idle_timeout.max)
    if profile.sessions.lifetime:
        assert spec.lifetime_seconds is not None
        assert 0 < spec.lifetime_seconds <= seconds(profile.sessions.lifetime.max)
    # No setting that is not fixed, opened, or a size or image
    for key, value in spec.conf.items():
        if key in SIZES | IMAGES or spark.conf.get(key) == value:
            continue
        rule = rule_for(spark, key)
        assert rule is not None
        assert rule.grants(value)
        assert request.conf[key] == value
        assert standing_of(key).standing in (Standing.OPEN, Standing.EXACT)
        assert not any(ord(character) < 32 for character in key + value)
    assert set(spark.conf) <= set(spec.conf)
    assert spec.conf["spark.driver.memory"] == spec.driver_memory
    assert spec.conf["spark.executor.instances"] == str(spec.executors)
    # No image but those
    for image, process in ((spec.driver_image, spark.driver), (spec.executor_image, spark.executor)):
        if image.name is None:
            reference = parse(image.ref)
            assert reference is not None
            assert process.own_images is not None
            assert any(reference.under(prefix) for prefix in process.own_images.prefixes)
            assert reference.digest or process.own_images.digest == "optional"
        else:
            assert image.name in process.images
    # No file from elsewhere
    for address in (*spec.jars, *spec.files):
        assert address == "s3a://bucket/libraries/a.jar"
        assert spark.files.allow


def check_refusal(refused: Refused) -> None:
    """A refusal names the key and what is allowed, on one line."""
    assert refused.key
    assert refused.allowed
    assert refused.message.isprintable()


@given(person=people, request=requests)
@settings(max_examples=400, deadline=None)
def test_a_session_is_within_its_profile_or_refused(
    lasting_catalog: Catalog, person: Person, request: SessionChoices
) -> None:
    try:
        spec = resolve_session(lasting_catalog, person, request)
    except Refused as refused:
        check_refusal(refused)
        return
    check(lasting_catalog, person, request, spec)


@given(request=modest)
@settings(max_examples=300, deadline=None)
def test_modest_wishes(lasting_catalog: Catalog, request: SessionChoices) -> None:
    person = Person("ada", frozenset({"data"}))
    try:
        spec = resolve_session(lasting_catalog, person, request)
    except Refused:
        return
    check(lasting_catalog, person, request, spec)


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | memories | images,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


@given(person=people, options=st.dictionaries(st.sampled_from(OPTIONS) | st.text(max_size=8), junk, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_options_make_a_server_or_a_refusal(
    lasting_catalog: Catalog, person: Person, options: dict[str, Any]
) -> None:
    try:
        spec = resolve_server(lasting_catalog, person, options)
    except Refused as refused:
        check_refusal(refused)
        return
    assert spec.profile in [profile.name for profile in profiles_for(lasting_catalog, person)]
    assert json.loads(json.dumps(spec.session_defaults)) == spec.session_defaults


@given(
    options=st.fixed_dictionaries(
        {"profile": st.just("large")},
        optional={
            "driver_image": images,
            "executor_image": images,
            "driver_memory": memories,
            "executor_cores": numbers,
            "executors": numbers.map(str),
        },
    )
)
@settings(max_examples=300, deadline=None)
def test_what_a_server_starts_with_is_what_the_gateway_grants(
    lasting_catalog: Catalog, options: dict[str, Any]
) -> None:
    """The defaults that a server's kernels send are never refused, and mean the same at the gateway."""
    person = Person("ada", frozenset({"data"}))
    try:
        server = resolve_server(lasting_catalog, person, options)
    except Refused:
        return
    sent = server.session_defaults
    request = SessionChoices(
        driver_memory=sent["driverMemory"],
        driver_cores=sent["driverCores"],
        executor_memory=sent["executorMemory"],
        executor_cores=sent["executorCores"],
        executors=sent["numExecutors"],
        conf=sent["conf"],
    )
    assert resolve_session(lasting_catalog, person, request) == server.session
