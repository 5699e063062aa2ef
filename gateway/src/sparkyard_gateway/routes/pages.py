"""/ui/: the Sessions page and what its scripts read, for browsers that have signed in at the hub.

A browser is known here by its cookie, which it sends along whoever makes it ask. So reading answers are for this
page alone (other origins are refused, and could not read them), and what changes something must carry a token that
the page was given, in a header that no other site's page can set.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from sparkyard_gateway import event_streams, pages
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.browser_login import LOGIN_COOKIE
from sparkyard_gateway.context import Gateway
from sparkyard_gateway.elsewhere import HERE
from sparkyard_gateway.errors import (
    Forbidden,
    GatewayError,
    HistoryStarts,
    NoSuchRoute,
    StoreUnavailable,
    Unauthenticated,
)
from sparkyard_gateway.event_streams import event
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.overview import statement_documents
from sparkyard_gateway.pod_story import pod_document
from sparkyard_gateway.routes.dependencies import AGateway, answered, integer
from sparkyard_gateway.routes.records import Begin, Check, Watch, first_position, log_events, whole_log
from sparkyard_gateway.routes.sessions import DEFAULT_PAGE, Search, log_answer
from sparkyard_gateway.routes.spark_ui import Login, login_of, plain_path, to_login
from sparkyard_gateway.session_pods import ExecutorLog
from sparkyard_gateway.times import now_ms

router = APIRouter(include_in_schema=False, dependencies=[Depends(login_of), Depends(plain_path)])

LOOK_SECONDS = 1.0
"""How often a page is told of changes, at most."""
FAILURE_SECONDS = 5.0
STATEMENTS_SHOWN = 20
PAST_SHOWN = 100
FOREVER = "public, max-age=31536000, immutable"

Reference = Annotated[str, Path(max_length=128)]


# Who looks


async def reader(request: Request, login: Login) -> Caller:
    """The caller by the cookie, for the page's own requests. Raises Unauthenticated and Forbidden."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("This is for the gateway's own pages.")
    caller = await login.caller(request.cookies.get(LOGIN_COOKIE))
    if caller is None:
        raise Unauthenticated("Your login has ended. Load the page again.")
    return caller


AReader = Annotated[Caller, Depends(reader)]


async def kept(caller: AReader, gateway: AGateway, session: Reference) -> LiveSession:
    """The session of the path, shown or not, if the reader may see it."""
    return await gateway.records.find(caller, session)


Kept = Annotated[LiveSession, Depends(kept)]


async def doer(
    request: Request,
    caller: AReader,
    gateway: AGateway,
    token: Annotated[str | None, Header(alias="Sparkyard-Token")] = None,
) -> Caller:
    """The caller of a request that changes something: it comes from a page that this browser was given."""
    content = gateway.page_tokens.open(token) if gateway.page_tokens else None
    if content is None or content["user"] != caller.name or content["login"] != _login_digest(request):
        raise Forbidden("This page is out of date. Load it again.")
    return caller


ADoer = Annotated[Caller, Depends(doer)]


def _check(request: Request, gateway: Gateway) -> Check:
    async def again() -> Caller:
        login = login_of(gateway)
        caller = await login.caller(request.cookies.get(LOGIN_COOKIE))
        if caller is None:
            raise Unauthenticated("Your login has ended.")
        return caller

    return again


def _login_digest(request: Request) -> str:
    return hashlib.sha256((request.cookies.get(LOGIN_COOKIE) or "").encode()).hexdigest()[:32]


# Pages


@router.get("/ui")
async def to_pages(request: Request) -> Response:
    """The page's address ends in a slash, below which its cookie is good."""
    return RedirectResponse(f"{request.scope['root_path']}/ui/", 302)


@router.get("/ui/static/{name}")
async def static(name: str) -> Response:
    """A file that pages load. Its address changes with its content."""
    found = pages.FILES.get(name)
    if found is None:
        raise NoSuchRoute
    kind = pages.TYPES["." + name.rpartition(".")[2]]
    return Response(found, media_type=kind, headers={**pages.HEADERS, "Cache-Control": FOREVER})


@router.get("/ui/")
async def sessions_page(request: Request, gateway: AGateway, login: Login) -> Response:
    """All sessions that one may see."""
    return await _page(request, gateway, login, "sessions", "Sessions")


@router.get("/ui/sessions/{session}")
async def session_page(request: Request, gateway: AGateway, login: Login, session: Reference) -> Response:
    """One session. The page of one that is not there is as that of somebody else's."""
    return await _page(request, gateway, login, "session", f"Session {session}", session)


