"""/: to the page for people where there is one, as Livy does; else to the API's description."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse

from sparkyard_gateway.routes.dependencies import AGateway

router = APIRouter(include_in_schema=False)

PAGE = "/ui"
DESCRIPTION = "/openapi.json"


@router.get("/")
async def entrance(request: Request, gateway: AGateway) -> RedirectResponse:
    """302, as Livy's."""
    there = gateway.browser_login is not None
    return RedirectResponse(f"{request.scope['root_path']}{PAGE if there else DESCRIPTION}", 302)
