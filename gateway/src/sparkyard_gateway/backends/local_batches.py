"""Batches as processes of this machine: as drivers are, but under a supervisor that keeps how they ended.

    gateway ── supervisor ── spark-submit, which is the JVM ── Python, if the file is Python
               as the gateway's user                as the owner: identity, folder, environment and limits of a driver

`supervisor` says what the middle one is for. It is prepared first and waits; what it shall run comes through a pipe
that this gateway holds, so that a gateway that dies before it has written the handle down takes the attempt with it.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import structlog

from sparkyard_gateway.authorities import authorities_for
from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.base import (
    Application,
    AttemptEnd,
    BackendError,
    BatchOrder,
    Ended,
    Handle,
    Identity,
    WhenAttemptEnded,
)
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.fences import Fence, Fences
from sparkyard_gateway.backends.local import DRIVER_PROGRAM, LocalBackend
from sparkyard_gateway.backends.spark_application import application_at
from sparkyard_gateway.ui_keys import UiKeys, batch_server_name

SUPERVISOR = Path(__file__).parent / "supervisor.py"
PORTS_TRIED = 17
"""Spark takes the port it is told, or the next free one of so many."""
FORCE_SECONDS = 35.0
"""How long after its grace a supervisor may take to kill what it stands over, before it is killed itself."""

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    """A supervisor that waits for the word, which goes through a pipe."""

    pid: int
    pipe: int
    wish: bytes


class LocalBatches(LocalBackend):
    """The backend for batches on one machine. Numbers are those of attempts."""

    def __init__(  # noqa: PLR0913 - as of the one for drivers
        self,
        folder: Path,
        when_attempt_ended: WhenAttemptEnded,
        *,
        homes_dir: Path | None = None,
        drop_privileges: bool = True,
        java_home: Path | None = None,
        fences: Callable[[Callable[[int], None]], Fences] | None = None,
        program: Path = DRIVER_PROGRAM,
        event_logs: EventLogs | None = None,
        ui_keys: UiKeys | None = None,
    ) -> None:
        super().__init__(
            folder,
            _no_driver,
            homes_dir=homes_dir,
            drop_privileges=drop_privileges,
            java_home=java_home,
            fences=fences,
            program=program,
            event_logs=event_logs,
            ui_keys=ui_keys,
        )
        self._when_attempt_ended = when_attempt_ended
        self._prepared: dict[int, _Prepared] = {}
        self._client = httpx.AsyncClient(
            timeout=3.0,
            follow_redirects=False,
            trust_env=False,
            verify=ui_keys.context() if ui_keys is not None else authorities_for("http://"),
        )

    async def close(self) -> None:
        """Let go of connections, and of what was prepared and has not begun."""
        for attempt in list(self._prepared):
            self._drop(attempt)
        await self._client.aclose()

    # Start

    async def prepare(self, order: BatchOrder) -> Handle:
        """Start the supervisor, which waits for the word."""
        python = order.python or Path(sys.executable)
        identity = await asyncio.to_thread(self._owners.identity, order.owner, python)
        port = _free_port()
        fence = self._fences.make(order.attempt, order.conf)
        try:
            pid = await asyncio.to_thread(self._prepare, order, python, identity, port, fence)
        except OSError as error:
            await self._fences.end(order.attempt)
            log.warning("batch_not_started", attempt=order.attempt, error=str(error))
            raise BackendError(f"The batch could not be started: {error.strerror}.") from error
        started = processes.stamp(pid)
        self._watch(order.attempt, pid)
        uid, limits = identity.uid if identity else os.geteuid(), fence.limits.as_json()
        handle = {"pid": pid, "stamp": started, "uid": uid, "ui_port": port, "limits": limits}
        return handle if self._ui_keys is None else {**handle, "ui_name": self._ui_name(order.attempt)}

    def _prepare(self, order: BatchOrder, python: Path, identity: Identity | None, port: int, fence: Fence) -> int:
        folder, work, guard = self._make_folders(order.attempt, identity)
        # With keys the UI has two ports, of which the open one only leads to the other.
        ui = {**guard, "spark.ssl.ui.port": str(port)} if guard else {"spark.ui.port": str(port)}
        wish = {
            "argv": fence.command([str(python), "-u", str(self._program), "batch"], own_user=identity is not None),
            "environment": self._environment(order, python, identity),
            "cwd": str(work),
            "uid": identity.uid if identity else None,
            "gid": identity.gid if identity else None,
            "grace_seconds": order.grace_seconds,
            "outcome": str(self._outcome(order.attempt)),
            "place": str(self._place(order.attempt)),
            "bootstrap": {
                "file": self._owners.at_home(order.owner, order.file),
                "class_name": order.class_name,
                "args": list(order.args),
                "conf": {**self._conf(order), **self._history(order, identity), **ui},
                "work_dir": str(work),
            },
        }
        self._outcome(order.attempt).unlink(missing_ok=True)
        self._place(order.attempt).unlink(missing_ok=True)
        output = DriverLog(folder).open()
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(SUPERVISOR)],
                cwd=folder,
                env={},
                stdin=reading,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
            os.close(output)
        # The watch reaps it; the object must not think it has to.
        process.returncode = 0
        self._prepared[order.attempt] = _Prepared(process.pid, writing, json.dumps(wish).encode())
        fence.enter(process.pid)
        processes.expendable(process.pid)
        return process.pid

    async def begin(self, attempt: int) -> None:
        """Tell the supervisor what to run."""
        prepared = self._prepared.pop(attempt, None)
        if prepared is not None:
            await asyncio.to_thread(_tell, prepared.pipe, prepared.wish)

    async def withhold(self, attempt: int) -> bool:
        """Take its place: a supervisor that finds it taken runs nothing."""
        return await asyncio.to_thread(_take, self._place(attempt))

    async def let_go(self, attempt: int) -> None:
        """As of a driver; what has not begun hears the end of its input, and never does."""
        self._drop(attempt)
        await super().let_go(attempt)

    async def abandon(self, attempt: int, handle: Handle) -> None:
        """End that supervisor, which has not begun, and tell nobody."""
        prepared, watch = self._prepared.get(attempt), self._watches.get(attempt)
        if prepared is not None and prepared.pid == handle["pid"]:
            self._drop(attempt)
        if watch is not None and watch.pid == handle["pid"]:
            await super().let_go(attempt)
        await self.discard(handle)

    def _drop(self, attempt: int) -> None:
        prepared = self._prepared.pop(attempt, None)
        if prepared is not None:
            os.close(prepared.pipe)

    # Watch

    async def adopt(self, attempt: int, handle: Handle | None) -> Handle | None:
        """As a driver, but for one without a handle: that one never began."""
        return None if handle is None else await super().adopt(attempt, handle)

    def _gone(self, session_id: int, code: int | None) -> None:
        del code  # the supervisor's own
        self._drop(session_id)
        end = self._end_of(session_id)
        self._when_attempt_ended(session_id, dataclasses.replace(end, verdict=self._fences.verdict(session_id)))

    def _over(self, session_id: int) -> None:
        """A batch took more than it may: its supervisor ends it, and keeps how."""
        watch = self._watches.get(session_id)
        if watch is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(watch.pid, signal.SIGTERM)

    async def end_of(self, attempt: int) -> AttemptEnd:
        """What the supervisor has written."""
        return await asyncio.to_thread(self._end_of, attempt)

    def _end_of(self, attempt: int) -> AttemptEnd:
        try:
            told: dict[str, Any] = json.loads(self._outcome(attempt).read_text(encoding="ascii"))
        except FileNotFoundError:
            return AttemptEnd(None, began=False)
        except (OSError, ValueError):
            return AttemptEnd(None)
        return AttemptEnd(told.get("code"), asked=bool(told.get("asked")))

    async def application(self, attempt: int, handle: Handle) -> Application | None:
        """Ask the Spark UI, if one of the attempt's own processes listens where it was told to."""
        del attempt
        if not processes.same(handle):
            return None
        first = int(handle["ui_port"])
        ports = await asyncio.to_thread(processes.listening_ports, handle["pid"])
        for port in sorted(ports & set(range(first, first + PORTS_TRIED))):
            scheme = "http" if handle.get("ui_name") is None else "https"
            found = await application_at(self._client, f"{scheme}://127.0.0.1:{port}", handle.get("ui_name"))
            if found is not None:
                return found
        return None

    # End

    async def stop(self, attempt: int, handle: Handle | None, grace_seconds: float) -> None:
        """Have the supervisor end all that it stands over, and see to what is left where it cannot."""
        self._drop(attempt)
        if handle is not None and processes.same(handle):
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle["pid"], signal.SIGTERM)
            loop = asyncio.get_running_loop()
            until = loop.time() + grace_seconds + FORCE_SECONDS
            while processes.same(handle) and loop.time() < until:  # noqa: ASYNC110 - also of one that is no child of ours
                await asyncio.sleep(processes.POLL_SECONDS)
        await super().stop(attempt, handle, 0)

    def _ui_name(self, number: int) -> str:
        return batch_server_name(number)

    def _outcome(self, attempt: int) -> Path:
        return self._folder(attempt) / "outcome.json"

    def _place(self, attempt: int) -> Path:
        return self._folder(attempt) / "begun"


def _take(place: Path) -> bool:
    try:
        place.open("x").close()
    except FileExistsError:
        return False
    except FileNotFoundError:
        return True  # without its folder it cannot begin either
    return True


def _tell(writing: int, wish: bytes) -> None:
    """Write all of it, then close: the end is part of the word."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
        pipe.write(wish)


def _free_port() -> int:
    """A port for the Spark UI, so that it is known which of the batch's ports is the UI's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _no_driver(number: int, ended: Ended) -> None:
    raise RuntimeError(f"the attempt {number} at a batch was taken for a driver: {ended.reason}")
