"""Drivers as processes of this machine: one a session, each in its own folder, with its own token, as its user.

What a driver gets, and nothing else:
    folder        <sessions>/<id>/work, for it alone (0700), gone when the session is; its log stands beside it
    environment   the few variables of `_environment`, none of the gateway's own
    token         in the bootstrap, through an inherited descriptor: not in its environment, arguments or Spark conf
    identity      where the gateway is root: the owner of its user's home, no further groups; a warm driver, whose user
                  is not known when it starts, has a uid of its own (`warm_uids`)
    network       everything of Spark's listens on 127.0.0.1
"""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from sparkyard_catalog import relative_to_home
from sparkyard_gateway.backends import processes, warm_uids
from sparkyard_gateway.backends.base import BackendError, DriverOrder, Ended, Handle, Identity, SparkOrder, WhenEnded
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.identities import Identities, folder_name
from sparkyard_gateway.backends.user_names import named
from sparkyard_gateway.store.models import NOBODY

DRIVER_PROGRAM = Path(__file__).parent.parent / "driver" / "__main__.py"
LEFT_BEHIND_SECONDS = 60.0
"""After which a folder that no running session owns is the remains of a gateway that died in the midst."""
OOM_SCORE = "500"
"""When memory runs out the kernel shall take a driver, not the gateway or the hub."""

OWN_PYTHON = Path(sys.executable)
"""What runs drivers where the catalog names nothing else for their image."""
FILE_LISTS = ("spark.jars", "spark.submit.pyFiles", "spark.files", "spark.archives")
"""The settings that hold addresses, some of which may lie in the owner's home."""

USER_NAMES = ("USER", "LOGNAME", "SPARK_USER", "HADOOP_USER_NAME")

log = structlog.get_logger(__name__)


