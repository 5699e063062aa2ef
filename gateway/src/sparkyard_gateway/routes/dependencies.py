"""What every route asks first: which gateway, who calls, and which session or batch is meant.

`OwnedSession` and `OwnedBatch` are the one way from a path to either. A route that takes one cannot forget the question
whose it is, nor let somebody who may only see and stop it use it: what is neither GET nor DELETE is its owner's alone.
The few routes by which others stop something say so with `StoppableSession`.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar, cast

import structlog
from fastapi import Depends, Path, Query, Request, Response
from pydantic import BaseModel, ValidationError, WithJsonSchema

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.errors import BadNumber, BodyTooLarge, BodyTooSlow, MalformedBody, UnacceptableVersion
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.ownership import check_may_use

LONGEST_WAIT = 60.0
_ACCEPT = re.compile(r"application/vnd\.livy\.v(\d+\.\d+)\+json")
_LIVY_VERSIONS = frozenset({"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"})
_NUMBER = re.compile(r"-?\d{1,10}", re.ASCII)


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves this request."""
    return cast("Gateway", request.app.state.gateway)


AGateway = Annotated[Gateway, Depends(gateway_of)]


async def caller_of(request: Request, gateway: AGateway) -> Caller:
    """Who calls, by the hub token in the Authorization header and nothing else."""
    accepted = _ACCEPT.search(request.headers.get("accept", ""))
    caller = await gateway.identities.caller_of(request.headers.get("authorization"))
    if accepted is not None and accepted[1] not in _LIVY_VERSIONS:
        raise UnacceptableVersion(accepted[1])
    structlog.contextvars.bind_contextvars(user=caller.name)
    return caller


ACaller = Annotated[Caller, Depends(caller_of)]


Reference = Annotated[str, Path(description="A session's id, or its name.", max_length=128)]


async def stoppable_session(caller: ACaller, gateway: AGateway, session: Reference) -> LiveSession:
    """The session of the path, if the caller may see it: for the routes that show it, or stop something."""
    found = gateway.sessions.find(caller, session)
    structlog.contextvars.bind_contextvars(session=found.id)
    return found


StoppableSession = Annotated[LiveSession, Depends(stoppable_session)]


async def owned_session(request: Request, caller: ACaller, session: StoppableSession) -> LiveSession:
    """The session of the path, if the caller may see it; where more is done than to show or end it, its owner alone."""
    if request.method not in {"GET", "DELETE"}:
        check_may_use(caller, session)
    return session


OwnedSession = Annotated[LiveSession, Depends(owned_session)]


async def owned_batch(
    caller: ACaller,
    gateway: AGateway,
    batch: Annotated[str, Path(description="A batch's id, or its name.", max_length=128)],
) -> LiveBatch:
    """The batch of the path, if the caller may see it."""
    found = gateway.batches.find(caller, batch)
    structlog.contextvars.bind_contextvars(batch=found.id)
    return found


OwnedBatch = Annotated[LiveBatch, Depends(owned_batch)]


def number(text: str) -> int:
    """A 32-bit integer, as Livy reads them. Raises BadNumber."""
    if not _NUMBER.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        raise BadNumber(text)
    return int(text)


def integer(name: str, default: int, text: str) -> Any:
    """A dependency: the query's integer of this name, with Livy's error where it is none."""

    async def read(
        text: Annotated[
            str | None,
            WithJsonSchema({"type": "integer", "format": "int32", "default": default}),
            Query(alias=name, description=text),
        ] = None,
    ) -> int:
        return default if text is None else number(text)

    return Depends(read)


async def wait_seconds(
    wait: Annotated[
        str | None,
        WithJsonSchema({"type": "number", "maximum": LONGEST_WAIT}),
        Query(description="Addition: how many seconds the server may hold the answer."),
    ] = None,
) -> float:
    """How long a caller is ready to wait; at most a minute."""
    if wait is None:
        return 0.0
    try:
        seconds = float(wait)
    except ValueError:
        raise BadNumber(wait) from None
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else 0.0  # noqa: PLR0124 - not a NaN


Wait = Annotated[float, Depends(wait_seconds)]

M = TypeVar("M", bound=BaseModel)


async def body_bytes(request: Request, limit: int, seconds: float) -> bytes:
    """A request's body, in bounds. Raises BodyTooLarge and BodyTooSlow."""
    received = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                received += chunk
                if len(received) > limit:
                    raise BodyTooLarge(f"The request's body is larger than {limit} bytes.")
    except TimeoutError:
        raise BodyTooSlow(f"The request's body did not arrive within {seconds:g} s.") from None
    return bytes(received)


def body(model: type[M]) -> Callable[[Request, Caller], Awaitable[M]]:
    """A dependency: the request's JSON body, read as Livy reads it, whatever its content type says."""

    async def read(request: Request, _caller: ACaller) -> M:
        # The caller is known first: nobody else's bytes are kept.
        settings = gateway_of(request).settings
        received = await body_bytes(request, settings.max_body_bytes, settings.body_seconds)
        if not received.strip():
            raise MalformedBody("No content to map due to end-of-input")
        try:
            return model.model_validate_json(received)
        except ValidationError as error:
            raise MalformedBody(malformed(error, model)) from None
        except RecursionError:
            raise MalformedBody("The body is nested too deeply") from None

    return read


def answered(answer: BaseModel, status: int = 200) -> Response:
    """What a route tells, by the names that travel."""
    return Response(answer.model_dump_json(by_alias=True), status, media_type="application/json")


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI is told of a body that `body` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def malformed(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a body, in Livy's words where it has some."""
    problems = error.errors(include_url=False, include_context=True)
    problem = next((each for each in problems if each["type"] == "value_error"), problems[0])
    field = ".".join(str(part) for part in problem["loc"])
    kind = problem["type"]
    if kind == "extra_forbidden":
        known = sorted(each.alias or name for name, each in model.model_fields.items())
        names = ", ".join(f'"{each}"' for each in known)
        return (
            f'Unrecognized field "{field}" (class {model.__name__}), not marked as ignorable '
            f"({len(known)} known properties: {names})"
        )
    if kind == "json_invalid":
        return str(problem["msg"]).removeprefix("Invalid JSON: ").capitalize()
    if kind == "missing":
        return f'The field "{field}" is missing'
    if kind == "value_error":
        said = str(problem["msg"]).removeprefix("Value error, ")
        return f'{said} (through reference chain: {model.__name__}["{field}"])'
    if not field:
        return f"Cannot deserialize {model.__name__}: it must be a JSON object"
    given = json.dumps(problem.get("input"), default=str)[:100]
    return f'Cannot deserialize the value {given} of the field "{field}": {problem["msg"].lower()}'
