"""/batches: Livy's batches."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.rendering import LOG_LINES, batch_answer
from sparkyard_gateway.routes.dependencies import (
    ACaller,
    AGateway,
    OwnedBatch,
    Wait,
    answered,
    body,
    described,
    integer,
)
from sparkyard_gateway.routes.sessions import DEFAULT_PAGE, Key
from sparkyard_gateway.states import BatchState
from sparkyard_gateway.wire import (
    BatchAnswer,
    BatchesAnswer,
    BatchRequest,
    BatchStateAnswer,
    LogAnswer,
    Message,
    Refusal,
)

router = APIRouter(tags=["batches"])


def _answer(gateway: AGateway, batch: LiveBatch) -> BatchAnswer:
    return batch_answer(batch, gateway.batches.log_tail(batch, LOG_LINES), gateway.settings.prefix)


@router.get("/batches", response_model=BatchesAnswer)
@router.get("/batches/", include_in_schema=False)
async def list_batches(
    caller: ACaller,
    gateway: AGateway,
    first: Annotated[int, integer("from", 0, "Where the page begins.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many at most.")],
) -> Response:
    """The caller's batches; with a token that oversees, a lead's team's, an admin's all."""
    visible = gateway.batches.visible(caller)
    page = visible[max(0, first) : max(0, first) + max(0, size)]
    return answered(BatchesAnswer(from_=first, total=len(visible), sessions=[_answer(gateway, each) for each in page]))


@router.post(
    "/batches",
    response_model=BatchAnswer,
    status_code=201,
    responses={400: {"model": Refusal, "description": "Malformed, or not granted by the catalog"}},
    openapi_extra=described(BatchRequest),
)
@router.post("/batches/", include_in_schema=False)
async def create_batch(
    request: Request,
    caller: ACaller,
    gateway: AGateway,
    wish: Annotated[BatchRequest, Depends(body(BatchRequest))],
    key: Key = None,
    validate: Annotated[
        bool, Query(description="Addition: only say whether it would be granted; start nothing.")
    ] = False,
) -> Response:
    """Run a file. It is answered at once, in state `starting`."""
    if validate:
        await gateway.batches.judge(caller, wish)
        return answered(Message(msg="would be granted"))
    batch = await gateway.batches.create(caller, wish, key)
    response = answered(_answer(gateway, batch), 201)
    response.headers["Location"] = f"{request.scope['root_path']}/batches/{batch.id}"
    return response


@router.get("/batches/{batch}", response_model=BatchAnswer)
async def get_batch(
    gateway: AGateway,
    batch: OwnedBatch,
    wait: Wait,
    state: Annotated[BatchState | None, Query(description="Addition: the state the caller knows.")] = None,
) -> Response:
    """A batch; with `wait`, as soon as its state is another than the caller's."""
    known = state or batch.state
    await batch.changed.wait_until(lambda: batch.state is not known, wait)
    return answered(_answer(gateway, batch))


@router.get("/batches/{batch}/state", response_model=BatchStateAnswer)
async def get_batch_state(batch: OwnedBatch) -> Response:
    """A batch's state alone."""
    return answered(BatchStateAnswer(id=batch.id, state=batch.state))


@router.get("/batches/{batch}/log", response_model=LogAnswer)
async def get_batch_log(
    gateway: AGateway,
    batch: OwnedBatch,
    first: Annotated[int, integer("from", -1, "Where the page begins; negative: at the end.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")],
) -> Response:
    """A page of the batch's log. A negative `from` is the tail, a negative `size` all."""
    begin, total, lines = await gateway.batches.log_page(batch, first, size)
    return answered(LogAnswer(id=batch.id, from_=begin, total=total, log=lines))


@router.delete("/batches/{batch}", response_model=Message)
async def delete_batch(gateway: AGateway, batch: OwnedBatch) -> Response:
    """End a batch and show it no more."""
    await gateway.batches.delete(batch)
    return answered(Message(msg="deleted"))
