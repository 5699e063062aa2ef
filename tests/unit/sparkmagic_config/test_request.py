"""What a session is asked for: layers merged and checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.request import BOTH_IMAGES, DRIVER_IMAGE, EXECUTOR_IMAGE, Source, checked, merged

HERE = Source("the test", lambda key: 7)
DEFAULTS = {
    "driverMemory": "2g",
    "numExecutors": 2,
    "conf": {"spark.sql.shuffle.partitions": "64", DRIVER_IMAGE: "reg/driver:1", EXECUTOR_IMAGE: "reg/executor:1"},
}


def test_one_setting_named_leaves_the_others() -> None:
    layer = checked({"executorMemory": "4g", "conf": {"spark.sql.ansi.enabled": True}}, HERE)
    body = merged(DEFAULTS, layer)
    assert body["driverMemory"] == "2g"
    assert body["executorMemory"] == "4g"
    assert body["conf"] == {**DEFAULTS["conf"], "spark.sql.ansi.enabled": "true"}


def test_the_later_layer_is_the_stronger_and_nothing_given_is_changed() -> None:
    first, second = {"conf": {"a.b": "1", "c.d": "1"}}, {"conf": {"a.b": "2"}, "driverMemory": "8g"}
    body = merged(DEFAULTS, first, second)
    assert (body["conf"]["a.b"], body["conf"]["c.d"], body["driverMemory"]) == ("2", "1", "8g")
    assert "a.b" not in DEFAULTS["conf"]
    assert DEFAULTS["driverMemory"] == "2g"


def test_null_goes_back_to_the_profiles_default() -> None:
    own = checked({"driverMemory": "16g", "queue": "x", "conf": {"spark.sql.shuffle.partitions": 8, "x.y": 1}}, HERE)
    back = checked(
        {"driverMemory": None, "queue": None, "conf": {"spark.sql.shuffle.partitions": None, "x.y": None}}, HERE
    )
    assert merged(DEFAULTS, own, back) == DEFAULTS


def test_own_images_are_sparks_settings() -> None:
    body = merged(DEFAULTS, checked({"driver_image": "reg/mine:2"}, HERE))
    assert body["conf"][DRIVER_IMAGE] == "reg/mine:2"
    assert body["conf"][EXECUTOR_IMAGE] == "reg/executor:1"
    assert "driver_image" not in body


def test_one_image_for_both_beats_the_defaults_two() -> None:
    body = merged(DEFAULTS, checked({"conf": {BOTH_IMAGES: "reg/mine:2"}}, HERE))
    assert body["conf"][BOTH_IMAGES] == "reg/mine:2"
    assert DRIVER_IMAGE not in body["conf"]
    assert EXECUTOR_IMAGE not in body["conf"]


def test_nothing_configured_sends_no_empty_conf() -> None:
    assert merged({}) == {}


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"driverMemry": "2g"}, "driverMemry: is not known; did you mean driverMemory?"),
        ({"executor-image": "x"}, "did you mean executor_image?"),
        ({"frobnicate": 1}, "known are driverMemory"),
        ({"spark.sql.ansi.enabled": "true"}, "write it inside conf"),
        ({"driverMemory": 2}, 'must be a size such as "512m" or "4g", not 2'),
        ({"driverMemory": "1.5g"}, "must be a size"),
        ({"driverMemory": "lots"}, "must be a size"),
        ({"numExecutors": "3"}, "must be a whole number from 1 up, without quotes, not '3'"),
        ({"numExecutors": True}, "must be a whole number"),
        ({"executorCores": 0}, "must be a whole number"),
        ({"warm": "false"}, "must be true or false, without quotes, not 'false'"),
        ({"conf": ["a"]}, "must be Spark settings"),
        ({"conf": {"a.b": [1]}}, "conf.a.b: must be a text, a number or true or false"),
        ({"jars": "a.jar"}, "must be a list of texts"),
        ({"proxyUser": "root"}, "cannot be set here, because the gateway takes it from your login"),
        ({"kind": "spark"}, "the kernel decides it"),
        ({"heartbeatTimeoutInSecond": 0}, "the kernel decides it"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(layer: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        checked(layer, HERE)
    assert str(error.value).startswith("the test, line 7: ")
    assert says in str(error.value)


@pytest.mark.parametrize("size", ["512m", "4g", "1024", "2GB", "1t", "900kb"])
def test_sizes_that_spark_reads(size: str) -> None:
    assert checked({"driverMemory": size}, HERE) == {"driverMemory": size}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["driverMemory", "conf", "numExecutors", "jars", "queue", "x"]), json_values))
def test_any_json_is_taken_or_refused_by_name(layer: dict[str, object]) -> None:
    try:
        body = merged(DEFAULTS, checked(layer, HERE))
    except ConfigurationError as error:
        said = str(error)
        assert "the test, line 7" in said
    else:
        assert all(isinstance(value, str) for value in body.get("conf", {}).values())
