"""/sessions/{id}/statements: code to run, and what became of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import WithJsonSchema

from sparkyard_gateway.pieces import LARGEST
from sparkyard_gateway.rendering import statement_json, statements_json
from sparkyard_gateway.routes.dependencies import (
    AGateway,
    OwnedSession,
    StoppableSession,
    Wait,
    answered,
    body,
    described,
    integer,
    number,
)
from sparkyard_gateway.routes.sessions import Key
from sparkyard_gateway.wire import (
    CompletionAnswer,
    CompletionRequest,
    Message,
    OutputAnswer,
    StatementAnswer,
    StatementRequest,
    StatementsAnswer,
)

router = APIRouter(tags=["statements"])

DEFAULT_PAGE = 10
StatementNumber = Annotated[
    str, WithJsonSchema({"type": "integer", "format": "int32"}), Path(description="A statement's id, from 0.")
]


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")


@router.get("/sessions/{session}/statements", response_model=StatementsAnswer)
async def list_statements(
    gateway: AGateway,
    session: OwnedSession,
    first: Annotated[int, integer("from", 0, "Where the page begins, in the order asked for.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many at most.")],
    order: Annotated[str, Query(description="`desc` for the newest first.")] = "asc",
) -> Response:
    """A session's statements, a page of them."""
    page = await gateway.statements.page(session, first, size, newest_first=order.lower() == "desc")
    return _json(statements_json(page.total, page.statements, page.truncated))


@router.post(
    "/sessions/{session}/statements",
    response_model=StatementAnswer,
    status_code=201,
    openapi_extra=described(StatementRequest),
)
async def submit_statement(
    request: Request,
    gateway: AGateway,
    wish: Annotated[StatementRequest, Depends(body(StatementRequest))],
    session: OwnedSession,
    wait: Wait,
    key: Key = None,
) -> Response:
    """Run code. With `wait` the answer may come with the outcome."""
    statement = await gateway.statements.submit(session, wish, key)
    if wait:
        await gateway.statements.wait(session, statement, wait, since=None, seen=None)
    response = _json(statement_json(statement), 201)
    response.headers["Location"] = f"{request.scope['root_path']}/sessions/{session.id}/statements/{statement.id}"
    return response


@router.get("/sessions/{session}/statements/{statement}", response_model=StatementAnswer)
async def get_statement(
    gateway: AGateway,
    session: OwnedSession,
    statement: StatementNumber,
    wait: Wait,
    since: Annotated[int | None, Query(ge=0, description="Addition: how much of the output the caller has.")] = None,
    seen: Annotated[int | None, Query(ge=0, description="Addition: the version the caller has.")] = None,
) -> Response:
    """A statement; with `wait`, as soon as it is done, or there is more output or progress than the caller has."""
    found = await gateway.statements.get(session, number(statement))
    if wait:
        await gateway.statements.wait(session, found, wait, since=since, seen=seen)
    return _json(statement_json(found, since))


@router.get("/sessions/{session}/statements/{statement}/output", response_model=OutputAnswer)
async def get_output(
    gateway: AGateway,
    session: OwnedSession,
    statement: str,
    first: Annotated[int, integer("from", 0, "Where the piece begins, in bytes.")],
    size: Annotated[int, integer("size", LARGEST, "How many bytes at most.")],
    mime: Annotated[str, Query(alias="type", max_length=100, description="Which of its forms.")] = "text/plain",
) -> Response:
    """Addition: a piece of an output that was too long for its statement's answer, while the session lives."""
    found = await gateway.statements.get(session, number(statement))
    answer = await gateway.pieces.fetch(session, found.id, mime, max(0, first), size)
    return answered(answer)


@router.post("/sessions/{session}/statements/{statement}/cancel", response_model=Message)
async def cancel_statement(gateway: AGateway, session: StoppableSession, statement: StatementNumber) -> Response:
    """Ask for a statement to stop."""
    await gateway.statements.cancel(session, number(statement))
    return _json('{"msg":"canceled"}')


@router.post(
    "/sessions/{session}/completion", response_model=CompletionAnswer, openapi_extra=described(CompletionRequest)
)
async def complete(
    gateway: AGateway,
    wish: Annotated[CompletionRequest, Depends(body(CompletionRequest))],
    session: OwnedSession,
) -> Response:
    """What could stand at the cursor."""
    found = await gateway.statements.complete(session, wish)
    cursor = len(wish.code) if wish.cursor is None else min(wish.cursor, len(wish.code))
    answer = (
        CompletionAnswer(candidates=[], cursor_start=cursor, cursor_end=cursor)
        if found is None
        else CompletionAnswer(
            candidates=found.candidates,
            cursor_start=found.cursor_start,
            cursor_end=found.cursor_end,
            matches=found.matches,
        )
    )
    return answered(answer)
