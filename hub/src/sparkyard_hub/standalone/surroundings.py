"""What must be so before anything is started: folders, disk, Java, the catalog. Each problem is one sentence."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from sparkyard_catalog import Catalog, CatalogError, load
from sparkyard_hub.standalone.failure import CannotStart
from sparkyard_hub.standalone.state import Home

ENOUGH_DISK = 500 * 1024 * 1024
OLDEST_JAVA = 8
JAVA_ADVICE = "on Debian or Ubuntu: apt-get install openjdk-17-jre-headless"


def make_home(home: Home) -> None:
    """The state folder with all in it."""
    try:
        home.make()
        probe = home.path / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except PermissionError as error:
        raise CannotStart(
            f"{error.filename or home.path} cannot be written: give {_me()} that right, "
            "or name another folder in SPARKYARD_HOME."
        ) from error
    except OSError as error:
        raise CannotStart(
            f"{error.filename or home.path} cannot be written ({error.strerror}): mend that, "
            "or name another folder in SPARKYARD_HOME."
        ) from error


def check_disk(home: Home) -> None:
    """Room for notebooks, logs and Spark's shuffles."""
    free = shutil.disk_usage(home.path).free
    if free < ENOUGH_DISK:
        raise CannotStart(
            f"The disk of {home.path} has {free // 2**20} MB left and {ENOUGH_DISK // 2**20} MB are needed: "
            "free some, or name a folder on another disk in SPARKYARD_HOME."
        )


def find_java() -> Path:
    """The Java that Spark will run on."""
    named = os.environ.get("JAVA_HOME")
    if named:
        java = Path(named) / "bin" / "java"
        if not os.access(java, os.X_OK):
            raise CannotStart(f"JAVA_HOME is {named}, and there is no {java}: correct it or unset it.")
    else:
        found = shutil.which("java")
        if found is None:
            raise CannotStart(f"Spark needs Java and none is installed; {JAVA_ADVICE}.")
        java = Path(found)
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(f"{java} does not run ({error}): mend it; {JAVA_ADVICE}.") from error
    version = re.search(r'version "(?:1\.)?(\d+)', answer)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise CannotStart(f"{java} is not a Java that Spark runs on: it needs 8, 11 or 17; {JAVA_ADVICE}.")
    return java


def load_catalog(path: Path) -> Catalog:
    """The catalog, or every problem in it with its line."""
    try:
        return load(path)
    except CatalogError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise CannotStart(f"The catalog {path} has to be corrected first:\n{problems}") from error
    except OSError as error:
        raise CannotStart(
            f"The catalog {path} cannot be read ({error.strerror}): name yours with --catalog or SPARKYARD_CATALOG."
        ) from error


def _me() -> str:
    return "root" if os.geteuid() == 0 else f"user {os.environ.get('USER') or os.geteuid()}"
