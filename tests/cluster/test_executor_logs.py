"""Executors' logs and what happened to pods, kept by a gateway on a real Kubernetes: while they run and after, whoever
ends them, and whichever gateway dies meanwhile.

spark     the gateway, its namespace, Ann who uses it and Bob who may not
session   a session of Ann's with one executor that has said something, ended by the last test that needs it
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.cluster.using import Cluster
from support.spark_pods import ANN, BOB, PATIENCE_SECONDS, PodsGateway, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

SAY = """
def say(words):
    import sys
    print(words, file=sys.stderr, flush=True)
    return words
sc.parallelize([{words!r}], 1).map(say).collect()
"""
END = """
def end(_):
    import os, signal, sys, time
    print("its last words", file=sys.stderr, flush=True)
    os.kill(1, signal.SIGTERM)
    time.sleep(600)
sc.parallelize([0], 1).map(end).collect()
"""
END_LATER = """
def end_later(_):
    import subprocess, sys
    words = "import os, signal, sys, time; time.sleep({seconds}); print('said while nobody looked', file=sys.stderr, "
    words += "flush=True); os.kill(1, signal.SIGTERM)"
    subprocess.Popen([sys.executable, "-c", words], stdout=open("/proc/1/fd/2", "w"), stderr=open("/proc/1/fd/2", "w"))
sc.parallelize([0], 1).foreach(end_later)
"""


@pytest.fixture(scope="module")
def spark(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    with running(cluster, tmp_path_factory.mktemp("gateway"), ("spark-3.5", "spark-3.5-pandas-2.1")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def session(spark: PodsGateway) -> Iterator[int]:
    number = spark.new_session()
    spark.until_idle(number)
    spark.run(number, SAY.format(words="hello of the executor"))
    yield number
    httpx.delete(f"{spark.url}/sessions/{number}", headers=ANN, timeout=60)


def executors(spark: PodsGateway, number: int) -> list[dict[str, Any]]:
    """A session's, the newest first."""
    found: list[dict[str, Any]] = spark.ask("GET", f"/sessions/{number}/executors")["executors"]
    return found


def executor(spark: PodsGateway, number: int, which: str) -> dict[str, Any]:
    (found,) = [each for each in executors(spark, number) if each["number"] == which]
    return found


def log(spark: PodsGateway, number: int, which: str) -> list[str]:
    lines: list[str] = spark.ask("GET", f"/sessions/{number}/executors/{which}/log?from=0&size=-1")["log"]
    return lines


