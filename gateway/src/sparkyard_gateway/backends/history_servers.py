"""Spark's own history server, which shows what an event log tells: one for each user who is looking, for a while.

Words:
    history server   a JVM of Spark's that reads the event logs of one user, under that user's uid
    library          the Spark it is taken from: the session's own, as a log is best read by what wrote it

One for all users would read everybody's logs with the right to read everybody's logs, and an event log is its user's
making (CVE-2025-54920). Under its user's uid it can do what the user can do anyway. It is started when somebody
opens the UI of a session that has ended, and ended when nobody has looked for some minutes, or with the gateway,
however the gateway ends.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import structlog

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.base import BackendError, Identity
from sparkyard_gateway.backends.census import Census
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.removal import remove
from sparkyard_gateway.backends.ui_keys import UiKeys
from sparkyard_gateway.backends.user_names import named

CLASS = "org.apache.spark.deploy.history.HistoryServer"
START_SECONDS = 90.0
POLL_SECONDS = 0.1
IN_USE_SECONDS = 30.0
"""A server that was asked for something so lately is not ended to make room for another."""
LARGEST_LOG = 32 * 1024 * 1024
OUT_OF_MEMORY_SCORE = "800"
FIND_PYSPARK = "import importlib.util as u; print(next(iter(u.find_spec('pyspark').submodule_search_locations)))"

log = structlog.get_logger(__name__)

IdentityOf = Callable[[str, Path], Awaitable[Identity | None]]


@dataclass(slots=True)
class HistoryServer:
    """A running one. `url` is its front; `client` the only one it talks to."""

    pid: int
    folder: Path
    url: str
    client: httpx.AsyncClient
    used: float
    busy: int = 0
    shown: set[str] = field(default_factory=set)
    extensions: dict[str, Any] = field(default_factory=dict)


class HistoryServers:
    """Starts and ends them."""

    def __init__(
        self,
        folder: Path,
        logs: EventLogs,
        identity_of: IdentityOf,
        *,
        java_home: Path | None,
        most: int,
        idle_seconds: float,
        memory_mib: int,
    ) -> None:
        self._folder = folder
        self._logs = logs
        self._identity_of = identity_of
        self._java_home = java_home
        self._most = most
        self._idle_seconds = idle_seconds
        self._memory_mib = memory_mib
        self._keys: UiKeys | None = None
        self._running: dict[tuple[str, Path], HistoryServer] = {}
        self._locks: dict[tuple[str, Path], asyncio.Lock] = {}
        self._libraries: dict[Path, Path] = {}
        self._sweep: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Remove what a killed gateway's servers left."""
        await asyncio.to_thread(self._clear)

    async def close(self) -> None:
        """End all."""
        if self._sweep is not None:
            self._sweep.cancel()
        for key in list(self._running):
            await self._end(key)

    async def server_for(self, owner: str, python: Path | None, spark_home: Path | None) -> HistoryServer:
        """The server of a user's logs, started if it does not run. Raises BackendError with a sentence."""
        interpreter = python or Path(sys.executable)
        library = spark_home if spark_home is not None else await asyncio.to_thread(self._library_of, interpreter)
        key = (owner, library)
        # One start for all who wait for it.
        async with self._locks.setdefault(key, asyncio.Lock()):
            server = self._running.get(key)
            if server is not None and processes.stamp(server.pid) is None:
                await self._end(key)
                server = None
            if server is None:
                await self._make_room()
                server = await self._start(key, interpreter)
                if self._sweep is None or self._sweep.done():
                    self._sweep = asyncio.create_task(self._end_unused(), name="history-servers")
        server.used = asyncio.get_running_loop().time()
        return server

    # Start

    async def _start(self, key: tuple[str, Path], python: Path) -> HistoryServer:
        owner, library = key
        identity = await self._identity_of(owner, python)
        folder, context = await asyncio.to_thread(self._prepare, owner, identity)
        try:
            # Not on a thread: the kernel ends the process with the thread that started it.
            pid = self._spawn(folder, library, identity)
        except OSError as error:
            remove(folder)
            raise BackendError(f"Spark's history server could not be started: {error.strerror}.") from error
        server = HistoryServer(
            pid=pid,
            folder=folder,
            url="",
            client=httpx.AsyncClient(
                verify=context,
                timeout=httpx.Timeout(120.0, connect=5.0),
                limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
                follow_redirects=False,
                trust_env=False,
            ),
            used=asyncio.get_running_loop().time(),
        )
        self._running[key] = server
        try:
            server.url = await self._until_it_answers(server)
        except BaseException:
            await self._end(key)
            raise
        log.info("history_server_started", user=owner, pid=pid)
        return server

    def _prepare(self, owner: str, identity: Identity | None) -> tuple[Path, ssl.SSLContext]:
        self._keys = self._keys or UiKeys()
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o711)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        conf, context = self._keys.for_ui(folder)
        settings = {
            "spark.history.fs.logDirectory": self._logs.prepare(owner, identity).as_uri(),
            "spark.history.ui.port": "0",
            "spark.history.fs.update.interval": "2s",
            "spark.history.fs.numReplayThreads": "1",
            "spark.history.retainedApplications": "5",
            # The gateway sees to it, for all users alike.
            "spark.history.fs.cleaner.enabled": "false",
            **{f"spark.ssl.historyServer.{name}": value for name, value in conf.items()},
        }
        properties = folder / "spark.properties"
        properties.touch(0o600)
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="ascii")
        (folder / "tmp").mkdir(0o700)
        if identity is not None:
            for each in (*folder.iterdir(), folder):
                os.chown(each, identity.uid, identity.gid)
        return folder, context

    def _spawn(self, folder: Path, library: Path, identity: Identity | None) -> int:
        # Both of them replace themselves by what follows.
        wrappers = {
            # The kernel ends it with us, however we end.
            "setpriv": ("--pdeathsig", "KILL", "--"),
            # It writes nothing but its own log, into which a user's broken files can make it write for ever.
            "prlimit": (f"--fsize={LARGEST_LOG}", "--"),
        }
        command = [
            *(word for name, options in wrappers.items() if shutil.which(name) for word in (name, *options)),
            *("bash", str(library / "bin" / "spark-class"), CLASS, "--properties-file", "spark.properties"),
        ]
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "SPARK_HOME": str(library),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": f"{self._memory_mib}m",
            # Small rather than fast: it has one reader.
            "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError "
            f"-Djava.io.tmpdir={folder / 'tmp'}",
        }
        if self._java_home is not None:
            environment["JAVA_HOME"] = str(self._java_home)
        if identity is not None:
            names = self._folder / f"{folder.name}.names"
            names.mkdir()
            names.chmod(0o711)
            environment |= named(names, folder, identity)
        with (self._folder / f"{folder.name}.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o077,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
            )
        # Reaped by `_end`; the object must not think it has to.
        process.returncode = 0
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, encoding="ascii")
        return process.pid

    async def _until_it_answers(self, server: HistoryServer) -> str:
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while loop.time() < end:
            if processes.stamp(server.pid) is None:
                raise BackendError(f"Spark's history server did not start. Its last words: {self._words(server)}")
            # It opens two: one that speaks plainly and only says where the other is.
            for port in await asyncio.to_thread(processes.listening_ports, server.pid):
                url = f"https://127.0.0.1:{port}"
                with contextlib.suppress(httpx.HTTPError):
                    if (await server.client.get(f"{url}/api/v1/version")).status_code == 200:
                        return url
            await asyncio.sleep(POLL_SECONDS)
        raise BackendError(f"Spark's history server did not answer within {START_SECONDS:.0f} s. Try again.")

    def _words(self, server: HistoryServer) -> str:
        try:
            text = (self._folder / f"{server.folder.name}.log").read_bytes()[-4096:].decode("utf-8", "replace")
        except OSError:
            return "none."
        return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "none.")

    def _library_of(self, python: Path) -> Path:
        """The Spark that an interpreter has."""
        if python not in self._libraries:
            if python == Path(sys.executable):
                found = importlib.util.find_spec("pyspark")
                places = list(found.submodule_search_locations or ()) if found else []
            else:
                asked = subprocess.run(
                    [str(python), "-I", "-c", FIND_PYSPARK],
                    env={},
                    cwd="/",
                    capture_output=True,
                    text=True,
                    check=False,
                )
                places = [asked.stdout.strip()] if asked.returncode == 0 else []
            if not places:
                raise BackendError("There is no Spark here whose history server could show this session.")
            self._libraries[python] = Path(places[0])
        return self._libraries[python]

    # End

    async def _make_room(self) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._running) >= self._most:
            key, server = min(self._running.items(), key=lambda each: each[1].used)
            if server.busy or now - server.used < IN_USE_SECONDS:
                raise BackendError(
                    f"{self._most} people look at the UIs of ended sessions just now, which is as many as can. "
                    "Try again in a minute."
                )
            await self._end(key)

    async def _end_unused(self) -> None:
        while self._running:
            await asyncio.sleep(min(30.0, self._idle_seconds))
            now = asyncio.get_running_loop().time()
            for key, server in list(self._running.items()):
                gone = processes.stamp(server.pid) is None
                if gone or (not server.busy and now - server.used > self._idle_seconds):
                    log.info("history_server_unused", user=key[0], pid=server.pid)
                    await self._end(key)

    async def _end(self, key: tuple[str, Path]) -> None:
        server = self._running.pop(key, None)
        if server is None:
            return
        await server.client.aclose()
        await Census().end_session(server.pid, 1.0)
        _reap(server.pid)
        await asyncio.to_thread(self._remove, server.folder)

    def _remove(self, folder: Path) -> None:
        remove(folder)
        remove(self._folder / f"{folder.name}.names")
        (self._folder / f"{folder.name}.log").unlink(missing_ok=True)

    def _clear(self) -> None:
        if not self._folder.is_dir():
            return
        for folder in [each for each in self._folder.iterdir() if not each.suffix]:
            for pid in processes.working_in(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        remove(self._folder)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
