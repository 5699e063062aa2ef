"""The driver's wiring: read the bootstrap, start Spark and the link side by side, run statements until told to stop."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, Dict, List, Optional

from . import class_archive
from . import spark as spark_module
from .bootstrap import Bootstrap, BootstrapError, ClaimRefused, read_descriptor, read_file
from .completion import Completer, Completion
from .interrupts import Interrupts
from .journal import Journal, Message
from .jvm import spark_home
from .link import Link
from .notes import note
from .progress import Progress
from .python_completion import PythonCompleter
from .python_interpreter import PythonInterpreter
from .r_backend import Backend
from .r_completion import RCompleter
from .r_interpreter import RInterpreter
from .scala_completion import ScalaCompleter
from .scala_interpreter import ScalaInterpreter
from .scala_repl import LazyRepl, settings_for_scala
from .spill import TEXT, Piece, Spill
from .sql_completion import SqlCompleter
from .sql_interpreter import SqlInterpreter
from .statements import Interpreter, JobsAndMore, Statements
from .streams import Streams
from .tracebacks import describe

EXIT_OK, EXIT_USAGE, EXIT_NO_SPARK, EXIT_SPARK_LOST, EXIT_ORPHANED, EXIT_TERMINATED = 0, 64, 70, 71, 72, 143
EXIT_REFUSED = 77


class Driver:
    """One session's driver. `run` is called on the main thread and returns the exit code."""

    def __init__(self, bootstrap: Bootstrap, began: float) -> None:
        self._bootstrap = bootstrap
        self._began = began
        self._exit_code = EXIT_OK
        self._reason = ""
        self._owner = ""
        self._ending = threading.Event()
        self._end_lock = threading.Lock()
        self._spark: Optional[spark_module.Spark] = None
        os.makedirs(bootstrap.work_dir, mode=0o700, exist_ok=True)
        self._journal = Journal(os.path.join(bootstrap.work_dir, "journal.jsonl"))
        self._interrupts = Interrupts()
        self._link = Link(bootstrap, self._journal, self._on_message, self._on_orphaned)
        self._spill = Spill(os.path.join(bootstrap.work_dir, "outputs"), bootstrap.spill_limit)
        self._streams = Streams(self._interrupts, bootstrap.output_limit, self._send_stream, self._spill)
        self._statements = Statements(
            self._journal, self._link.send_durable, self._link.send_again, self._interrupts, self._streams,
            bootstrap.message_limit, self._spill,
        )  # fmt: skip
        self._python = PythonInterpreter(self._streams)
        self._completion = Completion({}, self._link.send)  # nothing to complete before Spark is there
        self._carrier = self._make_carrier()

    def run(self) -> int:
        """Live a session."""
        self._interrupts.install()  # a SIGINT must not end the start either
        self._link.start()
        self._catch_termination()
        # A child that is told to end before it has shed our handlers would tell it to us, by the descriptor it shares.
        os.register_at_fork(before=_hold_sigterm, after_in_parent=_let_sigterm, after_in_child=self._in_child)
        if not self._start_spark():
            self._finish()
            return self._exit_code
        spark = self._spark
        assert spark is not None
        self._interrupts.install()
        self._python.names.update(spark.names())
        self._python.take_over_main()
        sys.path.insert(0, "")
        os.environ["MPLBACKEND"] = "Agg"  # there is no screen, and figures are shown by the interpreter
        self._wire(spark)
        if self._carrier is not None:
            self._carrier.start()
        message = spark.ready_message()
        if self._link.connected_at is not None:
            message["startup_ms"]["link"] = round((self._link.connected_at - self._began) * 1000)
        self._link.send_durable(message)
        if self._bootstrap.kind == "spark":
            self._warm()
        threading.Thread(target=spark.jvm.watch, args=(self._on_jvm_death,), name="sparkyard-jvm", daemon=True).start()
        self._statements.run(self._interpreters, self._jobs)
        self._finish()
        return self._exit_code

    def _make_carrier(self) -> Any:
        bootstrap = self._bootstrap
        if not bootstrap.events_dir:
            return None
        from .event_log import Carrier  # noqa: PLC0415  a session on one machine needs none

        link = self._link
        return Carrier(
            bootstrap.events_dir, lambda: link.addresses, bootstrap.token, bootstrap.ca_file, int(bootstrap.epoch)
        )

    def _wire(self, spark: spark_module.Spark) -> None:
        bootstrap, python = self._bootstrap, self._python

        def session() -> Any:
            return spark.current_session(python.names)

        sql = SqlInterpreter(session, bootstrap.sql_rows, bootstrap.message_limit)
        repl = LazyRepl(session)
        scala = ScalaInterpreter(repl, self._streams, self._interrupts, self._statements.await_doom)
        r = RInterpreter(
            spark_home(), lambda: Backend(session()), self._streams, self._interrupts, self._statements.await_doom
        )
        self._warm = repl.warm
        self._jobs = JobsAndMore(spark, scala.interrupt)
        self._interpreters: Dict[str, Interpreter] = {
            "pyspark": python, "python": python, "sql": sql, "spark": scala, "sparkr": r,
        }  # fmt: skip
        self._statements.on_begin = Progress(spark, lambda: self._statements.running, self._link.send).begin
        complete_sql = SqlCompleter(session)
        complete_python = PythonCompleter(python.names, complete_sql)
        completers: Dict[str, Completer] = {
            "pyspark": complete_python, "python": complete_python, "sql": complete_sql,
            "spark": ScalaCompleter(repl, scala.busy), "sparkr": RCompleter(r.complete),
        }  # fmt: skip
        self._completion = Completion(completers, self._link.send)

    def _start_spark(self) -> bool:
        bootstrap = self._bootstrap
        try:
            conf = class_archive.using(bootstrap.conf, bootstrap.class_archive)
            conf.update(settings_for_scala(spark_home(), bootstrap.work_dir))
            self._spark = spark_module.start(conf, bootstrap.app_name, bootstrap.work_dir, self._began)
        except Exception as error:  # noqa: BLE001  whatever it is, the session's owner must read it
            reason = str(error)
            told = describe(type(error), error, error.__traceback__, -1)
            note(f"{reason}\n{getattr(error, 'full', '') or told['trace']['full']}")
            told.pop("trace")
            self._link.send_durable({"t": "failed", "reason": reason, **told})
            self._exit_code = EXIT_NO_SPARK
            self._wait_for_link()
            return False
        return True

    def _wait_for_link(self) -> None:
        """Give the link a moment to deliver why there is no session."""
        until = time.monotonic() + 2 * self._bootstrap.stop_seconds
        while self._link.connected_at is None and time.monotonic() < until:
            time.sleep(0.05)

    def _on_message(self, message: Message) -> None:
        kind = message["t"]
        if kind == "execute":
            self._statements.submit(
                int(message["statement"]), str(message["code"]), str(message.get("kind", "pyspark"))
            )
        elif kind == "cancel":
            self._statements.cancel(int(message["statement"]))
        elif kind == "complete":
            self._completion.request(message)
        elif kind == "taken":
            self._taken(str(message["owner"]), str(message.get("kind", "")))
        elif kind == "fetch":
            self._fetch(message)
        elif kind == "shutdown":
            self._end(EXIT_OK, "the gateway asked this driver to end")
        else:
            note(f"the gateway sent a message of a kind this driver does not know: {kind}")

    def _fetch(self, message: Message) -> None:
        mime, start, size = str(message.get("type", TEXT)), int(message["from"]), int(message["size"])
        piece = self._spill.piece(int(message["statement"]), mime, start, size) or Piece(0, 0, 0, "")
        self._link.send(
            {
                "t": "piece", "request": message["request"], "found": piece.total > 0, "from": piece.start,
                "next": piece.end, "total": piece.total, "text": piece.text,
            }
        )  # fmt: skip

    def _taken(self, owner: str, kind: str) -> None:
        """This driver was warm, and is somebody's from now on. Said again on each line."""
        for variable in ("USER", "LOGNAME", "SPARK_USER", "HADOOP_USER_NAME"):
            os.environ[variable] = owner
        if self._spark is not None and owner != self._owner:
            self._owner = owner
            self._spark.act_for(owner)
        if kind == "spark":
            self._warm()

    def _send_stream(self, statement: int, offset: int, text: str) -> bool:
        return self._link.send({"t": "stream", "statement": statement, "offset": offset, "text": text})

    def _on_orphaned(self) -> None:
        self._end(EXIT_ORPHANED, "no gateway wanted this driver")

    def _on_jvm_death(self, how: str) -> None:
        if self._ending.is_set():
            return
        reason = f"Spark's JVM {how}"
        self._end(EXIT_SPARK_LOST, reason)

    def _end(self, code: int, reason: str) -> None:
        """From any thread, once: stop what runs, and make sure that the process is gone in time."""
        with self._end_lock:
            if self._ending.is_set():
                return
            self._ending.set()
        note(f"ending: {reason}")
        self._exit_code = code
        threading.Thread(target=self._end_for_certain, name="sparkyard-end", daemon=True).start()
        self._reason = reason
        # Called by SIGTERM this runs on the main thread, inside the very cell that the next lines interrupt: whatever
        # must happen has happened before them.
        self._statements.stop()
        running = self._statements.running
        if code == EXIT_SPARK_LOST:
            self._statements.doom(reason)
        elif code != EXIT_OK:
            self._statements.abandon()
        elif running is not None:
            self._statements.cancel(running)

    def _end_for_certain(self) -> None:
        time.sleep(2 * self._bootstrap.stop_seconds + 2)
        note("the driver did not end in time and is cut off; where it was:")
        with contextlib.suppress(OSError, ValueError):
            faulthandler.dump_traceback(file=2)
        self._tell_lost()
        if self._spark is not None:
            self._spark.jvm.kill_now()
        os._exit(self._exit_code or EXIT_TERMINATED)

    def _finish(self) -> None:
        self._ending.set()
        self._tell_lost()
        if self._spark is not None:
            self._spark.stop(self._bootstrap.stop_seconds)
        if self._carrier is not None:
            self._carrier.finish(self._bootstrap.stop_seconds)
        self._link.close(self._bootstrap.stop_seconds)

    def _tell_lost(self) -> None:
        if self._exit_code == EXIT_SPARK_LOST:
            lost = {"ename": "SparkLost", "evalue": self._reason, "traceback": []}
            self._link.send_durable({"t": "failed", "reason": self._reason, **lost})

    def _catch_termination(self) -> None:
        # A handler in Python would wait for the main thread, which may be deep in C: the wake-up byte does not.
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        self._wakeup = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: terminate())

        def terminate() -> None:
            self._end(EXIT_TERMINATED, "the driver was told to end (SIGTERM)")

        def watch() -> None:
            with contextlib.suppress(OSError):  # a cell closed every descriptor: the handler is left
                while True:
                    if signal.SIGTERM in reader.recv(64):
                        terminate()

        threading.Thread(target=watch, name="sparkyard-signals", daemon=True).start()

    def _in_child(self) -> None:
        self._streams.in_child()
        self._link.abandon_in_child()
        if self._spark is not None:
            self._spark.jvm.in_child()
        with contextlib.suppress(ValueError):  # not on a main thread
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _let_sigterm()


