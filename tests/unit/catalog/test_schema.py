"""The JSON Schema for editors: every key is described, and it judges files as the models do."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from sparkyard_catalog.schema import json_schema, reference

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def properties(node: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            yield f"{at}.{name}", value
        for key, value in node.items():
            yield from properties(value, f"{at}/{key}")
    elif isinstance(node, list):
        for value in node:
            yield from properties(value, at)


def test_every_key_is_described() -> None:
    found = dict(properties(json_schema()))
    assert len(found) > 60
    assert [name for name, value in found.items() if len(value.get("description", "")) < 10] == []


def test_every_part_is_described_and_closed() -> None:
    for name, definition in json_schema()["$defs"].items():
        body = definition["anyOf"][1] if "anyOf" in definition else definition
        assert len(definition.get("description", "")) > 10, name
        assert body["additionalProperties"] is False, name


def test_the_repositorys_catalog_is_valid(validator: Draft202012Validator) -> None:
    data = YAML(typ="safe", pure=True).load((ROOT / "catalog.yaml").read_text())
    assert [error.message for error in validator.iter_errors(data)] == []


def test_the_example_is_valid(validator: Draft202012Validator, example: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors(example)] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(profils={}),
        lambda data: data.pop("images"),
        lambda data: data["images"]["spark"].update(kind="sprak"),
        lambda data: data["profiles"]["small"].update(grups=["data"]),
        lambda data: data["profiles"]["small"].pop("title"),
        lambda data: data["profiles"]["small"]["spark"].update(version=3.5),
        lambda data: data["profiles"]["small"]["spark"]["driver"].update(cores="two"),
        lambda data: data["profiles"]["small"]["spark"]["driver"].update(cores={"max": 2}),
        lambda data: data["profiles"]["small"]["notebook"]["memory"].update(limit="2G"),
        lambda data: data["profiles"]["large"]["spark"]["user_conf"].update({"spark.x": {"type": "integr"}}),
        lambda data: data["profiles"]["large"]["spark"]["user_conf"].update({"spark.x": {"type": "integer"}}),
        lambda data: data["profiles"]["large"]["spark"]["driver"]["memory"].update(max="1.5g"),
    ],
)
def test_editors_see_the_mistakes_too(
    validator: Draft202012Validator, example: dict[str, Any], spoil: Callable[[dict[str, Any]], None]
) -> None:
    data = copy.deepcopy(example)
    spoil(data)
    assert not validator.is_valid(data)


def test_the_schema_in_the_repository_is_this_one() -> None:
    """Made by: sparkyard-catalog schema > docs/catalog.schema.json"""
    assert json.loads((ROOT / "docs/catalog.schema.json").read_text()) == json_schema()


def test_the_reference_in_the_repository_is_this_one() -> None:
    """Made by: sparkyard-catalog reference > docs/catalog-keys.md"""
    assert (ROOT / "docs/catalog-keys.md").read_text() == reference()


def test_the_reference_has_every_part_and_key() -> None:
    text = reference()
    for name, definition in json_schema()["$defs"].items():
        assert f"\n## {name}\n" in text
        body = definition["anyOf"][1] if "anyOf" in definition else definition
        for key in body["properties"]:
            assert f"| `{key}` |" in text
