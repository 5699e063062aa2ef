"""Makes a driver's pod and what it needs beside it: the driver program, once in each namespace, and its Secrets."""

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends import pod_conf, pod_manifests
from sparkyard_gateway.backends.base import BackendError, BatchOrder, Carriage, SparkOrder
from sparkyard_gateway.backends.cluster import Cluster, ClusterAway, ClusterRefused
from sparkyard_gateway.backends.pod_places import SECRET_FOLDER, Terms
from sparkyard_gateway.driver_file import driver_file
from sparkyard_gateway.ui_keys import UiKeys, batch_server_name, server_name

Object = dict[str, Any]

EXECUTOR_SCRIPT = Path(__file__).parent / "executor.sh"
BELIEVED_SECONDS = 60.0
"""How long what was put into a namespace is believed to be there still."""

log = structlog.get_logger(__name__)


class PodObjects:
    """Makes them."""

    def __init__(
        self,
        cluster: Cluster,
        terms: Terms,
        ui_keys: UiKeys | None = None,
        carriage: Callable[[BatchOrder], Carriage] | None = None,
    ) -> None:
        self._carriage = carriage
        self._cluster = cluster
        self._terms = terms
        self._ui_keys = ui_keys
        self._program: Object | None = None
        self._put: dict[str, float] = {}

    async def make(self, order: SparkOrder) -> Object:
        """Make the pod, then what it needs to begin; returns it as the API server has it. Raises BackendError."""
        namespace = pod_conf.namespace(order, self._terms)
        try:
            program = await self.prepare(namespace)
            pod = await self._make_pod(namespace, pod_manifests.driver_pod(order, self._terms, program))
            try:
                for secret in await self.secrets(order, program, pod):
                    await self._cluster.create(namespace, "secrets", secret)
            except (ClusterAway, ClusterRefused):
                await self.remove(namespace, pod)
                raise
        except ClusterRefused as refused:
            log.warning("pod_refused", number=order.number, status=refused.status, said=refused.sentence)
            raise BackendError(_refusal(namespace, refused)) from refused
        except ClusterAway as away:
            log.warning("cluster_away", number=order.number, error=str(away))
            raise BackendError(
                "The driver could not be started: Kubernetes does not answer the gateway. Try again in a while."
            ) from away
        return pod

    async def _make_pod(self, namespace: str, manifest: Object) -> Object:
        try:
            return await self._cluster.create(namespace, "pods", manifest)
        except ClusterAway:
            # It may have been made, and only the answer was lost; what cannot be known is left to the sweep.
            found = await self._cluster.find(namespace, "pods", manifest["metadata"]["name"])
            if found is None:
                raise
            return found

    async def remove(self, namespace: str, pod: Object) -> None:
        """End a pod that is of no use. Where that fails, the sweep finds it."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        with contextlib.suppress(ClusterAway, ClusterRefused):
            await self._cluster.delete(namespace, "pods", name, uid=uid, grace_seconds=0)

    async def prepare(self, namespace: str) -> str:
        """See that the namespace has the driver program; returns the name of its ConfigMap."""
        if self._program is None:
            self._program = await asyncio.to_thread(self._make_program)
        name: str = self._program["metadata"]["name"]
        if time.monotonic() - self._put.get(namespace, float("-inf")) > BELIEVED_SECONDS:
            await self._make(namespace, self._program)
            self._put[namespace] = time.monotonic()
        return name

    async def secrets(self, order: SparkOrder, program: str, pod: Object) -> tuple[Object, Object]:
        """What the driver alone may know, and what it shares with its executors."""
        conf, files = await asyncio.to_thread(self._ui, order)
        carriage = self._carriage(order) if self._carriage is not None and isinstance(order, BatchOrder) else None
        return (
            pod_manifests.driver_secret(order, self._terms, program, pod, conf, files, carriage),
            pod_manifests.shared_secret(pod, secrets.token_urlsafe(32)),
        )

    def _ui(self, order: SparkOrder) -> tuple[dict[str, str], dict[str, bytes]]:
        """Settings and keys by which the Spark UI answers the gateway alone: a pod's ports are open to all others."""
        if self._ui_keys is None:
            return {}, {}
        with tempfile.TemporaryDirectory() as folder:
            batch = isinstance(order, BatchOrder)
            named = batch_server_name if batch else server_name
            conf, files = self._ui_keys.equip_as(Path(folder), named(order.number))
            there = {key: value.replace(folder, SECRET_FOLDER) for key, value in conf.items()}
            if batch:
                there["spark.ssl.ui.port"] = str(pod_conf.SECURE_UI_PORT)
            return there, {file.name: file.read_bytes() for file in files}

    def _make_program(self) -> Object:
        return pod_manifests.program_map(driver_file(), EXECUTOR_SCRIPT.read_bytes(), self._terms)

    async def _make(self, namespace: str, body: Object) -> None:
        try:
            await self._cluster.create(namespace, "configmaps", body)
        except ClusterRefused as refused:
            if refused.status != 409:
                raise


def _refusal(namespace: str, refused: ClusterRefused) -> str:
    """Why there is no pod, as a sentence for its owner."""
    said = refused.sentence.rstrip(".")
    if "exceeded quota" in said:
        return f"The driver was not started: namespace {namespace} has no room in its quota: {said}."
    if refused.status == 404:
        return (
            f"The driver was not started: {said}. Drivers of your team run in namespace {namespace}: an operator must "
            "make it, and name it in spark.namespaces of the chart."
        )
    if refused.status == 403:
        return f"The driver was not started, as Kubernetes does not allow it in namespace {namespace}: {said}."
    return f"The driver was not started, as Kubernetes refused its pod: {said}."
