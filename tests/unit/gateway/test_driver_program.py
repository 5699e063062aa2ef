"""The whole driver program with a real Spark, as a process, dialling a real WebSocket server.

One driver serves all tests that leave it usable; those that end a driver start their own.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.driver_peer import DRIVER, TOKEN, DriverPeer, DriverProcess

pytestmark = [pytest.mark.spark, pytest.mark.timeout(240)]


class Running:
    """A driver and the peer it talks to."""

    def __init__(self, folder: Path, **bootstrap: object) -> None:
        self.peer = DriverPeer()
        self.driver = DriverProcess(self.peer, folder, **bootstrap)

    def ready(self) -> dict[str, object]:
        return self.peer.wait_for(lambda m: m["t"] in ("ready", "failed"), 120)

    def java(self) -> psutil.Process:
        children = psutil.Process(self.driver.process.pid).children(recursive=True)
        return next(child for child in children if child.name() == "java")

    def end(self) -> None:
        self.driver.end()
        self.peer.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    both = Running(tmp_path_factory.mktemp("driver"))
    assert both.ready()["t"] == "ready"
    yield both
    both.end()


@pytest.fixture
def peer(running: Running) -> DriverPeer:
    return running.peer


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A driver that may be destroyed."""
    both = Running(tmp_path)
    assert both.ready()["t"] == "ready"
    yield both
    both.end()


def test_ready_describes_spark(peer: DriverPeer) -> None:
    ready = peer.of("ready")[0]
    assert ready["app_id"].startswith("local-")
    assert ready["spark_version"].startswith("3.5")
    assert ready["python_version"] == ".".join(str(part) for part in sys.version_info[:3])
    assert {"imports", "jvm", "context", "total"} <= set(ready["startup_ms"])


def test_cells_and_sql_share_one_spark(peer: DriverPeer) -> None:
    assert peer.text("spark.range(1000).count()") == "1000"
    assert peer.text("sc.parallelize([1, 2, 3]).map(lambda v: v * 2).sum()") == "12"
    assert peer.text("spark.range(3).show()") == "+---+\n| id|\n+---+\n|  0|\n|  1|\n|  2|\n+---+"
    peer.run("spark.range(5).createOrReplaceTempView('five')")
    table = peer.run("select count(*) as n from five", "sql")["output"]["data"]["application/json"]
    assert table["data"] == [[5]]
    peer.run("drop view five", "sql")
    assert peer.text("spark.range(1)") == "DataFrame[id: bigint]"
    assert peer.text("type(sqlContext).__name__") == "'SQLContext'"
    assert peer.text("spark").startswith("<pyspark.sql.session.SparkSession object at ")


def test_an_output_too_long_for_an_answer_is_kept_and_fetched(peer: DriverPeer) -> None:
    number = peer.execute("print('ä' * 3_000_000)\nfor i in range(1000): print('line', i)\nprint('z' * 3_000_000)")
    done = peer.done(number)
    assert len(done["output"]["data"]["text/plain"]) < 5_000_000
    kept = f"All of it is kept while the session lives: GET .../statements/{number}/output."
    assert str(done["truncated"]).endswith(kept)
    text, place, total = "", 0, 1
    while place < total:
        since = len(peer.messages)
        request = {"t": "fetch", "request": f"f{place}", "statement": number, "type": "text/plain"}
        peer.send({**request, "from": place, "size": 1024 * 1024})
        piece = peer.wait_for(lambda m: m["t"] == "piece", since=since)
        assert (piece["found"], piece["from"]) == (True, place)
        text, place, total = text + piece["text"], piece["next"], piece["total"]
    lines = "".join(f"line {i}\n" for i in range(1000))
    same = text == "ä" * 3_000_000 + "\n" + lines + "z" * 3_000_000 + "\n"
    assert same, (len(text), text[:20], text[-20:])


def test_rows_of_spark_make_a_table(peer: DriverPeer) -> None:
    data = peer.run("rows = spark.range(3).collect()\n%table rows")["output"]["data"]
    assert data == {
        "application/vnd.livy.table.v1+json": {"headers": [{"name": "id", "type": "INT_TYPE"}], "data": [[0], [1], [2]]}
    }


def test_every_type_of_sql_is_as_livy_recorded_it(peer: DriverPeer, shared_facts: Path) -> None:
    """Each statement of the recorded SQL session, asked again; Java's frames differ, as nobody calls by Livy here."""
    text = (shared_facts / "livy-transcripts/15_statements_sql.txt").read_text()
    asked = 0
    for line in re.findall(r'^\{"id":\d+,.*"state":"available".*$', text, re.MULTILINE):
        try:
            recorded = json.loads(line)
        except ValueError:
            continue  # cut in the recording
        output = peer.run(recorded["code"], "sql")["output"]
        expected = recorded["output"]
        assert output["status"] == expected["status"], recorded["code"]
        if expected["status"] == "ok":
            assert output["data"] == expected["data"], recorded["code"]
        else:
            assert output["ename"] == expected["ename"]
            assert output["evalue"] == expected["evalue"]
            assert output["traceback"][:4] == expected["traceback"][:4]
        asked += 1
    assert asked >= 5


