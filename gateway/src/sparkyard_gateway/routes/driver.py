"""/driver/v1/{session}: where drivers dial in, and beside it where one far away claims its bootstrap before.

Not under the hub's path: browsers have no business here.
"""

import contextlib
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request, Response, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.responses import JSONResponse

from sparkyard_gateway.auth import token_in
from sparkyard_gateway.claims import ClaimRequest
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.errors import (
    BodyTooLarge,
    GatewayError,
    MalformedBody,
    NoSuchRoute,
    StoreUnavailable,
    Unavailable,
)
from sparkyard_gateway.ownership import LARGEST_ID
from sparkyard_gateway.routes.dependencies import AGateway

router = APIRouter()

POLICY_VIOLATION = 1008
TRY_AGAIN = 1012
LARGEST_CLAIM = 4096

log = structlog.get_logger(__name__)


class _Frames:
    """Starlette's WebSocket as plain text frames."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str:
        try:
            return await self._socket.receive_text()
        except (WebSocketDisconnect, KeyError) as error:
            raise ConnectionError("the driver hung up") from error

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionError("the driver hung up") from error


@router.post("/driver/v1/{session}/bootstrap", include_in_schema=False)
async def claim(request: Request, gateway: AGateway, session: Annotated[int, Path(ge=0, le=LARGEST_ID)]) -> Response:
    """What a driver must know, for its claim."""
    if request.scope.get("root_path") or "origin" in request.headers:
        raise NoSuchRoute
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > LARGEST_CLAIM:
            raise BodyTooLarge(f"A claim has no more than {LARGEST_CLAIM} bytes.")
    try:
        wanted = ClaimRequest.model_validate_json(bytes(received))
    except ValidationError:
        # No word about what is wrong with it: the body holds secrets.
        raise MalformedBody("This is no claim of a driver's.") from None
    return JSONResponse(await gateway.claims.redeem(session, wanted))


async def _elsewhere(gateway: Gateway, session: int, token: str | None, epoch: str | None) -> str | None:
    """The gateway that this driver should call instead; empty where that is not known yet, None where there is none."""
    if gateway.membership is None:
        return None
    try:
        return await gateway.membership.driver_address(session, token, epoch)
    except StoreUnavailable:
        return ""


async def _refuse(
    gateway: Gateway, socket: WebSocket, session: int, elsewhere: str | None, error: GatewayError
) -> None:
    if elsewhere:
        location = f"{elsewhere}/driver/v1/{session}"
        await socket.send_denial_response(Response(status_code=307, headers={"Location": location}))
    elif elsewhere is not None or isinstance(error, Unavailable):
        await socket.send_denial_response(Response(status_code=503, headers={"Retry-After": "1"}))
    else:
        gateway.metrics.driver_refusals.labels(error.code).inc()
        log.warning("driver_refused", session=session, code=error.code)
        await socket.close(POLICY_VIOLATION)


async def driver(socket: WebSocket) -> None:
    """One driver's connection. One that may not connect is refused before the handshake is answered."""
    gateway: Gateway = socket.app.state.gateway
    session: int = socket.path_params["session"]
    if socket.scope.get("root_path") or "origin" in socket.headers:
        await socket.close(POLICY_VIOLATION)
        return
    token, epoch = token_in(socket.headers.get("authorization")), socket.headers.get("sparkyard-epoch")
    try:
        live = gateway.drivers.admit(session, token, epoch, socket.headers.get("sparkyard-term"))
    except GatewayError as error:
        await _refuse(gateway, socket, session, await _elsewhere(gateway, session, token, epoch), error)
        return
    await socket.accept()
    try:
        await gateway.drivers.serve(live, _Frames(socket))
    except (ConnectionError, TimeoutError):
        pass
    except ValidationError as error:
        gateway.metrics.driver_faults.labels("nonsense").inc()
        log.warning("driver_talks_nonsense", session=session, problems=error.error_count())
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(TRY_AGAIN)


# Starlette's own kind of route: a connection lasts as long as its session, and FastAPI's kind keeps more for it.
router.add_websocket_route("/driver/v1/{session:int}", driver)
