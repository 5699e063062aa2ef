"""A real JupyterHub with our LocalSpawner, and people with browsers who use it."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CONFIG = Path(__file__).parent / "running_hub_config.py"
AS_A_PAGE = {"Sec-Fetch-Mode": "navigate"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Hub:
    """A running hub, and how a test speaks to it."""

    folder: Path
    catalog: Path
    examples: Path
    cleanup: bool = True
    supervisor: int = 0
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    culling: dict[str, int] | None = None  # the limits to which the hub holds servers
    public_port: int = 0  # where Traefik serves hub and servers together; 0 for no proxy
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None
    browsers: "list[Browser]" = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub"

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.public_port}"

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text()

    def start(self) -> None:
        settings = {
            "port": self.port,
            "state": str(self.folder),
            "token": self.token,
            "catalog": str(self.catalog),
            "examples": str(self.examples),
            "cleanup": self.cleanup,
            "supervisor": self.supervisor,
            "config": self.config,
            "culling": self.culling,
            "public_port": self.public_port,
            "proxy_api_port": free_port() if self.public_port else 0,
        }
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)],
                cwd=self.folder,
                env={**os.environ, "SECRET_OF_THE_HUB": "must not leak", "TEST_HUB": json.dumps(settings)},
                stdout=log,
                stderr=log,
            )
        self.wait(self._answers, "the hub did not answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-3000:]
        addresses = [f"{self.url}/api/", *([f"{self.public_url}/hub/api/"] if self.public_port else [])]
        try:
            return all(httpx.get(address, timeout=2).status_code == 200 for address in addresses)
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        for browser in self.browsers:
            browser.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def wait(self, condition: Callable[[], Any], failure: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{failure}\n{self.log[-3000:]}"
            time.sleep(0.1)

    def api(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.request(
            method, f"{self.url}/api{path}", headers={"Authorization": f"token {self.token}"}, timeout=60, **kwargs
        )

    def server(self, user: str) -> dict[str, Any]:
        servers: dict[str, Any] = self.api("GET", f"/users/{user}?include_stopped_servers").json()["servers"]
        return dict(servers.get("", {}))

    def ready(self, user: str) -> bool:
        return bool(self.server(user).get("ready"))

    def stopped(self, user: str) -> bool:
        return bool(self.server(user).get("stopped", True))

    def sign_in(self, user: str) -> "Browser":
        browser = Browser(self)
        self.browsers.append(browser)
        page = browser.get("/login")
        token = re.search(r'name="_xsrf" value="([^"]*)"', page.text)
        assert token, page.text
        answer = browser.post("/login", {"username": user, "password": "open", "_xsrf": token[1]})
        assert answer.status_code == 302, answer.text
        return browser


class Browser:
    """A person's browser, as far as pages and forms go."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._client = httpx.Client(timeout=60)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Any = None) -> httpx.Response:
        return self._client.get(f"{self.hub.url}{path}", params=params, headers=AS_A_PAGE, follow_redirects=True)

    def post(self, path: str, fields: dict[str, Any], files: Any = None) -> httpx.Response:
        return self._client.post(f"{self.hub.url}{path}", data=fields, files=files, headers=AS_A_PAGE)

    def start(self, files: Any = None, **fields: Any) -> httpx.Response:
        """Open the profile page and post its form with these fields."""
        page = self.get("/spawn")
        action = re.search(r'action="/hub([^"]*)"', page.text)
        assert action, page.text
        return self.post(action[1].replace("&amp;", "&"), fields, files)
