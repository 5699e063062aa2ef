"""The session's SparkContext: made, described, and told which statement its jobs belong to.

Everything here tolerates a context that the user has stopped or replaced: it asks pyspark for the active one each time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from typing import Any, Dict, Mapping, Union

from .java_errors import root_message
from .jvm import Jvm, JvmFailed
from .notes import note
from .submitted import SubmittedJvm, is_submitted

_DEFAULTS = {
    "spark.master": "local[*]",
    "spark.ui.showConsoleProgress": "false",
    "spark.submit.deployMode": "client",
}


def launch_conf(conf: Mapping[str, str], app_name: str) -> Dict[str, str]:
    """What spark-submit is given: ours where the session says nothing."""
    return {**_DEFAULTS, "spark.app.name": app_name, **conf}


class SparkFailed(Exception):  # noqa: N818  reads as what happened
    """There is no SparkContext; the message is a sentence for the session's owner."""

    full = ""


class Spark:
    """A SparkSession and the JVM it lives in."""

    def __init__(self, jvm: Union[Jvm, SubmittedJvm], session: Any, phases: Dict[str, int]) -> None:
        self.jvm = jvm
        self.session = session
        self.phases = phases
        self._group = ""

    @property
    def context(self) -> Any:
        """The active SparkContext, or None once the user has stopped it."""
        from pyspark import SparkContext  # noqa: PLC0415  imported while the JVM starts

        context = SparkContext._active_spark_context  # noqa: SLF001  pyspark has no public word for it
        return context if context is not None and context._jsc is not None else None  # noqa: SLF001  pyspark has no public word for it

    def names(self) -> Dict[str, Any]:
        """The globals every cell finds: spark, sc, sqlContext."""
        names = {"spark": self.session, "sc": self.session.sparkContext}
        try:
            from pyspark.sql import SQLContext  # noqa: PLC0415  imported while the JVM starts

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                names["sqlContext"] = SQLContext(self.session.sparkContext, self.session)
        except ImportError:
            pass
        return names

    def current_session(self, names: Mapping[str, Any]) -> Any:
        """The session that cells call `spark`, as they may have put another in its place."""
        named = names.get("spark")
        return named if isinstance(named, type(self.session)) else self.session

    def ready_message(self) -> Dict[str, Any]:
        """What the gateway wants to know of a Spark that is up."""
        context = self.session.sparkContext
        return {
            "t": "ready",
            "app_id": context.applicationId,
            "spark_ui": context.uiWebUrl,
            "spark_version": self.session.version,
            "python_version": ".".join(str(part) for part in sys.version_info[:3]),
            "startup_ms": self.phases,
        }

    def group_of(self, statement: int) -> str:
        """The job group of a statement; Livy uses the bare number as well."""
        return str(statement)

    def act_for(self, user: str) -> None:
        """From any thread: be this user to Hadoop's file systems, and to SQL's current_user(), from now on.

        A session with Kerberos has got its identity from there, and keeps it.
        """
        context = self.context
        if context is None:
            return
        try:
            users = context._jvm.org.apache.hadoop.security.UserGroupInformation  # noqa: SLF001  pyspark has no public word for it
            if not users.isSecurityEnabled():
                users.setLoginUser(users.createRemoteUser(user))
        except Exception as error:  # noqa: BLE001  the session is of use without it
            note(f"Hadoop was not told whose this driver is: {type(error).__name__}")

    def enter(self, statement: int, code: str) -> None:
        """On the main thread: jobs started from here on are this statement's."""
        context = self.context
        if context is None:
            return
        try:
            context.setJobGroup(self.group_of(statement), _summary(statement, code), True)
        except Exception as error:  # noqa: BLE001  the statement itself will say it better
            note(f"the job group of statement {statement} could not be set: {type(error).__name__}")

    def cancel(self, statement: int) -> None:
        """From any thread: stop the statement's jobs."""
        context = self.context
        if context is None:
            return
        try:
            context.cancelJobGroup(self.group_of(statement))
        except Exception as error:  # noqa: BLE001  the strikes go on without it
            note(f"the jobs of statement {statement} could not be cancelled: {type(error).__name__}")

    def forget_broken_call(self) -> None:
        """On the main thread: drop its Py4J connection, on which an answer is due that nobody waits for any more.

        The next call would take that answer for its own.
        """
        context = self.context
        gateway = getattr(context, "_gateway", None)
        client = getattr(gateway, "_gateway_client", None)
        finder = getattr(client, "get_thread_connection", None)
        connection = finder() if callable(finder) else None
        if connection is None or client is None:
            return
        client.thread_connection.connection = None
        with contextlib.suppress(ValueError):
            client.deque.remove(connection)
        connection.close(reset=True)

    def stop(self, seconds: float) -> None:
        """Stop the context and the JVM; the caller bounds the time."""
        context = self.context
        if context is not None:
            try:
                context.stop()
            except Exception as error:  # noqa: BLE001  the JVM may be gone
                note(f"the SparkContext did not stop cleanly: {type(error).__name__}")
        self.jvm.kill(seconds)


def start(conf: Mapping[str, str], app_name: str, work_dir: str, began: float) -> Spark:
    """Start the JVM, import pyspark meanwhile, make the session. Raises what Spark raises, or JvmFailed."""
    phases: Dict[str, int] = {}
    clock = _Clock(began, phases)
    submitted = is_submitted()
    # What the JVM was submitted with stays; only what is left to us is set on top of it.
    settings = {"spark.app.name": app_name, **conf} if submitted else launch_conf(conf, app_name)
    jvm = SubmittedJvm() if submitted else _launch(settings, work_dir)
    clock("launch")
    try:
        from pyspark import SparkConf, SparkContext  # noqa: PLC0415  imported while the JVM starts
        from pyspark.sql import SparkSession  # noqa: PLC0415  imported while the JVM starts

        clock("imports")
        gateway = jvm.join()
        clock("jvm")
        SparkContext._ensure_initialized(gateway=gateway)  # noqa: SLF001  pyspark has no public word for it
        made = SparkConf()
        if submitted:
            made.setAll(list(settings.items()))
        context = SparkContext(conf=made)
        clock("context")
        session = SparkSession(context)
        clock("session")
    except JvmFailed:
        jvm.kill(1.0)
        raise
    except Exception as error:
        failure = SparkFailed(f"Spark did not start: {root_message(error)}")
        failure.full = str(error)  # asked now, as Py4J asks the JVM for the text
        jvm.kill(1.0)
        raise failure from error
    phases["total"] = round((time.monotonic() - began) * 1000)
    return Spark(jvm, session, phases)


def _launch(settings: Mapping[str, str], work_dir: str) -> Jvm:
    # The workers must be of the driver's own Python, and pyspark would take any `python3` of the path.
    for key, variable in (
        ("spark.pyspark.python", "PYSPARK_PYTHON"),
        ("spark.pyspark.driver.python", "PYSPARK_DRIVER_PYTHON"),
    ):
        if key in settings:
            os.environ[variable] = settings[key]
        else:
            os.environ.setdefault(variable, sys.executable)
    return Jvm(settings, work_dir)


class _Clock:
    def __init__(self, began: float, phases: Dict[str, int]) -> None:
        self._last = began
        self._phases = phases

    def __call__(self, phase: str) -> None:
        now = time.monotonic()
        self._phases[phase] = round((now - self._last) * 1000)
        self._last = now


def _summary(statement: int, code: str) -> str:
    """A line for the Spark UI."""
    for line in code.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return f"cell {statement}: {text[:100]}"
    return f"cell {statement}"
