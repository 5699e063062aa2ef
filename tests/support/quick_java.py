"""A JAVA_HOME whose java compiles little, collects on one thread, and finds Spark's classes read already.

Most of what a Spark of a few seconds burns is the JVM's second compiler, which pays off after minutes, and reading
classes. Without these a session's start and first jobs take a third of the processor time. What Java does is the same.

`python -m support.quick_java` makes the archive of classes, with the command that makes it for images; without it, or
where it does not fit, Java goes on without.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv" / "quick-java"
ARCHIVE = FOLDER / "spark.jsa"
DRIVER = ROOT / "gateway" / "src" / "sparkyard_gateway" / "driver"
FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# The archive is for this very class path, and not for who makes or names another.
COMMAND = """\
#!/bin/sh
case "$*" in
  *launcher.Main* | *SharedArchiveFile* | *ArchiveClassesAtExit*) ;;
  "-cp {spark}/"*) [ ! -e "{archive}" ] || set -- "-Xlog:cds*=off" "-XX:SharedArchiveFile={archive}" "$@" ;;
esac
exec "{java}" {flags} "$@"
"""
_CONF = "conf: {"


def in_pods(catalog: str) -> str:
    """A catalog whose profiles' drivers and executors have these flags: an image's Java is the image's."""
    assert _CONF in catalog
    options = ", ".join(f'spark.{part}.extraJavaOptions: "{FLAGS}"' for part in ("driver", "executor"))
    return catalog.replace(_CONF, f"{_CONF}{options}, ")


def use() -> None:
    """Have whatever is started from here run on it, unless somebody has chosen a Java, or there is none."""
    java, spark = shutil.which("java"), find_spec("pyspark")
    if "JAVA_HOME" in os.environ or java is None or spark is None or not FOLDER.parent.is_dir():
        return
    home = next(iter(spark.submodule_search_locations or []))
    command = COMMAND.format(spark=home, archive=ARCHIVE, java=Path(java).resolve(), flags=FLAGS)
    ours = FOLDER / "bin" / "java"
    if not ours.exists() or ours.read_text() != command:
        # Others may be about to run it, users of other names among them.
        ours.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = ours.with_name(f"java-{os.getpid()}")
        unfinished.write_text(command)
        unfinished.chmod(0o755)
        unfinished.replace(ours)
    os.environ["JAVA_HOME"] = str(FOLDER)


if __name__ == "__main__":
    use()
    ARCHIVE.unlink(missing_ok=True)
    subprocess.run([sys.executable, str(DRIVER), "--make-class-archive", str(ARCHIVE)], check=False)
