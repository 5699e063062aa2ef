"""/driver/v1/{session}/events, /driver/v1/batches/{batch}/events: where drivers in pods send their event logs.

Not under the hub's path: browsers have no business here.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import JSONResponse, Response

from sparkyard_gateway.auth import token_in
from sparkyard_gateway.errors import NoSuchRoute
from sparkyard_gateway.event_intake import LARGEST_PIECE, EventIntake
from sparkyard_gateway.ownership import LARGEST_ID
from sparkyard_gateway.routes.dependencies import AGateway, body_bytes

router = APIRouter(include_in_schema=False)

OUT_OF_PLACE = 409
PIECE_SECONDS = 10.0
"""How long a piece may take to arrive: it keeps others from being read."""


def intake_of(request: Request, gateway: AGateway) -> EventIntake:
    """Where event logs are taken, and for whom."""
    if request.scope.get("root_path") or "origin" in request.headers or gateway.event_intake is None:
        raise NoSuchRoute
    return gateway.event_intake


Intake = Annotated[EventIntake, Depends(intake_of)]
Number = Annotated[int, Path(ge=0, le=LARGEST_ID)]
Name = Annotated[str, Path(max_length=255)]
At = Annotated[int, Query(ge=0, le=2**53)]


def of_session(request: Request, intake: Intake, session: Number) -> tuple[str, str]:
    """The place of a session whose driver calls, and its owner."""
    headers = request.headers
    return intake.of_session(session, token_in(headers.get("authorization")), headers.get("sparkyard-epoch"))


def of_batch(request: Request, intake: Intake, batch: Number) -> tuple[str, str]:
    """The place of a batch whose driver calls, and its owner."""
    return intake.of_batch(batch, token_in(request.headers.get("authorization")))


OfSession = Annotated[tuple[str, str], Depends(of_session)]
OfBatch = Annotated[tuple[str, str], Depends(of_batch)]


# Of two that are stacked the lower one is asked first.
@router.get("/driver/v1/{session}/events/{application}")
async def have_of_session(intake: Intake, whose: OfSession, application: Name) -> Response:
    """How much of a session's event log is here."""
    return JSONResponse(await intake.have(whose[0], application))


@router.get("/driver/v1/batches/{batch}/events/{application}")
async def have_of_batch(intake: Intake, whose: OfBatch, application: Name) -> Response:
    """How much of a batch's event log is here."""
    return JSONResponse(await intake.have(whose[0], application))


@router.post("/driver/v1/{session}/events/{application}/{file}")
async def take_of_session(
    request: Request, intake: Intake, whose: OfSession, application: Name, file: Name, at: At = 0
) -> Response:
    """A piece of a session's event log."""
    return await _taken(request, intake, whose, application, file, at)


@router.post("/driver/v1/batches/{batch}/events/{application}/{file}")
async def take_of_batch(
    request: Request, intake: Intake, whose: OfBatch, application: Name, file: Name, at: At = 0
) -> Response:
    """A piece of a batch's event log."""
    return await _taken(request, intake, whose, application, file, at)


async def _taken(
    request: Request, intake: EventIntake, whose: tuple[str, str], application: str, file: str, at: int
) -> Response:
    place, owner = whose
    async with intake.turn(owner):
        data = await body_bytes(request, LARGEST_PIECE, PIECE_SECONDS)
        goes_on, told = await intake.take(place, owner, application, file, at, data)
    return JSONResponse(told, 200 if goes_on else OUT_OF_PLACE)
