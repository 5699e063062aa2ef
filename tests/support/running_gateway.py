"""A real gateway process with local Spark drivers, and the environment in which a notebook server would use it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support import fork_server, hub_stand_in
from support.fork_server import Forked

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-anns-notebook-server"


class RunningGateway:
    """The gateway's address, its log, and its process, which a test may stop and start.

    It is the command, or forked from a process that has imported what the command imports (`fork_server`).
    """

    def __init__(
        self,
        folder: Path,
        hub_url: str,
        *options: str,
        module: str = "sparkyard_gateway.command",
        log: str = "gateway",
        forked: bool = False,
    ) -> None:
        self._folder = folder
        self.module = module
        self._forked = forked
        self._log = folder / f"{log}.log"
        self.hub_url = hub_url
        self._options = options
        self.extra_environment: dict[str, str] = {}
        self.port = 0
        self.process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """Its database, unless it has another."""
        return self._folder / "state" / "gateway.sqlite"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        """Start it and wait until it answers; a second time on the same port."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        arguments = [
            "--port", str(self.port), "--hub-api-url", self.hub_url,
            "--catalog", str(ROOT / "catalog.yaml"), "--state-dir", str(self._folder / "state"), *self._options,
        ]  # fmt: skip
        environment = {**os.environ, **self.extra_environment}
        if self.module.startswith("support."):
            environment["PYTHONPATH"] = str(ROOT / "tests")
        with self._log.open("ab") as log:
            if self._forked:
                self.process = fork_server.server().start(
                    self.module, arguments, self._folder, log.fileno(), environment
                )
            else:
                command = [sys.executable, "-m", self.module, *arguments]
                self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, env=environment)

    def wait_ready(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 120
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            try:
                httpx.get(f"{self.url}/version", timeout=1)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """As the kernel kills it: without a word to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order; its drivers run on unless it was started to stop them."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def environment(self, home: Path, profile: str = "small", **defaults: object) -> dict[str, str]:
        """What our spawner gives a notebook server."""
        return {
            "HOME": str(home),
            "SPARKYARD_GATEWAY_URL": self.url,
            "SPARKYARD_GATEWAY_PUBLIC_PATH": "/services/gateway",
            "SPARKYARD_PROFILE": profile,
            "SPARKYARD_PROFILE_TITLE": profile.title(),
            "SPARKYARD_SESSION_DEFAULTS": json.dumps(defaults),
            "JUPYTERHUB_API_TOKEN": TOKEN,
            "JUPYTERHUB_USER": "ann",
        }

    def sessions(self) -> list[dict[str, object]]:
        """Ann's sessions."""
        answer = httpx.get(f"{self.url}/sessions", headers={"Authorization": f"token {TOKEN}"})
        found: list[dict[str, object]] = answer.json()["sessions"]
        return found

    def delete(self, session: int) -> None:
        """End one of Ann's sessions."""
        httpx.delete(f"{self.url}/sessions/{session}", headers={"Authorization": f"token {TOKEN}"}, timeout=30)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[RunningGateway]:
    """A gateway whose hub knows Ann, of the data scientists."""
    with hub_stand_in.running() as hub:
        hub.admit(TOKEN, "ann", ("data-science",))
        gateway = RunningGateway(folder, hub.url, "--stop-drivers-on-exit", *options, forked=True)
        gateway.start()
        try:
            yield gateway
        finally:
            gateway.stop()