def test_every_python_statement_is_as_livy_recorded_it(peer: DriverPeer, shared_facts: Path) -> None:
    """The recorded PySpark session, but for its pictures, addresses in memory, and Livy's named defects."""
    text = (shared_facts / "livy-transcripts/05_statements_pyspark.txt").read_text()
    differs = ("%json nosuch", "%table nosuch", "matplotlib", "pandas", "lambda v: 1/0", 'x"*200000')
    asked = 0
    for line in re.findall(r'^\{"id":\d+,.*"state":"available".*$', text, re.MULTILINE):
        try:
            recorded = json.loads(line)
        except ValueError:
            continue
        code, expected = recorded["code"], recorded["output"]
        if any(word in code for word in differs) or "res0" in str(expected) or "println" in code:
            continue
        if "InterpreterError" in str(expected) or code.startswith("select"):
            continue
        output = peer.run(code)["output"]
        assert output["status"] == expected["status"], code
        if expected["status"] == "ok":
            assert output["data"] == expected["data"], code
        else:
            assert (output["ename"], output["evalue"]) == (expected["ename"], expected["evalue"]), code
            assert len(output["traceback"]) == len(expected["traceback"]), code
            if 'nosuch").show' not in code:
                assert output["traceback"] == expected["traceback"], code
        asked += 1
    assert asked >= 20


def test_sql_says_what_it_leaves_out_and_keeps_what_livy_loses(peer: DriverPeer) -> None:
    done = peer.run("select id from range(1500)", "sql")
    assert len(done["output"]["data"]["application/json"]["data"]) == 1000
    assert done["truncated"] == "The query has more than 1,000 rows; the first 1,000 are here."
    assert peer.run("select id from range(1000)", "sql")["truncated"] is None
    exact = peer.run(
        "select timestamp'2020-01-02 03:04:05.678' t, cast('12345678901234567890.12' as decimal(30,2)) d, x'ff00' b",
        "sql",
    )
    assert exact["output"]["data"]["application/json"]["data"] == [
        ["2020-01-02T03:04:05.678Z", "12345678901234567890.12", [-1, 0]]
    ]


def test_progress_tells_stages_by_the_cell(peer: DriverPeer) -> None:
    number = peer.execute("import time\nsc.parallelize(range(6), 6).map(lambda v: time.sleep(1)).count()")
    assert peer.done(number)["status"] == "ok"
    told = peer.of("progress", number)
    assert told
    assert told[-1]["stages"][0]["name"] == f"count at <cell {number}>:2"
    assert told[-1]["stages"][0]["tasks"] == 6
    fractions = [message["fraction"] for message in told]
    assert fractions == sorted(fractions)
    assert any(0 < fraction < 1 for fraction in fractions)


def test_cancel_stops_the_jobs_of_spark(peer: DriverPeer) -> None:
    number = peer.execute("import time\nspark.range(0, 4, 1, 4).rdd.map(lambda r: time.sleep(60)).count()")
    peer.wait_for(lambda m: m["t"] == "progress" and m["statement"] == number)
    peer.send({"t": "cancel", "statement": number})
    done = peer.done(number)
    assert done["status"] == "cancelled"
    assert "cancelled" in done["output"]["evalue"]
    assert peer.text("spark.range(7).count()") == "7"


def test_cancel_breaks_off_a_call_into_the_jvm_and_the_next_answer_is_the_next(peer: DriverPeer) -> None:
    number = peer.execute("sc._jvm.java.lang.Thread.sleep(3000)")
    peer.wait_begun(number)
    time.sleep(0.2)
    peer.send({"t": "cancel", "statement": number})
    done = peer.done(number)
    assert (done["status"], done["output"]["ename"]) == ("cancelled", "KeyboardInterrupt")
    assert "data" not in done["output"], "Py4J's own words about it are not the cell's"
    for value in range(20):
        assert peer.text(f"sc._jvm.java.lang.Integer.valueOf({value})") == str(value)
    assert peer.text("spark.range(9).count()") == "9"


def test_a_loop_that_swallows_every_error_of_spark_is_cancelled(peer: DriverPeer) -> None:
    code = (
        "import time\nwhile True:\n    try:\n        sc.parallelize([1]).map(lambda v: time.sleep(0.2)).count()\n"
        "    except Exception:\n        pass"
    )
    number = peer.execute(code)
    peer.wait_begun(number)
    time.sleep(0.5)
    peer.send({"t": "cancel", "statement": number})
    assert peer.done(number, 30)["status"] == "cancelled"
    assert peer.text("spark.range(3).count()") == "3"


