"""What pods need beside themselves: in each namespace the driver program and what is granted; a session's Secrets."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparkyard_catalog import Catalog
from sparkyard_gateway.backends import pod_manifests
from sparkyard_gateway.backends.base import DriverOrder
from sparkyard_gateway.backends.cluster import Cluster, ClusterRefused
from sparkyard_gateway.backends.pod_grants import NAME as GRANTS
from sparkyard_gateway.backends.pod_grants import grants
from sparkyard_gateway.backends.pod_places import SECRET_FOLDER, Terms
from sparkyard_gateway.driver_file import driver_file
from sparkyard_gateway.ui_keys import UiKeys

Object = dict[str, Any]

EXECUTOR_SCRIPT = Path(__file__).parent / "executor.sh"
BELIEVED_SECONDS = 60.0
"""How long what was put into a namespace is believed to be there still."""


class PodObjects:
    """Makes them."""

    def __init__(
        self, cluster: Cluster, terms: Terms, catalog: Callable[[], Catalog], ui_keys: UiKeys | None = None
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._catalog = catalog
        self._ui_keys = ui_keys
        self._program: Object | None = None
        self._put: dict[str, tuple[float, Object]] = {}

    async def prepare(self, namespace: str) -> str:
        """See that the namespace has what all pods in it share; returns the name of the program's ConfigMap."""
        if self._program is None:
            self._program = await asyncio.to_thread(self._make_program)
        name: str = self._program["metadata"]["name"]
        granted = grants(self._catalog())
        at, last = self._put.get(namespace, (float("-inf"), {}))
        if time.monotonic() - at > BELIEVED_SECONDS or last != granted:
            await self._make(namespace, self._program)
            await self._put_grants(namespace, granted)
            self._put[namespace] = (time.monotonic(), granted)
        return name

    async def secrets(self, order: DriverOrder, program: str, pod: Object) -> tuple[Object, Object]:
        """What the driver alone may know, and what it shares with its executors."""
        conf, files = await asyncio.to_thread(self._ui, order.session_id)
        return (
            pod_manifests.session_secret(order, self._terms, program, pod, conf, files),
            pod_manifests.shared_secret(pod, secrets.token_urlsafe(32)),
        )

    def _ui(self, number: int) -> tuple[dict[str, str], dict[str, bytes]]:
        """Settings and keys by which the Spark UI answers the gateway alone: a pod's ports are open to all others."""
        if self._ui_keys is None:
            return {}, {}
        with tempfile.TemporaryDirectory() as folder:
            conf, files = self._ui_keys.equip(Path(folder), number)
            there = {key: value.replace(folder, SECRET_FOLDER) for key, value in conf.items()}
            return there, {file.name: file.read_bytes() for file in files}

    def _make_program(self) -> Object:
        return pod_manifests.program_map(driver_file(), EXECUTOR_SCRIPT.read_bytes(), self._terms)

    async def _make(self, namespace: str, body: Object) -> None:
        try:
            await self._cluster.create(namespace, "configmaps", body)
        except ClusterRefused as refused:
            if refused.status != 409:
                raise

    async def _put_grants(self, namespace: str, granted: Object) -> None:
        """The chart makes it, so that policies find it from the first pod on; without the chart it is made here."""
        try:
            await self._cluster.merge(namespace, "configmaps", GRANTS, {"data": granted["data"]})
        except ClusterRefused as refused:
            if refused.status != 404:
                raise
            await self._make(namespace, granted)
