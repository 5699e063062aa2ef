"""/health: is the process alive, and can it do its work. /version and /metrics beside it."""

import asyncio
import importlib.metadata
import ipaddress

from fastapi import APIRouter, Request, Response

from sparkyard_gateway.backends.base import Backend, Checked
from sparkyard_gateway.errors import NoSuchRoute, StoreUnavailable
from sparkyard_gateway.metrics import CONTENT_TYPE
from sparkyard_gateway.routes.dependencies import AGateway
from sparkyard_gateway.wire import HealthAnswer, VersionAnswer

router = APIRouter(tags=["health"])

PART_SECONDS = 3.0
"""How long a part may take to say how it is: a probe waits no longer either."""
NOT = "It cannot serve requests at the moment; the parts say why."
LIVY_VERSION = "0.9.0-incubating"
_OURS = importlib.metadata.version("sparkyard-gateway")


@router.get("/health/live", response_model=HealthAnswer)
async def live() -> HealthAnswer:
    """The process answers. Nothing else is asked: a restart mends neither a database nor a backend."""
    return HealthAnswer(status="ok", parts={})


@router.get("/health/ready", response_model=HealthAnswer, responses={503: {"model": HealthAnswer, "description": NOT}})
async def ready(gateway: AGateway) -> Response:
    """Whether requests can be served, part by part: database, catalog, backends, and whether it is stopping.

    503 while the database does not answer or take writes, or the gateway is stopping. What only keeps new sessions from
    starting is `degraded`, and 200: sessions that run would be worse off with their gateway out of service. The hub is
    not asked, for the same reason.
    """
    parts = {
        "database": await _database(gateway),
        "catalog": "ok",
        "gateway": "stopping" if gateway.closing else "ok",
    }
    bad = any(value != "ok" for value in parts.values())
    if gateway.catalog.problem is not None:
        parts["catalog"] = "the file on disk is refused; the last good one is in force"
    used = {gateway.settings.backend, *(each.backend for each in gateway.sessions.live.values())}
    for name in sorted(used):
        parts[f"backend {name}"] = await _backend(gateway.backends[name])
    poor = any(value != "ok" for value in parts.values())
    answer = HealthAnswer(status="unavailable" if bad else "degraded" if poor else "ok", parts=parts)
    return Response(answer.model_dump_json(), 503 if bad else 200, media_type="application/json")


async def _database(gateway: AGateway) -> str:
    try:
        async with asyncio.timeout(PART_SECONDS):
            await gateway.store.check()
    except (StoreUnavailable, TimeoutError):
        return "does not answer"
    return "ok" if gateway.store.healthy else "the last write failed"


async def _backend(backend: Backend) -> str:
    if not isinstance(backend, Checked):
        return "ok"
    try:
        async with asyncio.timeout(PART_SECONDS):
            return await backend.problem() or "ok"
    except TimeoutError:
        return "does not answer"


@router.get("/version", response_model=VersionAnswer)
@router.get("/version/", include_in_schema=False)
async def version() -> VersionAnswer:
    """Which Livy this gateway answers like."""
    return VersionAnswer(
        url="", branch="", revision="", version=LIVY_VERSION, date="", user="", gateway=f"sparkyard-gateway {_OURS}"
    )


@router.get("/metrics/ping", include_in_schema=False)
async def ping() -> Response:
    """Livy's own."""
    return Response("pong\n", media_type="text/plain")


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, gateway: AGateway) -> Response:
    """Prometheus' text, for the hosts that may read it, and never through the hub's proxy."""
    host = request.client.host if request.client else ""
    proxied = bool(request.scope.get("root_path")) or "x-forwarded-for" in request.headers
    if proxied or not _within(host, gateway.settings.metrics_from):
        raise NoSuchRoute
    return Response(gateway.metrics.text(), media_type=CONTENT_TYPE)


def _within(host: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks)
