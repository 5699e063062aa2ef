"""/sessions/{id}/record and what lies below: additions to Livy's API, reachable for as long as a log is kept."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from sparkyard_gateway import event_streams
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.driver_logs import Readable
from sparkyard_gateway.errors import BadNumber, GatewayError
from sparkyard_gateway.event_streams import event
from sparkyard_gateway.failures import Failure, failure_of_output
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.rendering import output_of, session_answer
from sparkyard_gateway.routes.dependencies import ACaller, AGateway, OwnedSession, answered, integer, number
from sparkyard_gateway.routes.sessions import DEFAULT_PAGE, Search, log_answer
from sparkyard_gateway.session_pods import ExecutorLog
from sparkyard_gateway.wire import (
    EventAnswer,
    ExceptionAnswer,
    FailureAnswer,
    LogAnswer,
    LogMatches,
    RecordAnswer,
    RecordsAnswer,
)

router = APIRouter(tags=["records"])

MOST_RECORDS = 500
Check = Callable[[], Awaitable[Caller]]
Limited = Annotated[int, Query(ge=1, le=MOST_RECORDS, description="How many at most.")]
Reference = Annotated[str, Path(description="A session's id.", max_length=128)]


async def kept_session(caller: ACaller, gateway: AGateway, session: Reference) -> LiveSession:
    """The session of the path, shown or not, if the caller may see it."""
    found = await gateway.records.find(caller, session)
    structlog.contextvars.bind_contextvars(session=found.id)
    return found


KeptSession = Annotated[LiveSession, Depends(kept_session)]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a reader of events begins: where it was, where it wants, or so much before the end."""

    last: str | None
    position: int | None
    tail: int | None


