"""One gateway with Spark 3.5 and Spark 4 side by side: a shared session of each, with all kinds in it at once."""

from collections.abc import Iterator

import httpx
import pytest

from support import running_gateway
from support.running_gateway import TOKEN

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

PROFILES = {"small": "3.5", "spark-4": "4.1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"token {TOKEN}"}
    with (
        running_gateway.running(tmp_path_factory.mktemp("gateway")) as gateway,
        httpx.Client(base_url=gateway.url, headers=headers, timeout=130) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def sessions(client: httpx.Client) -> dict[str, int]:
    """Both asked for at once, as two people would."""
    numbers = {
        profile: client.post("/sessions", json={"kind": "shared", "profile": profile}).json()["id"]
        for profile in PROFILES
    }
    for number in numbers.values():
        state = "starting"
        while state == "starting":
            state = client.get(f"/sessions/{number}?wait=60&state=starting").json()["state"]
        assert state == "idle", client.get(f"/sessions/{number}").json()
    return numbers


def run(client: httpx.Client, session: int, kind: str, code: str) -> dict:
    answer = client.post(f"/sessions/{session}/statements?wait=60", json={"kind": kind, "code": code}).json()
    while answer["state"] not in ("available", "cancelled"):
        answer = client.get(f"/sessions/{session}/statements/{answer['id']}?wait=60").json()
    assert answer["kind"] == kind
    return answer["output"]


def test_each_session_runs_its_profiles_spark(client: httpx.Client, sessions: dict[str, int]) -> None:
    for profile, version in PROFILES.items():
        view = client.get(f"/sessions/{sessions[profile]}").json()
        assert view["sparkVersion"].startswith(version)
        assert run(client, sessions[profile], "pyspark", "print(spark.version[:3])")["data"] == {"text/plain": version}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kind_runs_in_a_shared_session(client: httpx.Client, sessions: dict[str, int], profile: str) -> None:
    session = sessions[profile]
    run(client, session, "pyspark", "spark.range(5).createOrReplaceTempView('five')")
    rows = run(client, session, "sql", "select count(*) as n from five")["data"]["application/json"]
    assert rows["data"] == [[5]]
    counted = run(client, session, "spark", 'spark.table("five").count()')["data"]["text/plain"]
    assert counted.removeprefix("val ") == "res0: Long = 5\n"
    assert run(client, session, "sparkr", "1 + 1")["data"]["text/plain"].startswith("[1] 2")


def test_spark_4_takes_sql_by_the_standard(client: httpx.Client, sessions: dict[str, int]) -> None:
    old = run(client, sessions["small"], "sql", "select int('x') as n")
    assert old["data"]["application/json"]["data"] == [[None]]
    new = run(client, sessions["spark-4"], "sql", "select int('x') as n")
    assert new["status"] == "error"
    assert "CAST_INVALID_INPUT" in new["evalue"]
