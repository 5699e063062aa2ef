"""How a session's pods are called and labelled."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubespawner.slugs import is_valid_label, safe_slug

from sparkyard_gateway.backends import pod_names
from sparkyard_gateway.backends.pod_names import label_value

VALID = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ann", "ann"),
        ("Ann.Lee_2", "Ann.Lee_2"),
        ("ann@example.com", "ann-example-com---a3e0ac2e"),
        ("service:etl", "service-etl---"),
        ("a--b", "a-b---"),
        ("", "x---e3b0c442"),
        ("1st@x", "x-1st-x---"),
    ],
)
def test_a_name_as_a_label(name: str, value: str) -> None:
    assert label_value(name).startswith(value.split("---", maxsplit=1)[0])
    assert ("---" in label_value(name)) == ("---" in value)


@given(st.text(max_size=100))
def test_any_name_gives_a_valid_value_and_the_one_that_its_notebook_pod_has(name: str) -> None:
    value = label_value(name)
    assert len(value) <= 63
    assert VALID.fullmatch(value)
    if name:
        assert value == safe_slug(name, is_valid=is_valid_label)


@given(st.lists(st.text(max_size=20), min_size=2, max_size=2, unique=True))
def test_two_names_are_two_values(names: list[str]) -> None:
    assert label_value(names[0]) != label_value(names[1])


def test_labels_tell_what_it_costs_whom() -> None:
    costs = {pod_names.USER: "ann@example.com", pod_names.TEAM: None, pod_names.PROFILE: "small"}
    labels = pod_names.labels("n", {pod_names.SESSION: "7", pod_names.EPOCH: "2"}, pod_names.DRIVER, costs)
    assert labels == {
        "app.kubernetes.io/managed-by": "sparkyard",
        "sparkyard/installation": "n",
        "sparkyard/session": "7",
        "sparkyard/epoch": "2",
        "sparkyard/role": "driver",
        "sparkyard/user": label_value("ann@example.com"),
        "sparkyard/profile": "small",
    }


def test_executors_names_fit_behind_the_drivers() -> None:
    """Spark refuses a prefix longer than 47 characters."""
    assert len(pod_names.pod_name("x" * 12, 2**31, 99)) <= 47
