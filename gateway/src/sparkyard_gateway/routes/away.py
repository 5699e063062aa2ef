"""/proxy-errors/: what the proxy shows in place of who does not answer it.

The hub's proxy asks here (its `--error-target`) when the hub, a notebook server or a gateway is away: so the answer
needs none of them, no login and no database, and has nothing of the request in it. The status is the proxy's own,
which takes the body and its type from here and nothing else.
"""

import json
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import HTMLResponse

from sparkyard_gateway import pages
from sparkyard_gateway.routes.dependencies import AGateway

router = APIRouter(include_in_schema=False)

HUB: Final = (
    "The hub is restarting",
    "Your notebooks and Spark sessions go on. This page tries again by itself until the hub is back.",
)
SERVER: Final = (
    "Your server does not answer",
    "This page tries again by itself. If it stays like this, start your server again from Home; your files are kept.",
)
GATEWAY: Final = (
    "Sparkyard's gateway does not answer",
    "Notebooks and Spark sessions go on. This page tries again by itself.",
)


@router.get("/proxy-errors/{status}")
async def away(
    request: Request,
    gateway: AGateway,
    status: Annotated[int, Path(ge=400, le=599)],
    url: Annotated[str, Query(max_length=65536)] = "/",
) -> Response:
    """Who is away, by the path that was asked for: a page, or for a program a sentence."""
    del status
    hub, prefix = gateway.settings.hub_public_path, gateway.settings.prefix
    path = urlsplit(url).path
    of_gateway = path.startswith(f"{prefix}/")
    if path.startswith(f"{hub}api/") or (of_gateway and not path.startswith((f"{prefix}/ui", f"{prefix}/spark-ui/"))):
        sentence = f"{(GATEWAY if of_gateway else HUB)[0]}. Notebooks and Spark sessions go on. Try again in a moment."
        # Each side's clients look for its own key.
        return Response(json.dumps({"message": sentence, "msg": sentence}), media_type="application/json")
    of_server = path.startswith(f"{hub.removesuffix('hub/')}user/")
    heading, sentence = GATEWAY if of_gateway else SERVER if of_server else HUB
    root = f"{request.scope['root_path'] or prefix}/ui/"
    content = pages.alone("away", root=root, hub=hub, heading=heading, sentence=sentence)
    return HTMLResponse(content, headers=pages.HEADERS)
