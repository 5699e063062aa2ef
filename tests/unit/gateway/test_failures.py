"""The exception of a text, root cause first. The logs and outputs in `logs/` are of real sessions on Spark 3.5.9:

start   a profile whose `spark.plugins` names a class that is not there: Spark does not start
oom     a collect() of more than the driver's memory
task    an executor's task that fails in Scala (`assert_true`)
udf     a Python UDF, then an RDD's function, that divide by zero in the worker, then a local exception
chained an exception raised from another
"""

import json
from pathlib import Path

import pytest

from sparkyard_gateway.failures import failure_of_output, find_failure

LOGS = Path(__file__).parent / "logs"
WORKER = "org.apache.spark.api.python.PythonException"


def lines(name):
    return (LOGS / f"{name}.log").read_text().splitlines()


def outputs(name):
    return [each["output"] for each in json.loads((LOGS / f"{name}.json").read_text())]


def told(failure):
    return [(each.language, each.words) for each in failure.causes]


@pytest.mark.parametrize(
    ("name", "causes", "line"),
    [
        ("start", [("java", "java.lang.ClassNotFoundException: org.example.AuditPlugin")], 42),
        ("oom", [("java", "java.lang.OutOfMemoryError: Java heap space")], 38),
        ("task", [("java", "java.lang.RuntimeException: id too large: 50")], 4),
        (
            "udf",
            [
                ("python", "ZeroDivisionError: integer division or modulo by zero"),
                ("java", f"{WORKER}: ZeroDivisionError: integer division or modulo by zero"),
            ],
            85,
        ),
    ],
)
def test_the_exception_of_a_real_log(name, causes, line):
    text = lines(name)
    failure = find_failure(text)
    assert told(failure) == causes
    assert failure.root.line == line
    assert failure.root.name.rpartition(".")[2] in text[line]
    assert failure.first <= failure.root.line <= failure.last
    assert list(failure.lines) == text[failure.first : failure.last + 1]


@pytest.mark.parametrize(
    ("name", "number", "causes", "where"),
    [
        (
            "udf",
            0,
            ["ZeroDivisionError: float division by zero", "pyspark.errors.exceptions.captured.PythonException"],
            "<cell 0>, line 6, in reciprocal",
        ),
        (
            "udf",
            1,
            [
                "ZeroDivisionError: integer division or modulo by zero",
                WORKER,
                "org.apache.spark.SparkException: Job aborted due to stage failure",
                "py4j.protocol.Py4JJavaError: An error occurred while calling",
            ],
            "<cell 1>, line 1, in <lambda>",
        ),
        ("udf", 2, ["json.decoder.JSONDecodeError: Expecting property name"], "<cell 2>, line 2, in <module>"),
        (
            "task",
            0,
            [
                "java.lang.RuntimeException: id too large: 50",
                "org.apache.spark.SparkException: Job aborted due to stage failure",
                "py4j.protocol.Py4JJavaError: An error occurred while calling",
            ],
            "org.apache.spark.sql.catalyst.expressions.GeneratedClass",
        ),
        ("chained", 0, ["KeyError: 'sales'", "RuntimeError: no table sales"], "<cell 0>, line 3, in load"),
    ],
)
def test_the_exception_of_a_real_statement(name, number, causes, where):
    failure = failure_of_output(outputs(name)[number])
    assert len(failure.causes) == len(causes)
    for cause, words in zip(failure.causes, causes, strict=True):
        assert cause.words.startswith(words)
    assert failure.root.where.startswith(where)


