"""Run a batch: become the image's own `spark-submit` for the file and the settings that the gateway granted.

Where its event log is to be carried to the gateway (`event_log`), it runs spark-submit beside that, and ends as it did.
The settings go into a private file: on the command line every user of the machine could read them. What spark-submit
is told comes as one JSON object through an inherited descriptor or in a file, as a session's bootstrap does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from typing import Any, Dict, List

from .jvm import JvmFailed, as_properties, spark_defaults, spark_home
from .notes import note

EXIT_NOT_STARTED = 127
"""As a shell says that there is no such command."""
PATIENCE_SECONDS, HURRY_SECONDS = 120.0, 15.0
"""How long the rest of an event log may wait for a gateway, when all else is over; and where it was told to end."""


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


class _Run:
    """spark-submit as a child of this process, which is the first one in its container."""

    def __init__(self, words: List[str]) -> None:
        self.told_to_end = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        self._child = os.fork()
        if self._child == 0:
            _become(words)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    def _pass_on(self, number: int, _frame: Any) -> None:
        self.told_to_end = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def code(self) -> int:
        """Wait for its end; as a shell tells it. Whatever else is left to this process is reaped on the way."""
        while True:
            found, status = os.waitpid(-1, 0)
            if found == self._child:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _become(words: List[str]) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        os.execv(words[0], words)  # noqa: S606  there is no shell to fear here
    except OSError as error:
        note(f"spark-submit could not be run: {error}")
    finally:
        os._exit(EXIT_NOT_STARTED)


def _run(words: List[str], events: Dict[str, Any]) -> int:
    """Run it, and carry its event log."""
    from .event_log import Carrier  # noqa: PLC0415  a batch on one machine needs none

    urls = [str(each) for each in events["urls"]]
    carrier = Carrier(events["folder"], lambda: urls, events["token"], events.get("ca_file", ""))
    run = _Run(words)
    carrier.start()
    code = run.code()
    # Its executors have gone with it, and what is left takes next to nothing.
    carrier.finish(HURRY_SECONDS if run.told_to_end else PATIENCE_SECONDS)
    return code


def main(arguments: List[str]) -> int:
    """Become spark-submit; return only where that is impossible, or where there is something to do beside it."""
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
        if batch.get("events"):
            return _run(words, batch["events"])
        os.execv(words[0], words)  # noqa: S606  there is no shell to fear here
    except (JvmFailed, OSError, ValueError) as error:
        note(f"spark-submit could not be run: {error}")
    return EXIT_NOT_STARTED
