"""The door by which the R package SparkR gets into Spark's JVM: Spark's own RBackend, opened through Py4J.

SparkR usually starts a JVM, which opens such a door and lets R in by its port and a secret. Here the JVM is there, and
the door is opened in it; so R joins the context and the session that Python, SQL and Scala have.
"""

from __future__ import annotations

import contextlib
from typing import Any


class Backend:
    """An open door. The secret is R's alone."""

    def __init__(self, session: Any) -> None:
        """Open one, on the loopback address, beside a SparkSession. Raises what Py4J raises."""
        self._java = session.sparkContext._jvm  # noqa: SLF001  pyspark has no public word for it
        # SparkR asks for the session that is there, from a thread that inherits this one's.
        self._java.org.apache.spark.sql.SparkSession.setActiveSession(session._jsparkSession)  # noqa: SLF001  likewise
        self._backend = self._java.org.apache.spark.api.r.RBackend()
        opened = self._backend.init()
        self.port = int(opened._1())  # noqa: SLF001  Scala's word for the first of a pair
        self.secret = str(opened._2().secret())  # noqa: SLF001  likewise

    def answers(self) -> bool:
        """Whether the JVM is still there."""
        try:
            self._java.java.lang.System.nanoTime()
        except Exception:  # noqa: BLE001  whatever Py4J says of it
            return False
        return True

    def close(self) -> None:
        """Nobody gets in any more."""
        with contextlib.suppress(Exception):  # the JVM may be gone
            self._backend.close()