def events(spark: PodsGateway, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spark.ask("GET", f"/sessions/{number}/pod-events")["events"]
    return found


def test_a_running_executor_is_listed_with_its_log(spark, session):
    (found,) = executors(spark, session)
    (pod,) = spark.pods(session, "executor")
    assert (found["number"], found["pod"], found["uid"]) == ("1", pod["metadata"]["name"], pod["metadata"]["uid"])
    assert (found["state"], found["node"], found["log"]) == ("running", "node-1", "growing")
    assert found["memory"] == 896 << 20
    until(lambda: "hello of the executor" in log(spark, session, "1"), pause=0.5)
    searched = spark.ask("GET", f"/sessions/{session}/executors/{found['uid']}/log?search=OF+THE+EXECUTOR&from=0")
    assert searched["log"] == ["hello of the executor"]
    text = httpx.get(f"{spark.url}/sessions/{session}/executors/1/log/text", headers=ANN, timeout=60)
    assert text.headers["content-disposition"] == f'attachment; filename="{found["pod"]}.log"'
    assert "hello of the executor\n" in text.text


def test_a_log_is_followed_as_it_is_written(spark, session):
    url = f"{spark.url}/sessions/{session}/executors/1/log/events?tail=1000"
    with httpx.stream("GET", url, headers=ANN, timeout=120) as answer:
        lines = answer.iter_lines()
        spark.ask("POST", f"/sessions/{session}/statements", code=SAY.format(words="news of the executor"))
        assert next(line for line in lines if "news of the executor" in line).startswith("data: ")


def test_what_happened_to_the_pods_is_told(spark, session):
    def told() -> list[dict[str, Any]] | None:
        found = events(spark, session)
        kinds = {(each["who"], each["reason"]) for each in found}
        wanted = {
            ("driver", "Scheduled"),
            ("driver", "Started"),
            ("executor 1", "Scheduled"),
            ("executor 1", "Started"),
        }
        return found if wanted <= kinds else None

    found = until(told, PATIENCE_SECONDS, pause=0.3)
    assert [each["last"] for each in found] == sorted(each["last"] for each in found)
    words = {(each["who"], each["reason"]): each["words"] for each in found}
    assert words["executor 1", "Scheduled"] == "It was given node node-1."
    assert words["driver", "Started"] == "Its container runs."
    assert {each["type"] for each in found} <= {"Normal", "Warning"}


PATHS = ("executors", "pod-events", "executors/1/log", "executors/1/log/text", "executors/1/log/events")


@pytest.mark.parametrize("path", PATHS)
def test_it_is_nobody_elses(spark, session, path):
    theirs, unknown = (
        httpx.get(f"{spark.url}/sessions/{number}/{path}", headers=BOB, timeout=60) for number in (session, 999_999)
    )
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text == unknown.text.replace("999999", str(session))
    assert httpx.get(f"{spark.url}/sessions/{session}/{path}", timeout=60).status_code == 401


def test_an_executor_that_fails_leaves_its_whole_log_and_no_pod(spark, session):
    name = executor(spark, session, "1")["pod"]
    assert spark.run(session, END)["status"] == "error"
    until(lambda: executor(spark, session, "1")["log"] == "whole", PATIENCE_SECONDS, pause=0.3)
    ended = executor(spark, session, "1")
    assert ended["state"] == "failed"
    assert "ended with exit code 143" in ended["reason"]
    assert {"hello of the executor", "its last words"} <= set(log(spark, session, "1"))
    # Spark has seen it fail, and not vanish: what vanishes is no failure to it.
    names = lambda: [pod["metadata"]["name"] for pod in spark.pods(session, "executor")]  # noqa: E731
    until(lambda: name not in names(), PATIENCE_SECONDS, pause=0.3)
    said = spark.driver_log(session)
    assert not [line for line in said if "deleted by a user or the framework" in line]
    # Nor does anything keep it from marking its own.
    assert not [line for line in said if "denied request" in line or "is forbidden" in line]
    assert spark.text(session, "sc.parallelize(range(10), 2).sum()") == "45"


def test_what_ended_while_no_gateway_lived_is_read_by_the_next(spark, session):
    before = max(int(each["number"]) for each in executors(spark, session) if each["state"] == "running")
    name = executor(spark, session, str(before))["pod"]
    spark.run(session, END_LATER.format(seconds=5))
    spark.kill()
    over = lambda: spark.cluster.get("pod", name, spark.namespace)["status"]["phase"] == "Failed"  # noqa: E731
    until(over, PATIENCE_SECONDS, pause=0.3)
    spark.start()
    until(lambda: executor(spark, session, str(before))["log"] == "whole", PATIENCE_SECONDS, pause=0.3)
    assert "said while nobody looked" in log(spark, session, str(before))
    # What was known before the kill is known still.
    assert executor(spark, session, "1")["state"] == "failed"
    assert "its last words" in log(spark, session, "1")
    assert {"driver", "executor 1"} <= {each["who"] for each in events(spark, session)}


def test_all_of_it_is_there_after_the_end(spark, session):
    assert spark.text(session, "sc.parallelize(range(10), 2).sum()") == "45"
    spark.run(session, SAY.format(words="near the end"))
    (alive,) = [each["number"] for each in executors(spark, session) if each["state"] == "running"]
    spark.ask("POST", f"/sessions/{session}/stop")
    spark.until_dead(session)
    until(lambda: not spark.objects("pods", session), PATIENCE_SECONDS, pause=0.3)
    until(lambda: executor(spark, session, alive)["log"] == "whole", PATIENCE_SECONDS, pause=0.3)
    assert executor(spark, session, alive)["state"] == "ended"
    lines = log(spark, session, alive)
    assert "near the end" in lines
    assert "Shutdown hook called" in " ".join(lines[-5:])
    assert "its last words" in log(spark, session, "1")
    assert [each for each in events(spark, session) if each["who"] == "driver"]
