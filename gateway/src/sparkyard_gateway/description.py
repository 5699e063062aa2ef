"""What OpenAPI says of this gateway: made from the routes, so that it cannot say less than they do.

FastAPI describes parameters and answers. Added here is what holds for kinds of routes: the bodies that are read as Livy
reads them, how a caller is known, and every refusal, by what a route asks for. docs/api.md is the same for people.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, APIRouter
from pydantic import BaseModel

from sparkyard_gateway.routes.dependencies import caller_of
from sparkyard_gateway.wire import Message, Refusal

Described = dict[str, Any]
Refusals = dict[str, tuple[str, Described, Described]]
"""Of each status: when, the schema of the body, further headers."""

_MESSAGE = {"$ref": "#/components/schemas/Message"}
_REFUSAL = {"$ref": "#/components/schemas/Refusal"}
_STRING = {"type": "string"}
_EITHER = {"anyOf": [_REFUSAL, _STRING]}
_REQUEST_ID = {"X-Request-Id": {"description": "The request's number in the log.", "schema": _STRING}}
_RETRY = {"Retry-After": {"description": "In how many seconds to try again.", "schema": _STRING}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What a client must send.", "schema": _STRING}}
_LOCATION = {"Location": {"description": "Where it is.", "schema": _STRING}}

OF_A_CALLER: Refusals = {
    "401": ("No token came along, or none that JupyterHub knows.", _MESSAGE, _CHALLENGE),
    "403": ("The token lacks the service's scope.", _MESSAGE, {}),
    "406": ("The `Accept` header names a version of Livy's API that there is not.", _MESSAGE, {}),
    "503": ("JupyterHub or the database does not answer.", _MESSAGE, _RETRY),
}
OF_AN_INPUT: Refusals = {
    "400": ("Malformed, or not granted; in Livy's shapes: an object, or a bare string.", _EITHER, {})
}
OF_AN_ID: Refusals = {
    "404": ("Unknown, or somebody else's: the answer is the same.", {"anyOf": [_MESSAGE, _STRING]}, {})
}
OF_A_BODY: Refusals = {
    "408": ("The body did not arrive in time.", _MESSAGE, {}),
    "413": ("The body is too large.", _MESSAGE, {}),
}


def describe(app: FastAPI, routers: Sequence[APIRouter], bodies: Sequence[type[BaseModel]]) -> Described:
    """OpenAPI's document."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models: list[type[BaseModel]] = [*bodies, Message, Refusal]
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"hub": {"type": "http", "scheme": "bearer", "description": "A hub token."}}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    _complete(made["paths"][route.path_format][method.lower()], route)
    return made


def _complete(operation: Described, route: APIRoute) -> None:
    responses: Described = operation["responses"]
    responses.pop("422", None)
    guarded = caller_of in _calls(route.dependant)
    operation["security"] = [{"hub": []}] if guarded else []
    refusals = dict(OF_A_CALLER) if guarded else {}
    if "{" in route.path:
        refusals |= OF_AN_ID
    if "{" in route.path or operation.get("parameters") or "requestBody" in operation:
        refusals |= OF_AN_INPUT
    if "requestBody" in operation:
        refusals |= OF_A_BODY
    for status, (text, schema, headers) in refusals.items():
        content = {"application/json": {"schema": schema}}
        said = responses.get(status, {}).get("description", text)
        responses[status] = {"description": said, "headers": headers, "content": content}
    for status, response in responses.items():
        if response["description"] == "Successful Response":
            response["description"] = "As asked."
        response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
        if status == "201":
            response["headers"] |= _LOCATION
    operation["responses"] = dict(sorted(responses.items()))


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from _calls(each)


# For people


def reference(document: Described) -> str:
    """The document as a page; a test keeps docs/api.md equal to it."""
    rows = [
        "# The gateway's API",
        "",
        "Made from the OpenAPI document that the gateway serves at `/openapi.json`. Every path is also served under",
        "the hub's (`/services/gateway`). What is marked *Addition* Livy does not have; the differences and their",
        "reasons are in [livy.md](livy.md).",
        "",
        "Each answer has an `X-Request-Id`. Unless a route is open, it wants a JupyterHub token, and may answer:",
        "",
        "| answer | body | when |",
        "|---|---|---|",
    ]
    rows += [f"| {status} | {_type(schema)} | {text} |" for status, (text, schema, _) in OF_A_CALLER.items()]
    rows += [
        "",
        "A path that is none is 404 and a wrong method 405, both without a body.",
        "",
    ]
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation.get("tags", ["others"])[0], []).extend(_operation(method, path, operation))
    for tag, lines in tags.items():
        rows += [f"## {tag.capitalize()}", "", *lines]
    rows += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        rows += _schema(name, schema)
    return "\n".join(rows).rstrip() + "\n"


def _operation(method: str, path: str, operation: Described) -> Iterator[str]:
    yield from (f"### `{method.upper()} {path}`", "", " ".join(operation.get("description", "").split()), "")
    body = operation.get("requestBody")
    if body is not None:
        yield from (f"Body: {_type(body['content']['application/json']['schema'])}", "")
    if not operation["security"]:
        yield from ("Open to everybody who can reach it.", "")
    parameters = operation.get("parameters", [])
    if parameters:
        yield from ("| parameter | in | type | what it says |", "|---|---|---|---|")
        for each in parameters:
            text = each.get("description", "")
            yield f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {text} |"
        yield ""
    yield from ("| answer | body | when |", "|---|---|---|")
    for status, response in operation["responses"].items():
        if operation["security"] and status in OF_A_CALLER:
            continue
        content = response.get("content", {}).get("application/json", {}).get("schema")
        yield f"| {status} | {_type(content) if content else ''} | {response['description']} |"
    yield ""


def _schema(name: str, schema: Described) -> Iterator[str]:
    yield from (f"### {name}", "", " ".join(schema.get("description", "").split()), "")
    if "enum" in schema:
        yield from (", ".join(f"`{each}`" for each in schema["enum"]), "")
    if "properties" in schema:
        yield from ("| field | type | what it says |", "|---|---|---|")
        for field, each in schema["properties"].items():
            mark = " (required)" if field in schema.get("required", ()) and name.endswith("Request") else ""
            yield f"| `{field}`{mark} | {_type(each)} | {each.get('description', '')} |"
        yield ""


def _type(schema: Described) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    given = schema.get("type", "any")
    kind = " or ".join(given) if isinstance(given, list) else str(given)
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        return f"object of {_type(values)}"
    return kind