async def beginning(
    tail: Annotated[int | None, Query(ge=0, description="Begin so many bytes before the end.")] = None,
    position: Annotated[int | None, Query(alias="from", ge=0, description="Begin at this byte.")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Beginning:
    """As the request says."""
    return Beginning(last, position, tail)


Begin = Annotated[Beginning, Depends(beginning)]


@router.get("/records", response_model=RecordsAnswer)
async def list_records(caller: ACaller, gateway: AGateway, size: Limited = DEFAULT_PAGE) -> Response:
    """Sessions that ended and that Livy's routes no longer know, for as long as their logs are kept."""
    past = await gateway.records.past(caller, size)
    prefix = gateway.settings.prefix
    return answered(RecordsAnswer(records=[session_answer(each, [], prefix) for each in past]))


@router.get("/sessions/{session}/record", response_model=RecordAnswer)
async def get_record(gateway: AGateway, session: KeptSession) -> Response:
    """What is kept of a session."""
    return answered(await record_of(gateway, session))


async def record_of(gateway: Gateway, session: LiveSession) -> RecordAnswer:
    """A session with what happened to it, and the exception in its log."""
    shown = session_answer(session, gateway.sessions.log_tail(session, 10), gateway.settings.prefix)
    events = await gateway.records.events(session)
    return RecordAnswer(
        **shown.model_dump(),
        ended=session.ended_at,
        shown=session.id in gateway.sessions.live,
        statements=session.next_statement,
        events=[EventAnswer(at=each.at, event=each.event, detail=each.detail) for each in events],
        exception=failure_answer(await gateway.logs.failure(session)),
    )


def failure_answer(failure: Failure | None) -> FailureAnswer | None:
    """An exception as it travels."""
    return None if failure is None else FailureAnswer.model_validate(failure.document())


@router.get("/sessions/{session}/exception", response_model=ExceptionAnswer)
async def get_exception(gateway: AGateway, session: KeptSession) -> Response:
    """The last exception in the driver's log, root cause first."""
    return answered(ExceptionAnswer(exception=failure_answer(await gateway.logs.failure(session))))


@router.get("/sessions/{session}/statements/{statement}/exception", response_model=ExceptionAnswer)
async def get_statement_exception(gateway: AGateway, session: OwnedSession, statement: str) -> Response:
    """The exception that a statement ended with, root cause first; null where it did not."""
    found = await gateway.statements.get(session, number(statement))
    return answered(ExceptionAnswer(exception=failure_answer(failure_of_statement(found))))


def failure_of_statement(statement: LiveStatement) -> Failure | None:
    """The exception of a statement that failed."""
    output = output_of(statement)
    return None if output is None else failure_of_output(output)


@router.get("/sessions/{session}/record/log", response_model=LogAnswer | LogMatches)
async def get_record_log(
    gateway: AGateway,
    session: KeptSession,
    first: Annotated[int, integer("from", -1, "Where the page begins; negative: at the end.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")],
    search: Search = None,
) -> Response:
    """As `/sessions/{id}/log`, also of a session that is no longer shown."""
    return answered(await log_answer(gateway, session, first, size, search))


@router.get("/sessions/{session}/record/log/text", response_class=Response)
async def get_log_text(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    session: KeptSession,
    follow: Annotated[bool, Query(description="Go on with what is added, until the session has ended.")] = False,
) -> Response:
    """The whole log as text."""
    return log_text(gateway, caller, session, by_header(gateway, request), follow=follow)


def log_text(gateway: Gateway, caller: Caller, log: Readable, check: Check, *, follow: bool) -> Response:
    """A log as text, whole or as it grows."""
    if not follow:
        return whole_log(gateway, log)
    gateway.logs.admit(caller)
    return StreamingResponse(
        _followed_text(gateway, caller, log, check),
        media_type="text/plain; charset=utf-8",
        # Not compressed, which would hold lines back until there are many.
        headers={**event_streams.HEADERS, "Content-Encoding": "identity"},
    )


def whole_log(gateway: Gateway, log: Readable) -> Response:
    """A log as a file to keep."""
    name = f"{log.executor.pod}.log" if isinstance(log, ExecutorLog) else f"session-{log.id}.log"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(gateway.logs.whole(log), media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/sessions/{session}/record/log/events", response_class=Response)
async def get_log_events(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    session: KeptSession,
    begin: Begin,
) -> Response:
    """The log as server-sent events: `log` with `from` (bytes before it) and `text`, and `end` when all is told."""
    position = await first_position(gateway, session, begin)
    return log_events(gateway, caller, session, position, by_header(gateway, request))


async def first_position(gateway: Gateway, log: Readable, begin: Beginning) -> int:
    """The byte at which a reader of events begins. Raises BadNumber."""
    last = begin.last
    if last is not None:
        if not last.isascii() or not last.isdecimal() or len(last) > 18:
            raise BadNumber(last)
        return int(last)
    if begin.position is not None:
        return begin.position
    return 0 if begin.tail is None else max(0, await gateway.logs.end(log) - begin.tail)


def log_events(gateway: Gateway, caller: Caller, session: Readable, position: int, check: Check) -> Response:
    """The log from a position on, as events."""

    async def events() -> AsyncIterator[str]:
        watch = Watch(gateway, caller, check)
        with gateway.logs.following(caller):
            async for piece in gateway.logs.follow(session, position, watch.over):
                await watch.look()
                if watch.over():
                    return
                if piece.data:
                    text = piece.data.decode("utf-8", "replace")
                    yield event("log", {"from": piece.start, "text": text}, piece.end)
                else:
                    yield event_streams.SILENCE
            if not watch.over() and not session.moved:
                yield event("end", {})

    gateway.logs.admit(caller)
    return StreamingResponse(events(), media_type=event_streams.MEDIA_TYPE, headers=event_streams.HEADERS)


async def _followed_text(gateway: Gateway, caller: Caller, session: Readable, check: Check) -> AsyncIterator[bytes]:
    watch = Watch(gateway, caller, check)
    with gateway.logs.following(caller):
        async for piece in gateway.logs.follow(session, 0, watch.over):
            await watch.look()
            if watch.over():
                return
            yield piece.data


class Watch:
    """Sees to it that a long answer ends with the gateway, and with the right of its reader to have it."""

    def __init__(self, gateway: Gateway, caller: Caller, check: Check) -> None:
        self._gateway = gateway
        self._name = caller.name
        self._check = check
        self._refused = False

    def over(self) -> bool:
        """Whether no more may be sent."""
        return self._refused or self._gateway.closing

    async def look(self) -> None:
        """Ask again who reads; the answer is remembered as long as that of any request."""
        try:
            self._refused = (await self._check()).name != self._name
        except GatewayError:
            self._refused = True


def by_header(gateway: Gateway, request: Request) -> Check:
    """Who reads, by the token of the request."""
    return lambda: gateway.identities.caller_of(request.headers.get("authorization"))
