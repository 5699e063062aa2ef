"""Batches at a real Apache Livy 0.7.1: they run once, in their owner's name, whatever is killed meanwhile.

`test_livy_batches` replays the recorded contract there; here is what only an upstream can do to us.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import hub_stand_in, upstream_livy
from support.hub_stand_in import HubStandIn
from support.running_gateway import RunningGateway
from support.upstream_livy import UpstreamLivy, gateway_before
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

SCRIPTS = {
    "counts.py": "import sys\nopen(sys.argv[1], 'a').write('x')\nprint('counted', flush=True)\n",
    "waits.py": (
        "import os, sys, time\nopen(sys.argv[1], 'a').write('x')\nprint('pid', os.getpid(), flush=True)\n"
        # Livy's local mode ends spark-submit's JVM alone.
        "parent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.1)\n"
    ),
    "fails.py": "import getpass\nprint('begins')\n{}['absent']\n",
}
MORE = """\
      files: {{allow: ["home://", "file:///etc/"]}}
  secretive:
    title: With a secret
    description: For tests.
    everyone: true
    notebook: {{image: notebook, cpu: {{guarantee: 0.1, limit: 1}}, memory: {{guarantee: 256Mi, limit: 1Gi}}}}
    spark:
      version: "3.5"
      driver: {{image: spark-3.5, cores: 1, memory: 512m}}
      executor: {{image: spark-3.5, cores: 1, memory: 512m, count: 1}}
      conf: {{spark.hadoop.fs.s3a.secret.key: hush-hush}}
      files: {{allow: ["home://"]}}
"""
CATALOG = upstream_livy.CATALOG.replace("      conf: {spark.hadoop.fs.s3a.secret.key: hush-hush}\n", "") + MORE.format()


def gateway_of(livy: UpstreamLivy, hub: HubStandIn, name: str, *more: str) -> RunningGateway:
    """A gateway, not yet started, with homes that Livy reaches."""
    homes = livy.allowed / f"{name}-homes"
    for person in ("ann", "bob"):
        (homes / person).mkdir(parents=True)
        for script, text in SCRIPTS.items():
            (homes / person / script).write_text(text)
    gateway = gateway_before(
        livy, hub.url, name, "--livy-poll-seconds", "0.5", "--livy-homes", f"{homes.as_uri()}/{{user}}", *more,
        namespace=name,
    )  # fmt: skip
    (gateway._folder / "catalog.yaml").write_text(CATALOG)
    return gateway


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in.running() as running:
        running.admit("token-of-ann", "ann", ("people",))
        running.admit("token-of-bob", "bob", ("people",))
        yield running


@pytest.fixture(scope="module")
def gateway(upstream_livy: UpstreamLivy, hub: HubStandIn) -> Iterator[RunningGateway]:
    running = gateway_of(upstream_livy, hub, "batches", "--stop-drivers-on-exit")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ann(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with client_of(gateway) as made:
        yield made


def client_of(gateway: RunningGateway, token: str = "token-of-ann") -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"token {token}"}, timeout=100)


def submit(client: httpx.Client, script: str, *args: object, **more: object) -> int:
    answer = client.post("/batches", json={"file": f"home://{script}", "args": [*map(str, args)], **more})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def ended(client: httpx.Client, number: int) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        answer: dict[str, Any] = client.get(f"/batches/{number}").json()
        return answer if answer["ended"] is not None else None

    return until(found, 240)


def theirs(livy: UpstreamLivy, namespace: str) -> list[dict[str, Any]]:
    """What the upstream has of a gateway's, without the probe of whose name things run in."""
    return [each for each in livy.batches() if str(each["name"]).startswith(f"sparkyard-{namespace}-b")]


def test_a_batch_runs_there_in_its_owners_name_and_its_log_outlives_it(ann, gateway, upstream_livy, tmp_path):
    number = submit(ann, "counts.py", tmp_path / "mark", name="mine")
    done = ended(ann, number)
    assert (done["state"], done["exitCode"], done["stateReason"]) == ("success", 0, None), done
    assert done["created"] <= done["started"] <= done["ended"]
    assert "recorded, not used" in done["notice"]
    assert (tmp_path / "mark").read_text() == "x"
    (batch,) = theirs(upstream_livy, "batches")
    assert batch["proxyUser"] == "ann"
    httpx.delete(f"{upstream_livy.url}/batches/{batch['id']}").raise_for_status()
    assert "counted" in ann.get(f"/batches/{number}/log?size=-1").json()["log"]
    with client_of(gateway, "token-of-bob") as bob:
        for path in (f"/batches/{number}", f"/batches/{number}/log", f"/batches/{number}/state", "/batches/mine"):
            assert bob.get(path).status_code == 404
        assert bob.delete(f"/batches/{number}").status_code == 404
    with httpx.Client(base_url=gateway.url) as nobody:
        assert nobody.get(f"/batches/{number}").status_code == 401


def test_a_failure_says_why(ann):
    done = ended(ann, submit(ann, "fails.py"))
    assert (done["state"], done["exitCode"]) == ("dead", 1)
    assert done["stateReason"] == "The batch ended with exit code 1. KeyError: 'absent'"


