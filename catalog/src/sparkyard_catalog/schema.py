"""The format of catalog.yaml for editors (JSON Schema) and for people (a reference in Markdown).

Both are made from the models, so that there is one place where a key is described.
"""

from collections.abc import Iterator
from typing import Any

from sparkyard_catalog.catalog import Catalog

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN_WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema that an editor checks and completes the file by."""
    return {"$schema": _DIALECT, **Catalog.model_json_schema()}


def reference() -> str:
    """Every key of the file, in Markdown."""
    schema = json_schema()
    definitions: dict[str, dict[str, Any]] = schema["$defs"]
    lines = [
        "# The keys of catalog.yaml",
        "",
        "Made from the catalog's models by `sparkyard-catalog reference`; change it there.",
    ]
    for name, definition in [("The file", schema), *_in_reading_order(schema, definitions)]:
        lines += ["", f"## {name}", "", _flat(definition.get("description", "")), ""]
        body, short = _forms(definition)
        if short:
            lines += [f"May be written as one plain value ({short}).", ""]
        required = body.get("required", ())
        lines += ["| key | value | meaning |", "|---|---|---|"]
        for key, value in body.get("properties", {}).items():
            default = (
                f" Default: `{_value(value['default'])}`." if value.get("default") not in (None, "", [], {}) else ""
            )
            need = " **Required.**" if key in required else default
            lines.append(f"| `{key}` | {_kind(value)} | {_flat(value.get('description', ''))}{need} |")
    return "\n".join(lines) + "\n"


def _in_reading_order(
    node: dict[str, Any], definitions: dict[str, dict[str, Any]], seen: set[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts as they are met when the file is read from its top."""
    seen = set() if seen is None else seen
    for name in _references(node):
        if name not in seen:
            seen.add(name)
            yield name, definitions[name]
            yield from _in_reading_order(definitions[name], definitions, seen)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield _name(node["$ref"])
        for key, value in node.items():
            if key not in ("$defs", "discriminator"):
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _forms(definition: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The mapping of a part, and its short form where it has one."""
    if "anyOf" not in definition:
        return definition, ""
    short, full = definition["anyOf"]
    return full, _kind(short)


def _kind(value: dict[str, Any]) -> str:
    """The kind of a value in a few words."""
    if "$ref" in value:
        name = _name(value["$ref"])
        return f"[{name}](#{name.lower()})"
    if words := value.get("enum", [value["const"]] if "const" in value else None):
        return " or ".join(f"`{word}`" for word in words)
    if options := value.get("anyOf", value.get("oneOf")):
        return ", ".join(_kind(option) for option in options if option.get("type") != "null")
    if isinstance(inner := value.get("additionalProperties", value.get("items")), dict):
        return f"{'list of' if 'items' in value else 'mapping to'} {_kind(inner)}"
    kinds = value.get("type", "string")
    text = " or ".join(_PLAIN_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    return f"{text}, such as `{value['examples'][0]}`" if value.get("examples") else text


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items() if inner is not None)
    return str(value)


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
