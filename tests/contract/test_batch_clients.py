"""Livy's clients, unchanged, run batches on our gateway: pylivy, Airflow's provider, and a jar by plain HTTP."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyspark
import pytest
import requests
from livy import LivyBatch, SessionState
from livy.client import LivyClient

from support import running_gateway
from support.running_gateway import ROOT, TOKEN

pytestmark = pytest.mark.spark

AIRFLOW = ROOT / ".venv" / "clients" / "airflow" / "bin" / "python"
COUNT = """\
import sys
import time
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("count", spark.range(int(sys.argv[1])).count(), spark.sparkContext.appName)
time.sleep(1)  # only an application that is there to be asked is known by its id
spark.stop()
"""
FAILS = """\
import words
raise LookupError(words.SENTENCE)
"""
SCALA = """\
package org.example
import org.apache.spark.sql.SparkSession
object Count {
  def main(args: Array[String]): Unit = {
    val spark = SparkSession.builder().getOrCreate()
    println("count " + spark.range(args(0).toLong).count())
    if (args.length > 1) throw new IllegalStateException("outer", new java.io.IOException(args(1)))
    spark.stop()
  }
}
"""


class HubToken(requests.auth.AuthBase):
    """The one thing a client of ours needs: the hub's token in a header."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"token {TOKEN}"
        return request


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gateway") / "homes" / "ann"
    folder.mkdir(parents=True)
    (folder / "count.py").write_text(COUNT)
    (folder / "fails.py").write_text(FAILS)
    (folder / "words.py").write_text("SENTENCE = 'no such day'\n")
    (folder / "waits.py").write_text("import time\nprint('waits', flush=True)\ntime.sleep(600)\n")
    return folder


@pytest.fixture(scope="module")
def url(home):
    with running_gateway.running(home.parents[1], "--homes-dir", str(home.parent)) as gateway:
        yield gateway.url


def test_pylivy_runs_a_batch_and_reads_why_another_failed(url):
    good = LivyBatch.create(url, "home://count.py", auth=HubToken(), args=["7"], name="pylivy")
    failing = LivyBatch.create(url, "home://fails.py", auth=HubToken(), py_files=["home://words.py"])
    assert good.wait() is SessionState.SUCCESS
    assert "count 7 pylivy" in good.log(0, 10_000)
    assert failing.wait() is SessionState.DEAD
    assert "LookupError: no such day" in failing.log(size=10_000)
    client = LivyClient(url, auth=HubToken())
    assert [each.batch_id for each in client.list_batches()] == [good.batch_id, failing.batch_id]
    assert client.get_batch(good.batch_id).app_id.startswith("local-")
    good.kill()
    failing.kill()
    assert client.list_batches() == []


def test_airflow_submits_polls_reads_logs_and_kills(url, tmp_path):
    assert AIRFLOW.is_file(), "scripts/setup test makes it"
    headers = {"Authorization": f"token {TOKEN}"}
    address = httpx.URL(url)
    connection = {"conn_type": "livy", "schema": "http", "host": address.host, "port": address.port}
    tasks: list[dict[str, Any]] = [
        {"file": "home://count.py", "args": [5], "name": "by-airflow", "driver_memory": "512m", "num_executors": 1,
         "conf": {"spark.sql.shuffle.partitions": 3}, "polling_interval": 1, "extra_headers": headers},
        # The token may as well stand in the connection, as a secret of Airflow's.
        {"file": "home://fails.py", "py_files": ["home://words.py"], "polling_interval": 1,
         "livy_conn_id": "livy_with_token"},
        {"file": "home://waits.py", "then_kill": True, "extra_headers": headers},
        {"file": "file:///etc/passwd", "extra_headers": headers},
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW_CONN_LIVY_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_LIVY_WITH_TOKEN": json.dumps({**connection, "extra": headers}),
    }
    run = subprocess.run(
        [AIRFLOW, Path(running_gateway.__file__).parent / "airflow_client.py"],
        input=json.dumps({"tasks": tasks, "headers": headers}), env=environment, cwd=tmp_path, timeout=280,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    *logged, last = run.stdout.splitlines()
    told = json.loads(last)
    good, failing, killed, refused = told["done"]
    assert told["state"] == "success"
    assert good["outcome"] == "success"
    assert good["app_id"].startswith("local-")
    assert any("] count 5 by-airflow" in line for line in logged), run.stdout[-3000:]
    assert failing["outcome"] == f"AirflowException: Batch {failing['batch']} did not succeed"
    assert any("] LookupError: no such day" in line for line in logged)
    assert killed["outcome"] == "success"
    assert refused["outcome"].startswith("AirflowException: Could not submit batch. Status code: 400.")
    assert "it allows addresses under home://" in refused["outcome"]
    answer = httpx.get(f"{url}/batches", headers=headers).json()
    assert [each["id"] for each in answer["sessions"]] == [good["batch"], failing["batch"]]
    assert answer["sessions"][1]["stateReason"] == "The batch ended with exit code 1. LookupError: no such day"


def test_a_jar_runs_by_its_class_and_its_root_cause_is_the_reason(url, home, tmp_path):
    (tmp_path / "Count.scala").write_text(SCALA)
    jars = Path(pyspark.__file__).parent / "jars" / "*"
    compiler = ["java", "-cp", str(jars), "scala.tools.nsc.Main", "-usejavacp", "-d", str(home / "count.jar")]
    subprocess.run([*compiler, str(tmp_path / "Count.scala")], check=True, timeout=200)
    with httpx.Client(base_url=url, headers={"Authorization": f"token {TOKEN}"}, timeout=70) as client:
        wish = {"file": "home://count.jar", "className": "org.example.Count", "args": [9, "the disk is away"]}
        batch = client.post("/batches", json=wish).json()
        for state in ("starting", "running", "running", "running"):
            batch = client.get(f"/batches/{batch['id']}?wait=60&state={state}").json()
        assert (batch["state"], batch["exitCode"]) == ("dead", 1), batch
        assert batch["stateReason"] == "The batch ended with exit code 1. java.io.IOException: the disk is away"
        assert "count 9" in client.get(f"/batches/{batch['id']}/log?size=-1").json()["log"]
