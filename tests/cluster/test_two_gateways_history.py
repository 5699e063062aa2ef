"""Two gateways whose drivers are pods: whichever is asked shows the history of what has ended, wherever it is kept."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import hub_stand_in, postgres
from support.cluster.using import Cluster
from support.running_gateway import TOKEN
from support.spark_pods import ANN, BOB, BOBS_TOKEN, PATIENCE_SECONDS, PodsGateway, prepared
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

COUNT = "spark.range(1000).selectExpr('id % 7 AS k').groupBy('k').count().collect()"
SECRET = "5" * 64


@pytest.fixture
def gateways(cluster: Cluster, tmp_path: Path) -> Iterator[list[PodsGateway]]:
    """Each with a folder of its own, as on machines of their own."""
    if postgres.programs() is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    for image in ("spark-3.5", "spark-3.5-pandas-2.1"):
        cluster.load(image)
    with (
        postgres.running() as server,
        hub_stand_in.running() as hub,
        prepared(cluster, tmp_path) as ground,
    ):
        hub.admit(TOKEN, "ann", ("data-science",))
        hub.admit(BOBS_TOKEN, "bob", ("data-science",))
        (tmp_path / "token").write_text(SECRET)
        shared = ("--database-url", server.url(server.new_database()), "--lease-seconds", "10")
        both = []
        for name in ("a", "b"):
            with socket.socket() as probe:
                probe.bind((cluster.host, 0))
                port = probe.getsockname()[1]
            (tmp_path / name).mkdir()
            options = (
                *ground.options(port), *shared, "--instance", name, "--hub-token-file", str(tmp_path / "token"),
            )  # fmt: skip
            gateway = PodsGateway(tmp_path / name, hub.url, cluster, ground.namespace, *options)
            gateway.start_at(port)
            both.append(gateway)
        yield both
        for gateway in both:
            gateway.stop()


def kept(gateway: PodsGateway, session: int) -> int:
    """How many bytes of a session's event log a gateway has."""
    (folder,) = gateway.state.parent.glob("pod-events-*")
    return sum(each.stat().st_size for each in (folder / str(session)).glob("eventlog_v2_*/events_*"))


def asked(gateway: PodsGateway, path: str, whom: dict[str, str] = ANN) -> httpx.Response:
    return httpx.get(f"{gateway.url}{path}", headers=whom, timeout=300, follow_redirects=True)


def shows(gateway: PodsGateway, session: dict[str, Any]) -> bool:
    """Whether it shows the session's job."""
    path = f"{session['sparkUiPath']}api/v1/applications/{session['appId']}/stages"
    # A gateway that was just started again is not known to the others yet.
    answer = until(lambda: (found := asked(gateway, path)).status_code == 200 and found, PATIENCE_SECONDS, pause=0.5)
    return "COMPLETE" in {each["status"] for each in answer.json()}


def test_whichever_gateway_is_asked_shows_it(gateways):
    a, b = gateways
    runs, over = b.new_session(), b.new_session()
    for session in (over, runs):
        b.until_idle(session)
        assert b.run(session, COUNT)["status"] == "ok"
    b.ask("POST", f"/sessions/{over}/stop")
    ended = b.until_dead(over)
    until(lambda: kept(b, runs), PATIENCE_SECONDS, pause=0.3)
    assert kept(b, over)
    assert (kept(a, runs), kept(a, over)) == (0, 0)
    # Its owner is asked by the other one.
    assert shows(a, ended)
    b.kill()
    # The driver that lives sends its new owner all of it.
    until(lambda: kept(a, runs) >= kept(b, runs), PATIENCE_SECONDS, pause=0.3)
    a.ask("POST", f"/sessions/{runs}/stop")
    later = a.until_dead(runs)
    b.start()
    for gateway in (a, b):
        # One was taken over after its end: its new owner has none of it, and the one that is back has all.
        assert shows(gateway, ended)
        # Of the other the one that is back has the beginning alone.
        assert shows(gateway, later)
    assert kept(a, over) == 0
    assert kept(a, runs) > kept(b, runs)
    complete = asked(b, f"{later['sparkUiPath']}api/v1/applications/{later['appId']}").json()
    assert complete["attempts"][-1]["completed"]
    for gateway in (a, b):
        for seek in ({}, {"Sparkyard-Seek": "show"}, {"Sparkyard-Seek": "how-much", "Sparkyard-Forwarded": "x"}):
            theirs = asked(gateway, ended["sparkUiPath"], {**BOB, **seek})
            assert theirs.status_code == 404
            assert "sparkyard-kept" not in theirs.headers
