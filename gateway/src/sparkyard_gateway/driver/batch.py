"""Run a batch: become the image's own `spark-submit` for the file and the settings that the gateway granted.

The settings go into a private file: on the command line every user of the machine could read them. What spark-submit
is told comes as one JSON object through an inherited descriptor or in a file, as a session's bootstrap does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Dict, List

from .jvm import JvmFailed, as_properties, spark_defaults, spark_home
from .notes import note

EXIT_NOT_STARTED = 127
"""As a shell says that there is no such command."""


def command(batch: Dict[str, Any], home: str, properties: str) -> List[str]:
    """The command line of spark-submit. The file is an address with its scheme, so that it is taken for no option."""
    class_name = batch.get("class_name")
    return [
        os.path.join(home, "bin", "spark-submit"),
        "--properties-file", properties,
        *(["--class", class_name] if class_name else []),
        batch["file"],
        *batch.get("args", []),
    ]  # fmt: skip


def write_properties(batch: Dict[str, Any], home: str) -> str:
    """The file with the image's own settings and, over them, the batch's."""
    path = os.path.join(batch["work_dir"], "spark.properties")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(spark_defaults(home) + "\n" + as_properties(batch["conf"]))
    return path


def main(arguments: List[str]) -> int:
    """Become spark-submit; return only where that is impossible."""
    parser = argparse.ArgumentParser(prog="sparkyard-driver batch", allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bootstrap-fd", type=int)
    source.add_argument("--bootstrap-file")
    told = parser.parse_args(arguments)
    with open(told.bootstrap_file if told.bootstrap_fd is None else told.bootstrap_fd, "rb") as stream:
        batch = json.loads(stream.read().decode("utf-8"))
    try:
        home = spark_home()
        words = command(batch, home, write_properties(batch, home))
        sys.stdout.flush()
        os.execv(words[0], words)  # noqa: S606  there is no shell to fear here
    except (JvmFailed, OSError, ValueError) as error:
        note(f"spark-submit could not be run: {error}")
    return EXIT_NOT_STARTED
