"""Paths with placeholders, and addresses under a prefix."""

import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from sparkyard_catalog.places import (
    PathText,
    UrlPrefix,
    expand,
    prefixes_for,
    pyspark_folder,
    relative_to_home,
    under,
)


def test_placeholders_and_relative_paths_become_absolute() -> None:
    assert expand("{venv}/bin/python", Path("/etc/sparkyard")) == f"{sys.prefix}/bin/python"
    assert expand("environments/old/bin/python", Path("/etc/sparkyard")) == "/etc/sparkyard/environments/old/bin/python"
    assert expand("../python", Path("/etc/sparkyard")) == "/etc/python"
    assert expand("/usr/bin/python3", Path("/etc/sparkyard")) == "/usr/bin/python3"


def test_pyspark_is_found_without_being_imported() -> None:
    before = set(sys.modules)
    folder = Path(pyspark_folder())
    assert (folder / "jars").is_dir()
    assert not {name for name in set(sys.modules) - before if name.startswith("pyspark")}


def test_where_there_is_no_pyspark_the_place_it_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda *_: None)
    assert pyspark_folder().startswith(sys.prefix)
    assert pyspark_folder().endswith("site-packages/pyspark")


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    assert expand("python", tmp_path) == str(tmp_path / "python")


@pytest.mark.parametrize("text", ["{home}/bin/python", "{}", "", "a\0b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(PathText).validate_python(text)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("s3a://bucket/libs/a.jar", True),
        ("s3a://bucket/libs/deep/a.jar", True),
        ("s3a://bucket/libs", False),
        ("s3a://bucket/libs/", False),
        ("s3a://bucket/libs//a.jar", False),
        ("s3a://bucket/libs/deep/", False),
        ("s3a://bucket/libs-evil/a.jar", False),
        ("s3a://bucket/libs/../secrets", False),
        ("s3a://bucket/libs/%2e%2e/secrets", False),
        ("s3a://bucket/libs/./a.jar", False),
        ("s3://bucket/libs/a.jar", False),
        ("s3a://user@bucket/libs/a.jar", False),
        ("s3a://bucket/libs/a.jar#b", False),
        ("s3a://bucket/libs/{a,b}.jar", False),
        ("s3a://bucket/libs/*.jar", False),
        ("s3a://bucket/libs/a.jar,file:/etc/passwd", False),
        ("s3a://bucket/libs/a b", False),
        ("s3a://bucket/libs/a\n", False),
        ("file:///etc/passwd", False),
        ("home://libs/a.jar", False),
        ("", False),
    ],
)
def test_addresses_under_a_prefix(address: str, inside: bool) -> None:
    assert under(address, "s3a://bucket/libs/") is inside


@pytest.mark.parametrize(
    "text",
    [
        "bucket/libs", "s3a://", "ftp://host/a", "s3a://b/../c", "s3a://b/%41", "s3a://b/a b", "s3a://{user}/a",
        "s3a://b/x-{user}/", "s3a://b/{group}/", "home:///etc/", "home://../", "home://a//b", "home:/a",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(UrlPrefix).validate_python(text)


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("home://etl.py", "etl.py"),
        ("home://jobs/etl.py", "jobs/etl.py"),
        ("home://.cache/x", ".cache/x"),
        ("home://", None),
        ("home:///etc/passwd", None),
        ("home:/etc/passwd", None),
        ("home://jobs//etl.py", None),
        ("home://jobs/", None),
        ("home://../bob/etl.py", None),
        ("home://jobs/../../bob/etl.py", None),
        ("home://jobs/./etl.py", None),
        ("home://%2e%2e/etl.py", None),
        ("home://a,/etc/passwd", None),
        ("HOME://etl.py", None),
        ("file:///etc/passwd", None),
    ],
)
def test_an_address_in_ones_home(address: str, within: str | None) -> None:
    assert relative_to_home(address) == within
    assert under(address, "home://") is (within is not None)
    assert under(address, "home://jobs/") is (within is not None and within.startswith("jobs/"))


@pytest.mark.parametrize("text", ["home://", "home://jobs/", "home://jobs", "s3a://b/{user}", "s3a://b/{user}/libs/"])
def test_addresses_of_ones_own(text: str) -> None:
    assert TypeAdapter(UrlPrefix).validate_python(text) == text


@pytest.mark.parametrize(
    ("user", "mine"),
    [
        ("dana", ["s3a://b/people/dana/", "home://"]),
        ("dana.o-hara+x", ["s3a://b/people/dana.o-hara+x/", "home://"]),
        ("..", ["home://"]),
        (".", ["home://"]),
        ("a/b", ["home://"]),
        ("dana@example.com", ["home://"]),
        ("{user}", ["home://"]),
        ("", ["home://"]),
    ],
)
def test_a_name_that_could_mean_another_path_has_no_folder(user: str, mine: list[str]) -> None:
    assert prefixes_for(user, ["s3a://b/people/{user}/", "home://"]) == mine
