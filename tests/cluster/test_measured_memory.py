"""The memory that a session holds, as a real metrics-server measures its pods."""

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sparkyard_gateway.browser_login import LOGIN_COOKIE
from sparkyard_gateway.sealing import Seal
from support.cluster import measuring
from support.cluster.using import Cluster, RefusedError
from support.running_gateway import TOKEN
from support.spark_pods import BOBS_TOKEN, PodsGateway, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

SECRET = "6" * 64
METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods"
PATIENCE_SECONDS = 180
MIB = 1 << 20


@pytest.fixture(scope="module")
def spark(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "token").write_text(SECRET)
    options = ("--hub-token-file", str(folder / "token"))
    with (
        measuring.running(cluster),
        running(cluster, folder, ("spark-3.5", "spark-3.5-pandas-2.1"), options=options) as gateway,
    ):
        yield gateway


def rows(spark: PodsGateway, token: str) -> Iterator[dict[str, Any]]:
    """What the Sessions page of somebody is told, as it comes."""
    cookie = Seal(SECRET, "browser-login").seal(600, token=token)
    address = f"{spark.url}/services/gateway/ui/events"
    with httpx.stream("GET", address, headers={"Cookie": f"{LOGIN_COOKIE}={cookie}"}, timeout=PATIENCE_SECONDS) as told:
        assert told.status_code == 200
        for line in told.iter_lines():
            if line.startswith("data: "):
                yield from json.loads(line[6:]).get("changed", [])


def test_the_page_shows_what_a_sessions_pods_hold(spark):
    number = spark.new_session()
    spark.until_idle(number)
    spark.run(number, "sc.parallelize(range(2), 2).count()")
    pods = {each["metadata"]["name"] for role in ("driver", "executor") for each in spark.pods(number, role)}
    assert len(pods) == 2
    before = next(row["memory"] for row in rows(spark, TOKEN) if row["memory"])
    assert 200 * MIB < before < 1500 * MIB
    spark.run(number, "held = b'x' * 300_000_000")
    after = next(row for row in rows(spark, TOKEN) if (row["memory"] or 0) > before + 250 * MIB)
    assert after["memory"] < after["memoryLimit"]

    def measured() -> int:
        told = json.loads(spark.cluster.kubectl("get", "--raw", METRICS.format(spark.namespace)))
        assert {each["metadata"]["name"] for each in told["items"]} == pods
        sizes = [each["usage"]["memory"] for pod in told["items"] for each in pod["containers"]]
        return sum(int(size.removesuffix("Ki")) << 10 for size in sizes)

    # The page's is a question every so often, and rounded.
    until(lambda: math.isclose(after["memory"], measured(), rel_tol=0.1), PATIENCE_SECONDS, pause=5)
    spark.delete(number)


def test_nobody_else_is_told(spark):
    number = spark.new_session()
    spark.until_idle(number)
    next(row for row in rows(spark, TOKEN) if row["id"] == number and row["memory"])
    cookie = Seal(SECRET, "browser-login").seal(600, token=BOBS_TOKEN)
    with httpx.stream(
        "GET", f"{spark.url}/services/gateway/ui/events", headers={"Cookie": f"{LOGIN_COOKIE}={cookie}"}, timeout=60
    ) as told:
        first = next(line for line in told.iter_lines() if line.startswith("data: "))
    assert json.loads(first[6:])["changed"] == []
    spark.delete(number)


def test_the_gateway_may_ask_for_its_own_namespaces_alone(spark):
    told = json.loads(spark.as_gateway("get", "--raw", METRICS.format(spark.namespace)))
    assert told["kind"] == "PodMetricsList"
    with pytest.raises(RefusedError, match="Forbidden"):
        spark.as_gateway("get", "--raw", METRICS.format("kube-system"))