def test_a_cut_line_loses_nothing_and_runs_nothing_twice(peer: DriverPeer) -> None:
    number = peer.execute("import time\nruns = globals().get('runs', 0) + 1\ntime.sleep(1)\nruns")
    peer.wait_begun(number)
    peer.drop()
    assert peer.done(number)["output"]["data"] == {"text/plain": "1"}
    peer.send({"t": "execute", "statement": number, "code": "runs += 100", "kind": "pyspark"})
    assert peer.text("runs") == "1"
    assert len(peer.of("done", number)) == 2
    assert peer.of("done", number)[0]["output"] == peer.of("done", number)[1]["output"]


def test_output_printed_while_there_was_no_line_is_streamed_later(peer: DriverPeer) -> None:
    code = "import time\nfor n in range(20):\n    print(n)\n    time.sleep(0.1)"
    number = peer.execute(code)
    peer.wait_for(lambda m: m["t"] == "stream" and m["statement"] == number)
    peer.drop()
    peer.done(number)
    assert peer.streamed(number).split() == [str(n) for n in range(20)]


def test_a_forked_child_that_comes_out_at_the_end_of_the_cell_answers_nothing(peer: DriverPeer) -> None:
    number = peer.execute(
        "import os\nchild = os.fork()\nif child: os.waitpid(child, 0)\n'parent' if child else 'child'"
    )
    assert peer.done(number)["output"]["data"] == {"text/plain": "'parent'"}
    assert len(peer.of("done", number)) == 1
    assert peer.text("spark.range(2).count()") == "2"


def test_multiprocessing_works_in_a_cell(peer: DriverPeer) -> None:
    peer.run("import multiprocessing\nfork = multiprocessing.get_context('fork')")
    assert peer.text("with fork.Pool(2) as pool:\n    got = pool.map(abs, [-1, -2])\ngot") == "[1, 2]"


def test_a_child_that_is_ended_at_its_birth_does_not_end_the_driver(peer: DriverPeer) -> None:
    code = (
        "import os, signal, time\nfor n in range(200):\n    child = os.fork()\n"
        "    if not child:\n        time.sleep(5)\n        os._exit(0)\n"
        "    os.kill(child, signal.SIGTERM)\n    ended = os.waitpid(child, 0)[1]\n"
        "    assert ended == signal.SIGTERM, ended\n'alive'"
    )
    assert peer.text(code) == "'alive'"
    time.sleep(0.3)
    assert peer.text("1 + 1") == "2"


def test_output_of_child_processes_goes_to_the_log(running: Running) -> None:
    assert running.peer.text("import os\nos.system('echo from a child of the cell')") == "0"
    assert "from a child of the cell" in running.driver.log


def test_lone_surrogates_and_nul_arrive(peer: DriverPeer) -> None:
    assert peer.text("print('a\\ud800b\\x00c')") == "a\\ud800b\x00c"


def test_heavy_output_is_cut_with_a_sentence(peer: DriverPeer) -> None:
    done = peer.run("print('x' * 20_000_000)")
    assert len(done["output"]["data"]["text/plain"]) < 5_000_000
    assert "20,000,001 characters" in done["truncated"]
    rich = peer.run(
        "class H:\n    def _repr_html_(self): return 'h' * 20_000_000\n    def __repr__(self): return 'H'\nH()"
    )
    assert rich["output"]["data"] == {"text/plain": "H"}
    assert "text/html" in rich["truncated"]


def test_completion_while_a_statement_runs(peer: DriverPeer) -> None:
    peer.run(
        "frame = spark.range(3).toDF('number')\n"
        "class Trap:\n    @property\n    def p(self): raise SystemExit\ntrap = Trap()"
    )
    number = peer.execute("import time\ntime.sleep(1.5)")
    peer.wait_begun(number)
    found = {
        code: peer.complete(code)["candidates"]
        for code in (
            "spark.re",
            "frame.nu",
            "frame.select('nu",
            "frame.filter('x').groupBy('nu",
            "trap.",
            "spark.sql('sel",
        )
    }
    assert not peer.of("done", number)
    assert found["spark.re"] == ["read", "readStream", "removeTag"]
    assert found["frame.nu"] == ["number"]
    assert found["frame.select('nu"] == ["number"]
    assert found["frame.filter('x').groupBy('nu"] == ["number"]
    assert found["trap."] == ["p"]
    assert found["spark.sql('sel"] == ["select"]
    peer.done(number)
    answer = peer.complete("spark.read.parquet('x').gro")
    assert (answer["candidates"], answer["cursor_start"], answer["cursor_end"]) == (["groupBy", "groupby"], 24, 27)


