"""R cells: in a real R, most without a Spark; the last tests with the whole driver program and Spark."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sparkyard_gateway.driver import r_interpreter
from sparkyard_gateway.driver.interrupts import Interrupts
from sparkyard_gateway.driver.r_backend import Backend
from sparkyard_gateway.driver.r_completion import RCompleter
from sparkyard_gateway.driver.r_errors import describe
from sparkyard_gateway.driver.r_interpreter import RInterpreter
from sparkyard_gateway.driver.r_process import environment, find_r
from sparkyard_gateway.driver.statements import put_together
from sparkyard_gateway.driver.streams import Streams
from support.driver_cells import give_back_sigint
from support.driver_peer import DriverPeer, DriverProcess

R = find_r()
needs_r = pytest.mark.skipif(R is None, reason="needs R: `make setup-test` installs Debian's r-base-core")
PATIENCE = 240.0
ANSWERS = "file(paste0('/dev/fd/', commandArgs(TRUE)[2]), 'wb', raw = TRUE)"  # where R's half answers the driver
NOTICE = "[Spark is not available in R: this session's image has R "


def no_spark() -> NoReturn:
    raise AssertionError("no SparkR here, and so nothing to open")


class RCells:
    """Runs R cells on this process's main thread, as the driver does."""

    def __init__(self, home: str) -> None:
        self.interrupts = Interrupts()
        self.sent: list[str] = []
        self.streams = Streams(self.interrupts, 20_000, self._take)
        self.interpreter = RInterpreter(home, no_spark, self.streams, self.interrupts, lambda _seconds: None)
        self.complete = RCompleter(self.interpreter.complete)
        self.number = 0

    def run(self, code: str) -> dict[str, Any]:
        self.number += 1
        output = self.streams.begin(self.number)
        reply = self.interpreter.execute(code, output)
        self.streams.end(output)
        put_together(reply, output, 10_000_000)
        return reply.as_output(self.number)

    def text(self, code: str) -> str:
        output = self.run(code)
        assert output["status"] == "ok", output
        return str(output["data"].get("text/plain", ""))

    def cancel(self, code: str) -> None:
        """Run it, cancel it once it has said so, and come back when it has stopped."""
        self.sent.clear()
        number = self.number + 1
        over = threading.Event()

        def press() -> None:
            while "begun" not in "".join(self.sent) and not over.is_set():
                time.sleep(0.01)
            self.interrupts.cancel(number, over.is_set, lambda: None)

        self.interrupts.install()
        self.interrupts.begin(number)
        threading.Thread(target=press, daemon=True).start()
        try:
            with pytest.raises(KeyboardInterrupt):
                self.run(f"cat('begun\\n'); {code}")
        finally:
            over.set()
            self.interrupts.end()

    def _take(self, _statement: int, _offset: int, text: str) -> bool:
        self.sent.append(text)
        return True


@pytest.fixture(scope="module")
def r(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RCells]:
    """One R for all tests that ask for it; each leaves it usable."""
    kept = sys.stdout, sys.stderr, sys.stdin, signal.getsignal(signal.SIGINT)
    cells = RCells(str(tmp_path_factory.mktemp("spark")))
    cells.run("1")
    yield cells
    cells.run("quit()")
    sys.stdout, sys.stderr, sys.stdin = kept[:3]
    give_back_sigint(kept[3])


@needs_r
def test_spark_is_missed_once_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R_LIBS", raising=False)
    cells = RCells(str(tmp_path))
    first = cells.text("1 + 1")
    assert first.startswith(f"[1] 2\n{NOTICE}")
    assert f"{tmp_path}/R/lib" in first
    assert cells.text("1 + 1") == "[1] 2"
    cells.run("quit()")


