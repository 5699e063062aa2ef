"""The Spark UI of a session or batch that has ended: its page of the history server, at the address the UI had.

A history server shows all applications of one user. Whoever may see a session sees that application and nothing else:
which paths of the server are reached through a session's address is decided here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.history_servers import HistoryServer, HistoryServers
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import NoHistory, NoSuchRoute, Unavailable
from sparkyard_gateway.store.gateways import Living
from sparkyard_gateway.subjects import Subject

SHOWN_SECONDS = 30.0
"""How long a server that runs may take until it has read a log: it looks for new ones every other second."""
LOOK_SECONDS = 0.25

_OF_THE_SERVER = re.compile(r"static/[\w./-]+|api/v1/version", re.ASCII)


class History:
    """Finds the history server for an application, and keeps event logs in bounds."""

    def __init__(self, settings: Settings, logs: EventLogs, servers: HistoryServers) -> None:
        self._settings = settings
        self._logs = logs
        self._servers = servers

    def kept(self, subject: Subject) -> bool:
        """Whether there is a history of it to show."""
        return subject.backend == "local" and self._logs.has(subject.owner, subject.app_id)

    @asynccontextmanager
    async def server_of(self, subject: Subject) -> AsyncIterator[HistoryServer]:
        """The server that shows its application, while it is asked. Raises NoHistory and Unavailable."""
        application = subject.app_id or ""
        if not await asyncio.to_thread(self.kept, subject):
            raise NoHistory
        python, spark = subject.spec.get("python"), subject.spec.get("spark_home")
        try:
            server = await self._servers.server_for(
                subject.owner, Path(python) if python else None, Path(spark) if spark else None
            )
        except BackendError as error:
            raise Unavailable(str(error)) from error
        server.busy += 1
        try:
            await self._until_shown(server, application)
            yield server
        finally:
            server.busy -= 1

    async def _until_shown(self, server: HistoryServer, application: str) -> None:
        if application in server.shown:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + SHOWN_SECONDS
        while True:
            try:
                answer = await server.client.get(f"{server.url}/api/v1/applications/{application}")
            except httpx.HTTPError:
                raise Unavailable("Spark's history server has just ended. Try again.") from None
            if answer.status_code == 200:
                server.shown.add(application)
                return
            if loop.time() > end:
                raise NoHistory
            await asyncio.sleep(LOOK_SECONDS)

    def tidy(self, living: Living, batches: Iterable[tuple[str, str]] = ()) -> None:
        """Remove event logs that are old or too many. `batches` are applications of running ones, with their owners."""
        running: dict[str, set[str]] = {}
        for number, owner, application in living.applications:
            # One that was warm writes into a folder of its own.
            for folder in (self._logs.folder_of(owner), self._logs.warm_folder(number)):
                running.setdefault(folder.name, set()).add(application)
        for owner, application in batches:
            running.setdefault(self._logs.folder_of(owner).name, set()).add(application)
        self._logs.tidy(
            self._settings.event_log_limit_bytes,
            self._settings.log_retention_seconds,
            {name: frozenset(applications) for name, applications in running.items()},
        )


def path_of(application: str, path: str) -> str | None:
    """The server's own path for a path below a session's address; None for one of the UI's while it lived.

    Raises NoSuchRoute for what is not this application's.
    """
    path = path.lstrip("/")
    own = (f"history/{application}", f"api/v1/applications/{application}")
    if any(path == each or path.startswith(f"{each}/") for each in own) or _OF_THE_SERVER.fullmatch(path):
        return path
    if path.startswith(("history/", "api/", "static/")):
        raise NoSuchRoute
    return None
