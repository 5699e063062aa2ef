"""Start the JVM that holds Spark, while Python still imports pyspark, and notice its death.

pyspark starts the JVM itself, but only after all of its imports, and it puts the whole Spark conf on the command line,
where every user of the machine reads it. So we run the same `spark-submit ... pyspark-shell` first thing, with the conf
in a private file, and pyspark then joins the JVM by the port and secret that the JVM leaves in a file, as it would.

The JVM reads its standard input and ends at its end: it dies with the driver, however that dies.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from typing import Any, Callable, Mapping, Tuple


class JvmFailed(Exception):  # noqa: N818  reads as what happened
    """The JVM did not come up; the message is for the session's owner."""


class Jvm:
    """A running spark-submit. Made at once, usable after `join`."""

    def __init__(self, conf: Mapping[str, str], work_dir: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="jvm-", dir=work_dir)
        self._port_file = os.path.join(self._folder, "port")
        home = spark_home()
        properties = os.path.join(self._folder, "spark.properties")
        _write_private(properties, spark_defaults(home) + "\n" + as_properties(conf))
        environment = dict(os.environ, _PYSPARK_DRIVER_CONN_INFO_PATH=self._port_file)
        submit = os.path.join(home, "bin", "spark-submit")
        try:
            self.process = subprocess.Popen(
                [submit, "--properties-file", properties, "pyspark-shell"],
                stdin=subprocess.PIPE,
                env=environment,
                preexec_fn=_ignore_interrupts,  # noqa: PLW1509  before any other thread can hold a lock
            )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise JvmFailed(f"{submit} cannot be run: {error}") from None

    def join(self) -> Any:
        """Wait for the JVM and return pyspark's Py4J gateway to it."""
        try:
            port, secret = self._wait_for_port()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        from pyspark.java_gateway import launch_gateway  # noqa: PLC0415  imported while the JVM starts

        # pyspark's own way to join a JVM that exists; gone again before any code of a user can look.
        os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"] = str(port), secret
        try:
            gateway = launch_gateway()  # type: ignore[no-untyped-call]
        finally:
            del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]
        gateway.proc = self.process
        keep_py4j_out_of_cells()
        return gateway

    def watch(self, on_death: Callable[[str], None]) -> None:
        """Block until the JVM has ended and report how."""
        on_death(describe_end(self.process.wait()))

    def kill(self, seconds: float) -> None:
        """End the JVM, politely for as long as there is time."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        for ask in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(seconds / 2)
            except subprocess.TimeoutExpired:
                ask()
            else:
                return

    def kill_now(self) -> None:
        """End the JVM at once, where the driver is about to be cut off itself."""
        self.process.kill()

    def in_child(self) -> None:
        """In a forked child: let go of the pipe that keeps the JVM alive, or it would outlive the driver with us."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                os.close(self.process.stdin.fileno())

    def _wait_for_port(self) -> Tuple[int, str]:
        while not os.path.exists(self._port_file):
            code = self.process.poll()
            if code is not None and not os.path.exists(self._port_file):
                raise JvmFailed(
                    f"Spark's JVM did not start: spark-submit {describe_end(code)}; the driver's log has its own words"
                )
            time.sleep(0.01)
        with open(self._port_file, "rb") as stream:
            port, length = struct.unpack("!ii", stream.read(8))
            return port, stream.read(length).decode("utf-8")


def spark_home() -> str:
    """SPARK_HOME, or the Spark inside the installed pyspark, found without importing it."""
    named = os.environ.get("SPARK_HOME")
    if named:
        return named
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise JvmFailed("this Python has no pyspark, and SPARK_HOME is not set: the image cannot run sessions")
    return next(iter(spec.submodule_search_locations))


def spark_defaults(home: str) -> str:
    """The image's own spark-defaults.conf, which spark-submit forgets once it is given a file of properties."""
    folder = os.environ.get("SPARK_CONF_DIR") or os.path.join(home, "conf")
    try:
        with open(os.path.join(folder, "spark-defaults.conf"), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def as_properties(conf: Mapping[str, str]) -> str:
    """Spark settings in the format of java.util.Properties."""
    return "".join(f"{_escaped(key)}={_escaped(value)}\n" for key, value in conf.items())


def describe_end(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _escaped(text: str) -> str:
    special = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "=": "\\=", ":": "\\:", "#": "\\#", "!": "\\!"}
    return "".join(special.get(character, character) for character in text).replace(" ", "\\ ")


def keep_py4j_out_of_cells() -> None:
    """Py4J reports a call that was cut short to the root logger, which would print it into the cell, and which from
    then on counts as configured, so that the user's own `logging.basicConfig` would do nothing."""
    import py4j.java_gateway  # noqa: PLC0415  it came with pyspark

    py4j.java_gateway.logging = logging.getLogger("py4j.java_gateway")


def _write_private(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