async def _page(request: Request, gateway: Gateway, login: Login, name: str, title: str, session: str = "") -> Response:
    caller = await login.caller(request.cookies.get(LOGIN_COOKIE))
    if caller is None:
        return to_login(request, login, str(request.scope["path"]))
    if session:
        session = str((await gateway.records.find(caller, session)).id)
        title = f"Session {session}"
    return HTMLResponse(
        pages.page(name, **_texts(request, gateway, caller, title), session=session), headers=pages.HEADERS
    )


def _texts(request: Request, gateway: Gateway, caller: Caller | None, title: str) -> dict[str, str]:
    token = ""
    if caller is not None and gateway.page_tokens is not None:
        token = gateway.page_tokens.seal(
            gateway.settings.browser_session_seconds, user=caller.name, login=_login_digest(request)
        )
    return {
        "title": title,
        "root": f"{request.scope['root_path']}/ui/",
        "hub": gateway.settings.hub_public_path,
        "user": caller.name if caller else "",
        "admin": "yes" if caller and caller.admin else "no",
        "here": "page" if title == "Sessions" else "false",
        "token": token,
    }


def error_page(request: Request, error: GatewayError) -> Response:
    """An error for somebody who opened a page."""
    missing = error.status == 404
    title = "Not there" if missing else "Opening the history" if isinstance(error, HistoryStarts) else "Not possible"
    texts = _texts(request, request.app.state.gateway, None, title)
    sentence = "There is no such session, or it is not yours to see." if missing else error.message
    content = pages.page("message", **texts, session="", heading=texts["title"], sentence=sentence)
    return HTMLResponse(content, error.status, headers={**pages.HEADERS, **error.headers})


# What they read


@router.get("/ui/self")
async def self_answer(caller: AReader) -> Response:
    """Whether the login still holds."""
    return _json({"user": caller.name})


@router.get("/ui/events")
async def list_events(request: Request, caller: AReader, gateway: AGateway) -> Response:
    """The sessions that one may see, and then each change."""

    async def events() -> AsyncIterator[str]:
        told: dict[int, str] = {}
        others: Mapping[int, dict[str, Any]] = {}
        first = True
        watch = Watch(gateway, caller, _check(request, gateway))
        with gateway.logs.following(caller):
            async for _ in _beats(watch):
                if gateway.membership is not None and gateway.membership.suspended:
                    yield event_streams.SILENCE
                    continue
                await gateway.overview.measure()
                if gateway.elsewhere is not None:
                    with contextlib.suppress(StoreUnavailable):
                        others = await gateway.elsewhere.rows(caller, request.scope)
                rows = {**others, **gateway.overview.rows(caller)}
                texts = {number: json.dumps(row, sort_keys=True) for number, row in rows.items()}
                changed = [rows[number] for number, text in texts.items() if told.get(number) != text]
                gone = [number for number in told if number not in texts]
                told = texts
                if first or changed or gone:
                    yield event("sessions", {"now": now_ms(), "first": first, "changed": changed, "gone": gone})
                    first = False
                else:
                    yield event_streams.SILENCE
            if not gateway.closing:
                yield event("login", {})

    return _stream(gateway, caller, events())


@router.get(HERE)
async def here(caller: AReader, gateway: AGateway) -> Response:
    """The sessions that one may see of those that this gateway holds, for the others beside it."""
    await gateway.overview.measure()
    return _json({"sessions": list(gateway.overview.rows(caller).values())})


@router.get("/ui/sessions/{session}/events")
async def session_events(request: Request, caller: AReader, gateway: AGateway, session: Kept) -> Response:
    """One session with its exception and its last statements, and then each change, until it has ended."""

    async def events() -> AsyncIterator[str]:
        told, told_pods, failure, looked = "", "", None, float("-inf")
        loop = asyncio.get_running_loop()
        watch = Watch(gateway, caller, _check(request, gateway))
        with gateway.logs.following(caller):
            async for _ in _beats(watch):
                if session.moved:
                    return  # the page asks again, and the gateway that has it now answers
                ended = session.ended.is_set()
                await gateway.overview.measure()
                if ended or loop.time() - looked > FAILURE_SECONDS:
                    failure, looked = await gateway.logs.failure(session), loop.time()
                statements = await gateway.records.statements(session, STATEMENTS_SHOWN)
                document = {
                    "session": gateway.overview.row(caller, session),
                    "exception": None if failure is None else failure.document(),
                    "statements": statement_documents(statements),
                }
                text = json.dumps(document, sort_keys=True)
                pods = pod_document(await gateway.pods.book(session))
                pods_text = json.dumps(pods, sort_keys=True)
                if text != told:
                    told = text
                    yield event("session", {"now": now_ms(), **document})
                if pods is not None and pods_text != told_pods:
                    told_pods = pods_text
                    yield event("pods", pods)
                yield event_streams.SILENCE
                if ended:
                    yield event("end", {})
                    return
            if not gateway.closing:
                yield event("login", {})

    return _stream(gateway, caller, events())


