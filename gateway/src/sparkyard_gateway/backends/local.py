"""Drivers as processes of this machine: one a session, each in its own folder, with its own token, as its user.

What a driver gets, and nothing else:
    folder        <sessions>/<id>/work, for it alone (0700), gone when the session is; its log stands beside it
    environment   the few variables of `_environment`, none of the gateway's own
    token         in the bootstrap, through an inherited descriptor: not in its environment, arguments or Spark conf
    identity      where the gateway is root: the owner of its user's home, no further groups
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

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.base import BackendError, DriverOrder, Ended, Handle, Identity, WhenEnded
from sparkyard_gateway.backends.driver_log import DriverLog

DRIVER_PROGRAM = Path(__file__).parent.parent / "driver" / "__main__.py"
LEFT_BEHIND_SECONDS = 60.0
"""After which a folder that no running session owns is the remains of a gateway that died in the midst."""
OOM_SCORE = "500"
"""When memory runs out the kernel shall take a driver, not the gateway or the hub."""

_PROBE = "import os, sys; open(sys.argv[1]).close(); os.stat(sys.argv[2])"

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
    ) -> None:
        self._dir = sessions_dir
        self._when_ended = when_ended
        self._homes = homes_dir
        self._drop = drop_privileges and os.geteuid() == 0
        self._java_home = java_home or (Path(os.environ["JAVA_HOME"]) if os.environ.get("JAVA_HOME") else None)
        self._memory_limit = memory_limit_mib
        self._program = program
        self._watches: dict[int, processes.Watch] = {}
        self._probed: dict[tuple[int, Path], bool] = {}
        sessions_dir.mkdir(parents=True, exist_ok=True)
        # Others may pass through to a folder of their own, and list nothing.
        sessions_dir.chmod(0o711)

    # Start

    async def start(self, order: DriverOrder) -> Handle:
        """Start the driver program under the user's uid, with its bootstrap on an inherited descriptor."""
        python = order.python or Path(sys.executable)
        identity = await asyncio.to_thread(self._identity, order.owner, python)
        try:
            pid = await asyncio.to_thread(self._spawn, order, python, identity)
        except OSError as error:
            log.warning("driver_not_started", session=order.session_id, error=str(error))
            raise BackendError(f"The driver could not be started with {python}: {error.strerror}.") from error
        started = processes.stamp(pid)
        self._watch(order.session_id, pid)
        return {"pid": pid, "stamp": started, "uid": identity.uid if identity else os.geteuid()}

    def _spawn(self, order: DriverOrder, python: Path, identity: Identity | None) -> int:
        folder, work = self._folder(order.session_id), self._work(order.session_id)
        for each, mode in ((folder, 0o711), (work, 0o700), (work / "tmp", 0o700)):
            each.mkdir(exist_ok=True)
            each.chmod(mode)
            if identity is not None and each != folder:
                os.chown(each, identity.uid, identity.gid)
        bootstrap = {
            "session": order.session_id,
            "epoch": order.epoch,
            "url": order.url,
            "gateways": order.gateways,
            "token": order.token,
            "kind": order.kind,
            "app_name": order.app_name,
            "conf": {**order.conf, **self._conf(order)},
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
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
        if self._memory_limit is not None:
            limit = self._memory_limit * 1024 * 1024
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
        return process.pid

    def _conf(self, order: DriverOrder) -> dict[str, str]:
        """What Spark needs on one machine, whoever asks."""
        work = self._work(order.session_id)
        return {
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

    def _environment(self, order: DriverOrder, python: Path, identity: Identity | None) -> dict[str, str]:
        work = self._work(order.session_id)
        environment = {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": str(work),
            "TMPDIR": str(work / "tmp"),
            "USER": order.owner,
            "LOGNAME": order.owner,
            "SPARK_USER": order.owner,
            "HADOOP_USER_NAME": order.owner,
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
            environment.update(self._name_for(order.session_id, identity))
        return environment

    # Identity

    def _identity(self, owner: str, python: Path) -> Identity | None:
        """Who the driver runs as; None for this process's own user."""
        if not self._drop or self._homes is None:
            return None
        if "/" in owner or owner in {"", ".", ".."}:
            raise BackendError("A user of this name cannot have a home folder, so no driver can run for it.")
        try:
            home = (self._homes / owner).lstat()
        except FileNotFoundError:
            raise BackendError(
                "Your home folder is not there yet, so it isn't known which system user your driver shall run as. "
                "Start your server once, then try again."
            ) from None
        if home.st_uid == 0 or not self._reachable(home.st_uid, home.st_gid, python):
            return None
        return Identity(home.st_uid, home.st_gid, owner)

    def _reachable(self, uid: int, gid: int, python: Path) -> bool:
        """Whether that system user can read the interpreter, the driver program and its folder, and has a name.

        Where not, drivers run as the gateway's own user, and the log says so.
        """
        key = (uid, python)
        if key not in self._probed:
            probe = subprocess.run(
                [str(python), "-c", _PROBE, str(self._program), str(self._dir)],
                user=uid,
                group=gid,
                extra_groups=[],
                cwd="/",
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            reached = probe.returncode == 0 and name_library() is not None
            if not reached:
                log.warning(
                    "drivers_run_as_the_gateways_user",
                    uid=uid,
                    interpreter=str(python),
                    why="libnss-wrapper is not installed" if probe.returncode == 0 else "it cannot read what it needs",
                )
            self._probed[key] = reached
        return self._probed[key]

    def _name_for(self, session_id: int, identity: Identity) -> dict[str, str]:
        """A name for a uid that /etc/passwd may not have: Hadoop's login fails without."""
        folder = self._folder(session_id)
        name = "".join(each if each.isalnum() and each.isascii() else "-" for each in identity.name) or "user"
        passwd, group = folder / "passwd", folder / "group"
        work = self._work(session_id)
        passwd.write_text(f"{name}:x:{identity.uid}:{identity.gid}::{work}:/usr/sbin/nologin\n", encoding="ascii")
        group.write_text(f"{name}:x:{identity.gid}:\n", encoding="ascii")
        for each in (passwd, group):
            each.chmod(0o644)
        return {
            "LD_PRELOAD": str(name_library()),
            "NSS_WRAPPER_PASSWD": str(passwd),
            "NSS_WRAPPER_GROUP": str(group),
        }

    # Watch

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Find the driver by its pid and start time, or, where these were not written down, by its folder."""
        if handle is None:
            found = await asyncio.to_thread(processes.working_in, self._work(session_id))
            leader = next((pid for pid in found if processes.leader_of(pid) == pid), None)
            if leader is None:
                return None
            handle = {"pid": leader, "stamp": processes.stamp(leader), "uid": None}
        if not _same(handle):
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
            self._when_ended(session_id, Ended(_why(code), clean=code == 0))

        if session_id not in self._watches:
            self._watches[session_id] = processes.Watch(pid, ended)

    async def let_go(self, session_id: int) -> None:
        """Wait on, if it is our child, so that its remains do not stay; but tell nobody."""
        watch = self._watches.pop(session_id, None)
        if watch is not None:
            watch.forget()

    async def discard(self, handle: Handle) -> None:
        """End that process and what it started."""
        if _same(handle):
            await processes.end_session(handle["pid"], 0)

    # End

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """SIGTERM to all the driver started, then SIGKILL; also to what left its session but not its folder."""
        if handle is not None and _same(handle):
            await processes.end_session(handle["pid"], grace_seconds)
        for pid in await asyncio.to_thread(processes.working_in, self._work(session_id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Looks who holds the listening socket: a driver could name a port of somebody else's."""
        del session_id
        if handle is None or host != "127.0.0.1" or not _same(handle):
            return False
        return port in await asyncio.to_thread(processes.listening_ports, handle["pid"])

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """A page of the log."""
        return await asyncio.to_thread(DriverLog(self._folder(session_id)).page, first, size)

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


def name_library() -> Path | None:
    """nss_wrapper, from the system's package libnss-wrapper."""
    found = sorted(Path("/usr/lib").glob("**/libnss_wrapper.so"))
    return found[0] if found else None


def _same(handle: Mapping[str, object]) -> bool:
    """Whether the process of that number is still the one that was started."""
    pid = handle["pid"]
    return isinstance(pid, int) and processes.stamp(pid) == handle["stamp"] is not None


def _why(code: int | None) -> str:
    if code is None:
        return "The driver process ended; how is not known, as an earlier gateway had started it."
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
