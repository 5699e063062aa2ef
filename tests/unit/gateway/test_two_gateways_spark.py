"""Two gateways with real Spark on one PostgreSQL: one is killed, and what ran is neither lost nor run again."""

import httpx
import pytest

from support import hub_stand_in
from support.running_gateway import TOKEN, RunningGateway
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

WAITS = """\
import os, time
open({mark!r}, "a").write("x")
while not os.path.exists({go!r}):
    time.sleep(0.05)
print(spark.range(1000).repartition(2).count())
"""
BATCH = "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n" + WAITS


@pytest.fixture
def gateways(tmp_path, postgres):
    shared = (
        "--database-url", postgres.url(postgres.new_database()), "--lease-seconds", "5",
        "--homes-dir", str(tmp_path / "homes"), "--stop-drivers-on-exit",
    )  # fmt: skip
    with hub_stand_in.running() as hub:
        hub.admit(TOKEN, "ann", ("data-science",))
        both = [
            RunningGateway(tmp_path, hub.url, *shared, "--instance", name, log=name, forked=True) for name in ("a", "b")
        ]
        for each in both:
            each.start()
        yield both
        for each in both:
            each.stop()


def at(gateway: RunningGateway) -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"token {TOKEN}"}, timeout=70)


def test_a_statement_and_a_batch_outlive_the_gateway_that_began_them(gateways, tmp_path):
    a, b = gateways
    marks = {what: (tmp_path / f"{what}-ran", tmp_path / f"{what}-go") for what in ("statement", "batch")}
    code = {what: (str(mark), str(go)) for what, (mark, go) in marks.items()}
    home = tmp_path / "homes" / "ann"
    home.mkdir(parents=True)
    (home / "job.py").write_text(BATCH.format(mark=code["batch"][0], go=code["batch"][1]))
    with at(a) as at_a, at(b) as at_b:
        session = at_b.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        batch = at_b.post("/batches", json={"file": "home://job.py"}).json()["id"]
        until(lambda: at_a.get(f"/sessions/{session}/state").json()["state"] == "idle", 300)
        text = WAITS.format(mark=code["statement"][0], go=code["statement"][1])
        number = at_a.post(f"/sessions/{session}/statements", json={"code": text}).json()["id"]
        until(lambda: all(mark.exists() for mark, _ in marks.values()), 300)
        application = at_a.get(f"/sessions/{session}").json()["appId"]
        b.kill()
        for _, go in marks.values():
            go.touch()
        # Asked while nobody owns it, and answered by whoever does then.
        result = f"/sessions/{session}/statements/{number}?wait=60"
        answer = until(lambda: (found := at_a.get(result).json())["state"] == "available" and found, 300)
        assert answer["output"]["data"]["text/plain"].strip() == "1000"
        done = until(
            lambda: (found := at_a.get(f"/batches/{batch}?wait=60&state=running").json())["ended"] and found, 300
        )
        assert (done["state"], done["exitCode"]) == ("success", 0), done
        assert "1000" in at_a.get(f"/batches/{batch}/log?from=0&size=-1").json()["log"]
        assert [mark.read_text() for mark, _ in marks.values()] == ["x", "x"]
        # The very driver goes on under its new owner.
        assert at_a.get(f"/sessions/{session}").json()["appId"] == application
        made = at_a.post(f"/sessions/{session}/statements?wait=60", json={"code": "spark.range(7).count()"}).json()
        assert made["output"]["data"]["text/plain"] == "7"