def _hold_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def main(arguments: List[str]) -> int:
    """The command line: where the bootstrap comes from, and nothing else, as others can read it."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="sparkyard-driver", description="Run one Sparkyard session.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--bootstrap-fd", type=int, metavar="N", help="an inherited descriptor to read the bootstrap from"
    )
    source.add_argument(
        "--bootstrap-file", metavar="PATH", help="a private file with the bootstrap; deleted after reading"
    )
    source.add_argument(
        "--claim-url",
        metavar="URL",
        action="append",
        help="where to claim the bootstrap, once, from far away; needs --claim; each of several gateways has one",
    )
    source.add_argument("--make-class-archive", metavar="PATH", help="run no session, but make its starts quicker")
    parser.add_argument("--claim", metavar="CODE", default="", help="the code that works once, for --claim-url")
    parser.add_argument("--ca-file", metavar="PATH", default="", help="whom to trust at --claim-url and after it")
    options: Any = parser.parse_args(arguments)
    if options.make_class_archive is not None:
        return EXIT_OK if class_archive.make(os.path.abspath(options.make_class_archive)) else EXIT_NO_SPARK
    try:
        if options.claim_url is not None:
            return _run_claimed(options.claim_url, options.claim, options.ca_file, began)
        bootstrap = (
            read_descriptor(options.bootstrap_fd)
            if options.bootstrap_file is None
            else read_file(options.bootstrap_file)
        )
    except ClaimRefused as error:
        note(f"cannot start: {error}")
        return EXIT_REFUSED
    except BootstrapError as error:
        note(f"cannot start: {error}")
        return EXIT_USAGE
    return _run(bootstrap, began)


def _run_claimed(urls: List[str], code: str, ca_file: str, began: float) -> int:
    from .claim import redeem, work_folder  # noqa: PLC0415  40 ms that a driver beside its gateway need not pay

    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise BootstrapError(f"--claim-url must begin with https:// or http://, not {url}")
    with work_folder() as folder:
        return _run(redeem(urls, code, os.path.abspath(ca_file) if ca_file else "", folder), began)


def _run(bootstrap: Bootstrap, began: float) -> int:
    faulthandler.enable(file=2, all_threads=False)
    sys.argv[:] = [""]
    return Driver(bootstrap, began).run()
