"""A proxy that was replaced gets its routes again, and one that has them is left in peace."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponseError, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sparkyard_hub.lost_routes import RememberedProxy

LONG = 3600.0


class ProxyThatAnswers(RememberedProxy):
    """It answers what it is told to, and counts how often all routes were looked at."""

    def __init__(self, outcome: Exception | None, services: dict[str, object]) -> None:
        app = SimpleNamespace(users={}, _service_map=services)
        super().__init__(app=app, hub=Mock(), look_seconds=LONG)
        self.outcome = outcome
        self.asked: list[str] = []
        self.checked = 0

    async def api_request(self, path: str, method: str = "GET", body: Any = None) -> object:
        self.asked.append(path)
        if self.outcome is not None:
            raise self.outcome
        return object()

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        self.checked += 1


def answered(status: int) -> ClientResponseError:
    url = URL("http://proxy-api:8001/api/routes/services/gateway")
    return ClientResponseError(RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict())), (), status=status)


@pytest.mark.parametrize(
    ("outcome", "services", "checked"),
    [
        (None, {"gateway": object()}, 0),
        (answered(404), {"gateway": object()}, 1),
        (answered(404), {}, 0),  # a hub that is just starting
        (answered(403), {"gateway": object()}, 0),
        (TimeoutError("it is away"), {"gateway": object()}, 0),
    ],
)
async def test_routes_are_looked_at_when_the_gateways_is_gone(outcome, services, checked):
    proxy = ProxyThatAnswers(outcome, services)
    await proxy.look()
    assert proxy.asked == ["/services/gateway"]
    assert proxy.checked == checked
