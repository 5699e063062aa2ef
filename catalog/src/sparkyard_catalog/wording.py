"""What Pydantic finds wrong, in the words of whoever edits the file: what is there, and what would be right."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.spelling import brief, did_you_mean

Place = tuple[str | int, ...]


def sentences(error: ValidationError, data: object) -> Iterator[tuple[Place, str]]:
    """Each thing that is wrong, with its place in the file's data."""
    for detail in error.errors(include_url=False):
        context: Mapping[str, Any] = detail.get("ctx", {})
        place = (*detail["loc"], context["at"]) if "at" in context else detail["loc"]
        word = _WORDS.get(detail["type"])
        value = detail.get("input")
        yield _real(place, data), word(value, context, place) if word else detail["msg"].removeprefix("Value error, ")


def _real(place: Place, data: object) -> Place:
    """A place of Pydantic's without what is not in the file: tags of unions, its mark of a key, keys of short forms.

    The last part stays where it names a key that a mapping lacks.
    """
    real: list[str | int] = []
    for index, part in enumerate(place):
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif part == "[key]" or index < len(place) - 1 or not isinstance(data, dict):
            continue
        real.append(part)
    return tuple(real)


# Words for each type of Pydantic's errors ------------------------------------------------------------------------

_Word = Callable[[object, Mapping[str, Any], Place], str]


def _unknown_key(_: object, __: Mapping[str, Any], place: Place) -> str:
    return f"there is no such key here; {did_you_mean(str(place[-1]), allowed_keys(place[:-1]))}"


def _unknown_rule(_: object, context: Mapping[str, Any], __: Place) -> str:
    known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
    return f"there is no rule of type '{context['tag']}'; {did_you_mean(str(context['tag']), known)}"


def _not_one_of(value: object, context: Mapping[str, Any], _: Place) -> str:
    known = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
    return f"{_shown(value)} is not possible here; {did_you_mean(str(value), known)}"


def _not_text(value: object, _: Mapping[str, Any], __: Place) -> str:
    if isinstance(value, int | float):
        quoted = str(value).lower() if isinstance(value, bool) else value
        return f'{_shown(value)} is not text; put it in quotes: "{quoted}"'
    return f"{_shown(value)} stands where a text is needed"


def _not_a_list(value: object, _: Mapping[str, Any], __: Place) -> str:
    example = f"; write [{value}]" if isinstance(value, str | int) else ""
    return f"{_shown(value)} stands where a list is needed{example}"


def _not_a_rule(value: object, _: Mapping[str, Any], __: Place) -> str:
    example = f"{{type: {value}}}" if isinstance(value, str) and value in _RULES else "{type: integer, max: 100}"
    return f"{_shown(value)} stands where a rule is needed; write {example}"


def _out_of_range(value: object, context: Mapping[str, Any], _: Place) -> str:
    bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
    return f"{_shown(value)} is out of range; write a number of {bound}"


def _not_a_mapping(value: object, _: Mapping[str, Any], __: Place) -> str:
    return f"{_shown(value)} stands where a mapping (key: value) is needed"


def _not_whole(value: object, _: Mapping[str, Any], __: Place) -> str:
    return f"{_shown(value)} is not a whole number; write plain digits"


_RULES = ("integer", "number", "memory", "duration", "one_of", "pattern", "boolean", "any")

_WORDS: dict[str, _Word] = {
    "missing": lambda _, __, place: f"the key '{place[-1]}' is missing; add it",
    "extra_forbidden": _unknown_key,
    "union_tag_not_found": lambda *_: f"the rule does not say its type; add type: one of {', '.join(_RULES)}",
    "union_tag_invalid": _unknown_rule,
    "model_attributes_type": _not_a_rule,
    "literal_error": _not_one_of,
    "string_type": _not_text,
    "string_pattern_mismatch": lambda value, *_: f'{_shown(value)} is not a version; write it as "3.5" or "3.5.9"',
    "string_too_short": lambda *_: "the text is empty; write something",
    "string_too_long": lambda _, context, __: f"the text is too long; at most {context['max_length']} characters",
    "model_type": _not_a_mapping,
    "dict_type": _not_a_mapping,
    "tuple_type": _not_a_list,
    "too_short": lambda *_: "at least one entry is needed here",
    "int_type": _not_whole,
    "int_parsing": _not_whole,
    "int_from_float": _not_whole,
    "float_type": lambda value, *_: f"{_shown(value)} is not a number",
    "float_parsing": lambda value, *_: f"{_shown(value)} is not a number",
    "bool_type": lambda value, *_: f"{_shown(value)} is neither true nor false",
    "greater_than_equal": _out_of_range,
    "less_than_equal": _out_of_range,
}


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"'{brief(str(value).lower() if isinstance(value, bool) else value)}'"


# Which keys a mapping may have -----------------------------------------------------------------------------------


@cache
def _schema() -> dict[str, Any]:
    return Catalog.model_json_schema()


def allowed_keys(place: Place) -> list[str]:
    """The keys that the mapping at a place may have, read from the JSON Schema of the format."""
    nodes = [_schema()]
    for part in place:
        following: list[dict[str, Any]] = []
        for node in _alternatives(nodes):
            properties = node.get("properties", {})
            if part in properties:
                following.append(properties[part])
            elif isinstance(node.get("additionalProperties"), dict):
                following.append(node["additionalProperties"])
            elif properties.get("type", {}).get("const") == part:
                following.append(node)  # the tag that Pydantic puts into the place of a rule
        nodes = following or nodes
    return sorted({key for node in _alternatives(nodes) for key in node.get("properties", {})})


def _alternatives(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if "$ref" in node:
            yield from _alternatives([_schema()["$defs"][node["$ref"].rpartition("/")[2]]])
        elif options := node.get("anyOf", node.get("oneOf")):
            yield from _alternatives(options)
        else:
            yield node
