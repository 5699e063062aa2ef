"""Runs the application under uvicorn, and stops it in order."""

import fcntl
import os
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TextIO

import structlog
import uvicorn
import uvloop

from sparkyard_catalog import CatalogError
from sparkyard_gateway import context, logs
from sparkyard_gateway.app import create_app
from sparkyard_gateway.config import Settings
from sparkyard_gateway.connections import driver_connection, http_connection
from sparkyard_gateway.errors import StoreUnavailable

STOP_SECONDS = 10
FAILED_TO_START = 2

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Lets waiting requests go as soon as it is told to stop, not when they are through."""

    def __init__(self, config: uvicorn.Config, gateway: context.Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            log.info("gateway_listening", host=host, port=port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._gateway.begin_to_close()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> int:
    """Serve until told to stop; returns the exit code."""
    os.umask(0o077)
    owners = logs.Owners()
    logs.configure(settings.log_level, settings.log_format, owners)
    try:
        gateway = context.build(settings)
        owners.of = gateway.owner_of
        lock = _lock(settings.state_dir, settings.instance, alone=gateway.membership is None)
        if gateway.database.prepare(settings.database_wait_seconds):
            log.info("database_upgraded", url=gateway.database.url.render_as_string())
    except CatalogError as error:
        return _refuse(f"the catalog is refused:\n{error}")
    except StoreUnavailable as error:
        return _refuse(error.message)
    except BlockingIOError:
        return _refuse(
            f"another gateway uses {settings.state_dir}; stop it, or set another --state-dir. Several may share it "
            "that share a PostgreSQL as well (--database-url), each under its own --instance"
        )
    except OSError as error:
        return _refuse(f"cannot use {error.filename}: {error.strerror}")
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        return _refuse(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. Is it taken? Set --port.")
    gateway.reachable_at(f"{_reachable(settings.host)}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        create_app(gateway),
        http=http_connection(settings.head_seconds, settings.reader_seconds),
        ws=driver_connection(settings.reader_seconds),
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        ws_max_size=settings.max_driver_message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=60.0,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=1024,
    )
    server = _Server(config, gateway)
    uvloop.run(server.serve(sockets=[listener]))
    for each in lock:
        each.close()
    code = 0 if server.started else FAILED_TO_START
    if gateway.database.stuck:
        # A thread waits for a database that says nothing, and would keep this process for as long.
        log.warning("gateway_cut_off", why="the database does not answer")
        os._exit(code)
    return code


def _lock(folder: Path, instance: str, *, alone: bool) -> tuple[TextIO, ...]:
    """Two gateways on one folder would both take its drivers for theirs, unless one database tells whose each is.

    Gone with the process, however it ends.
    """
    lock = (folder / "lock").open("w", encoding="ascii")
    fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    if alone:
        return (lock,)
    mine = (folder / f"lock-{instance}").open("w", encoding="ascii")
    fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock, mine


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _reachable(host: str) -> str:
    if host in {"", "0.0.0.0"}:  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"sparkyard-gateway: {sentence}\n")
    return FAILED_TO_START
