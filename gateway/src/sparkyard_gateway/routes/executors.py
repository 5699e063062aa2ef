"""/sessions/{id}/executors and /batches/{id}/executors: additions to Livy's API for what runs as pods.

An executor's log is read by the very functions that a driver's is (`records`). Where drivers are no pods there are
no executors of their own, and the lists are empty.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from sparkyard_gateway.backends.executors import Executor
from sparkyard_gateway.backends.pod_book import PodBook
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.routes.dependencies import ACaller, AGateway, OwnedBatch, answered, integer
from sparkyard_gateway.routes.records import Begin, KeptSession, by_header, first_position, log_events, log_text
from sparkyard_gateway.routes.sessions import DEFAULT_PAGE, LARGEST_PAGE, Search, log_answer
from sparkyard_gateway.session_pods import ExecutorLog, Subject
from sparkyard_gateway.wire import LogAnswer, LogMatches
from sparkyard_gateway.wire_pods import ExecutorsAnswer, PodEventsAnswer, event_answer, executor_answer

router = APIRouter(tags=["executors"])

Reference = Annotated[str, Path(description="An executor's uid, or its number.", max_length=128)]
First = Annotated[int, integer("from", 0, "Where the page begins.")]
Size = Annotated[int, integer("size", DEFAULT_PAGE, "How many at most, up to 1,000.")]
FirstLine = Annotated[int, integer("from", -1, "Where the page begins; negative: at the end.")]
Lines = Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")]
Follow = Annotated[bool, Query(description="Go on with what is added, until the executor has ended.")]


async def log_of_session(gateway: AGateway, session: KeptSession, executor: Reference) -> ExecutorLog:
    """The log of an executor of the session of the path, if the caller may see that."""
    return await gateway.pods.log(session, executor)


async def log_of_batch(gateway: AGateway, batch: OwnedBatch, executor: Reference) -> ExecutorLog:
    """The log of an executor of the batch of the path, if the caller may see that."""
    return await gateway.pods.log(batch, executor)


OfSession = Annotated[ExecutorLog, Depends(log_of_session)]
OfBatch = Annotated[ExecutorLog, Depends(log_of_batch)]


def newest_first(book: PodBook | None) -> list[Executor]:
    """All executors that are known."""
    return sorted(book.executors.values() if book else (), key=lambda each: each.created, reverse=True)


async def _executors(gateway: Gateway, subject: Subject, first: int, size: int) -> Response:
    found = newest_first(await gateway.pods.book(subject))
    begin = max(0, first)
    page = found[begin : begin + min(max(0, size), LARGEST_PAGE)]
    answers = [executor_answer(each) for each in page]
    return answered(ExecutorsAnswer(id=subject.id, from_=begin, total=len(found), executors=answers))


async def _events(gateway: Gateway, subject: Subject) -> Response:
    book = await gateway.pods.book(subject)
    return answered(PodEventsAnswer(id=subject.id, events=[event_answer(each) for each in book.events] if book else []))


# Of a session


@router.get("/sessions/{session}/executors", response_model=ExecutorsAnswer)
async def list_executors(gateway: AGateway, session: KeptSession, first: First, size: Size) -> Response:
    """A session's executors, present and past, the newest first."""
    return await _executors(gateway, session, first, size)


@router.get("/sessions/{session}/pod-events", response_model=PodEventsAnswer)
async def list_pod_events(gateway: AGateway, session: KeptSession) -> Response:
    """What happened to the pods of a session's driver and executors."""
    return await _events(gateway, session)


@router.get("/sessions/{session}/executors/{executor}/log", response_model=LogAnswer | LogMatches)
async def get_executor_log(
    gateway: AGateway, log: OfSession, first: FirstLine, size: Lines, search: Search = None
) -> Response:
    """A page of an executor's log, as of a driver's; `id` is the session's."""
    return answered(await log_answer(gateway, log, first, size, search))


@router.get("/sessions/{session}/executors/{executor}/log/text", response_class=Response)
async def get_executor_log_text(
    request: Request, caller: ACaller, gateway: AGateway, log: OfSession, follow: Follow = False
) -> Response:
    """An executor's whole log as text."""
    return log_text(gateway, caller, log, by_header(gateway, request), follow=follow)


@router.get("/sessions/{session}/executors/{executor}/log/events", response_class=Response)
async def get_executor_log_events(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    log: OfSession,
    begin: Begin,
) -> Response:
    """An executor's log as server-sent events, as a driver's."""
    position = await first_position(gateway, log, begin)
    return log_events(gateway, caller, log, position, by_header(gateway, request))


# Of a batch


@router.get("/batches/{batch}/executors", response_model=ExecutorsAnswer)
async def list_batch_executors(gateway: AGateway, batch: OwnedBatch, first: First, size: Size) -> Response:
    """A batch's executors, present and past, the newest first."""
    return await _executors(gateway, batch, first, size)


@router.get("/batches/{batch}/pod-events", response_model=PodEventsAnswer)
async def list_batch_pod_events(gateway: AGateway, batch: OwnedBatch) -> Response:
    """What happened to the pods of a batch's driver and executors."""
    return await _events(gateway, batch)


@router.get("/batches/{batch}/executors/{executor}/log", response_model=LogAnswer | LogMatches)
async def get_batch_executor_log(
    gateway: AGateway, log: OfBatch, first: FirstLine, size: Lines, search: Search = None
) -> Response:
    """A page of an executor's log, as of a driver's; `id` is the batch's."""
    return answered(await log_answer(gateway, log, first, size, search))


@router.get("/batches/{batch}/executors/{executor}/log/text", response_class=Response)
async def get_batch_executor_log_text(
    request: Request, caller: ACaller, gateway: AGateway, log: OfBatch, follow: Follow = False
) -> Response:
    """An executor's whole log as text."""
    return log_text(gateway, caller, log, by_header(gateway, request), follow=follow)


@router.get("/batches/{batch}/executors/{executor}/log/events", response_class=Response)
async def get_batch_executor_log_events(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    log: OfBatch,
    begin: Begin,
) -> Response:
    """An executor's log as server-sent events, as a driver's."""
    position = await first_position(gateway, log, begin)
    return log_events(gateway, caller, log, position, by_header(gateway, request))