@needs_r
@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("x <- 5\nx\nx * 2", "[1] 5\n[1] 10"),
        ("invisible(7)", ""),
        ("f <- function(n) n + 1; f(1)", "[1] 2"),
        ("# nothing but a comment", ""),
        ("cat('äö€\\n')", "äö€"),
        ("nchar('äö€')", "[1] 3"),
        ("data.frame(a = 1:2, b = c('x', 'y'))", "  a b\n1 1 x\n2 2 y"),
        ("setClass('P', representation(a = 'numeric')); new('P', a = 1)", 'An object of class "P"\nSlot "a":\n[1] 1'),
        ("cat('out\\n'); message('err')", "out\nerr"),
        ("warning('oh'); 1", "[1] 1\nWarning message:\noh"),
        ("g <- function() { warning('deep'); 2 }; g()", "[1] 2\nWarning message:\nIn g() : deep"),
        ("suppressWarnings(as.integer('x'))", "[1] NA"),
        ("for (i in 1:2) warning(i)", "Warning messages:\n1: 1\n2: 2"),
        ("tryCatch(stop('x'), error = function(e) 'caught')", '[1] "caught"'),
        ("system('echo of a child')", "of a child"),
        ("unlist(parallel::mclapply(1:3, function(i) i * 2))", "[1] 2 4 6"),
        ("rm(list = ls()); ls()", "character(0)"),
        ("sink(tempfile()); cat('hidden'); sink(); cat('shown')", "shown"),
        ("invokeRestart('abort')", ""),
        ("closeAllConnections(); 'still here'", '[1] "still here"'),
        ("readline('? '); readLines(stdin())", '? \n[1] ""\ncharacter(0)'),
    ],
)
def test_a_cell_is_answered_as_at_rs_own_prompt(r: RCells, code: str, shown: str) -> None:
    assert r.text(code) == shown
    assert r.text("1") == "[1] 1"


@needs_r
def test_an_error_names_its_call_and_its_line(r: RCells) -> None:
    r.run("deep <- function(n) {\n  m <- 3\n  if (n > m) stop('too deep: ', n)\n  n\n}")
    defined = r.number
    output = r.run("a <- 1\nprint(a)\n\ndeep(9)\nprint('never')")
    assert output["ename"] == "Error"
    assert output["evalue"] == "Error in deep(9) : too deep: 9"
    assert output["traceback"] == [
        f'2: stop("too deep: ", n) at <cell {defined}>#3\n',
        f"1: deep(9) at <cell {r.number}>#4\n",
    ]
    assert output["trace"]["line"] == 4
    assert [(frame["file"], frame["line"], frame["name"]) for frame in output["trace"]["frames"]] == [
        (f"<cell {r.number}>", 4, "<cell>"),
        (f"<cell {defined}>", 3, "deep"),
    ]
    assert output["data"] == {"text/plain": "[1] 1"}


@needs_r
@pytest.mark.parametrize(
    ("code", "evalue", "line"),
    [
        ("stop('plain')", "Error: plain", 1),
        ("\nlog('a')", 'Error in log("a") : non-numeric argument to mathematical function', 2),
        ("f <- function() {\n  x <- 1\n  log('a')\n}\n\nf()", 'Error in log("a") : non-numeric argument', 6),
        ("f <- function() {\n  x <- 1\n  stop('in')\n}\n\nf()", "Error in f() : in", 3),
        (
            "stop(structure(class = c('own', 'error', 'condition'), list(message = 'mine', call = NULL)))",
            "Error: mine",
            1,
        ),
        ("options(warn = 2); f <- function() warning('w')\nf()", "Error in f() : (converted from warning) w", 1),
        ("options(warn = 0); f <- function(n) f(n + 1); f(1)", "Error: ", 1),
        ("nosuch", "Error: object 'nosuch' not found", 1),
    ],
)
def test_errors_of_every_make(r: RCells, code: str, evalue: str, line: int) -> None:
    output = r.run(code)
    assert output["evalue"].startswith(evalue)
    assert output["trace"]["line"] == line
    assert output["trace"]["full"].startswith(output["evalue"])
    assert r.text("1") == "[1] 1"


@needs_r
@pytest.mark.parametrize(("code", "line"), [("print('never')\n1 +", 3), ("print('never')\nx <- )", 2)])
def test_nothing_of_a_cell_runs_that_cannot_be_parsed(r: RCells, code: str, line: int) -> None:
    output = r.run(code)
    assert output["evalue"].startswith(f"Error: <cell {r.number}>:{line}:")
    assert output["trace"]["line"] == line
    assert "data" not in output


