"""A small HTTP server that answers /hub/api/user exactly as JupyterHub 6.1 does, for tests that need no whole hub.

It is told which token is whose; everything else about a hub is missing. It can be told to misbehave.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SERVER_TOKEN_SCOPES = (
    "users:activity!user",
    "access:servers!server",
    "access:services!service=gateway",
    "read:users:name!user",
    "read:users:groups!user",
)


class HubStandIn:
    """Tokens and whose they are; `asked` counts the questions, `status` overrides the answer."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.status: int | None = None
        self.delay = 0.0
        self.url = ""

    def admit(
        self,
        token: str,
        name: str,
        groups: tuple[str, ...] = (),
        *,
        admin: bool = False,
        scopes: tuple[str, ...] = SERVER_TOKEN_SCOPES,
        kind: str = "user",
    ) -> str:
        """Make a token known."""
        self.people[token] = {
            "kind": kind,
            "name": name,
            "admin": admin,
            "groups": list(groups),
            "scopes": list(scopes),
            "token_id": "a1",
            "session_id": None,
        }
        return token


@contextlib.contextmanager
def running() -> Iterator[HubStandIn]:
    """A stand-in that listens on a free port of this machine."""
    hub = HubStandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.asked += 1
            threading.Event().wait(hub.delay)
            token = self.headers.get("Authorization", "").removeprefix("token ")
            known = hub.people.get(token)
            status = hub.status or (200 if known else 403)
            body = json.dumps(known if status == 200 else {"status": status, "message": "Forbidden"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # a hundred people may come at once

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}/hub/api"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