def test_lines_are_counted_as_the_log_counts_them():
    text = lines("udf")
    assert find_failure(text[50:], 50) == find_failure(text)


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("", None),
        ("all is well\nExceptions: 0\nat home (really)", None),
        ("Traceback (most recent call last):", None),
        ("Traceback (most recent call last):\nCaused by: ", None),
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nValueError: bad',
            "ValueError: bad",
        ),
        ('Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nSystemExit', "SystemExit"),
        ("Error occurred during initialization of VM\nCould not reserve enough space", "JVM: Could not reserve"),
        ('Exception in thread "main" java.lang.OutOfMemoryError: Metaspace', "java.lang.OutOfMemoryError: Metaspace"),
        # What Spark warns of is not it, unless there is nothing else.
        (
            (
                "26/01/01 10:00:00 ERROR A: b\njava.io.IOException: disk full\n\tat a.B.c(B.java:1)\n"
                "26/01/01 10:00:01 WARN A: b\njava.net.BindException: in use\n\tat a.B.c(B.java:1)"
            ),
            "java.io.IOException: disk full",
        ),
        (
            "26/01/01 10:00:01 WARN A: b\njava.net.BindException: in use\n\tat a.B.c(B.java:1)",
            "java.net.BindException: in use",
        ),
        # The later of two, and the deepest cause of it.
        (
            (
                "java.io.IOException: first\n\tat a.B.c(B.java:1)\n\nand then\n"
                "java.lang.RuntimeException: outer\n\tat a.B.c(B.java:1)\n"
                "Caused by: java.sql.SQLException: middle\n\tat a.B.d(B.java:2)\n\t... 3 more\n"
                "Caused by: java.net.ConnectException: refused\n\tat a.B.e(B.java:3)\n\t... 5 more\nnothing more"
            ),
            "java.net.ConnectException: refused",
        ),
        # What follows an OutOfMemoryError is its consequence.
        (
            (
                "java.lang.OutOfMemoryError: Java heap space\n\tat a.B.c(B.java:1)\n\n"
                "java.lang.IllegalStateException: stopped\n\tat a.B.c(B.java:1)"
            ),
            "java.lang.OutOfMemoryError: Java heap space",
        ),
        # What comes after the driver was told to end is the noise of the end, and no reason.
        (
            (
                "26/01/01 10:00:00 DRIVER ending: the driver was told to end (SIGTERM)\n"
                "26/01/01 10:00:01 ERROR A: b\norg.apache.spark.SparkException: no scheduler\n\tat a.B.c(B.java:1)"
            ),
            None,
        ),
        (
            (
                "26/01/01 10:00:00 ERROR A: b\njava.io.IOException: disk full\n\tat a.B.c(B.java:1)\n"
                "26/01/01 10:00:00 DRIVER ending: the gateway asked this driver to end\n"
                "26/01/01 10:00:01 ERROR A: b\norg.apache.spark.SparkException: no scheduler\n\tat a.B.c(B.java:1)"
            ),
            "java.io.IOException: disk full",
        ),
        # Logged on one line with its class.
        (
            "26/01/01 10:00:01 ERROR TaskSetManager: Lost task 0.0: org.x.BadException: no\n\tat a.B.c(B.java:1)",
            "org.x.BadException: no",
        ),
    ],
)
def test_the_root_of_a_text(text, root):
    failure = find_failure(text.splitlines())
    assert (failure is None) if root is None else failure.root.words.startswith(root)


def test_an_error_that_is_no_text_of_python_or_java_is_told_by_its_name():
    output = {
        "status": "error",
        "ename": "Error",
        "evalue": "[PARSE_SYNTAX_ERROR] near 'SELEC'\n== SQL ==",
        "traceback": [],
    }
    failure = failure_of_output(output)
    assert told(failure) == [("java", "Error: [PARSE_SYNTAX_ERROR] near 'SELEC'")]
    assert failure_of_output({"status": "ok", "data": {}}) is None


@pytest.mark.timeout(60)  # what grows with the square of the lines takes longer on any machine
@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "Caused by: a.B",
        "a.PythonException: Traceback (most recent call last):",
        'Traceback (most recent call last):\n  File "x", line 1, in y\nPy4JJavaError: x\n: a.BException: y',
        '  File "x", line 1, in y\nThe above exception was the direct cause of the following exception:',
        "a." * 900 + "BException: x",
        "\tat a.b(C.java:1)",
    ],
)
def test_no_text_makes_it_work_for_long(line):
    text = f"java.lang.RuntimeException: x\n{line}\n".splitlines() * 5000
    failure = find_failure(text)
    assert failure is None or 0 <= failure.first <= failure.root.line < len(text)
