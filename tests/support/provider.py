"""The demonstration provider, served by a thread: what the tests of signing in ask."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from sparkyard_hub.standalone.people import DemonstrationUser
from sparkyard_hub.standalone.provider import SERVER, Client, kept_keys, make_provider, random_client
from support.signing_in import Application

HUB = "http://127.0.0.1:8000"

USERS = (
    DemonstrationUser("dana", "Dana Reyes", "data scientist", ("data-science",), "open-sesame"),
    DemonstrationUser("ada", "Ada Berg", "admin", ("sparkyard-admins", "data-science"), "swordfish"),
    DemonstrationUser("noor", "Noor Haddad", "in no group", (), "abracadabra"),
)
PASSWORDS = {user.name: user.password for user in USERS}


@dataclass(frozen=True)
class RunningProvider:
    """A provider that answers."""

    address: str
    client: Client

    @property
    def root(self) -> str:
        return f"{self.address}/oauth2/{SERVER}"

    def application(self) -> Application:
        """The hub, with a browser of its own in front of it."""
        return Application(self.root, self.client.client_id, self.client.secret, self.client.callback)


@contextmanager
def running_provider(
    folder: Path, hub: str = HUB, users: Sequence[DemonstrationUser] = USERS, *, scheme: str = "http"
) -> Iterator[RunningProvider]:
    """One for each process: canaille keeps its database in a class. With https, something before it speaks TLS."""
    client = random_client(hub)
    application = make_provider(kept_keys(folder), client, users, folder / "canaille.sqlite")

    def reached_by_scheme(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return application(environ | {"wsgi.url_scheme": scheme}, start_response)

    server = make_server("127.0.0.1", 0, reached_by_scheme, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield RunningProvider(f"http://127.0.0.1:{server.server_port}", client)
    server.shutdown()
    thread.join(10)
