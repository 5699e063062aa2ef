"""Notebook servers as processes on this machine, each in a home and where possible under a uid of its own.

The server sees an environment that is composed here from nothing, so that nothing of the hub's (its cookie secret,
the client secret of the login, whatever the machine's administrator has exported) reaches a user. Ports are on the
loopback interface.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import jupyterhub
from jupyterhub.spawner import Spawner
from jupyterhub.utils import random_port
from sqlalchemy.orm import object_session
from traitlets import Float, Integer, Unicode, default

from sparkyard_spawner import keeper
from sparkyard_spawner.catalog_spawner import CatalogSpawnerMixin
from sparkyard_spawner.home import Home, HomeUnavailable, folder_name, make_home, own_uids_possible
from sparkyard_spawner.names import name_environment
from sparkyard_spawner.process import ServerProcess, last_lines
from sparkyard_spawner.refusal import StartFailed

_JUPYTER_SETTINGS = Path(__file__).parent / "jupyter"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_LOOPBACK = "127.0.0.1"
_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_MARGIN = 5.0  # seconds by which we give up before JupyterHub's own limit, which can't say why


@cache
def why_shared_uid(users: Path) -> str | None:
    """Why all users' servers run as we do on this machine, or None where each has a uid of its own."""
    users.mkdir(mode=0o711, parents=True, exist_ok=True)
    return own_uids_possible(users, (Path(jupyterhub.__file__), Path(keeper.__file__), _JUPYTER_SETTINGS))


def _as_root(home: Home) -> list[str]:
    """What Jupyter asks of a server that runs as root: where root keeps the project to itself, nobody else can run it.

    The launcher says so at every start, with the reason (see `home.own_uids_possible`).
    """
    return ["--allow-root"] if home.uid is None and os.geteuid() == 0 else []


@dataclass(frozen=True)
class _Phase:
    """A step of a start, in words for the person who waits."""

    message: str
    percent: int
    since: float