@needs_r
def test_plots_are_pictures(r: RCells) -> None:
    output = r.run("plot(1:10); cat('drawn')")
    assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
    assert output["data"]["text/plain"] == "drawn"
    several = r.run("plot(1:3)\nhist(c(1, 2, 2))")["data"]["text/html"]
    assert several.count("data:image/png;base64,") == 2
    many = r.run("for (i in 1:43) plot.new()")["data"]
    assert "3 more pictures are left out" in many["text/plain"]
    mine = r.run("path <- tempfile(fileext = '.png'); png(path); plot(1); invisible(dev.off()); file.exists(path)")
    assert mine["data"] == {"text/plain": "[1] TRUE"}  # a device of the cell's own is its own affair


@needs_r
@pytest.mark.parametrize(
    ("code", "found", "kind"),
    [
        ("frame <- 1\nframe$al", "frame$alpha", "instance"),
        ("read.c", "read.csv", "function"),
        ("stats::rno", "stats::rnorm", "instance"),
        ("sapply(1:3, simpl", "simplify=", "param"),
    ],
)
def test_r_completes_what_it_knows(r: RCells, code: str, found: str, kind: str) -> None:
    r.run("frame <- data.frame(alpha = 1, beta = 2)")
    answer = r.complete(code, len(code))
    assert (found, kind) in [(match.text, match.kind) for match in answer.matches]
    assert found.startswith(code[answer.start : answer.end])


@needs_r
def test_a_completion_that_never_ends_is_ended(r: RCells) -> None:
    r.run("makeActiveBinding('trap', function() repeat NULL, globalenv())")
    assert r.complete("trap$x", 6).matches == []
    assert r.text("rm(trap); 1") == "[1] 1"


def test_before_the_first_statement_no_r_is_there_to_complete(tmp_path: Path) -> None:
    cells = RCells(str(tmp_path))
    assert cells.complete("me", 2).matches == []
    assert cells.interpreter._r is None


@needs_r
@pytest.mark.parametrize(
    "code",
    [
        "while (TRUE) {}",
        "Sys.sleep(1000)",
        "system('sleep 1000')",
        "for (i in 1:1e9) tryCatch(Sys.sleep(1000), error = function(e) NULL)",
        "options(warn = 0); repeat { cat('x'); f <- try(log(1)) }",
    ],
)
def test_a_cancel_stops_r_and_leaves_it_usable(r: RCells, code: str) -> None:
    r.run("kept <- 41")
    r.cancel(code)
    assert r.text("kept + 1") == "[1] 42"


@needs_r
def test_code_that_heeds_no_interrupt_is_named_as_such(r: RCells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r_interpreter, "_REFUSES_SECONDS", 1.0)

    def kill_once_told() -> None:
        until(lambda: "This R code does not stop" in "".join(r.sent))
        assert r.interpreter._r is not None
        r.interpreter._r.process.kill()

    killing = threading.Thread(target=kill_once_told, daemon=True)
    killing.start()
    r.cancel("suspendInterrupts(repeat NULL)")
    killing.join()
    assert r.text("1").startswith("[1] 1")


@needs_r
@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("quit()", "R ended with code 0"),
        ("quit(status = 3)", "R ended with code 3"),
        ("tools::pskill(Sys.getpid(), tools::SIGKILL); Sys.sleep(60)", "R was killed by SIGKILL"),
        (f"con <- {ANSWERS}; writeBin(rep(as.raw(127), 64), con); close(con)", "R sent a message of"),
        (f"con <- {ANSWERS}; writeBin(raw(4), con); close(con)", "R sent an empty"),
    ],
)
def test_an_r_that_is_lost_says_how_and_the_next_one_comes(r: RCells, code: str, how: str) -> None:
    folder = Path(r.text("cat(tempdir())").splitlines()[0])
    output = r.run(f"kept <- 1; {code}")
    assert output["ename"] == "RLost"
    assert not folder.exists()
    assert output["evalue"].startswith(how)
    assert r.text("exists('kept')").startswith("[1] FALSE")