class LocalBackend:
    """The backend for one machine."""

    name = "local"

    def __init__(
        self,
        sessions_dir: Path,
        when_ended: WhenEnded,
        *,
        homes_dir: Path | None = None,
        drop_privileges: bool = True,
        java_home: Path | None = None,
        memory_limit_mib: int | None = None,
        program: Path = DRIVER_PROGRAM,
        event_logs: EventLogs | None = None,
    ) -> None:
        self._event_logs = event_logs
        self._dir = sessions_dir
        self._when_ended = when_ended
        self._homes = homes_dir
        self._identities = Identities(sessions_dir, homes_dir, program, drop=drop_privileges and os.geteuid() == 0)
        self._java_home = java_home or (Path(os.environ["JAVA_HOME"]) if os.environ.get("JAVA_HOME") else None)
        self._memory_limit = memory_limit_mib
        self._program = program
        self._watches: dict[int, processes.Watch] = {}
        sessions_dir.mkdir(parents=True, exist_ok=True)
        # Others may pass through to a folder of their own, and list nothing.
        sessions_dir.chmod(0o711)

    # Start

    async def start(self, order: DriverOrder) -> Handle:
        """Start the driver program under the user's uid, with its bootstrap on an inherited descriptor."""
        python = order.python or OWN_PYTHON
        identity = await asyncio.to_thread(self._identities.of, order.owner, order.number, python)
        try:
            pid = await asyncio.to_thread(self._spawn, order, python, identity)
        except OSError as error:
            log.warning("driver_not_started", session=order.session_id, error=str(error))
            raise BackendError(f"The driver could not be started with {python}: {error.strerror}.") from error
        started = processes.stamp(pid)
        self._watch(order.session_id, pid)
        return {"pid": pid, "stamp": started, "uid": identity.uid if identity else os.geteuid()}

    def _make_folders(self, number: int, identity: Identity | None) -> tuple[Path, Path]:
        """The folder for the log, which is the gateway's, and in it the one to work in."""
        folder, work = self._folder(number), self._work(number)
        for each, mode in ((folder, 0o711), (work, 0o700), (work / "tmp", 0o700)):
            each.mkdir(exist_ok=True)
            each.chmod(mode)
            if identity is not None and each != folder:
                os.chown(each, identity.uid, identity.gid)
        return folder, work

    def _spawn(self, order: DriverOrder, python: Path, identity: Identity | None) -> int:
        folder, work = self._make_folders(order.session_id, identity)
        if identity is not None and warm_uids.is_warm(identity.uid):
            warm_uids.note(folder, identity.uid)
        history = self._history(order, identity)
        bootstrap = {
            "session": order.session_id,
            "epoch": order.epoch,
            "url": order.url,
            "token": order.token,
            "kind": order.kind,
            "app_name": order.app_name,
            "conf": {**self._conf(order), **history},
            "work_dir": str(work),
            "heartbeat_seconds": order.heartbeat_seconds,
            "orphan_seconds": order.orphan_seconds,
        }
        inherited = os.memfd_create("bootstrap")
        output = DriverLog(folder).open()
        try:
            os.write(inherited, json.dumps(bootstrap).encode())
            os.lseek(inherited, 0, os.SEEK_SET)
            process = subprocess.Popen(
                [str(python), "-u", str(self._program), "--bootstrap-fd", str(inherited)],
                cwd=work,
                env=self._environment(order, python, identity),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[inherited],
                start_new_session=True,
                umask=0o077,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
            )
        finally:
            os.close(inherited)
            os.close(output)
        # The watch reaps it; the object must not think it has to.
        process.returncode = 0
        self._limit(process.pid)
        return process.pid

    def _limit(self, pid: int) -> None:
        """What a process may take; what it starts later on inherits it."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
        if self._memory_limit is not None:
            limit = self._memory_limit * 1024 * 1024
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))

    def _conf(self, order: SparkOrder) -> dict[str, str]:
        """What was granted, and over it what Spark needs on one machine, whoever asks."""
        work = self._work(order.number)
        lists = (key for key in FILE_LISTS if key in order.conf)
        return {
            **order.conf,
            **{key: ",".join(self._at_home(order.owner, each) for each in order.conf[key].split(",")) for key in lists},
            "spark.master": f"local[{order.cores}]",
            "spark.submit.deployMode": "client",
            "spark.app.name": order.app_name,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.authenticate": "true",
            "spark.ui.port": "0",
            # Its links to kill a job change something by a GET: a statement is cancelled through the gateway.
            "spark.ui.killEnabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": str(work / "warehouse"),
        }

    def _at_home(self, owner: str, address: str) -> str:
        """The path for an address in the owner's home; any other address as it is."""
        within = relative_to_home(address)
        if within is None:
            return address
        if self._homes is None:
            raise BackendError(f"This gateway knows no home folders, so there is no {address}.")
        return str(self._homes.absolute() / folder_name(owner) / within)

    def _history(self, order: SparkOrder, identity: Identity | None) -> dict[str, str]:
        """The settings of its event log; none where the catalog has its own idea of one."""
        if self._event_logs is None or any(key.startswith("spark.eventLog.") for key in order.conf):
            return {}
        logs, owner = self._event_logs, order.owner
        folder = logs.warm_folder(order.number) if owner == NOBODY else logs.folder_of(owner)
        return logs.conf(logs.make(folder, identity))

    def _environment(self, order: SparkOrder, python: Path, identity: Identity | None) -> dict[str, str]:
        work = self._work(order.number)
        environment = {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": str(work),
            "TMPDIR": str(work / "tmp"),
            # Of a warm driver they are not known yet, and could not be changed in its JVM.
            **({} if order.owner == NOBODY else dict.fromkeys(USER_NAMES, order.owner)),
            "PYSPARK_PYTHON": str(python),
            "PYSPARK_DRIVER_PYTHON": str(python),
            "SPARK_LOCAL_DIRS": str(work / "tmp"),
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        if self._java_home is not None:
            environment["JAVA_HOME"] = str(self._java_home)
        if order.spark_home is not None:
            environment["SPARK_HOME"] = str(order.spark_home)
            if sources := _pyspark_sources(python, order.spark_home):
                environment["PYTHONPATH"] = ":".join(map(str, sources))
        if identity is not None:
            environment.update(self._name_for(order.number, identity))
        return environment

    # Identity

    def _name_for(self, session_id: int, identity: Identity) -> dict[str, str]:
        """A name for a uid that /etc/passwd may not have: Hadoop's login fails without."""
        return named(self._folder(session_id), self._work(session_id), identity)

    async def identity_of(self, owner: str, python: Path) -> Identity | None:
        """Who this user's processes run as; None for this process's own user. Raises BackendError."""
        return await asyncio.to_thread(self._identities.of_user, owner, python)

    async def memory(self, handles: Mapping[int, Handle | None]) -> dict[int, int]:
        """How many bytes each of these sessions' processes hold, as far as they live."""
        leaders = {
            number: handle["pid"] for number, handle in handles.items() if handle is not None and same_process(handle)
        }
        held = await asyncio.to_thread(processes.memory_of, frozenset(leaders.values()))
        return {number: held[pid] for number, pid in leaders.items() if pid in held}

    # Watch

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Find the driver by its pid and start time, or, where these were not written down, by its folder."""
        if handle is None:
            found = await asyncio.to_thread(processes.working_in, self._work(session_id))
            leader = next((pid for pid in found if processes.leader_of(pid) == pid), None)
            if leader is None:
                return None
            handle = {"pid": leader, "stamp": processes.stamp(leader), "uid": None}
        if not same_process(handle):
            return None
        try:
            self._watch(session_id, handle["pid"])
        except ProcessLookupError:
            return None
        return handle

    def _watch(self, session_id: int, pid: int) -> None:
        def ended(code: int | None) -> None:
            self._watches.pop(session_id, None)
            # The JVM and Python workers of a driver that died have nobody to work for.
            processes.kill_members(pid, signal.SIGKILL)
            self._gone(session_id, code)

        if session_id not in self._watches:
            self._watches[session_id] = processes.Watch(pid, ended)

    def _gone(self, session_id: int, code: int | None) -> None:
        self._when_ended(session_id, Ended(_why(code), clean=code == 0))

    # End

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """SIGTERM to all the driver started, then SIGKILL; also to what left its session but not its folder."""
        if handle is not None and same_process(handle):
            await processes.end_session(handle["pid"], grace_seconds)
        for pid in await asyncio.to_thread(processes.working_in, self._work(session_id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if (uid := warm_uids.noted(self._folder(session_id))) is not None:
            # It is this session's alone, so that nothing of it can hide.
            await processes.end_all_of(uid)

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Looks who holds the listening socket: a driver could name a port of somebody else's."""
        del session_id
        if handle is None or host != "127.0.0.1" or not same_process(handle):
            return False
        return port in await asyncio.to_thread(processes.listening_ports, handle["pid"])

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log."""
        return await asyncio.to_thread(DriverLog(self._folder(session_id)).page, first, size)

    def log_of(self, session_id: int) -> DriverLog:
        """The log itself."""
        return DriverLog(self._folder(session_id))

    def log_tail(self, session_id: int, lines: int) -> list[str]:
        """The end of the log."""
        return DriverLog(self._folder(session_id)).tail(lines)

    def tidy(self, limit: int, retention_seconds: float, running: frozenset[int]) -> None:
        """Cut logs that have grown too long, and remove what ended sessions left: folders soon, logs after a time."""
        for folder in self._dir.iterdir():
            if not folder.name.isdecimal():
                continue
            kept = DriverLog(folder)
            if kept.rotate(limit):
                log.info("driver_log_rotated", session=int(folder.name))
            if int(folder.name) in running:
                continue
            if kept.age_seconds() > retention_seconds:
                shutil.rmtree(folder, ignore_errors=True)
            elif kept.age_seconds() > LEFT_BEHIND_SECONDS:
                shutil.rmtree(folder / "work", ignore_errors=True)

    async def forget(self, session_id: int, *, keep_log: bool) -> None:
        """Remove the driver's folder, and its log unless kept."""
        folder = self._work(session_id) if keep_log else self._folder(session_id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _folder(self, session_id: int) -> Path:
        return self._dir / str(session_id)

    def _work(self, session_id: int) -> Path:
        return self._folder(session_id) / "work"


def same_process(handle: Mapping[str, object]) -> bool:
    """Whether the process of that number is still the one that was started."""
    pid = handle["pid"]
    return isinstance(pid, int) and processes.stamp(pid) == handle["stamp"] is not None


def _why(code: int | None) -> str:
    if code is None:
        return "The driver process ended while no gateway watched it."
    if code == 0:
        return "The driver process ended by itself (exit code 0)."
    if code > 0:
        return f"The driver process ended with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "The driver process was killed (SIGKILL): most often because the machine ran out of memory."
    return f"The driver process was ended by {name}."


def _pyspark_sources(python: Path, spark_home: Path) -> list[Path]:
    """Where an interpreter finds pyspark and Py4J of a Spark that is not installed in it; nothing where it is."""
    if spark_home.is_relative_to(python.parent.parent):
        return []
    folder = spark_home / "python"
    # A Spark distribution has the package as a folder; the pyspark wheel, which is its own Spark home, has the archive.
    package = folder if (folder / "pyspark" / "__init__.py").is_file() else folder / "lib" / "pyspark.zip"
    return [package, *(folder / "lib").glob("py4j-*-src.zip")]
