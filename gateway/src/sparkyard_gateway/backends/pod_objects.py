"""What pods need beside themselves: the driver program, once in each namespace, and a session's Secrets."""

import asyncio
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from sparkyard_gateway.backends import pod_manifests
from sparkyard_gateway.backends.base import DriverOrder
from sparkyard_gateway.backends.cluster import Cluster, ClusterRefused
from sparkyard_gateway.backends.pod_places import SECRET_FOLDER, Terms
from sparkyard_gateway.driver_file import driver_file
from sparkyard_gateway.ui_keys import UiKeys

Object = dict[str, Any]

EXECUTOR_SCRIPT = Path(__file__).parent / "executor.sh"
BELIEVED_SECONDS = 60.0
"""How long what was put into a namespace is believed to be there still."""


class PodObjects:
    """Makes them."""

    def __init__(self, cluster: Cluster, terms: Terms, ui_keys: UiKeys | None = None) -> None:
        self._cluster = cluster
        self._terms = terms
        self._ui_keys = ui_keys
        self._program: Object | None = None
        self._put: dict[str, float] = {}

    async def prepare(self, namespace: str) -> str:
        """See that the namespace has the driver program; returns the name of its ConfigMap."""
        if self._program is None:
            self._program = await asyncio.to_thread(self._make_program)
        name: str = self._program["metadata"]["name"]
        if time.monotonic() - self._put.get(namespace, float("-inf")) > BELIEVED_SECONDS:
            await self._make(namespace, self._program)
            self._put[namespace] = time.monotonic()
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
