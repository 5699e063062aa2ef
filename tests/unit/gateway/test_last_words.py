"""Why a batch ended, from its state and its log."""

import pytest

from sparkyard_gateway.backends.last_words import exception_in, exit_code, why

PYTHON = """\
Traceback (most recent call last):
  File "driver.py", line 3, in <module>
    main()
  File "driver.py", line 2, in main
    raise OSError("no space left on device")
OSError: no space left on device
26/11/25 20:57:07 INFO ShutdownHookManager: Shutdown hook called
""".splitlines()
JAVA = """\
Exception in thread "main" org.apache.spark.SparkException: Application application_1_2 failed
\tat org.apache.spark.deploy.SparkSubmit.main(SparkSubmit.scala)
Caused by: java.io.IOException: connection lost
\tat x.y.Z.f(Z.java:1)
Caused by: java.net.UnknownHostException: namenode.example.com
\t... 6 more
""".splitlines()
KILLED = """\
Exception in thread "main" java.lang.reflect.UndeclaredThrowableException
\tat org.apache.hadoop.security.UserGroupInformation.doAs(UserGroupInformation.java:1894)
Caused by: org.apache.spark.SparkUserAppException: User application exited with 137
\t... 6 more
""".splitlines()
REFUSED = ["26/11/25 21:37:25 DRIVER cannot start: the gateway refused this driver's claim: No session.", *KILLED[:1]]
LOST = ["26/11/25 21:37:25 DRIVER ending: Spark's JVM ended: spark-submit's process is gone"]
OLD = [*PYTHON, *(f"26/11/25 20:57:07 INFO X: line {n}" for n in range(500))]


ENDED = "The driver ended on the upstream Livy"
LAST = "the last exception in its log:"


@pytest.mark.parametrize(
    ("state", "lines", "sentence"),
    [
        ("success", PYTHON, "The driver ended by itself (exit code 0)."),
        ("dead", PYTHON, f"{ENDED}; {LAST} OSError: no space left on device."),
        ("dead", JAVA, f"{ENDED}; {LAST} java.net.UnknownHostException: namenode.example.com."),
        ("dead", KILLED, f"{ENDED}: it was killed (SIGKILL): most often because memory ran out."),
        ("dead", REFUSED, f"{ENDED}: the gateway refused this driver's claim: No session."),
        ("dead", LOST, f"{ENDED}: Spark's JVM ended: spark-submit's process is gone."),
        ("dead", ["User application exited with 3"], f"{ENDED} with exit code 3."),
        ("killed", [], "The driver was killed on the upstream Livy."),
        ("killed", PYTHON, f"The driver was killed on the upstream Livy; {LAST} OSError: no space left on device."),
    ],
)
def test_the_reason(state, lines, sentence):
    assert why(state, lines) == sentence


@pytest.mark.parametrize("lines", [[], OLD])
def test_an_exception_that_was_survived_long_ago_is_not_blamed(lines):
    assert why("dead", lines).startswith("The driver ended on the upstream Livy without a word in its log")


def test_a_long_exception_is_cut():
    assert len(why("dead", ["Traceback (most recent call last):", "ValueError: " + "x" * 10_000])) < 700


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("org.apache.spark.SparkUserAppException: User application exited with 71", 71),
        ("diagnostics: User application exited with status 137", 137),
        ("exitCode: 13, (reason: ...)", 13),
        ("exited", None),
    ],
)
def test_exit_codes(line, code):
    assert exit_code([line]) == code


def test_of_python_and_java_the_later_counts():
    assert exception_in([*PYTHON, *JAVA]) == "java.net.UnknownHostException: namenode.example.com"
    assert exception_in([*JAVA, *PYTHON]) == "OSError: no space left on device"
