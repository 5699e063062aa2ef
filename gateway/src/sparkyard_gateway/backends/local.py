"""Drivers as processes of this machine: one a session, each in its own folder, with its own token, as its user.

What a driver gets, and nothing else:
    folder        <sessions>/<id>/work, for it alone (0700), gone when the session is; its log stands beside it
    environment   the few variables of `_environment`, none of the gateway's own
    token         in the bootstrap, through an inherited descriptor: not in its environment, arguments or Spark conf
    identity      where the gateway is root: the owner of its user's home, no further groups; a warm driver, whose user
                  is not known when it starts, has a uid of its own (`warm_uids`)
    network       everything of Spark's listens on 127.0.0.1, and asks who connects
    limits        as much memory and as many processes as its profile grants (`fences`)
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from sparkyard_gateway.backends import processes, warm_uids
from sparkyard_gateway.backends.base import BackendError, DriverOrder, Ended, Handle, Identity, SparkOrder, WhenEnded
from sparkyard_gateway.backends.census import Census
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.fences import Fence, Fences, fences_for
from sparkyard_gateway.backends.owners import Owners
from sparkyard_gateway.backends.removal import remove
from sparkyard_gateway.backends.user_names import named
from sparkyard_gateway.backends.warm_uids import WarmUids
from sparkyard_gateway.store.models import NOBODY
from sparkyard_gateway.ui_keys import UiKeys, server_name

DRIVER_PROGRAM = Path(__file__).parent.parent / "driver" / "__main__.py"
LEFT_BEHIND_SECONDS = 60.0
"""After which a folder that no running session owns is the remains of a gateway that died in the midst."""
OWN_PYTHON = Path(sys.executable)
"""What runs drivers where the catalog names nothing else for their image."""
FILE_LISTS = ("spark.jars", "spark.submit.pyFiles", "spark.files", "spark.archives")
"""The settings that hold addresses, some of which may lie in the owner's home."""
LEAST_FREE_BYTES = 64 * 1024 * 1024
"""Below this a driver could not even unpack its jars."""
USER_NAMES = ("USER", "LOGNAME", "SPARK_USER", "HADOOP_USER_NAME")

log = structlog.get_logger(__name__)