@needs_r
def test_what_is_printed_without_end_is_bounded_and_streamed(r: RCells) -> None:
    r.sent.clear()
    output = r.run("for (i in 1:20000) cat('line', i, '\\n')")
    assert len(output["data"]["text/plain"]) < 25_000
    assert "characters left out" in output["data"]["text/plain"]
    assert "".join(r.sent).startswith("line 1 \nline 2 \n")


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        ({}, {"LC_CTYPE": "C.UTF-8"}),
        ({"LANG": "de_DE.UTF-8"}, {"LANG": "de_DE.UTF-8"}),
        ({"LANG": "C.utf8"}, {"LANG": "C.utf8"}),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, {"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}),
        ({"PYSPARK_GATEWAY_SECRET": "s", "PYSPARK_GATEWAY_PORT": "1"}, {"LC_CTYPE": "C.UTF-8"}),
        ({"SPARKR_BACKEND_AUTH_SECRET": "s", "LANG": "C.utf8"}, {"LANG": "C.utf8"}),
    ],
)
def test_r_finds_no_way_into_the_jvm_in_its_environment(ours: dict[str, str], told: dict[str, str]) -> None:
    assert environment(ours, "/opt/spark") == {**told, "SPARK_HOME": "/opt/spark"}


def test_an_image_without_r_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("R_HOME", raising=False)
    output = RCells(str(tmp_path)).run("1 + 1")
    assert output["ename"] == "InterpreterError"
    assert "has no R" in output["evalue"]
    assert "r-base-core" in output["evalue"]


def test_an_r_that_cannot_start_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / "R"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 9\n")
    command.chmod(0o755)
    monkeypatch.setenv("R_HOME", str(tmp_path))
    output = RCells(str(tmp_path)).run("1 + 1")
    assert output["evalue"] == "R ended with code 9. What it held is gone; the next statement starts a new R"


def test_the_stack_of_java_in_sparkrs_message_is_told_aside() -> None:
    message = (
        "Error in handleErrors(status, con) : \n  org.apache.spark.SparkException: Job aborted: x\n"
        "\tat org.Some.thing(Some.java:1)\nCaused by: java.lang.ArithmeticException: / by zero\n\tat a.b(c:1)"
    )
    told = describe([message.encode(), b"4"], 3)
    assert told["evalue"] == "Error in handleErrors(status, con) : \n  org.apache.spark.SparkException: Job aborted: x"
    assert told["trace"]["root"] == "java.lang.ArithmeticException: / by zero"
    assert told["trace"]["full"].startswith(
        "Root cause: java.lang.ArithmeticException: / by zero\n\nError in handleErrors"
    )
    assert told["trace"]["line"] == 4


@needs_r
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_r_runs_in_a_shared_session_within_the_driver_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    peer = DriverPeer()
    driver = DriverProcess(peer, tmp_path, kind="shared")
    try:
        peer.wait_for(lambda m: m["t"] == "ready", PATIENCE)
        assert "R" not in processes_of(driver.process.pid).values()  # none before it is asked for
        assert peer.text("x <- 40; x + 2", "sparkr").startswith("[1] 42")
        assert peer.text("1 + 1", "pyspark") == "2"
        found = peer.complete("read.cs", kind="sparkr")
        assert "read.csv" in found["candidates"]
        children = processes_of(driver.process.pid)
        r = next(pid for pid, name in children.items() if name == "R")
        limits = Path(f"/proc/{r}/limits").read_text()
        assert limits == Path(f"/proc/{driver.process.pid}/limits").read_text()
        held = Path(f"/proc/{r}/environ").read_text() + Path(f"/proc/{r}/cmdline").read_text()
        assert not re.search("SECRET|TOKEN", held.replace("\0", "\n"))

        number = peer.execute("cat('begun\n'); while (TRUE) {}", "sparkr")
        peer.wait_for(lambda m: m["t"] == "stream" and m["statement"] == number, PATIENCE)
        peer.send({"t": "cancel", "statement": number})
        assert peer.done(number, PATIENCE)["status"] == "cancelled"
        assert peer.text("x", "sparkr") == "[1] 40"

        number = peer.execute("cat('begun\n'); while (TRUE) {}", "sparkr")
        peer.wait_for(lambda m: m["t"] == "stream" and m["statement"] == number, PATIENCE)
        driver.process.kill()
        until(lambda: not Path(f"/proc/{r}").exists() or "Z" in Path(f"/proc/{r}/stat").read_text().split()[2])
    finally:
        driver.end()
        peer.close()


