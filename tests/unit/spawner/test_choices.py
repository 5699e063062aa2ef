from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkyard_spawner.choices import options_from_fields

PROFILES = ("small", "large")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"profile": ["small"]}, {"profile": "small"}),
        ({"profile": ["small"], "_xsrf": ["a"]}, {"profile": "small"}),
        # Only the chosen profile's fields count; the page posts all of them.
        (
            {"profile": ["large"], "small.driver_memory": ["1g"], "large.driver_memory": ["4g"]},
            {"profile": "large", "driver_memory": "4g"},
        ),
        # Empty means the profile's default.
        ({"profile": ["large"], "large.driver_memory": [" "], "large.executors": [""]}, {"profile": "large"}),
        # Counts become numbers, and what is none stays for the catalog to refuse.
        ({"profile": ["large"], "large.executors": [" 3 "]}, {"profile": "large", "executors": 3}),
        ({"profile": ["large"], "large.executors": ["3.5"]}, {"profile": "large", "executors": "3.5"}),
        ({"profile": ["large"], "large.executors": ["-1"]}, {"profile": "large", "executors": "-1"}),
        ({"profile": ["large"], "large.executors": ["٣"]}, {"profile": "large", "executors": "٣"}),
        # An image of one's own goes before the list, whichever comes first.
        (
            {
                "profile": ["large"],
                "large.driver_image_own": ["r.example.com/x@sha256:1"],
                "large.driver_image": ["spark"],
            },
            {"profile": "large", "driver_image": "r.example.com/x@sha256:1"},
        ),
        (
            {"profile": ["large"], "large.driver_image_own": [""], "large.driver_image": ["spark"]},
            {"profile": "large", "driver_image": "spark"},
        ),
        # As a URL or a script writes them, without a profile's name before the key.
        ({"profile": ["large"], "driver_memory": ["4g"]}, {"profile": "large", "driver_memory": "4g"}),
        # Nothing unknown is lost on the way to its refusal.
        ({"profile": ["small"], "image": ["evil"]}, {"profile": "small", "image": "evil"}),
        (
            {"profile": ["small"], "image--unlisted-choice": ["evil"]},
            {"profile": "small", "image--unlisted-choice": "evil"},
        ),
        ({"profile": ["small"], "small.image": ["evil"]}, {"profile": "small", "image": "evil"}),
        ({"profile": ["small"], "other.executors": ["2"]}, {"profile": "small", "other.executors": "2"}),
        ({"profile": ["small", "large"]}, {"profile": ["small", "large"]}),
        ({"profile": ["small"], "driver_memory": ["1g", "2g"]}, {"profile": "small", "driver_memory": ["1g", "2g"]}),
        (
            {"profile": ["small"], "upload_file": [{"filename": "x"}]},
            {"profile": "small", "upload_file": {"filename": "x"}},
        ),
    ],
)
def test_fields_become_options(fields: dict[str, Any], options: dict[str, Any]) -> None:
    assert options_from_fields(fields, PROFILES) == options


@given(st.dictionaries(st.text(), st.lists(st.text(), max_size=3), max_size=6))
def test_any_field_is_taken_without_an_error(fields: dict[str, list[str]]) -> None:
    options = options_from_fields(fields, PROFILES)
    assert all(value != "" for value in options.values())
