"""/: to the page for people where there is one, as Livy does; else to the API's description."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse
from starlette.routing import Match

router = APIRouter(include_in_schema=False)

PAGE = "/ui"
DESCRIPTION = "/openapi.json"


@router.get("/")
async def entrance(request: Request) -> RedirectResponse:
    """302, as Livy's."""
    root: str = request.scope["root_path"]
    scope = {**request.scope, "path": root + PAGE}
    there = any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    return RedirectResponse(f"{root}{PAGE if there else DESCRIPTION}", 302)
