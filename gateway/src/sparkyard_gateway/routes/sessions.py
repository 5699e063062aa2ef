"""/sessions: Livy's interactive sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from sparkyard_gateway.driver_logs import Readable
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.rendering import LOG_LINES, session_answer
from sparkyard_gateway.routes.dependencies import (
    ACaller,
    AGateway,
    OwnedSession,
    StoppableSession,
    Wait,
    answered,
    body,
    described,
    integer,
)
from sparkyard_gateway.states import SessionState
from sparkyard_gateway.wire import (
    LogAnswer,
    LogMatches,
    Message,
    Refusal,
    SessionAnswer,
    SessionRequest,
    SessionsAnswer,
    StateAnswer,
)

router = APIRouter(tags=["sessions"])

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
LARGEST_LOG_PAGE = 10_000
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Addition: the same key again answers with what the first one made."),
]


Search = Annotated[
    str | None,
    Query(
        min_length=1, max_length=200, description="Addition: only the lines that hold this text, at most 1000 of them."
    ),
]


async def log_answer(
    gateway: AGateway, session: Readable, first: int, size: int, search: str | None
) -> LogAnswer | LogMatches:
    """A page of a log, or of the lines in it that hold a text."""
    if search is None:
        wanted = min(size, LARGEST_LOG_PAGE) if size >= 0 else LARGEST_LOG_PAGE
        begin, total, lines = await gateway.logs.page(session, first, wanted)
        return LogAnswer(id=session.id, from_=begin, total=total, log=lines)
    found = await gateway.logs.search(session, search, first, size)
    return LogMatches(id=session.id, from_=max(0, first), total=found.total, log=found.lines, numbers=found.numbers)


def _answer(gateway: AGateway, session: LiveSession) -> SessionAnswer:
    return session_answer(session, gateway.sessions.log_tail(session, LOG_LINES), gateway.settings.prefix)


@router.get("/sessions", response_model=SessionsAnswer)
@router.get("/sessions/", include_in_schema=False)
async def list_sessions(
    caller: ACaller,
    gateway: AGateway,
    first: Annotated[int, integer("from", 0, "Where the page begins.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many at most.")],
) -> Response:
    """The caller's sessions; with a token that oversees, a lead's team's, an admin's all.

    A page has at most 1,000; `total` says how many there are.
    """
    visible = gateway.sessions.visible(caller)
    page = visible[max(0, first) : max(0, first + min(max(0, size), LARGEST_PAGE))]
    answers = [_answer(gateway, each) for each in page]
    return answered(SessionsAnswer(from_=first, total=len(visible), sessions=answers))


@router.post(
    "/sessions",
    response_model=SessionAnswer,
    status_code=201,
    responses={
        200: {"model": Message, "description": "With `validate`: it would be granted."},
        400: {"model": Refusal, "description": "Malformed, or not granted by the catalog."},
    },
    openapi_extra=described(SessionRequest),
)
@router.post("/sessions/", include_in_schema=False)
async def create_session(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    wish: Annotated[SessionRequest, Depends(body(SessionRequest))],
    key: Key = None,
    validate: Annotated[
        bool, Query(description="Addition: only say whether it would be granted; start nothing.")
    ] = False,
) -> Response:
    """Start a session. It is answered at once, in state `starting`."""
    if validate:
        await gateway.sessions.judge(caller, wish)
        return answered(Message(msg="would be granted"))
    session = await gateway.sessions.create(caller, wish, key)
    response = answered(_answer(gateway, session), 201)
    response.headers["Location"] = f"{request.scope['root_path']}/sessions/{session.id}"
    return response


@router.get("/sessions/{session}", response_model=SessionAnswer)
async def get_session(
    caller: ACaller,
    gateway: AGateway,
    session: OwnedSession,
    wait: Wait,
    state: Annotated[SessionState | None, Query(description="Addition: the state the caller knows.")] = None,
) -> Response:
    """A session; with `wait`, as soon as its state is another than the caller's."""
    known = state or session.state
    if wait:
        # Whoever only looks in doesn't keep its heartbeat going.
        owners = int(caller.name == session.owner)
        session.waiting += owners
        try:
            await session.changed.wait_until(lambda: session.state is not known, wait)
        finally:
            session.waiting -= owners
    return answered(_answer(gateway, session))


@router.get("/sessions/{session}/state", response_model=StateAnswer)
async def get_state(session: OwnedSession) -> Response:
    """A session's state alone."""
    return answered(StateAnswer(id=session.id, state=session.state))


@router.get("/sessions/{session}/log", response_model=LogAnswer | LogMatches)
async def get_log(
    gateway: AGateway,
    session: OwnedSession,
    first: Annotated[int, integer("from", -1, "Where the page begins; negative: at the end.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")],
    search: Search = None,
) -> Response:
    """A page of the driver's log. A negative `from` is the tail, a negative `size` all, up to 10,000 lines."""
    return answered(await log_answer(gateway, session, first, size, search))


@router.delete("/sessions/{session}", response_model=Message)
async def delete_session(caller: ACaller, gateway: AGateway, session: OwnedSession) -> Response:
    """End a session and show it no more."""
    await gateway.sessions.delete(session, by=caller.name)
    return answered(Message(msg="deleted"))


@router.post("/sessions/{session}/stop", status_code=204)
async def stop_session(caller: ACaller, gateway: AGateway, session: StoppableSession) -> Response:
    """End a session; it stays listed as dead."""
    by = "on request" if caller.name == session.owner else f"by {caller.name}"
    await gateway.sessions.stop(session, f"The session was stopped {by}.")
    return Response(status_code=204)


@router.post("/sessions/{session}/connect", response_model=SessionAnswer)
async def connect_session(gateway: AGateway, session: OwnedSession) -> Response:
    """A session, as Livy's own client asks for it first."""
    return answered(_answer(gateway, session))


@router.post("/sessions/{session}/interrupt", response_model=Message)
async def interrupt_session(gateway: AGateway, session: StoppableSession) -> Response:
    """Cancel what runs and what waits in a session; the session itself lives on."""
    await gateway.statements.interrupt(session)
    return answered(Message(msg="interrupted"))
