"""A real Apache Livy 0.7.1-incubating, as `scripts/setup test` gets it from Maven Central, with the tests' own Spark.

It serves batches: each is a spark-submit in local mode. Everything listens on 127.0.0.1, and all that it started ends
with it, whatever the tests left behind.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.running_gateway import RunningGateway

ROOT = Path(__file__).parents[2]
JARS = ROOT / ".venv" / "upstream-livy" / "jars"
SPARK_DEFAULTS = """\
spark.master local[2]
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.ui.port 0
spark.sql.shuffle.partitions 2
"""
LIVY_CONF = """\
livy.server.host = 127.0.0.1
livy.server.port = {port}
livy.spark.master = local[2]
livy.file.local-dir-whitelist = {folder}
livy.impersonation.enabled = {impersonation}
"""
LOGGING = """\
log4j.rootCategory=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{1}: %m%n
"""
QUIET_SPARK = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""
CATALOG = """\
version: 1
groups: {people: Everybody}
default_profile: small
images:
  notebook: {kind: notebook, ref: sparkyard/notebook:1}
  spark-3.5: {kind: spark, spark: "3.5", ref: sparkyard/spark:3.5}
profiles:
  small:
    title: Small
    description: For tests.
    everyone: true
    notebook: {image: notebook, cpu: {guarantee: 0.1, limit: 1}, memory: {guarantee: 256Mi, limit: 1Gi}}
    spark:
      version: "3.5"
      driver: {image: spark-3.5, cores: 1, memory: {default: 512m, max: 1g}}
      executor: {image: spark-3.5, cores: 1, memory: 512m, count: {default: 1, max: 2}}
      conf: {spark.hadoop.fs.s3a.secret.key: hush-hush}
      user_conf:
        spark.sql.shuffle.partitions: {type: integer, min: 1, max: 100}
"""
START_SECONDS = 120


class UpstreamLivy:
    """One server. `allowed` is a folder from which its batches may be submitted; beside it all of `more_allowed`."""

    def __init__(self, folder: Path, *more_allowed: Path, impersonation: bool = True) -> None:
        self._folder = folder
        self._impersonation = impersonation
        self.allowed = folder / "allowed"
        self._folders = (self.allowed, *more_allowed)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._family: set[psutil.Process] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self._folder / "livy.log").read_text()

    def start(self) -> None:
        """Start it and wait until it serves; a second time at the same port."""
        for name in ("rsc-jars", "repl_2.11-jars", "repl_2.12-jars", "logs", "conf", "allowed", "work", "tmp"):
            (self._folder / name).mkdir(exist_ok=True)
        spark = find_spec("pyspark")
        assert spark is not None
        assert spark.submodule_search_locations is not None
        conf = self._folder / "conf"
        (conf / "livy.conf").write_text(
            LIVY_CONF.format(
                port=self.port,
                folder=",".join(map(str, self._folders)),
                impersonation=str(self._impersonation).lower(),
            )
        )
        (conf / "log4j.properties").write_text(LOGGING)
        (conf / "spark-defaults.conf").write_text(SPARK_DEFAULTS)
        (conf / "log4j2.properties").write_text(QUIET_SPARK)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder / "work"),
            "LIVY_HOME": str(self._folder),
            "LIVY_CONF_DIR": str(conf),
            "SPARK_HOME": next(iter(spark.submodule_search_locations)),
            "SPARK_CONF_DIR": str(conf),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self._folder / "tmp"),
            "TMPDIR": str(self._folder / "tmp"),
            "PYSPARK_PYTHON": sys.executable,
        }
        if "JAVA_HOME" in os.environ:
            environment["JAVA_HOME"] = os.environ["JAVA_HOME"]
        java = Path(environment["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in environment else Path("java")
        seen = len(self.log) if (self._folder / "livy.log").exists() else 0
        with (self._folder / "livy.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(java), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{conf}:{JARS}/*",
                 "org.apache.livy.server.LivyServer"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self._folder / "work",
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"Starting server on http://127\.0\.0\.1:(\d+)", self.log[seen:])):
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.05)
        self.port = int(found[1])

    def pause(self) -> None:
        """It keeps its port and answers nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It answers again."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the server alone: its batches run on, and it has no memory of them after."""
        assert self.process is not None
        self._family = self._descendants()
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it with everything it started."""
        family = self._family | self._descendants()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for each in family:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=30)

    def batches(self) -> list[dict[str, Any]]:
        """What it shows to anybody."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/batches?size=1000", timeout=30).json()["sessions"]
        return found

    def batch_of(self, session: int, namespace: str = "test") -> dict[str, Any]:
        """The newest batch of a gateway's session."""
        named = [each for each in self.batches() if str(each["name"]).startswith(f"sparkyard-{namespace}-{session}-")]
        assert named, self.batches()
        return named[-1]

    def ended(self, namespace: str, session: int) -> bool:
        """Whether no batch of this session runs."""
        name = f"sparkyard-{namespace}-{session}-"
        over = {"success", "killed", "dead", "error"}
        return all(each["state"] in over for each in self.batches() if str(each["name"]).startswith(name))

    def _descendants(self) -> set[psutil.Process]:
        if self.process is None:
            return set()
        try:
            return set(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return set()


@cache
def shared(folder: Path) -> UpstreamLivy:
    """One for a whole run of tests, which ends with it; a gateway's folder may be anywhere in the given one."""
    running = UpstreamLivy(Path(tempfile.mkdtemp(prefix="upstream-livy-", dir=folder)), folder, Path(__file__).parent)
    atexit.register(running.end)
    running.start()
    return running


def options(livy: UpstreamLivy, namespace: str) -> tuple[str, ...]:
    """What makes a gateway's drivers batches of this Livy."""
    return ("--backend", "livy", "--livy-url", livy.url, "--livy-namespace", namespace, "--livy-timeout-seconds", "5")


def gateway_before(livy: UpstreamLivy, hub_url: str, name: str, *more: str, namespace: str = "test") -> RunningGateway:
    """A gateway, not yet started, whose drivers are batches of this Livy. Its folder lies where Livy may read."""
    folder = livy.allowed / name
    folder.mkdir()
    (folder / "catalog.yaml").write_text(CATALOG)
    gateway = RunningGateway(
        folder, hub_url, "--catalog", str(folder / "catalog.yaml"), *options(livy, namespace), "--sweep-seconds", "0.2",
        "--identity-ttl-seconds", "1", "--stop-grace-seconds", "10", *more, forked=True,
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gateway.port = probe.getsockname()[1]
    return gateway
