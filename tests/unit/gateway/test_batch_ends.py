"""Why a batch ended, told by tables of ends and logs."""

import pytest

from sparkyard_gateway import batch_ends
from sparkyard_gateway.backends.base import AttemptEnd
from sparkyard_gateway.states import BatchState

PYTHON = """\
stdout:
26/11/21 09:59:10 INFO SparkContext: Running Spark version 3.5.9
Traceback (most recent call last):
  File "/home/a/etl.py", line 3, in <module>
    main()
  File "/home/a/etl.py", line 2, in main
    raise ValueError("no rows: check the date")
ValueError: no rows: check the date
26/11/21 09:59:12 INFO ShutdownHookManager: Shutdown hook called
"""
TWO_TRACEBACKS = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'first'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
my.module.Failure
26/11/21 09:59:12 INFO SparkContext: Successfully stopped SparkContext
"""
PY4J = """\
Traceback (most recent call last):
  File "/home/a/etl.py", line 9, in <module>
    frame.collect()
  File "/spark/python/lib/py4j.zip/py4j/protocol.py", line 326, in get_return_value
py4j.protocol.Py4JJavaError: An error occurred while calling o42.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2856)
\tat java.base/java.lang.Thread.run(Thread.java:840)
Caused by: java.io.IOException: disk quota exceeded
\tat org.apache.spark.storage.DiskStore.put(DiskStore.scala:1)
\t... 1 more
"""
JAVA = """\
26/11/21 09:59:10 INFO SparkContext: Submitted application: good
Exception in thread "main" java.lang.RuntimeException: cannot begin
\tat org.example.Main.main(Main.java:7)
Caused by: java.lang.IllegalStateException: the cause
\tat org.example.Main.begin(Main.java:12)
\t... 12 more
Caused by: java.net.ConnectException: Connection refused
\t... 13 more
26/11/21 09:59:12 INFO ShutdownHookManager: Shutdown hook called
"""
JAVA_MEMORY = """\
26/11/21 09:59:10 ERROR Executor: Exception in task 0.0 in stage 0.0 (TID 0)
java.lang.OutOfMemoryError: Java heap space
\tat java.base/java.util.Arrays.copyOf(Arrays.java:3537)
26/11/21 09:59:12 INFO ShutdownHookManager: Shutdown hook called
"""
PYTHON_MEMORY = "Traceback (most recent call last):\n  File 'a.py', line 1\nMemoryError\n"
WARNED = """\
26/11/21 09:59:10 WARN Utils: java.net.BindException: Address already in use
\tat org.apache.spark.util.Utils$.retry(Utils.scala:1)
the last thing that the job printed
26/11/21 09:59:12 INFO ShutdownHookManager: Shutdown hook called
"""
ABSENT = "stdout: \n/x/python: can't open file '/home/a/absent.py': [Errno 2] No such file or directory\n"


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (PYTHON, "ValueError: no rows: check the date"),
        (TWO_TRACEBACKS, "my.module.Failure"),
        (PY4J, "py4j.protocol.Py4JJavaError: java.io.IOException: disk quota exceeded"),
        (JAVA, "java.net.ConnectException: Connection refused"),
        (JAVA_MEMORY, "java.lang.OutOfMemoryError: Java heap space"),
        (PYTHON_MEMORY, "MemoryError"),
        (WARNED, None),
        (ABSENT, None),
        ("", None),
        ("Traceback (most recent call last):\n  File 'cut off'\n", None),
    ],
)
def test_the_exception_in_a_log(log, found):
    assert batch_ends.exception_in(log.splitlines()) == found


@pytest.mark.parametrize(
    ("end", "log", "state", "reason"),
    [
        (AttemptEnd(0), PYTHON, BatchState.SUCCESS, None),
        (
            AttemptEnd(1), PYTHON, BatchState.DEAD,
            "The batch ended with exit code 1. ValueError: no rows: check the date",
        ),
        (AttemptEnd(2), ABSENT, BatchState.DEAD, "The batch ended with exit code 2. Its last line: /x/python: can't"),
        (AttemptEnd(3), "stdout: \n", BatchState.DEAD, "The batch ended with exit code 3."),
        (AttemptEnd(1), WARNED, BatchState.DEAD, "The batch ended with exit code 1. Its last line: the last thing"),
        (
            AttemptEnd(52), JAVA_MEMORY, BatchState.DEAD,
            "The batch ran out of memory: java.lang.OutOfMemoryError: Java heap space; ask for more driverMemory.",
        ),
        (
            AttemptEnd(1), PYTHON_MEMORY, BatchState.DEAD,
            "The batch ran out of memory: MemoryError; ask for more driverMemory.",
        ),
        (AttemptEnd(-9), "", BatchState.KILLED, "The batch was killed (SIGKILL): most often because the machine"),
        (AttemptEnd(137), "", BatchState.KILLED, "The batch was killed (SIGKILL): most often because the machine"),
        (AttemptEnd(-15), "", BatchState.KILLED, "The batch was ended by SIGTERM."),
        (AttemptEnd(-11), "", BatchState.KILLED, "The batch was ended by SIGSEGV."),
        (AttemptEnd(143, asked=True), PYTHON, BatchState.KILLED, "The batch was stopped on request."),
        (AttemptEnd(None), PYTHON, BatchState.ERROR, "The batch ended, and nobody saw how"),
        (AttemptEnd(None, began=False), "", BatchState.ERROR, "The batch could not be started"),
        (AttemptEnd(None, began=False, verdict="No such image."), "", BatchState.ERROR, "No such image."),
        (AttemptEnd(None, verdict="Its node is gone."), "", BatchState.DEAD, "Its node is gone."),
    ],
)  # fmt: skip
def test_the_final_state_and_why(end, log, state, reason):
    judged, why = batch_ends.judge(end, log.splitlines())
    assert judged is state
    assert why is None if reason is None else why.startswith(reason)


def test_a_reason_is_bounded():
    _, why = batch_ends.judge(AttemptEnd(1), ["Traceback (most recent call last):", "E: " + "x" * 100_000])
    assert len(why) < 1000
