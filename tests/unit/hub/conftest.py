"""Fixtures of the hub's tests.

provider     the demonstration provider, served over real HTTP by a thread
settings     the hub's settings for that provider and a folder of its own
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_hub.settings import HubSettings
from support.provider import HUB, RunningProvider, running_provider


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., HubSettings]:
    """Makes settings as the launcher does, with the changes of a test."""

    def make(**changed: Any) -> HubSettings:
        for name in ("client_secret", "gateway_token", "auth_state_key"):
            (tmp_path / name).write_text("ab" * 32)
        values: dict[str, Any] = {
            "public_url": HUB,
            "catalog": tmp_path / "catalog.yaml",
            "okta_url": "http://127.0.0.1:8001",
            "okta_client_id": "sparkyard",
            "okta_client_secret_file": tmp_path / "client_secret",
            "allowed_groups": {"data-science"},
            "admin_groups": {"sparkyard-admins"},
            "contact": "the help desk",
            "auth_state_key_file": tmp_path / "auth_state_key",
            "gateway_url": "http://127.0.0.1:8002",
            "gateway_token_file": tmp_path / "gateway_token",
            "homes_dir": tmp_path / "users",
            "logs_dir": tmp_path / "logs",
            "proxy": "traefik",
            "state_dir": tmp_path,
            "hub_port": 8003,
            "proxy_api_port": 8004,
        }
        return HubSettings(**(values | changed))

    return make
