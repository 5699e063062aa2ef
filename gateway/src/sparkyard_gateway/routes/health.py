"""/health: is the process alive, and can it do its work. /version and /metrics beside it."""

import importlib.metadata
import ipaddress

from fastapi import APIRouter, Request, Response

from sparkyard_gateway.errors import NoSuchRoute, StoreUnavailable
from sparkyard_gateway.metrics import CONTENT_TYPE
from sparkyard_gateway.routes.dependencies import AGateway
from sparkyard_gateway.wire import HealthAnswer, VersionAnswer

router = APIRouter(tags=["health"])

LIVY_VERSION = "0.9.0-incubating"
_OURS = importlib.metadata.version("sparkyard-gateway")


@router.get("/health/live", response_model=HealthAnswer)
async def live() -> HealthAnswer:
    """The process answers."""
    return HealthAnswer(status="ok", parts={})


@router.get("/health/ready", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
async def ready(gateway: AGateway) -> Response:
    """The database can be read and was written, the catalog is in force, and the gateway is not stopping.

    The hub is not asked: while it is away running sessions work on, and a gateway taken out of service would only add
    to the trouble.
    """
    parts = {"database": "ok", "catalog": "ok", "gateway": "stopping" if gateway.closing else "ok"}
    try:
        await gateway.store.check()
        if not gateway.store.healthy:
            parts["database"] = "the last write failed"
    except StoreUnavailable:
        parts["database"] = "does not answer"
    bad = any(value != "ok" for value in parts.values())
    if gateway.catalog.problem is not None:
        # Not a reason to stop serving: the last good catalog is in force.
        parts["catalog"] = "the file on disk is refused; the last good one is in force"
    answer = HealthAnswer(status="unavailable" if bad else "ok", parts=parts)
    return Response(answer.model_dump_json(), 503 if bad else 200, media_type="application/json")


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
