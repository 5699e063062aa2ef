"""/spark-ui/{session}/, /spark-ui/batches/{batch}/: a Spark UI for its owner's browser.

/oauth_callback: the login on the way there.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from sparkyard_gateway.browser_login import LOGIN_COOKIE, STATE_COOKIE, BrowserLogin, Cookie
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.errors import GatewayError, NoHistory, NoSuchRoute
from sparkyard_gateway.peers import SEEK
from sparkyard_gateway.routes.dependencies import AGateway
from sparkyard_gateway.spark_ui import POLICY, SparkUi
from sparkyard_gateway.subjects import BATCHES, Subject
from sparkyard_gateway.whereabouts import HOW_MUCH, KEPT

router = APIRouter(include_in_schema=False)

PATIENCE_SECONDS = 4.0
"""So long a person sees nothing while a history server starts; then a page that says so."""

Reference = Annotated[str, Path(max_length=128)]


def plain_path(request: Request) -> None:
    """No path that means another one than it says: browsers and servers resolve dots, at different moments."""
    path = str(request.scope["path"])
    if "\\" in path or {".", ".."} & set(path.split("/")):
        raise NoSuchRoute


def login_of(gateway: AGateway) -> BrowserLogin:
    """The browsers' login, where the gateway has a service token to offer one with."""
    if gateway.browser_login is None:
        raise NoSuchRoute
    return gateway.browser_login


def spark_ui_of(gateway: AGateway) -> SparkUi:
    """The Spark UIs."""
    if gateway.spark_ui is None:
        raise NoSuchRoute
    return gateway.spark_ui


Plain = Depends(plain_path)
Login = Annotated[BrowserLogin, Depends(login_of)]
Ui = Annotated[SparkUi, Depends(spark_ui_of)]


@router.get("/oauth_callback")
async def oauth_callback(request: Request, login: Login, state: str | None = None, code: str | None = None) -> Response:
    """The browser comes back from the hub."""
    step = await login.finish(state, code, request.cookies.get(STATE_COOKIE))
    response = RedirectResponse(step.location, 302)
    _set(response, step.cookie, request)
    response.delete_cookie(STATE_COOKIE, path=str(request.scope["root_path"]) + "/oauth_callback")
    return response


@router.options("/spark-ui/batches/{session}/~{text}/{path:path}")
@router.options("/spark-ui/{session}/~{text}/{path:path}")
async def preflight(request: Request) -> Response:
    """A page without an origin asks whether its script may fetch."""
    return Response(status_code=204, headers=_cross_origin(request) | {"Access-Control-Max-Age": "3600"})


# Of two that are stacked the lower one is asked first.
@router.get("/spark-ui/{session}/~{text}/{path:path}", dependencies=[Plain])
@router.get("/spark-ui/batches/{session}/~{text}/{path:path}", dependencies=[Plain])
async def with_pass(request: Request, login: Login, ui: Ui, session: Reference, text: str, path: str) -> Response:
    """A page or a part of one, for the holder of a pass."""
    admitted = await ui.admit(text, _area(request), session, _browser(request))
    if admitted is None:
        if opened(request):
            return RedirectResponse(_clean(request, session, path), 302)
        return _page(404, "Not found.")
    subject, holder = admitted
    if opened(request):
        caller = await login.caller(request.cookies.get(LOGIN_COOKIE))
        if caller is None:
            return to_login(request, login, _clean(request, session, path))
        if caller.name != holder.name:
            return RedirectResponse(_clean(request, session, path), 302)
        await ui.find(caller, _area(request), session)
    return await _proxied(request, ui, subject, f"{_root(request, session)}/~{text}", path)


@router.get("/spark-ui/{session}", dependencies=[Plain])
@router.get("/spark-ui/{session}/{path:path}", dependencies=[Plain])
@router.get("/spark-ui/batches/{session}/{path:path}", dependencies=[Plain])
async def without_pass(
    request: Request, gateway: AGateway, login: Login, ui: Ui, session: Reference, path: str = ""
) -> Response:
    """The address that people have: the login decides. A program sends its hub token instead."""
    if "authorization" in request.headers:
        caller = await gateway.identities.caller_of(request.headers["authorization"])
        subject = await ui.find(caller, _area(request), session)
        return await _proxied(request, ui, subject, _root(request, session), path)
    token = login.token(request.cookies.get(LOGIN_COOKIE))
    known = await login.caller(request.cookies.get(LOGIN_COOKIE))
    if token is None or known is None or not opened(request):
        return to_login(request, login, _clean(request, session, path))
    subject = await ui.find(known, _area(request), session)
    text = ui.issue(subject, token, _browser(request))
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{_root(request, str(subject.id))}/~{text}/{quote(path)}{query}", 302)


