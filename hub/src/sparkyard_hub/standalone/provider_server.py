"""The provider's process: ``python -m sparkyard_hub.standalone.provider_server --home H --port N --address URL``.

Served by Hypercorn, the server that canaille itself is deployed with, on the loopback interface alone. What is
secret is read from the home's files, so nothing of it is in the arguments or the environment.
"""

import argparse
import asyncio
import signal
from pathlib import Path

from asgiref.wsgi import WsgiToAsgi
from hypercorn.asyncio import serve
from hypercorn.config import Config

from sparkyard_hub.standalone.people import demonstration_users
from sparkyard_hub.standalone.provider import CLIENT_ID, Client, Wsgi, kept_keys, make_provider
from sparkyard_hub.standalone.state import Home, kept_secret

LOOPBACK = "127.0.0.1"


async def serve_until_told(application: Wsgi, port: int) -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"{LOOPBACK}:{port}"]
    config.accesslog = None  # queries carry authorization codes
    config.errorlog = "-"
    config.graceful_timeout = 1.0
    config.include_server_header = False

    async def told() -> None:
        await stop.wait()

    # Hypercorn's own bridge to WSGI fails on an empty answer, such as 304; canaille's server uses this one.
    await serve(WsgiToAsgi(application), config, shutdown_trigger=told)  # type: ignore[no-untyped-call]


def main() -> None:
    """Serve the demonstration users of a home."""
    parser = argparse.ArgumentParser(description="Sparkyard's demonstration OpenID provider", allow_abbrev=False)
    parser.add_argument("--home", type=Path, required=True, help="the folder with keys, passwords and secrets")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", required=True, help="the hub's public address")
    options = parser.parse_args()
    home = Home(options.home)
    client = Client(CLIENT_ID, kept_secret(home.provider / "client_secret"), options.address.rstrip("/"))
    users = demonstration_users(home.provider / "passwords.json")
    provider = make_provider(kept_keys(home.provider), client, users, home.provider / "canaille.sqlite")
    asyncio.run(serve_until_told(provider, options.port))


if __name__ == "__main__":
    main()