def test_completion_of_sql_knows_tables_and_columns(peer: DriverPeer) -> None:
    peer.run("spark.range(3).toDF('height').createOrReplaceTempView('towers')")
    assert "towers" in peer.complete("select * from tow", kind="sql")["candidates"]
    assert peer.complete("select t.h from towers t", 10, kind="sql")["candidates"] == ["height"]


def test_secrets_are_nowhere_a_cell_looks(running: Running) -> None:
    peer = running.peer
    assert peer.text("import os\nany('" + TOKEN + "' in v for v in os.environ.values())") == "False"
    assert peer.text("[k for k in os.environ if 'SECRET' in k or 'GATEWAY' in k]") == "[]"
    assert peer.text("'" + TOKEN + "' in str(sc.getConf().getAll())") == "False"
    pid = running.driver.process.pid
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        if process.status() == psutil.STATUS_ZOMBIE:
            continue
        assert TOKEN not in " ".join(process.cmdline())
        assert "spark.sql.shuffle.partitions" not in " ".join(process.cmdline()), "conf may hold a user's secrets"
        assert TOKEN not in str(process.environ())
    assert peer.text("import sys\n[m for m in sys.modules if m == 'journal'], sys.argv") == "([], [''])"
    assert not list(running.driver.work_dir.glob("jvm-*")), "the private file of settings is gone"


def test_spark_stopped_by_a_cell_can_be_made_again(peer: DriverPeer) -> None:
    peer.run("spark.stop()")
    assert peer.run("spark.range(1).count()")["status"] == "error"
    peer.run(
        "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\nsc = spark.sparkContext"
    )
    assert peer.text("spark.range(4).count()") == "4"
    assert peer.run("select 1 as a", "sql")["output"]["data"]["application/json"]["data"] == [[1]]
    number = peer.execute("import time\nsc.parallelize([1]).map(lambda v: time.sleep(60)).count()")
    peer.wait_for(lambda m: m["t"] == "progress" and m["statement"] == number)
    peer.send({"t": "cancel", "statement": number})
    assert peer.done(number, 20)["status"] == "cancelled"


def test_interrupts_of_the_process_group_end_nobody(running: Running) -> None:
    os.killpg(running.driver.process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert running.peer.text("spark.range(3).count()") == "3"


def test_all_descriptors_closed_by_a_cell_end_the_session_with_a_reason(own: Running) -> None:
    own.peer.execute("import os\nos.closerange(3, 4096)")
    failed = own.peer.wait_for(lambda m: m["t"] == "failed")
    assert failed["reason"].startswith("Spark's JVM ended with code 0")
    assert own.driver.wait() == 71


def test_a_killed_jvm_ends_the_session_with_a_reason(own: Running) -> None:
    number = own.peer.execute("import time\nwhile True: time.sleep(0.1)")
    own.peer.wait_begun(number)
    own.java().kill()
    done = own.peer.done(number)
    assert (done["status"], done["output"]["ename"]) == ("error", "SparkLost")
    assert own.peer.wait_for(lambda m: m["t"] == "failed")["reason"] == "Spark's JVM was killed by SIGKILL"
    assert own.driver.wait() == 71


def test_a_killed_driver_takes_its_jvm_along(own: Running) -> None:
    java = own.java()
    own.peer.run("import os, time\nif not os.fork():\n    time.sleep(8)\n    os._exit(0)")
    own.driver.process.kill()
    java.wait(7)


def test_sigterm_is_an_orderly_end(own: Running) -> None:
    java = own.java()
    number = own.peer.execute("while True: pass")
    own.peer.wait_begun(number)
    own.driver.process.terminate()
    assert own.driver.wait(15) == 143
    java.wait(5)
    # Nobody cancelled the cell: why it has no result is for the gateway to say, which learns who ended the driver.
    assert own.peer.of("done", number) == []


def test_a_cell_that_leaves_by_os_exit_leaves_its_begin_in_the_journal(own: Running) -> None:
    number = own.peer.execute("import os\nos._exit(9)")
    assert own.driver.wait() == 9
    journal = (own.driver.work_dir / "journal.jsonl").read_text().splitlines()
    last = json.loads(journal[-1])
    assert (last["t"], last["statement"]) == ("begin", number)


def test_settings_that_spark_refuses_are_told(tmp_path: Path) -> None:
    failing = Running(tmp_path, conf={"spark.master": "nonsense://x", "spark.ui.enabled": "false"})
    failed = failing.ready()
    assert failed["t"] == "failed"
    assert failing.driver.wait() == 70
    failing.end()


def test_the_program_runs_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "driver.pyz"
    subprocess.run([sys.executable, "-m", "zipapp", str(DRIVER), "-o", str(archive)], check=True)
    ran = subprocess.run(
        [sys.executable, str(archive), "--bootstrap-file", str(tmp_path / "none")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 64
    assert "cannot be read" in ran.stderr
