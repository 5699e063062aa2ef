"""The application: routes, the one error handler, and what lies around every request."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from sparkyard_gateway.context import Gateway
from sparkyard_gateway.description import describe
from sparkyard_gateway.errors import GatewayError, HistoryStarts, Shape
from sparkyard_gateway.forwarding import Forwarding
from sparkyard_gateway.routes import (
    away,
    batches,
    driver,
    entrance,
    events,
    executors,
    health,
    pages,
    programmatic,
    records,
    sessions,
    spark_ui,
    statements,
)
from sparkyard_gateway.surroundings import Surroundings
from sparkyard_gateway.wire import BatchRequest, CompletionRequest, SessionRequest, StatementRequest

ROUTERS = (
    entrance.router,
    sessions.router,
    statements.router,
    programmatic.router,
    batches.router,
    records.router,
    executors.router,
    pages.router,
    health.router,
    spark_ui.router,
    driver.router,
    away.router,
    events.router,
)
BODIES = (SessionRequest, StatementRequest, BatchRequest, CompletionRequest)
GZIP_FROM_BYTES = 1024
JSON = "application/json"

log = structlog.get_logger(__name__)


def create_app(gateway: Gateway) -> FastAPI:
    """The application of a gateway."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await gateway.open()
        try:
            yield
        finally:
            await gateway.close()

    app = FastAPI(
        title="Sparkyard gateway",
        description="Apache Livy's REST API for many tenants. Send a JupyterHub token: `Authorization: token <token>`.",
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.openapi = lambda: description(app)  # type: ignore[method-assign]
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)
    if gateway.forwarding is not None:
        app.add_middleware(ToItsOwner, forwarding=gateway.forwarding)
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES, compresslevel=1)
    app.add_middleware(Surroundings, prefix=gateway.settings.prefix, metrics=gateway.metrics)
    return app


def description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = describe(app, ROUTERS, BODIES)
    return app.openapi_schema


class ToItsOwner:
    """Around every request where several gateways run: it may be another one's to answer."""

    def __init__(self, app: ASGIApp, forwarding: Forwarding) -> None:
        self._app = app
        self._forwarding = forwarding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._forwarding.handle(self._app, scope, receive, send)
        except GatewayError as error:
            await render(error)(scope, receive, send)


def render(error: GatewayError) -> Response:
    """An error in its Livy shape."""
    if error.shape is Shape.EMPTY:
        content = b""
    elif error.shape is Shape.STRING:
        content = json.dumps(error.message, ensure_ascii=False).encode()
    else:
        content = json.dumps({"msg": error.message, **error.details}, ensure_ascii=False).encode()
    return Response(content, error.status, headers=dict(error.headers), media_type=JSON)


async def _gateway_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, GatewayError):
        raise error
    gateway: Gateway = request.app.state.gateway
    gateway.metrics.refusals.labels(error.code).inc()
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if isinstance(error, HistoryStarts) or (path.startswith("/ui/") and spark_ui.opened(request)):
        return pages.error_page(request, error)
    if path.startswith(("/spark-ui/", "/oauth_callback")) and "authorization" not in request.headers:
        return spark_ui.error_page(error)
    return render(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette itself raises: unknown routes and wrong methods, with Livy's empty bodies."""
    if not isinstance(error, HTTPException):
        raise error
    wrong_method = error.status_code == 405
    request.app.state.gateway.metrics.refusals.labels("wrong_method" if wrong_method else "no_such_route").inc()
    headers = {"Allow": ", ".join(_methods(request))} if wrong_method else {}
    return Response(b"", error.status_code, headers=headers, media_type=JSON)


def _methods(request: Request) -> list[str]:
    methods: set[str] = set()
    for route in (each for router in ROUTERS for each in router.routes):
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


async def _invalid(request: Request, error: Exception) -> Response:
    """A query parameter of the wrong kind."""
    if not isinstance(error, RequestValidationError):
        raise error
    request.app.state.gateway.metrics.refusals.labels("invalid_parameter").inc()
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"][1:])
    return Response(json.dumps({"msg": f"{where}: {problem['msg']}"}), 400, media_type=JSON)


async def _gone(_request: Request, _error: Exception) -> Response:
    """Nobody reads this: the client broke off in the midst of its request."""
    return Response(b"", 400)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", route=getattr(request.scope.get("route"), "path", "none"), exc_info=error)
    return Response(json.dumps("The gateway met an error of its own; it is in its log."), 500, media_type=JSON)
