"""Scala cells in the whole driver program, on Spark 3.5 (Scala 2.12) and Spark 4 (Scala 2.13).

One driver of each Spark serves all tests; the first Scala cell makes the interpreter, which takes a while.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.driver_peer import DriverPeer, DriverProcess

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

SPARK_4 = Path(sys.prefix) / "environments" / "spark-4" / "bin" / "python"
PATIENCE = 240.0
TABLE = "application/vnd.livy.table.v1+json"


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], DriverPeer]]:
    """A driver of each Spark, started when it is first asked for."""
    started: dict[str, tuple[DriverPeer, DriverProcess]] = {}

    def get(version: str) -> DriverPeer:
        if version not in started:
            python = sys.executable if version == "3.5" else str(SPARK_4)
            peer = DriverPeer()
            # Of the spark kind: its interpreter is made as soon as Spark is there.
            started[version] = peer, DriverProcess(peer, tmp_path_factory.mktemp("driver"), python, kind="spark")
        peer = started[version][0]
        ready = peer.wait_for(lambda m: m["t"] in ("ready", "failed"), PATIENCE)
        assert ready["t"] == "ready", ready
        assert ready["spark_version"].startswith(version)
        return peer

    yield get
    for peer, driver in started.values():
        driver.end()
        peer.close()


@pytest.fixture(params=["3.5", "4"])
def peer(request: pytest.FixtureRequest, drivers: Callable[[str], DriverPeer]) -> DriverPeer:
    """For what the two Scalas might do differently."""
    return drivers(request.param)


@pytest.fixture
def old(drivers: Callable[[str], DriverPeer]) -> DriverPeer:
    """For what is the same on both."""
    return drivers("3.5")


def run(peer: DriverPeer, code: str, kind: str = "spark") -> dict:
    return peer.run(code, kind, PATIENCE)["output"]


def text(peer: DriverPeer, code: str, kind: str = "spark") -> str:
    output = run(peer, code, kind)
    assert output["status"] == "ok", output
    return str(output["data"]["text/plain"])


def test_values_are_echoed_and_definitions_stay(peer: DriverPeer) -> None:
    echo = text(peer, "val a = 1\nval b = a + 1\nb * 21").replace("val ", "")
    assert re.fullmatch(r"a: Int = 1\nb: Int = 2\nres\d+: Int = 42\n", echo)
    assert text(peer, 'println(s"a is $a")') == "a is 1\n"


def test_the_recorded_scala_session_is_answered_alike(old: DriverPeer, shared_facts: Path) -> None:
    """Each statement of it; Livy's named defect (`%table` of mixed rows) and Java's numbers of frames aside."""
    recorded = (shared_facts / "livy-transcripts/14_statements_spark_scala.txt").read_text()
    asked = 0
    for line in re.findall(r'^\{"id":\d+,.*"state":"available".*$', recorded, re.MULTILINE):
        statement = json.loads(line)
        code, expected = statement["code"], statement["output"]
        if "%table bad" in code or code in ("show tables", "print(spark.version)"):
            continue
        output = run(old, code)
        assert output["status"] == expected["status"], code
        if expected["status"] == "ok":
            assert plain(output["data"]) == plain(expected["data"]), code
        else:
            assert (output["ename"], plain(output["evalue"])) == (expected["ename"], plain(expected["evalue"])), code
            assert plain(output["traceback"]) == plain(expected["traceback"]), code
        asked += 1
    assert asked >= 15


def plain(value: object) -> object:
    """Without what differs from run to run, and between Scala 2.12's and 2.13's echo."""
    told = json.dumps(value)
    for pattern, by in ((r"res\d+", "res"), (r"console>:\d+", "console>"), (r"\d+ elided", "elided"), ("val ", "")):
        told = re.sub(pattern, by, told)
    return json.loads(told)


def test_a_case_class_and_its_dataset_are_one_cell(peer: DriverPeer) -> None:
    echo = text(
        peer,
        "case class Flight(origin: String, delay: Int)\n"
        'object Flight { def late = Flight("LGA", 90) }\n'
        "// what comes now needs the class\n"
        'val flights = Seq(Flight("JFK", 3), Flight.late).toDS\n'
        "flights.filter(_.delay > 10).map(flight => flight.copy(delay = flight.delay + 1)).collect().toList",
    )
    assert "List[Flight] = List(Flight(LGA,91))" in echo


def test_all_kinds_see_one_session(peer: DriverPeer) -> None:
    run(peer, 'spark.range(3).toDF("from_scala").createOrReplaceTempView("of_scala")')
    assert text(peer, "spark.table('of_scala').columns", "pyspark") == "['from_scala']"
    rows = run(peer, "select sum(from_scala) as total from of_scala", "sql")["data"]["application/json"]
    assert rows["data"] == [[3]]
    run(peer, "spark.range(7).createOrReplaceTempView('of_python')", "pyspark")
    assert "Long = 7" in text(peer, 'spark.table("of_python").count()')
    assert "Boolean = true" in text(peer, "spark.sparkContext eq sc")


def test_output_is_streamed_and_kept_to_its_statement(old: DriverPeer) -> None:
    code = 'println("eins äö€"); Thread.sleep(1500); System.out.println("zwei"); Console.err.println("drei")'
    number = old.execute(code, "spark")
    old.wait_for(lambda m: m["t"] == "stream" and m["statement"] == number and "eins" in m["text"], PATIENCE)
    assert not old.of("done", number)
    done = old.done(number, PATIENCE)
    assert done["output"]["data"] == {"text/plain": "eins äö€\nzwei\ndrei\n"}
    assert old.streamed(number) == "eins äö€\nzwei\ndrei\n"


def test_an_error_is_told_with_its_lines_and_its_root(peer: DriverPeer) -> None:
    run(peer, 'def deep(n: Int): Int = {\n  if (n > 3)\n    throw new IllegalStateException(s"too deep: $n")\n  n\n}')
    defined = peer.messages[-1]["statement"]
    output = run(peer, "val depth = 9\n\ndeep(depth)")
    assert output["evalue"] == "java.lang.IllegalStateException: too deep: 9"
    assert output["traceback"][0] == f"  at deep(<cell {defined}>:3)\n"
    assert output["trace"]["line"] == 3
    output = run(peer, 'println("before")\n\nspark.range(4).map(n => 10 / (n - n)).collect()')
    assert output["evalue"].startswith("org.apache.spark.SparkException: Job aborted due to stage failure")
    assert output["trace"]["root"] == "java.lang.ArithmeticException: / by zero"
    assert output["trace"]["full"].startswith("Root cause: java.lang.ArithmeticException: / by zero\n")
    assert output["trace"]["line"] == 3
    assert output["data"] == {"text/plain": "before\n"}


def test_nothing_of_a_cell_runs_that_cannot_be_parsed(old: DriverPeer) -> None:
    output = run(old, "val begun = 1\n%json begun\nval }")
    assert output["evalue"] == "<console>:3: error: illegal start of simple pattern"
    assert "data" not in output
    assert run(old, "def f(x: Int) = {") == {
        "status": "error", "execution_count": old.messages[-1]["statement"], "ename": "Error",
        "evalue": "incomplete statement", "traceback": [],
    }  # fmt: skip


def test_rows_and_mixed_types_make_a_table(peer: DriverPeer) -> None:
    code = (
        "val rows = spark.sql(\"select 1 as n, 'a' as s, array(1, 2) as xs, cast(null as int) as nothing\").collect()"
    )
    data = run(peer, f"{code}\n%table rows")["data"]
    assert [head["type"] for head in data[TABLE]["headers"]] == [
        "BIGINT_TYPE", "STRING_TYPE", "ARRAY_TYPE", "NULL_TYPE",
    ]  # fmt: skip
    assert data[TABLE]["data"] == [[1, "a", [1, 2], None]]
    mixed = run(peer, 'val bad = List(List(1), List("a"))\n%table bad')["data"][TABLE]
    assert mixed == {"headers": [{"type": "STRING_TYPE", "name": "0"}], "data": [["1"], ["a"]]}
    refused = run(peer, "val whole = spark.range(3)\n%json whole")
    assert refused["ename"] == "TypeError"
    assert "take some first" in refused["evalue"]


def test_progress_is_told_by_stage(old: DriverPeer) -> None:
    number = old.execute("sc.parallelize(1 to 8, 8).map { n => Thread.sleep(700); n }.count()", "spark")
    old.done(number, PATIENCE)
    stages = [stage for message in old.of("progress", number) for stage in message["stages"]]
    assert {stage["tasks"] for stage in stages} == {8}


def test_names_and_members_complete(peer: DriverPeer) -> None:
    run(peer, "val wonderful = 1")

    def complete(code: str) -> list[str]:
        # The compiler for completion is made at the first request, which may be answered before that is done.
        deadline = time.monotonic() + PATIENCE
        while True:
            found: list[str] = peer.complete(code, kind="spark")["candidates"]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    assert complete("sc.parallel") == ["parallelize"]
    assert complete("wonder") == ["wonderful"]
    assert "filter" in complete("val x = 1\nspark.range(3).fil")
    assert "getBytes" in complete('Seq("a").map(text => text.getB')
    assert peer.complete("nosuch.", kind="spark")["candidates"] == []


@pytest.mark.parametrize(
    "code",
    [
        "Thread.sleep(1000000)",
        "sc.range(0, 2).map { n => Thread.sleep(1000000); n }.count()",
        'while (true) println("and on")',
        "while (true) { }",  # only Thread.stop reaches it, which Java has until 20
    ],
)
def test_a_cancel_stops_it_and_leaves_the_session_usable(old: DriverPeer, code: str) -> None:
    number = old.execute(code, "spark")
    old.wait_begun(number)
    time.sleep(1)  # it may be cancelled while it is compiled, too; here it is meant to run
    old.send({"t": "cancel", "statement": number})
    assert old.done(number, PATIENCE)["status"] == "cancelled"
    assert "Int = 3" in text(old, "1 + 2")


def test_a_statement_that_is_cancelled_while_it_waits_never_runs(old: DriverPeer) -> None:
    first = old.execute("Thread.sleep(1500)", "spark")
    second = old.execute('println("never")', "spark")
    old.send({"t": "cancel", "statement": second})
    assert old.done(second, PATIENCE)["status"] == "cancelled"
    assert old.done(first, PATIENCE)["status"] == "ok"
    assert not old.of("begin", second)


def test_scala_follows_the_session_that_python_calls_spark(old: DriverPeer) -> None:
    run(
        old,
        "first = spark\nspark = spark.newSession()\nspark.range(4).createOrReplaceTempView('of_the_new')",
        "pyspark",
    )
    assert "Long = 4" in text(old, 'spark.table("of_the_new").count()')
    run(old, "spark = first", "pyspark")
    assert run(old, 'spark.table("of_the_new")')["status"] == "error"


def test_sql_and_python_say_the_same_on_both_sparks(peer: DriverPeer) -> None:
    failed = run(peer, "select 1,\n  from nowhere where", "sql")
    assert failed["trace"]["line"] == 2
    assert "PARSE_SYNTAX_ERROR" in failed["evalue"]
    failed = run(peer, "x = 1\n\nspark.sql('select * from nosuch').show()", "pyspark")
    assert failed["ename"] == "AnalysisException"
    assert failed["trace"]["line"] == 3
    assert text(peer, "spark.range(10).selectExpr('sum(id)').first()[0]", "pyspark") == "45"
    assert text(peer, "sc.parallelize([1, 2, 3]).map(lambda v: v * 2).sum()", "pyspark") == "12"


def test_a_jvm_that_scala_ends_is_told_as_the_reason(tmp_path: Path) -> None:
    peer = DriverPeer()
    driver = DriverProcess(peer, tmp_path)
    try:
        peer.wait_for(lambda m: m["t"] == "ready", PATIENCE)
        output = run(peer, "println(1)\nSystem.exit(3)")
        assert (output["ename"], output["evalue"]) == ("SparkLost", "Spark's JVM ended with code 3")
        assert driver.wait(60) == 71
    finally:
        driver.end()
        peer.close()