async def _proxied(request: Request, ui: SparkUi, subject: Subject, base: str, path: str) -> Response:
    elsewhere = await _elsewhere(request, ui, subject)
    if elsewhere is not None:
        return elsewhere
    patience = PATIENCE_SECONDS if _read_by_a_person(request) else None
    page = await ui.fetch(subject, base, path, request.url.query, request.headers, patience)
    headers = {
        **page.headers,
        "Content-Security-Policy": POLICY,
        "X-Frame-Options": "DENY",
        # A page without an origin is no site's: its own parts are "cross-origin" to it. The pass guards them.
        "Cross-Origin-Resource-Policy": "cross-origin",
        **_cross_origin(request),
    }
    if page.stream is None:
        return Response(page.content, page.status, headers=headers)
    return StreamingResponse(page.stream, page.status, headers=headers)


async def _elsewhere(request: Request, ui: SparkUi, subject: Subject) -> Response | None:
    """The answer of the gateway that keeps this history, where that is another one; or how much this one has, where
    another gateway asks that."""
    gateway: Gateway = request.app.state.gateway
    if gateway.forwarding is None:
        return None
    kept = await ui.kept(subject)
    seek = request.headers.get(SEEK)
    if seek == HOW_MUCH:
        return Response(status_code=204, headers={KEPT: str(kept or 0)})
    if kept is None or seek is not None:
        return None
    whereabouts = gateway.forwarding.whereabouts
    keeper = await whereabouts.keeper(request.scope, subject, kept)
    return None if keeper is None else await whereabouts.fetch(keeper, request.scope)


def opened(request: Request) -> bool:
    """Whether a person opened this as a page of its own; browsers say so, and scripts cannot say otherwise."""
    return request.headers.get("sec-fetch-mode", "navigate") == "navigate"


def _read_by_a_person(request: Request) -> bool:
    return request.headers.get("sec-fetch-mode") == "navigate" and "text/html" in request.headers.get("accept", "")


def _browser(request: Request) -> str:
    address = request.headers.get("x-forwarded-for") or (request.client.host if request.client else "")
    return f"{request.headers.get('user-agent', '')}|{address}"


def _cross_origin(request: Request) -> dict[str, str]:
    if request.headers.get("origin") != "null":
        return {}
    return {
        "Access-Control-Allow-Origin": "null",
        "Access-Control-Allow-Headers": "X-Requested-With",
        "Access-Control-Allow-Methods": "GET",
        "Vary": "Origin",
    }


def _root(request: Request, session: str) -> str:
    return f"{request.scope['root_path']}/spark-ui/{_area(request)}{quote(session, safe='')}"


def _area(request: Request) -> str:
    """Of which kind the page is, by the route that was taken: none for a session's."""
    return BATCHES if request.scope["route"].path.startswith(f"/spark-ui/{BATCHES}") else ""


def _clean(request: Request, session: str, path: str) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{_root(request, session)}/{quote(path)}{query}"


def to_login(request: Request, login: BrowserLogin, wanted: str) -> Response:
    """Send somebody who opened a page to the hub, to come back to `wanted`."""
    if not opened(request):
        return _page(401, "Not logged in.")
    step = login.begin(wanted)
    response = RedirectResponse(step.location, 302)
    _set(response, step.cookie, request)
    return response


def _set(response: Response, cookie: Cookie, request: Request) -> None:
    secure = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
    response.set_cookie(
        cookie.name,
        cookie.value,
        max_age=cookie.seconds,
        path=cookie.path,
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _page(status: int, sentence: str) -> Response:
    return HTMLResponse(f"<!doctype html><title>Sparkyard</title><p>{sentence}</p>", status)


def error_page(error: GatewayError) -> Response:
    """An error for a browser's user. Its sentences hold nothing of a request's but an id that may be anything."""
    missing = error.status == 404 and not isinstance(error, NoHistory)
    text = "This Spark UI is not there, or not yours." if missing else error.message
    return _page(error.status, text)
