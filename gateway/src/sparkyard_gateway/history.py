"""The Spark UI of a session or batch that has ended: its page of the history server, at the address the UI had.

A history server shows all applications of one user. Whoever may see a session sees that application and nothing else:
which paths of the server are reached through a session's address is decided here. It is a process where drivers are
processes, and a pod where they are pods.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.carried_logs import place_of
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.history_manifests import HistoryOrder
from sparkyard_gateway.backends.history_pods import HistoryPod, mark
from sparkyard_gateway.backends.history_servers import HistoryServer, HistoryServers
from sparkyard_gateway.backends.pod_conf import DRIVER_IMAGE
from sparkyard_gateway.backends.pod_names import PROFILE, TEAM
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import NoHistory, NoSuchRoute, Unavailable
from sparkyard_gateway.pod_history import PodHistory
from sparkyard_gateway.store.gateways import Living
from sparkyard_gateway.subjects import BATCHES, Subject

SHOWN_SECONDS = 30.0
"""How long a server that runs may take until it has read a log: it looks for new ones every other second."""
POD_SHOWN_SECONDS = 90.0
"""Likewise, where its JVM may just have been started."""
LOOK_SECONDS = 0.25

_OF_THE_SERVER = re.compile(r"static/[\w./-]+|api/v1/version", re.ASCII)


class History:
    """Finds the history server for an application, and keeps event logs in bounds."""

    def __init__(self, settings: Settings, logs: EventLogs, servers: HistoryServers, of_pods: PodHistory) -> None:
        self._settings = settings
        self._logs = logs
        self._servers = servers
        self._carried = of_pods.logs
        self._pods = of_pods.pods

    def kept(self, subject: Subject) -> int:
        """How much of its history there is here, to be compared; 0 where there is nothing to show. Blocks."""
        if subject.backend == "kubernetes":
            return self._carried.size(_place(subject), subject.app_id)
        return int(subject.backend == "local" and self._logs.has(subject.owner, subject.app_id))

    @asynccontextmanager
    async def server_of(self, subject: Subject) -> AsyncIterator[HistoryServer | HistoryPod]:
        """The server that shows its application, while it is asked. Raises NoHistory and Unavailable."""
        kept = await asyncio.to_thread(self.kept, subject)
        if not kept:
            raise NoHistory
        try:
            server = await (self._pod_of(subject) if subject.backend == "kubernetes" else self._process_of(subject))
        except BackendError as error:
            raise Unavailable(str(error)) from error
        server.busy += 1
        try:
            if isinstance(server, HistoryPod):
                await self._bring(server, subject, kept)
            await self._until_shown(server, subject.app_id or "")
            yield server
        finally:
            server.busy -= 1

    async def open(self, subject: Subject) -> None:
        """Have its server show it. Raises NoHistory and Unavailable."""
        async with self.server_of(subject):
            pass

    def doubt(self, server: HistoryServer | HistoryPod) -> None:
        """It did not answer: whoever asks for it next looks first whether it is there still."""
        server.shown.clear()
        if isinstance(server, HistoryPod):
            server.stayed = 0.0

    async def _process_of(self, subject: Subject) -> HistoryServer:
        python, spark = subject.spec.get("python"), subject.spec.get("spark_home")
        return await self._servers.server_for(
            subject.owner, Path(python) if python else None, Path(spark) if spark else None
        )

    async def _pod_of(self, subject: Subject) -> HistoryPod:
        settings, pods = self._settings, subject.spec.get("pods") or {}
        order = HistoryOrder(
            gateway=settings.instance,
            owner=subject.owner,
            mark=mark(),
            namespace=str(pods.get("namespace") or settings.kubernetes_namespace),
            image=str(subject.spec["conf"][DRIVER_IMAGE]),
            memory_mib=settings.history_memory_mib,
            idle_seconds=settings.history_idle_seconds,
            limit=settings.event_log_limit_bytes,
            place=pods.get("driver") or {},
            costs={TEAM: pods.get("team"), PROFILE: pods.get("profile")},
        )
        return await self._pods.pod_for(order)

    async def _bring(self, pod: HistoryPod, subject: Subject, size: int) -> None:
        application = subject.app_id or ""
        try:
            await self._pods.bring(pod, application, size, lambda: self._carried.files(_place(subject), application))
        except BackendError as error:
            raise Unavailable(str(error)) from error

    async def _until_shown(self, server: HistoryServer | HistoryPod, application: str) -> None:
        if application in server.shown:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + (POD_SHOWN_SECONDS if isinstance(server, HistoryPod) else SHOWN_SECONDS)
        while True:
            try:
                answer = await server.client.get(
                    f"{server.url}/api/v1/applications/{application}", extensions=server.extensions
                )
                status = answer.status_code
            except httpx.ConnectError:
                if not isinstance(server, HistoryPod):
                    raise Unavailable("Spark's history server has just ended. Try again.") from None
                status = 0  # its pod was there before its JVM
            except httpx.HTTPError:
                raise Unavailable("Spark's history server has just ended. Try again.") from None
            if status == 200:
                server.shown.add(application)
                return
            if loop.time() > end and status == 0:
                raise Unavailable("Spark's history server does not answer the gateway. Try again.")
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
        self._carried.tidy(
            self._settings.log_retention_seconds, (place_of(each, batch=False) for each in living.sessions)
        )
        self._logs.tidy(
            self._settings.event_log_limit_bytes,
            self._settings.log_retention_seconds,
            {name: frozenset(applications) for name, applications in running.items()},
        )


def _place(subject: Subject) -> str:
    """Where its event logs are kept."""
    return place_of(subject.id, batch=subject.area == BATCHES)


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
