"""Our kernels on real Spark: the real gateway, the real driver, and a hub that knows one person."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import running_gateway
from support.notebook import Notebook
from support.running_gateway import RunningGateway

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

STARTING = 180.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway.running(tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def notebook(gateway: RunningGateway, home: Path) -> Iterator[Notebook]:
    with Notebook("pyspark", gateway.environment(home), home) as started:
        first = started.run("1+1", STARTING)
        assert first.ok, first
        assert "Spark: 3.5" in first.html
        assert "Driver image: spark-3.5" in first.html
        assert 'href="/services/gateway/spark-ui/1/"' in first.html
        yield started


def test_a_failing_cell_has_the_error_and_what_was_printed_before_it(notebook: Notebook) -> None:
    ran = notebook.run("print('before')\ndef f():\n    return 1/0\nf()")
    assert (ran.reply["status"], ran.reply["ename"], ran.reply["evalue"]) == (
        "error", "ZeroDivisionError", "division by zero",
    )  # fmt: skip
    assert ran.text == "before\n"
    shown = "\n".join(ran.errors[0]["traceback"])
    assert "line 3, in f" in shown
    assert shown.count("ZeroDivisionError") == 1


def test_output_is_streamed_and_whole(notebook: Notebook) -> None:
    ran = notebook.run("import sys, time\nfor i in range(4):\n    print('tick', i); time.sleep(0.4)\n"
                       "print('err', file=sys.stderr)\n'tail'")  # fmt: skip
    assert sorted(ran.text.splitlines()) == ["'tail'", "err", "tick 0", "tick 1", "tick 2", "tick 3"]
    times = ran.times("stream")
    assert times[-1] - times[0] > 0.8


def test_stages_are_shown(notebook: Notebook) -> None:
    ran = notebook.run(
        "import time\nsc.parallelize(range(6), 6).map(lambda x: time.sleep(0.5) or x).count()", seconds=120
    )
    assert ran.text == "6\n"
    during = "\n".join(content["data"]["text/html"] for _, _, content in ran.messages if "data" in content)
    assert '<progress aria-label="Stage ' in during
    assert 'max="6"' in during


def test_an_interrupt_stops_pure_python_and_keeps_the_session(notebook: Notebook) -> None:
    notebook.run("kept = 'still here'")
    cell = notebook.send("while True: pass")
    time.sleep(1.5)
    notebook.interrupt()
    ran = notebook.finish(cell)
    assert ran.reply["ename"] == "KeyboardInterrupt"
    assert ran.seconds < 5
    assert notebook.run("kept").text == "'still here'\n"


def test_an_interrupt_stops_spark(notebook: Notebook) -> None:
    cell = notebook.send("import time\nsc.parallelize(range(100), 100).map(lambda x: time.sleep(1)).count()")
    time.sleep(3)
    notebook.interrupt()
    ran = notebook.finish(cell)
    assert ran.reply["ename"] == "KeyboardInterrupt"
    assert notebook.run("spark.range(3).count()").text == "3\n"


TYPES = """%%sql -o df
SELECT '01234' AS zip, '1999.99' AS price, CAST(NULL AS INT) AS none, 9007199254740993 AS big,
       DATE'2020-02-29' AS day, TIMESTAMP'2020-01-02 03:04:05.5' AS at, CAST(1.10 AS DECIMAL(10,2)) AS cost,
       ARRAY(1, 2) AS list, MAP('k', 1) AS map, STRUCT(1 AS x, 'it\\'s' AS y) AS struct, CAST('abc' AS BINARY) AS raw,
       DOUBLE('NaN') AS nan, TRUE AS yes"""


def test_sql_keeps_every_type(notebook: Notebook) -> None:
    ran = notebook.run(TYPES)
    assert ran.ok, ran
    assert "01234" in ran.html
    told = notebook.run("%%local\nfor value in df.iloc[0].tolist(): print(repr(value))")
    assert told.text.splitlines() == [
        "'01234'", "'1999.99'", "<NA>", "9007199254740993", "datetime.date(2020, 2, 29)",
        "Timestamp('2020-01-02 03:04:05.500000')", "Decimal('1.10')", "[1, 2]", "{'k': 1}",
        "{'x': 1, 'y': \"it's\"}", "b'abc'", "nan", "True",
    ]  # fmt: skip


def test_sql_says_what_is_missing_and_fails_plainly(notebook: Notebook) -> None:
    ran = notebook.run("%%sql\nSELECT * FROM range(3000)")
    assert "2,500 rows; the first 500 are shown; there are more" in ran.html
    everything = notebook.run("%%sql -o everything -n -1 -q\nSELECT * FROM range(3000)")
    assert everything.ok
    assert notebook.run("%%local\nlen(everything)").displays == [{"text/plain": "3000"}]
    wrong = notebook.run("%%sql\nSELECT * FROM no_such_table")
    assert wrong.reply["ename"] == "AnalysisException"
    assert "TABLE_OR_VIEW_NOT_FOUND" in wrong.reply["evalue"]
    assert "sparkyard" not in "\n".join(wrong.errors[0]["traceback"])


def test_a_plot_is_shown_beside_what_was_printed(notebook: Notebook) -> None:
    ran = notebook.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nprint('drawn')", seconds=120)
    assert "drawn" in ran.text
    assert [data for data in ran.displays if data.get("image/png", "").startswith("iVBOR")]
    assert any("image/png" in data for data in notebook.run("%matplot plt").displays)


def test_values_travel_both_ways_unchanged(notebook: Notebook) -> None:
    notebook.run(
        '%%local\nimport datetime, pandas as pd\nsaying = "it\'s \\"quoted\\""\n'
        "local = pd.DataFrame({'zip': ['01234', None], 'day': [datetime.date(2020, 2, 29), None],\n"
        "                      'at': pd.to_datetime(['2020-01-02T03:04:05', None]), 'n': [1, 2]})"
    )
    assert notebook.run("%%send_to_spark -i saying").ok
    assert notebook.run("print(saying)").text == 'it\'s "quoted"\n'
    assert notebook.run("%%send_to_spark -i local -t df -n there").ok
    assert notebook.run("print(there.dtypes)").text == (
        "[('zip', 'string'), ('day', 'date'), ('at', 'timestamp'), ('n', 'bigint')]\n"
    )
    assert notebook.run("%%spark -o back\nback = there.orderBy('n')").ok
    assert notebook.run("%%local\nprint(back.equals(local), back.zip[0], back['at'][0])").text == (
        "True 01234 2020-01-02 03:04:05\n"
    )


def test_completion_knows_the_sessions_names(notebook: Notebook) -> None:
    notebook.run("a_long_name_of_mine = 1")
    assert "a_long_name_of_mine" in notebook.complete("a_long_na")
    assert any(match.endswith("createDataFrame") for match in notebook.complete("spark.createDa"))


def test_a_refused_configuration_keeps_the_session(notebook: Notebook, gateway: RunningGateway) -> None:
    notebook.run("kept = 1")
    before = [session["id"] for session in gateway.sessions()]
    ran = notebook.run('%%configure -f\n{"conf": {"spark.driver.extraJavaOptions": "-Dx=y"}}')
    assert ran.reply["status"] == "error"
    assert "spark.driver.extraJavaOptions" in ran.reply["evalue"]
    image = notebook.run('%%configure -f\n{"driver_image": "evil.example/mine:1"}')
    assert image.reply["status"] == "error"
    assert notebook.run("kept").text == "1\n"
    assert [session["id"] for session in gateway.sessions()] == before


def test_an_accepted_configuration_starts_a_session_with_it(notebook: Notebook) -> None:
    done = notebook.run('%%configure -f\n{"conf": {"spark.sql.shuffle.partitions": 17}}')
    assert done.ok
    ran = notebook.run("spark.conf.get('spark.sql.shuffle.partitions')", STARTING)
    assert ran.text == "'17'\n"


def test_a_restart_brings_a_new_session(notebook: Notebook, gateway: RunningGateway) -> None:
    before = notebook.run("%%info").html
    notebook.restart()
    ran = notebook.run("'kept' in globals()", STARTING)
    assert ran.text == "False\n"
    assert len([session for session in gateway.sessions() if session["state"] == "idle"]) == 1
    assert before


def test_a_driver_that_dies_is_said_and_the_next_cell_gets_a_new_one(notebook: Notebook) -> None:
    ran = notebook.run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 90)
    assert ran.reply["status"] == "error"
    assert "the next cell starts a new session" in ran.reply["evalue"]
    assert notebook.run("1+1", STARTING).text == "2\n"


def test_a_gateway_restart_in_the_middle_of_a_cell_loses_nothing(gateway: RunningGateway, tmp_path: Path) -> None:
    own = RunningGateway(tmp_path, gateway.hub_url, forked=True)  # this one leaves its drivers to its successor
    own.start()
    try:
        with Notebook("pyspark", own.environment(tmp_path), tmp_path) as notebook:
            notebook.run("runs = 0", STARTING)
            cell = notebook.send("import time\nruns += 1\nfor i in range(8):\n    print(i); time.sleep(1)\n'whole'")
            time.sleep(2)
            own.stop()
            own.start()
            ran = notebook.finish(cell, 90)
            assert ran.ok, ran
            assert ran.text.splitlines() == [*map(str, range(8)), "'whole'"]
            assert notebook.run("runs").text == "1\n"
    finally:
        for session in own.sessions():
            own.delete(int(str(session["id"])))
        own.stop()


def test_a_killed_kernel_is_noticed(gateway: RunningGateway, home: Path) -> None:
    before = {session["id"] for session in gateway.sessions()}
    with Notebook("pyspark", gateway.environment(home), home) as notebook:
        notebook.run("1", STARTING)
        pid = notebook.manager.provisioner.pid  # type: ignore[union-attr]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        orphan = next(session for session in gateway.sessions() if session["id"] not in before)
        assert orphan["heartbeatTimeoutInSecond"] == 180  # the gateway's own tests see such a session end
        gateway.delete(int(str(orphan["id"])))


def test_the_scala_kernel_runs_scala_and_its_neighbours(gateway: RunningGateway, home: Path) -> None:
    with Notebook("spark", gateway.environment(home), home) as scala:
        first = scala.run('val words = Seq("a", "b").toDS\nwords.count()', STARTING)
        assert first.ok, first.reply
        assert "res0: Long = 2" in first.text
        ran = scala.run("def third(x: Int) = {\n  1 / x\n}\nthird(0)")
        assert (ran.reply["ename"], ran.reply["evalue"]) == ("Error", "java.lang.ArithmeticException: / by zero")
        assert re.search(r"at third\(<cell \d+>:2\)", "\n".join(ran.errors[0]["traceback"]))
        assert scala.run("%%pyspark\nspark.range(3).createOrReplaceTempView('three')").ok
        assert "Long = 3" in scala.run('// Python\'s view\nspark.table("three").count()').text
        assert "3" in scala.run("%%sql\nselect count(*) as n from three").displays[-1]["text/plain"]
        assert "[1] 42" in scala.run("%%r\nx <- 40\nx + 2").text
        assert "image/png" in scala.run("%%r\nplot(x)").displays[-1]
        assert scala.run("%%r\n\nlog('x')").reply["evalue"].startswith('Error in log("x") : non-numeric')
        assert scala.run('%%spark -o here\nval here = words.toDF("word")').ok
        assert scala.run("%%local\nprint(list(here.word))").text == "['a', 'b']\n"
        assert scala.run("%%local\nimport pandas as pd\nframe = pd.DataFrame({'n': [1, 2]})\ntext = 'say \"$x\"'").ok
        assert scala.run("%%send_to_spark -i frame -t df -n frame").ok
        assert scala.run("%%send_to_spark -i text -t str").ok
        assert scala.run("println(text + frame.count())").text == 'say "$x"2\n'
