"""A person signed in at the hub without a browser: real forms, real cookies; and tokens of theirs for scripts."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from support.signing_in import follow, identify

GATEWAY_SCOPES = ("access:services!service=gateway", "read:users:name!user", "read:users:groups!user")


class HubSession:
    """One person's session at the hub. ``with HubSession(address, "dana", password) as dana: ...``."""

    def __init__(self, address: str, name: str, password: str, *, authority: Path | None = None) -> None:
        self.address = address.rstrip("/")
        self.name = name
        # The provider's, where it has a certificate of the tests' own.
        verify = ssl.create_default_context(cafile=authority) if authority is not None else True
        self._client = httpx.Client(timeout=60, verify=verify)
        login_page = follow(self._client, self._client.get(f"{self.address}/hub/oauth_login"))
        callback = identify(self._client, login_page, name, password)
        self.landing = self._client.get(callback.headers["location"], follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """A page or an answer of the API, as this person."""
        return self._client.get(self.address + path, **options)

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes."""
        with self._client.stream("GET", self.address + path, **options) as answer:
            yield answer

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Change something through the hub's API, as this person's browser would."""
        xsrf = next((cookie.value for cookie in self._client.cookies.jar if cookie.name == "_xsrf"), "") or ""
        return self._client.request(method, self.address + path, headers={"X-XSRFToken": xsrf}, **options)

    def start_server(self, profile: str = "small") -> None:
        """Start this person's server, if it does not run, and wait until it answers."""
        answer = self.send("POST", f"/hub/api/users/{self.name}/server", json={"profile": profile})
        assert answer.status_code in (201, 202) or "already running" in answer.text, answer.text
        deadline = time.monotonic() + 120
        server = None
        while not (server and server["ready"]):
            assert time.monotonic() < deadline, f"the server of {self.name} does not start: {server}"
            time.sleep(0.3)
            server = self.get(f"/hub/api/users/{self.name}").json()["servers"].get("")

    def stop_server(self) -> None:
        """Stop this person's server, if it runs, and wait until it is gone."""
        deadline = time.monotonic() + 60
        while self.get(f"/hub/api/users/{self.name}").json()["servers"]:
            self.send("DELETE", f"/hub/api/users/{self.name}/server")
            assert time.monotonic() < deadline, f"the server of {self.name} does not stop"
            time.sleep(0.5)

    def token(self, *scopes: str, expires_in: int = 3600) -> str:
        """A token of this person's; without scopes, one that may use the gateway and nothing else."""
        answer = self.send(
            "POST",
            f"/hub/api/users/{self.name}/tokens",
            json={"note": "tests", "expires_in": expires_in, "scopes": list(scopes or GATEWAY_SCOPES)},
        )
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token
