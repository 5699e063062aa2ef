"""A thousand people on 200 nodes: what hub and gateway need for them, and how long a start takes at what pace.

Hub, gateway, API server and scheduler are real. Nodes and pods are simulated by kwok, so a pod runs as soon as a node
was found for it: what is measured is what our side and Kubernetes' control take. One server answers for all notebooks.
"""

import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from load.measure import Figure, percentile, resident_mib, spread
from load.simulated import nodes
from support.cluster.using import Cluster
from support.running_gateway import RunningGateway
from support.running_hub import free_port
from support.waiting import until

NODES = 200
PEOPLE = 1000
PACES = ((1, 3), (10, 30), (100, PEOPLE - 33))
"""Starts a minute, and how many at that pace."""
PATIENCE_SECONDS = 120
CONFIG = Path(__file__).parent / "scale_hub_config.py"
CATALOG = """\
version: 1
groups: {people: Everybody}
default_profile: small
images:
  notebook: {kind: notebook, ref: sparkyard/notebook:0.1}
  spark-3.5: {kind: spark, spark: "3.5", ref: sparkyard/spark:3.5}
profiles:
  small:
    title: Small
    everyone: true
    notebook:
      image: notebook
      cpu: {guarantee: 1, limit: 1}
      memory: {guarantee: 6Gi, limit: 6Gi}
      pod: {node_selector: {simulated: "yes"}, tolerations: [{key: simulated, operator: Exists}]}
    spark:
      version: "3.5"
      driver: {image: spark-3.5, cores: 1, memory: 512m}
      executor: {image: spark-3.5, cores: 1, memory: 512m, count: {default: 1, max: 2}}
"""


def figures(cluster: Cluster, folder: Path) -> list[Figure]:
    """All of them; takes a quarter of an hour, as the slow paces do."""
    print(f"{PEOPLE} people on {NODES} nodes:", flush=True)
    with nodes(cluster, NODES), cluster.namespace() as namespace:
        _homes(cluster)
        return asyncio.run(_measured(cluster, namespace, folder))


def _homes(cluster: Cluster) -> None:
    """A volume for each home, so that none has to be made."""
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "simulated"}}
    cluster.apply(storage | {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"})
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "simulated",
        "hostPath": {"path": "/nowhere"},
    }
    for first in range(0, PEOPLE, 250):
        cluster.apply(
            *(
                {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"home-{number}"}, "spec": spec}
                for number in range(first, first + 250)
            )
        )


@dataclass
class _Hub:
    process: subprocess.Popen[bytes]
    url: str
    client: httpx.AsyncClient

    async def start(self, name: str) -> float:
        """Seconds until a person's server is ready."""
        await self.client.post(f"/users/{name}")
        began = time.perf_counter()
        answer = await self.client.post(f"/users/{name}/server", json={"profile": "small"})
        assert answer.status_code in (201, 202), answer.text
        while answer.status_code != 201:
            await asyncio.sleep(0.1)
            server = (await self.client.get(f"/users/{name}")).json()["servers"].get("", {})
            if server.get("ready"):
                break
            assert time.perf_counter() < began + PATIENCE_SECONDS, f"{name}'s server does not come up: {server}"
        return time.perf_counter() - began

    async def token(self, name: str) -> str:
        """One for the gateway."""
        body = {"scopes": ["access:services!service=gateway"]}
        made: str = (await self.client.post(f"/users/{name}/tokens", json=body)).json()["token"]
        return made


async def _measured(cluster: Cluster, namespace: str, folder: Path) -> list[Figure]:
    found: list[Figure] = []
    medians: list[float] = []
    async with _notebooks() as port:
        with _hub(cluster, namespace, folder, port) as hub:
            watched = psutil.Process(hub.process.pid)
            number = 0
            for pace, count in PACES:
                began, used = time.perf_counter(), sum(watched.cpu_times()[:2])
                starts = []
                for turn in range(count):
                    await asyncio.sleep(max(0.0, began + turn * 60 / pace - time.perf_counter()))
                    starts.append(asyncio.create_task(hub.start(f"person-{number}")))
                    number += 1
                seconds = await asyncio.gather(*starts)
                busy = (sum(watched.cpu_times()[:2]) - used) / (time.perf_counter() - began)
                medians.append(statistics.median(seconds))
                detail = f"{spread(seconds, scale=1, unit='s')}; hub's CPU {busy:.0%} of a core"
                print(f"  {pace} a minute: {detail}", flush=True)
                slowest = percentile(seconds, 95)
                found.append(Figure(f"server's start at {pace} a minute, 95 of 100 within", slowest, "s", 10, detail))
            found.append(Figure(f"server's start at {pace} a minute / at 1", medians[-1] / medians[0], "x", 1.5))
            found.append(Figure(f"hub's memory, {PEOPLE} servers", resident_mib(hub.process.pid), "MiB", 512))
            found.extend(await _gateway(hub, folder))
    return found


async def _gateway(hub: _Hub, folder: Path) -> list[Figure]:
    """What the gateway needs when everybody has asked it once."""
    gateway = RunningGateway(folder, hub.url)
    gateway.start()
    try:
        assert gateway.process is not None
        watched = psutil.Process(gateway.process.pid)
        used = sum(watched.cpu_times()[:2])
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
            for number in range(PEOPLE):
                headers = {"Authorization": f"token {await hub.token(f'person-{number}')}"}
                answer = await client.get("/sessions", headers=headers)
                assert answer.status_code == 200, answer.text
        each = (sum(watched.cpu_times()[:2]) - used) / PEOPLE * 1000
        detail = f"a person's first request costs {each:.1f} ms of CPU"
        return [Figure(f"gateway's memory, {PEOPLE} people known", resident_mib(watched.pid), "MiB", 150, detail)]
    finally:
        gateway.stop()


@contextlib.contextmanager
def _hub(cluster: Cluster, namespace: str, folder: Path, notebooks_port: int) -> Iterator[_Hub]:
    port, token = free_port(), secrets.token_hex(32)
    (folder / "catalog.yaml").write_text(CATALOG)
    for name in ("secret", "gateway_token", "auth_state_key"):
        (folder / name).write_text(secrets.token_hex(32))
    settings: dict[str, Any] = {
        "public_url": f"http://127.0.0.1:{port}",
        "catalog": str(folder / "catalog.yaml"),
        "okta_url": "http://127.0.0.1:1",
        "okta_client_id": "none",
        "okta_client_secret_file": str(folder / "secret"),
        "allowed_groups": ["people"],
        "auth_state_key_file": str(folder / "auth_state_key"),
        "gateway_url": "http://127.0.0.1:1",
        "gateway_token_file": str(folder / "gateway_token"),
        "spawner": "kubernetes",
        "home_size": "1Gi",
        "home_storage_class": "simulated",
        "state_dir": str(folder),
    }
    told = {"settings": settings, "token": token, "namespace": namespace, "notebooks_port": notebooks_port}
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "SPARKYARD_SCALE_HUB": json.dumps(told)}
    with (folder / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", str(CONFIG)],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/hub/api"

    def answers() -> bool:
        assert process.poll() is None, (folder / "hub.log").read_text()[-3000:]
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/", timeout=5).status_code == 200
        return False

    try:
        until(answers, pause=0.2)
        headers = {"Authorization": f"token {token}"}
        yield _Hub(process, url, httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_SECONDS))
    finally:
        process.terminate()
        process.wait(timeout=120)


@contextlib.asynccontextmanager
async def _notebooks() -> AsyncIterator[int]:
    """A server that is there for whichever notebook is asked for; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
