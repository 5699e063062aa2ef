"""A JAVA_HOME whose java compiles little and collects on one thread.

Most of what a Spark of a few seconds burns is the JVM's second compiler, which pays off after minutes, and collector
threads that have nothing to collect. Without them a session's start and first jobs take half the processor time. What
Java does is the same.
"""

import os
import shutil
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv" / "quick-java"
FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


_CONF = "conf: {"


def in_pods(catalog: str) -> str:
    """A catalog whose profiles' drivers and executors have these flags: an image's Java is the image's."""
    assert _CONF in catalog
    options = ", ".join(f'spark.{part}.extraJavaOptions: "{FLAGS}"' for part in ("driver", "executor"))
    return catalog.replace(_CONF, f"{_CONF}{options}, ")


def use() -> None:
    """Have whatever the tests start run on it, unless somebody has chosen a Java, or there is none."""
    java = shutil.which("java")
    if "JAVA_HOME" in os.environ or java is None or not FOLDER.parent.is_dir():
        return
    command = f'#!/bin/sh\nexec "{Path(java).resolve()}" {FLAGS} "$@"\n'
    ours = FOLDER / "bin" / "java"
    if not ours.exists() or ours.read_text() != command:
        # Others may be about to run it, users of other names among them.
        ours.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = ours.with_name(f"java-{os.getpid()}")
        unfinished.write_text(command)
        unfinished.chmod(0o755)
        unfinished.replace(ours)
    os.environ["JAVA_HOME"] = str(FOLDER)
