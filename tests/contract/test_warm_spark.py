"""A warm driver with Spark itself: who takes it has Spark at once, in their own name."""

from pathlib import Path

import httpx
import pytest

from support import running_gateway
from support.running_gateway import ROOT, TOKEN
from support.waiting import until

pytestmark = pytest.mark.spark
IDLE = 'sparkyard_gateway_warm_drivers_idle{profile="small"} 1.0'


def test_spark_is_there_and_the_takers(tmp_path: Path):
    shown = (ROOT / "catalog.yaml").read_text()
    last = "      idle_timeout: {default: 1h, max: 12h}\n"
    (tmp_path / "catalog.yaml").write_text(shown.replace(last, f"{last}      warm: 1\n", 1))
    options = ("--catalog", str(tmp_path / "catalog.yaml"), "--warm-memory-free-mib", "0")
    with (
        running_gateway.running(tmp_path, *options) as gateway,
        httpx.Client(base_url=gateway.url, headers={"Authorization": f"token {TOKEN}"}, timeout=120) as ann,
    ):
        until(lambda: IDLE in ann.get("/metrics").text)
        made = ann.post("/sessions", json={"kind": "pyspark", "name": "warm"}).json()
        assert (made["state"], made["owner"]) == ("idle", "ann")
        (tmp_path / "catalog.yaml").write_text(shown)  # no second one

        def run(code: str, kind: str) -> dict[str, object]:
            answer = ann.post("/sessions/warm/statements?wait=60", json={"code": code, "kind": kind}).json()
            output = answer["output"]
            assert output["status"] == "ok", output
            data: dict[str, object] = output["data"]
            return data

        assert run("spark.range(10).count()", "pyspark")["text/plain"] == "10"
        assert run("import getpass; getpass.getuser()", "pyspark")["text/plain"] == "'ann'"
        assert run("SELECT current_user() AS me", "sql")["application/json"]["data"] == [["ann"]]
        users = "spark._jvm.org.apache.hadoop.security.UserGroupInformation"
        assert run(f"{users}.getCurrentUser().getShortUserName()", "pyspark")["text/plain"] == "'ann'"
        ann.delete("/sessions/warm")
        kept = tmp_path / "state" / "events" / "ann" / f"eventlog_v2_{made['appId']}"
        until(kept.is_dir)
        assert any(each.name.startswith("events_1_") for each in kept.iterdir())