@needs_r
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_sparkr_joins_the_session_of_the_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if not has_sparkr():
        pytest.skip(
            "needs the R package SparkR, which no package registry has: install that of a Spark distribution, and name "
            "its library in R_LIBS"
        )
    peer = DriverPeer()
    driver = DriverProcess(peer, tmp_path, kind="sparkr")
    try:
        peer.wait_for(lambda m: m["t"] == "ready", PATIENCE)
        peer.run("spark.range(3).createOrReplaceTempView('of_python')", "pyspark", PATIENCE)
        rows = peer.run("collect(sql('select sum(id) as total from of_python'))", "sparkr", PATIENCE)["output"]
        assert "total\n1     3" in rows["data"]["text/plain"]
        assert NOTICE not in rows["data"]["text/plain"]
        peer.run("createOrReplaceTempView(sql('select id * 2 as twice from of_python'), 'of_r')", "sparkr", PATIENCE)
        assert peer.text("sorted(row.twice for row in spark.table('of_r').collect())") == "[0, 2, 4]"
        application = peer.text("sc.applicationId").strip("'")
        assert application in peer.text(
            "SparkR:::callJMethod(SparkR:::callJMethod(sc, 'sc'), 'applicationId')", "sparkr"
        )
        # The secret is in no environment: neither R's nor that of what R starts.
        assert peer.text(
            "Sys.getenv('SPARKR_BACKEND_AUTH_SECRET'); system('env | grep -c SPARKR_BACKEND')", "sparkr"
        ) == ('[1] ""\n0')
        output = peer.run("\nsql('select nosuch from of_r')", "sparkr", PATIENCE)["output"]
        assert "UNRESOLVED_COLUMN" in output["evalue"]
        assert "\tat " not in output["evalue"]
        assert output["trace"]["line"] == 2

        peer.run("import time; spark.udf.register('slow', lambda x: time.sleep(600) or x)", "pyspark", PATIENCE)
        number = peer.execute("cat('begun\n'); collect(sql('select slow(id) from of_python'))", "sparkr")
        peer.wait_for(lambda m: m["t"] == "progress" and m["statement"] == number, PATIENCE)
        peer.send({"t": "cancel", "statement": number})
        assert peer.done(number, PATIENCE)["status"] == "cancelled"
        number = peer.execute("cat('begun\n'); repeat SparkR:::callJStatic('java.lang.System', 'nanoTime')", "sparkr")
        peer.wait_for(lambda m: m["t"] == "stream" and m["statement"] == number, PATIENCE)
        peer.send({"t": "cancel", "statement": number})
        assert peer.done(number, PATIENCE)["status"] == "cancelled"
        # The line to the JVM is in order after both.
        assert (
            "total\n1     3"
            in peer.run("collect(sql('select sum(id) as total from of_python'))", "sparkr", PATIENCE)["output"]["data"][
                "text/plain"
            ]
        )

        output = peer.run("SparkR:::callJStatic('java.lang.System', 'exit', 3L)", "sparkr", PATIENCE)["output"]
        assert (output["ename"], output["evalue"]) == ("SparkLost", "Spark's JVM ended with code 3")
    finally:
        driver.end()
        peer.close()


def has_sparkr() -> bool:
    script = shutil.which("Rscript")
    if script is None:
        return False
    asked = subprocess.run(
        [script, "-e", 'cat(nzchar(system.file(package = "SparkR")))'], capture_output=True, text=True, check=False
    )
    home = os.environ.get("SPARK_HOME", "")
    return asked.stdout == "TRUE" or bool(home and Path(home, "R/lib/SparkR").is_dir())


def processes_of(parent: int) -> dict[int, str]:
    """The children of a process, by their names."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == parent:
            found[int(stat.parent.name)] = name
    return found


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_opening_a_door_fails_with_the_jvm(tmp_path: Path) -> None:
    """The backend of a JVM that is gone neither answers nor fails to close."""

    class Gone:
        def __getattr__(self, name: str) -> "Gone":
            return self

        def __call__(self, *_: object) -> "Gone":
            raise ConnectionRefusedError

    backend = Backend.__new__(Backend)
    backend._java = backend._backend = Gone()
    assert not backend.answers()
    backend.close()
