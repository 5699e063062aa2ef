"""A real JupyterHub that starts notebook servers as pods of a test cluster, with the provider to sign in at."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.cluster.using import Cluster
from support.hub_session import HubSession
from support.provider import PASSWORDS, RunningProvider, running_provider
from support.standalone import free_port
from support.waiting import until

CONFIG = Path(__file__).parent / "cluster_hub_config.py"
FAR = 240.0
"""Seconds for a server to come up, or to be given up, on a busy machine."""


@dataclass
class Outcome:
    """How a start ended, and what the page said on the way."""

    ready: bool = False
    message: str = ""
    html: str = ""
    steps: list[str] = field(default_factory=list)


@dataclass
class ClusterHub:
    """A running hub in front of a cluster."""

    cluster: Cluster
    provider: RunningProvider
    namespace: str
    folder: Path
    catalog: Path
    port: int
    kubeconfig: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    def start(self) -> None:
        for name in ("gateway_token", "auth_state_key"):
            if not (self.folder / name).exists():
                (self.folder / name).write_text(secrets.token_hex(32))
        (self.folder / "client_secret").write_text(self.provider.client.secret)
        settings: dict[str, Any] = {
            "public_url": self.address,
            "catalog": str(self.catalog),
            "okta_url": self.provider.address,
            "okta_client_id": self.provider.client.client_id,
            "okta_client_secret_file": str(self.folder / "client_secret"),
            "allowed_groups": ["data-science"],
            "admin_groups": ["sparkyard-admins"],
            "auth_state_key_file": str(self.folder / "auth_state_key"),
            "gateway_url": f"http://{self.cluster.host}:{self.port + 3}",
            "gateway_token_file": str(self.folder / "gateway_token"),
            "spawner": "kubernetes",
            "home_size": "100Mi",
            "room_seconds": 1,
            "proxy": "traefik",
            "state_dir": str(self.folder),
            "hub_port": self.port + 1,
            "proxy_api_port": self.port + 2,
        }
        told = {"settings": settings, "host": self.cluster.host, "namespace": self.namespace}
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", str(CONFIG)],
                cwd=self.folder,
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "TEST_CLUSTER_HUB": json.dumps(told)},
                stdout=log,
                stderr=log,
            )
        until(self._answers, pause=0.2)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-3000:]
        try:
            return httpx.get(f"{self.address}/hub/api/", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End the hub as a crash does, its proxy with it."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(timeout=60)
        for child in children:
            child.kill()
        # The proxy goes with the hub here; on a cluster it is another's, and stays.
        for left in ("traefik.toml", "traefik-rules.toml"):
            (self.folder / left).unlink(missing_ok=True)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=120)

    def sign_in(self, name: str) -> HubSession:
        return HubSession(self.address, name, PASSWORDS[name])

    def ask(self, session: HubSession, **options: Any) -> httpx.Response:
        """Ask for a server; the answer may come before it is up."""
        return session.send("POST", f"/hub/api/users/{session.name}/server", json=options)

    def outcome(self, session: HubSession, **options: Any) -> Outcome:
        """Ask for a server, and read the start page's events until it is up or given up."""
        answer = self.ask(session, **options)
        if answer.status_code not in (201, 202):
            return Outcome(message=answer.json()["message"], html=answer.json()["message"])
        found = Outcome()
        progress = f"/hub/api/users/{session.name}/server/progress"
        with session.stream(progress, timeout=FAR) as events:
            for line in events.iter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line.removeprefix("data:"))
                if event.get("ready") or event.get("failed"):
                    found.ready = bool(event.get("ready"))
                    found.message, found.html = event.get("message", ""), event.get("html_message", "")
                    break
                if (phase := event.get("phase")) and phase not in found.steps:
                    found.steps.append(phase)
        return found

    def pods(self) -> list[dict[str, Any]]:
        """The notebook pods that are there, those that are just ending apart."""
        found = self.cluster.get("pods", namespace=self.namespace, component="singleuser-server")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


@contextmanager
def running_hub(
    cluster: Cluster, namespace: str, folder: Path, catalog: Path, kubeconfig: Path
) -> Iterator[ClusterHub]:
    """A hub and its provider for a while; `kubeconfig` has the rights that the hub is to have."""
    port = free_port()
    with running_provider(folder, f"http://127.0.0.1:{port}") as provider:
        hub = ClusterHub(cluster, provider, namespace, folder, catalog, port, kubeconfig)
        hub.start()
        try:
            yield hub
        finally:
            hub.stop()