class LocalSpawner(CatalogSpawnerMixin, Spawner):  # type: ignore[misc]
    """Starts ``jupyterhub-singleuser`` here, with the interpreter that the catalog names for the notebook image."""

    users_dir = Unicode(help="The folder of the users' homes.").tag(config=True)
    logs_dir = Unicode(help="The folder of the servers' log files.").tag(config=True)
    examples_dir = Unicode("", help="Notebooks of which each home gets a copy; none if empty.").tag(config=True)
    supervisor_pid = Integer(0, help="The process with which all servers end; 0 for none.").tag(config=True)
    grace_seconds = Float(10.0, help="How long a server may take to end its kernels before it is killed.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        # Before the traits: JupyterHub's constructor calls load_state.
        self._process: ServerProcess | None = None
        self._phase: _Phase | None = None
        super().__init__(**kwargs)

    @default("env_keep")
    def _default_env_keep(self) -> list[str]:
        return list(_KEPT)

    # Starting

    async def start(self) -> tuple[str, int]:
        """Start the server and wait until it listens; StartFailed says why it doesn't."""
        spec = self.grant()
        begun = monotonic()
        try:
            self._enter("Making your folder ready", 10)
            home = await asyncio.to_thread(self._make_home)
            self.ip, self.port = _LOOPBACK, random_port()
            self._enter("Starting JupyterLab", 30)
            interpreter = Path(spec.image.environment.python if spec.image.environment else sys.executable)
            self.mem_limit = spec.memory_limit  # told to the server; nothing on one machine enforces it
            self._process = ServerProcess.launch(
                self._plan(home, interpreter), self._environment(home, interpreter), self._log_file
            )
            self._checkpoint()
            await self._listening(self._process, begun + self.start_timeout - _MARGIN)
            self._enter("Waiting for JupyterLab to answer", 80)
        except OSError as error:
            # A full disk, above all; the sentence names the file.
            what = error.strerror or type(error).__name__
            raise StartFailed(
                f"Your server could not be started: {what} ({error.filename or self._home_path}). Tell an "
                "administrator."
            ) from error
        finally:
            if self._process is None:
                self._phase = None
        return self.ip, self.port

    def _make_home(self) -> Home:
        users = Path(self.users_dir)
        try:
            return make_home(users, self.user.name, own_uids=why_shared_uid(users) is None)
        except HomeUnavailable as problem:
            raise StartFailed(str(problem)) from problem

    def _plan(self, home: Home, interpreter: Path) -> keeper.Plan:
        # The script rather than -m, which would let a file in the user's home stand in for a module of the
        # server's.
        script = interpreter.parent / "jupyterhub-singleuser"
        return {
            "command": [str(interpreter), str(script), *self.get_args(), *_as_root(home)],
            "home": str(home.path),
            "uid": home.uid,
            "examples": self.examples_dir or None,
            # One that is gone by now ends the server at once.
            "supervisor": [self.supervisor_pid, keeper.started_at(self.supervisor_pid) or 0]
            if self.supervisor_pid
            else None,
            "grace_seconds": self.grace_seconds,
        }

    def _environment(self, home: Home, interpreter: Path) -> dict[str, str]:
        """All that the server is told; nothing of the hub's own environment but the language and the time zone."""
        env = {
            "LANG": "C.UTF-8",
            "PATH": f"{interpreter.parent}:{_SYSTEM_PATH}",
            "HOME": str(home.path),
            "USER": self.user.name,
            "LOGNAME": self.user.name,
            "SHELL": "/bin/bash",
            "JUPYTER_CONFIG_PATH": str(_JUPYTER_SETTINGS),
        }
        return env | name_environment(home, self.user.name, Path(self.users_dir) / ".names") | self.get_env()

    def get_env(self) -> dict[str, str]:
        """The catalog's and JupyterHub's variables; the home is where the notebooks are."""
        env = super().get_env()
        env["JUPYTERHUB_ROOT_DIR"] = str(self._home_path)
        return env

    async def _listening(self, process: ServerProcess, deadline: float) -> None:
        """Return once the server accepts connections; StartFailed if it ends first or takes too long."""
        while True:
            status = process.poll()
            if status is not None:
                raise StartFailed(
                    f"JupyterLab ended while it was starting (exit status {status}). Try again; if it happens again, "
                    "show these lines to your administrator.",
                    log_lines=self._last_lines(),
                )
            try:
                _, writer = await asyncio.open_connection(_LOOPBACK, self.port)
            except OSError:
                pass
            else:
                writer.close()
                return
            if monotonic() > deadline:
                limit = self.start_timeout - _MARGIN
                raise StartFailed(
                    f"JupyterLab did not answer within {limit:.0f} seconds. The machine may be too busy: try again in "
                    "a minute, or stop servers that nobody uses.",
                    log_lines=self._last_lines(),
                )
            await asyncio.sleep(0.1)

    def _checkpoint(self) -> None:
        """Write the process down at once, so that a hub killed in mid-start finds it when it comes back."""
        if self.orm_spawner is not None:
            self.orm_spawner.state = self.get_state()
            session = object_session(self.orm_spawner)
            if session is not None:
                session.commit()

    @property
    def _home_path(self) -> Path:
        return Path(self.users_dir) / folder_name(self.user.name)

    @property
    def _log_file(self) -> Path:
        server = f"-{folder_name(self.name)}" if self.name else ""
        return Path(self.logs_dir) / f"server-{folder_name(self.user.name)}{server}.log"

    def _last_lines(self) -> tuple[str, ...]:
        return last_lines(self._log_file, 15, secrets=(self.api_token,))

    # While it starts

    def _enter(self, message: str, percent: int) -> None:
        self._phase = _Phase(message, percent, monotonic())

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the start is doing, once a second and at each change; JupyterHub ends the loop with the start."""
        shown: tuple[str, int] | None = None
        while True:
            phase = self._phase
            if phase is not None:
                seconds = int(monotonic() - phase.since)
                if (phase.message, seconds) != shown:
                    shown = (phase.message, seconds)
                    message = f"{phase.message} ({seconds} s)" if seconds else phase.message
                    yield {"progress": min(phase.percent + 2 * seconds, 95), "message": message, "phase": phase.message}
            await asyncio.sleep(0.1)

    # Afterwards

    async def poll(self) -> int | None:
        """None while the server runs or is being started, else its exit status."""
        if self._process is None:
            return None if self._phase is not None else 0
        return self._process.poll()

    async def stop(self, now: bool = False) -> None:
        """End the server and everything it has started, within bounds."""
        process = self._process
        if process is not None and not await process.stop(now=now, seconds=self.grace_seconds + 5.0):
            self.log.error("Something of %s's server %s is left running", self.user.name, process.pid)

    def load_state(self, state: Mapping[str, object]) -> None:
        """Find the server again that an earlier hub started."""
        super().load_state(state)
        self._process = ServerProcess.from_state(state)
        if self._process is not None and isinstance(state.get("port"), int):
            self.ip, self.port = _LOOPBACK, state["port"]

    def get_state(self) -> dict[str, object]:
        """What load_state needs."""
        state: dict[str, object] = super().get_state()
        if self._process is not None:
            state |= {**self._process.state(), "port": self.port}
        return state

    async def get_url(self) -> str:
        """Where the server is: a hub that was killed while it started the server has not noted that itself."""
        if self._process is None or not self.port:
            url: str = await super().get_url()
            return url
        return f"http://{_LOOPBACK}:{self.port}{self.server.base_url}"

    def clear_state(self) -> None:
        """Forget the process; JupyterHub calls this once it has ended."""
        super().clear_state()
        self._process = None
        self._phase = None