def test_what_the_upstream_refuses_is_told_and_leaves_nothing_there(ann, upstream_livy):
    before = len(upstream_livy.batches())
    number = ann.post("/batches", json={"file": "file:///etc/passwd"}).json()["id"]
    done = ended(ann, number)
    assert done["state"] == "error"
    assert "The upstream Livy refused to start the batch: " in done["stateReason"]
    assert "/etc/passwd" in done["stateReason"]
    assert len(upstream_livy.batches()) == before


def test_a_secret_that_all_would_see_is_not_submitted(ann):
    for question in ("", "?validate=true"):
        wish = {"file": "home://counts.py", "profile": "secretive"}
        refused = ann.post(f"/batches{question}", json=wish)
        assert (refused.status_code, refused.json()["key"]) == (400, "spark.hadoop.fs.s3a.secret.key")
        assert "shows a batch's settings to others" in refused.json()["msg"]
        assert "hush" not in refused.text


def test_deleting_ends_it_there_and_silence_meanwhile_changes_nothing(ann, upstream_livy, tmp_path):
    number = submit(ann, "waits.py", tmp_path / "mark")
    until((tmp_path / "mark").exists, 120)
    upstream_livy.pause()
    try:
        time.sleep(2)
        assert ann.get(f"/batches/{number}").json()["ended"] is None
        assert ann.delete(f"/batches/{number}").json() == {"msg": "deleted"}
        assert ann.get(f"/batches/{number}").status_code == 404
    finally:
        upstream_livy.resume()
    until(lambda: not any(each["state"] in {"starting", "running"} for each in theirs(upstream_livy, "batches")))


def test_killed_at_any_moment_of_the_start_a_batch_runs_exactly_once(upstream_livy, hub, tmp_path):
    """One gateway is killed in the midst of two starts, one while the upstream sits on the request."""
    gateway = gateway_of(upstream_livy, hub, "mortal")
    gateway.start()
    try:
        with client_of(gateway) as ann:
            # So that whose name things run in is known already, and the next word is the batch's own.
            assert ended(ann, submit(ann, "counts.py", tmp_path / "first"))["state"] == "success"
            marks = [tmp_path / f"mark-{number}" for number in range(2)]
            numbers = [submit(ann, "counts.py", mark) for mark in marks]
            gateway.kill()
            gateway.start()
            assert [ended(ann, number)["state"] for number in numbers] == ["success"] * 2
            upstream_livy.pause()
            try:
                late = submit(ann, "counts.py", tmp_path / "late")
                until(
                    lambda: rows(gateway, "SELECT handle FROM attempts WHERE batch_id = ? AND handle != 'null'", late)
                )
                time.sleep(0.5)  # the request is with the upstream, most probably; it holds either way
                gateway.kill()
                gateway.start()
                assert ann.get(f"/batches/{late}").json()["state"] == "starting"
            finally:
                upstream_livy.resume()
            assert ended(ann, late)["state"] == "success"
            assert [each.read_text() for each in (*marks, tmp_path / "late")] == ["x"] * 3
    finally:
        gateway.stop()


def rows(gateway: RunningGateway, query: str, *values: object) -> list[tuple[Any, ...]]:
    with sqlite3.connect(gateway._folder / "state" / "gateway.sqlite", timeout=30) as connection:
        return connection.execute(query, values).fetchall()


@pytest.fixture
def another_livy(tmp_path: Path) -> Iterator[UpstreamLivy]:
    """One that a test may kill, and that runs nothing in its users' names."""
    running = UpstreamLivy(tmp_path / "livy", impersonation=False)
    (tmp_path / "livy").mkdir()
    running.start()
    yield running
    running.end()


def test_nothing_runs_in_another_name_and_what_an_upstream_forgot_is_not_run_again(another_livy, hub, tmp_path):
    gateway = gateway_of(another_livy, hub, "another")
    gateway.start()
    try:
        with client_of(gateway) as ann:
            refused = ended(ann, submit(ann, "counts.py", tmp_path / "stolen"))
            assert refused["state"] == "error"
            assert "would not run the batch in your name" in refused["stateReason"]
            assert not (tmp_path / "stolen").exists()
            assert theirs(another_livy, "another") == []
            gateway.stop()
            gateway._options += ("--no-livy-impersonate",)
            gateway.start()
            number = submit(ann, "waits.py", tmp_path / "mark")
            until((tmp_path / "mark").exists, 120)
            pid = int(until(lambda: said(ann, number, "pid"), 60))
            another_livy.kill()
            gateway.kill()
            gateway.start()
            assert ann.get(f"/batches/{number}").json()["state"] in {"starting", "running"}
            another_livy.start()
            done = ended(ann, number)
            assert done["state"] == "error"
            assert "no longer knows the batch" in done["stateReason"]
            assert (tmp_path / "mark").read_text() == "x"
            assert f"pid {pid}" in ann.get(f"/batches/{number}/log?size=-1").json()["log"]
            os.kill(pid, signal.SIGKILL)
    finally:
        gateway.stop()


def said(client: httpx.Client, number: int, word: str) -> str | None:
    lines = client.get(f"/batches/{number}/log?size=-1").json()["log"]
    return next((line.removeprefix(word).strip() for line in lines if line.startswith(word)), None)