@router.get("/ui/sessions/{session}/log/events")
async def ui_log_events(
    request: Request,
    caller: AReader,
    gateway: AGateway,
    session: Kept,
    begin: Begin,
) -> Response:
    """The log as it grows."""
    position = await first_position(gateway, session, begin)
    return log_events(gateway, caller, session, position, _check(request, gateway))


@router.get("/ui/sessions/{session}/log")
async def ui_log(
    gateway: AGateway,
    session: Kept,
    first: Annotated[int, integer("from", 0, "Where the page begins.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")],
    search: Search = None,
) -> Response:
    """Lines of the log, or those with a text."""
    answer = await log_answer(gateway, session, first, min(max(0, size), 1000), search)
    return answered(answer)


@router.get("/ui/sessions/{session}/log/text")
async def ui_log_text(gateway: AGateway, session: Kept) -> Response:
    """The whole log, to keep."""
    return whole_log(gateway, session)


async def executors_log(gateway: AGateway, session: Kept, executor: Reference) -> ExecutorLog:
    """The log of an executor of the session of the path."""
    return await gateway.pods.log(session, executor)


OfExecutor = Annotated[ExecutorLog, Depends(executors_log)]


@router.get("/ui/sessions/{session}/executors/{executor}/log/events")
async def ui_executor_log_events(
    request: Request,
    caller: AReader,
    gateway: AGateway,
    log: OfExecutor,
    begin: Begin,
) -> Response:
    """An executor's log as it grows."""
    position = await first_position(gateway, log, begin)
    return log_events(gateway, caller, log, position, _check(request, gateway))


@router.get("/ui/sessions/{session}/executors/{executor}/log")
async def ui_executor_log(
    gateway: AGateway,
    log: OfExecutor,
    first: Annotated[int, integer("from", 0, "Where the page begins.")],
    size: Annotated[int, integer("size", DEFAULT_PAGE, "How many lines at most; negative: all.")],
    search: Search = None,
) -> Response:
    """Lines of an executor's log, or those with a text."""
    answer = await log_answer(gateway, log, first, min(max(0, size), 1000), search)
    return answered(answer)


@router.get("/ui/sessions/{session}/executors/{executor}/log/text")
async def ui_executor_log_text(gateway: AGateway, log: OfExecutor) -> Response:
    """An executor's whole log, to keep."""
    return whole_log(gateway, log)


@router.get("/ui/past")
async def past(caller: AReader, gateway: AGateway) -> Response:
    """Sessions that ended a while ago."""
    found = await gateway.records.past(caller, PAST_SHOWN)
    seconds = gateway.settings.log_retention_seconds
    days = f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.0f} hours"
    return _json({"records": [gateway.overview.row(caller, each) for each in found], "days": days})


@router.post("/ui/sessions/{session}/stop", status_code=204)
async def stop(caller: ADoer, gateway: AGateway, session: Reference) -> Response:
    """End a session; it stays listed as dead."""
    found = gateway.sessions.find(caller, session)
    by = "its owner" if found.owner == caller.name else caller.name
    gateway.sessions.end(found, f"The session was stopped on the Sessions page by {by}.")
    return Response(status_code=204)


# How


async def _beats(watch: Watch) -> AsyncIterator[None]:
    """A moment every now and then, until no more may be told."""
    while True:
        await watch.look()
        if watch.over():
            return
        yield
        await asyncio.sleep(LOOK_SECONDS)


def _stream(gateway: Gateway, caller: Caller, events: AsyncIterator[str]) -> Response:
    gateway.logs.admit(caller)
    return StreamingResponse(
        events, media_type=event_streams.MEDIA_TYPE, headers={**pages.HEADERS, **event_streams.HEADERS}
    )


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), media_type="application/json", headers=pages.HEADERS)
