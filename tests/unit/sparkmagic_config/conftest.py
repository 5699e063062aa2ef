"""The notebook side's fixtures.

gateway             a ScriptedGateway over real HTTP, and the environment of a notebook server that points to it
surroundings        a notebook server's environment without a gateway, with a home of its own
keeper              a SessionKeeper in that environment, ended with the test
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkyard_sparkmagic.keeper import SessionKeeper
from support.scripted_gateway import ScriptedGateway

TOKEN = "0123456789abcdef-hub-token"


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("SPARKYARD_PROFILE", "SPARKYARD_PROFILE_TITLE", "SPARKYARD_SESSION_DEFAULTS", "SPARKYARD_GATEWAY_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", TOKEN)
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    return tmp_path


@pytest.fixture
def gateway(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    server = ScriptedGateway()
    monkeypatch.setenv("SPARKYARD_GATEWAY_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def keeper(gateway: ScriptedGateway) -> Iterator[SessionKeeper]:
    kept = SessionKeeper()
    yield kept
    kept.shut()
