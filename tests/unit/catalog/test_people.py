"""Who may use which profile, and which team they are of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import (
    Catalog,
    Person,
    default_profile_for,
    load,
    profiles_for,
    service_person,
    team_of,
    teams_led_by,
)


@pytest.mark.parametrize(
    ("groups", "admin", "names"),
    [
        ({"data"}, False, ["small", "large"]),
        ({"analysts"}, False, ["small"]),
        ({"leads"}, False, ["large"]),  # a lead is of the team
        ({"kitchen"}, False, []),
        (set(), False, []),
        ({"Data"}, False, []),  # groups are compared as the identity provider writes them
        (set(), True, ["small", "large"]),
    ],
)
def test_profiles_by_group(catalog: Catalog, groups: set[str], admin: bool, names: list[str]) -> None:
    person = Person("p", frozenset(groups), admin)
    assert [profile.name for profile in profiles_for(catalog, person)] == names


def test_a_profile_for_everyone(example: dict[str, Any], write: Callable[[Any], Path], bob: Person) -> None:
    example["profiles"]["small"]["everyone"] = True
    catalog = load(write(example))
    assert catalog.open_to_everyone
    assert [profile.name for profile in profiles_for(catalog, bob)] == ["small"]


@pytest.mark.parametrize(
    ("groups", "name"), [({"data"}, "small"), ({"leads"}, "large"), ({"analysts"}, "small"), ({"kitchen"}, None)]
)
def test_the_profile_of_who_names_none(catalog: Catalog, groups: set[str], name: str | None) -> None:
    profile = default_profile_for(catalog, Person("p", frozenset(groups)))
    assert (profile.name if profile else None) == name


def test_several_profiles_and_no_default(example: dict[str, Any], write: Callable[[Any], Path], ada: Person) -> None:
    del example["default_profile"]
    assert default_profile_for(load(write(example)), ada) is None


def test_teams(catalog: Catalog) -> None:
    def team(*groups: str) -> str | None:
        found = team_of(catalog, Person("p", frozenset(groups)))
        return found.name if found else None

    assert team("data") == "data"
    assert team("analysts") == "analytics"
    assert team("analysts", "data") == "data"  # the first in the file
    assert team("leads") == "data"
    assert team("kitchen") is None
    assert [led.name for led in teams_led_by(catalog, Person("p", frozenset({"leads"})))] == ["data"]
    assert teams_led_by(catalog, Person("p", frozenset({"data"}))) == ()


def test_a_service_account_is_of_its_team_and_uses_its_profiles(catalog: Catalog) -> None:
    etl = service_person(catalog, "etl")
    assert etl == Person("service:etl", frozenset(), team="data")
    # `large` names the team; `small` names groups, of which the account counts as a member of none.
    assert [profile.name for profile in profiles_for(catalog, etl)] == ["large"]
    team = team_of(catalog, etl)
    assert team is not None
    assert team.name == "data"
    assert service_person(catalog, "unknown") is None


def test_a_service_accounts_groups_open_profiles_and_change_nothing_else(catalog: Catalog) -> None:
    reports = service_person(catalog, "reports")
    assert reports is not None
    assert [profile.name for profile in profiles_for(catalog, reports)] == ["small", "large"]
    team = team_of(catalog, reports)
    assert team is not None
    assert team.name == "analytics", "its team is written down, and does not follow from its groups"
    assert teams_led_by(catalog, reports) == (), "a pipeline leads nobody"
