"""Paths with placeholders, and addresses under a prefix."""

import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from sparkyard_catalog.places import PathText, UrlPrefix, expand, pyspark_folder, under


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
        ("", False),
    ],
)
def test_addresses_under_a_prefix(address: str, inside: bool) -> None:
    assert under(address, "s3a://bucket/libs/") is inside


@pytest.mark.parametrize(
    "text", ["bucket/libs", "s3a://", "ftp://host/a", "s3a://b/../c", "s3a://b/%41", "s3a://b/a b"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(UrlPrefix).validate_python(text)