class LocalBackend:
    """The backend for one machine."""

    name = "local"

    def __init__(  # noqa: PLR0913 - the parts it works with, by name
        self,
        sessions_dir: Path,
        when_ended: WhenEnded,
        *,
        homes_dir: Path | None = None,
        drop_privileges: bool = True,
        java_home: Path | None = None,
        fences: Callable[[Callable[[int], None]], Fences] | None = None,
        program: Path = DRIVER_PROGRAM,
        event_logs: EventLogs | None = None,
        ui_keys: UiKeys | None = None,
    ) -> None:
        self._event_logs = event_logs
        self._dir = sessions_dir
        self._when_ended = when_ended
        self._owners = Owners(
            homes_dir,
            drop_privileges=drop_privileges,
            needed=(program, sessions_dir),
            warm_uids=WarmUids(sessions_dir / "warm-uids"),
        )
        self._java_home = java_home or (Path(os.environ["JAVA_HOME"]) if os.environ.get("JAVA_HOME") else None)
        self._fences = (fences or fences_for(sessions_dir))(self._over)
        self._program = program
        self._ui_keys = ui_keys
        self._watches: dict[int, processes.Watch] = {}
        self._census = Census()
        self._ending: set[asyncio.Task[None]] = set()
        sessions_dir.mkdir(parents=True, exist_ok=True)
        # Others may pass through to a folder of their own, and list nothing.
        sessions_dir.chmod(0o711)

    # Start

    async def start(self, order: DriverOrder) -> Handle:
        """Start the driver program under the user's uid, with its bootstrap on an inherited descriptor."""
        python = order.python or OWN_PYTHON
        identity = await asyncio.to_thread(self._owners.of_driver, order.owner, order.number, python)
        fence = self._fences.make(order.session_id, order.conf)
        try:
            pid = await asyncio.to_thread(self._spawn, order, python, identity, fence)
        except OSError as error:
            await self._fences.end(order.session_id)
            log.warning("driver_not_started", session=order.session_id, error=str(error))
            raise BackendError(f"The driver could not be started with {python}: {error.strerror}.") from error
        started = processes.stamp(pid)
        self._watch(order.session_id, pid)
        uid = identity.uid if identity else os.geteuid()
        return {"pid": pid, "stamp": started, "uid": uid, "limits": fence.limits.as_json()}

    def _make_folders(self, number: int, identity: Identity | None) -> tuple[Path, Path, dict[str, str]]:
        """The folder for the log, which is the gateway's; in it, made anew, the one to work in; and the settings that
        go with what is in that.

        It is given away last of all and as a whole. What else the user runs could put links into a folder that is
        the user's already, and what root then does to a name in it would be done to something else.
        """
        folder, work = self._folder(number), self._work(number)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        remove(work)
        for each in (work, work / "tmp"):
            each.mkdir(mode=0o700)
        guard, keys = self._ui_keys.equip_as(work, self._ui_name(number)) if self._ui_keys is not None else ({}, ())
        if identity is not None:
            for each in (*keys, work / "tmp", work):
                os.lchown(each, identity.uid, identity.gid)
        return folder, work, guard

    def _spawn(self, order: DriverOrder, python: Path, identity: Identity | None, fence: Fence) -> int:
        folder, work, guard = self._make_folders(order.session_id, identity)
        if identity is not None and warm_uids.is_warm(identity.uid):
            warm_uids.note(folder, identity.uid)
        history = self._history(order, identity)
        bootstrap = {
            "session": order.session_id,
            "epoch": order.epoch,
            "url": order.url,
            "gateways": order.gateways,
            "token": order.token,
            "kind": order.kind,
            "app_name": order.app_name,
            "conf": {**self._conf(order), **history, **guard},
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
                fence.command(
                    [str(python), "-u", str(self._program), "--bootstrap-fd", str(inherited)],
                    own_user=identity is not None,
                ),
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
        fence.enter(process.pid)
        processes.expendable(process.pid)
        return process.pid

    def _conf(self, order: SparkOrder) -> dict[str, str]:
        """What was granted, and over it what Spark needs on one machine, whoever asks."""
        work = self._work(order.number)
        lists = (key for key in FILE_LISTS if key in order.conf)
        return {
            **order.conf,
            **{
                key: ",".join(self._owners.at_home(order.owner, each) for each in order.conf[key].split(","))
                for key in lists
            },
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

    async def problem(self) -> str | None:
        """The driver program, and a folder with room for a session."""
        return await asyncio.to_thread(self._problem)

    def _problem(self) -> str | None:
        if not self._program.exists():
            return f"the driver program {self._program} is not there"
        try:
            free = shutil.disk_usage(self._dir).free
            with tempfile.TemporaryFile(dir=self._dir) as probe:
                probe.write(b"x")
        except OSError as error:
            return f"{self._dir} cannot be written: {error.strerror}"
        if free < LEAST_FREE_BYTES:
            return f"{self._dir} has only {free // 1024 // 1024} MiB left"
        return None

    # Identity

    def _name_for(self, session_id: int, identity: Identity) -> dict[str, str]:
        """A name for a uid that /etc/passwd may not have: Hadoop's login fails without."""
        return named(self._folder(session_id), self._work(session_id), identity)

    async def identity_of(self, owner: str, python: Path) -> Identity | None:
        """Who this user's processes run as; None for this process's own user. Raises BackendError."""
        return await asyncio.to_thread(self._owners.identity, owner, python)

    async def memory(self, handles: Mapping[int, Handle | None]) -> dict[int, int]:
        """How many bytes each of these sessions' processes hold, as far as they live."""
        leaders = {
            number: handle["pid"] for number, handle in handles.items() if handle is not None and processes.same(handle)
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
        if not processes.same(handle):
            return None
        self._fences.find(session_id, handle.get("limits"), handle["pid"])
        try:
            self._watch(session_id, handle["pid"])
        except ProcessLookupError:
            await self._fences.end(session_id)
            return None
        return handle

    def _watch(self, session_id: int, pid: int) -> None:
        async def end_the_rest(code: int | None) -> None:
            # The JVM and Python workers of a driver that died have nobody to work for.
            await self._census.kill_members(pid, signal.SIGKILL)
            self._gone(session_id, code)

        def ended(code: int | None) -> None:
            self._watches.pop(session_id, None)
            task = asyncio.get_running_loop().create_task(end_the_rest(code), name=f"gone-{session_id}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        if session_id not in self._watches:
            self._watches[session_id] = processes.Watch(pid, ended)

    def _gone(self, session_id: int, code: int | None) -> None:
        too_much = self._fences.verdict(session_id)
        reason = too_much if too_much is not None and code != 0 else processes.why_ended(code)
        self._when_ended(session_id, Ended(reason, clean=code == 0))

    def _over(self, session_id: int) -> None:
        """A driver took more than it may: its end is seen, and told with the reason, by its watch."""
        watch = self._watches.get(session_id)
        if watch is not None:
            processes.kill_members(watch.pid, signal.SIGKILL)

    async def let_go(self, session_id: int) -> None:
        """Wait on, if it is our child, so that its remains do not stay; but tell nobody."""
        watch = self._watches.pop(session_id, None)
        if watch is not None:
            watch.forget()
        self._fences.forget(session_id)

    async def discard(self, handle: Handle) -> None:
        """End that process and what it started."""
        if processes.same(handle):
            await self._census.end_session(handle["pid"], 0)

    # End

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """SIGTERM to all the driver started, then SIGKILL; also to what left its session but not its folder."""
        if handle is not None and processes.same(handle):
            await self._census.end_session(handle["pid"], grace_seconds)
        await self._census.end_working_in(self._work(session_id))
        await self._fences.end(session_id)
        if (uid := warm_uids.noted(self._folder(session_id))) is not None:
            # It is this session's alone, so that nothing of it can hide.
            await processes.end_all_of(uid)

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Looks who holds the listening socket: a driver could name a port of somebody else's."""
        del session_id
        if handle is None or host != "127.0.0.1" or not processes.same(handle):
            return False
        return port in await asyncio.to_thread(processes.listening_ports, handle["pid"])

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log."""
        return await asyncio.to_thread(DriverLog(self._folder(session_id)).page, first, size)

    def log_of(self, session_id: int) -> DriverLog:
        """The log itself."""
        return DriverLog(self._folder(session_id))

    def journal_folder(self, session_id: int) -> Path:
        """Where its driver worked, and kept its journal; its user's own."""
        return self._work(session_id)

    def log_tail(self, session_id: int, lines: int) -> list[str]:
        """The end of the log."""
        return DriverLog(self._folder(session_id)).tail(lines)

    def tidy(self, limit: int, retention_seconds: float, running: frozenset[int]) -> None:
        """Cut logs that have grown too long, and remove what ended sessions left: folders soon, logs after a time.

        `running` are everybody's, also those of other gateways that share the folder.
        """
        for folder in self._dir.iterdir():
            if not folder.name.isdecimal():
                continue
            kept = DriverLog(folder)
            if kept.rotate(limit):
                log.info("driver_log_rotated", session=int(folder.name))
            if int(folder.name) in running:
                continue
            if kept.age_seconds() > retention_seconds:
                remove(folder)
            elif kept.age_seconds() > LEFT_BEHIND_SECONDS:
                remove(folder / "work")

    async def forget(self, session_id: int, *, keep_log: bool) -> None:
        """Remove the driver's folder, and its log unless kept."""
        folder = self._work(session_id) if keep_log else self._folder(session_id)
        await asyncio.to_thread(remove, folder)

    def _ui_name(self, number: int) -> str:
        return server_name(number)

    def _folder(self, session_id: int) -> Path:
        return self._dir / str(session_id)

    def _work(self, session_id: int) -> Path:
        return self._folder(session_id) / "work"


def _pyspark_sources(python: Path, spark_home: Path) -> list[Path]:
    """Where an interpreter finds pyspark and Py4J of a Spark that is not installed in it; nothing where it is."""
    if spark_home.is_relative_to(python.parent.parent):
        return []
    folder = spark_home / "python"
    # A Spark distribution has the package as a folder; the pyspark wheel, which is its own Spark home, has the archive.
    package = folder if (folder / "pyspark" / "__init__.py").is_file() else folder / "lib" / "pyspark.zip"
    return [package, *(folder / "lib").glob("py4j-*-src.zip")]
