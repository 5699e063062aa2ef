"""Two gateways on one PostgreSQL whose drivers are pods: one is killed, and what ran is neither lost nor run again."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support import hub_stand_in, job_server, postgres
from support.cluster.using import Cluster
from support.job_server import PRELUDE, JobServer
from support.running_gateway import TOKEN
from support.spark_pods import ANN, PATIENCE_SECONDS, PodsGateway, prepared
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

BATCH = PRELUDE + "say('batch')\nwait_for('batch')\nprint('it went on')\n"
STATEMENT = PRELUDE + "say('statement')\nwait_for('statement')\nprint(sc.parallelize(range(10), 2).sum())\n"


@pytest.fixture
def jobs(cluster: Cluster) -> Iterator[JobServer]:
    with job_server.running(cluster.host, {"batch.py": BATCH}) as found:
        yield found


@pytest.fixture
def gateways(cluster: Cluster, jobs: JobServer, tmp_path) -> Iterator[list[PodsGateway]]:
    """Each with a folder of its own, as on machines of their own."""
    if postgres.programs() is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    for image in ("spark-3.5", "spark-3.5-pandas-2.1"):
        cluster.load(image)
    with (
        postgres.running() as server,
        hub_stand_in.running() as hub,
        prepared(cluster, tmp_path, (f"{jobs.url}/jobs/",)) as ground,
    ):
        hub.admit(TOKEN, "ann", ("data-science",))
        shared = ("--database-url", server.url(server.new_database()), "--lease-seconds", "10")
        both = []
        for name in ("a", "b"):
            with socket.socket() as probe:
                probe.bind((cluster.host, 0))
                port = probe.getsockname()[1]
            (tmp_path / name).mkdir()
            options = (*ground.options(port), *shared, "--instance", name)
            gateway = PodsGateway(tmp_path / name, hub.url, cluster, ground.namespace, *options)
            gateway.start_at(port)
            both.append(gateway)
        yield both
        for gateway in both:
            gateway.stop()


def asked(gateway: PodsGateway, path: str) -> dict[str, Any]:
    """Ask while nobody owns it, for whoever does then; nothing where that takes longer than a request may."""
    answer = httpx.get(f"{gateway.url}{path}", headers=ANN, timeout=70)
    assert answer.status_code in {200, 503}, answer.text
    return dict(answer.json()) if answer.status_code == 200 else {}


def test_a_statement_and_a_batch_outlive_the_gateway_that_began_them(gateways, jobs):
    a, b = gateways
    session = b.new_session()
    batch = b.ask("POST", "/batches", file=f"{jobs.url}/jobs/batch.py", args=[jobs.url], profile="small")["id"]
    application = a.until_idle(session)["appId"]
    uid = a.driver_pod(session)["metadata"]["uid"]
    code = f"import sys; sys.argv = ['', {jobs.url!r}]\n{STATEMENT}"
    number = a.ask("POST", f"/sessions/{session}/statements", code=code)["id"]
    until(lambda: set(jobs.said) == {"statement", "batch"}, PATIENCE_SECONDS, pause=0.3)
    b.kill()
    jobs.go |= {"statement", "batch"}

    def available() -> str | None:
        found = asked(a, f"/sessions/{session}/statements/{number}?wait=20")
        return found["output"]["data"]["text/plain"] if found.get("state") == "available" else None

    assert until(available, PATIENCE_SECONDS, pause=0.3).strip() == "45"

    def ended() -> dict[str, Any] | None:
        found = asked(a, f"/batches/{batch}?wait=20&state=running")
        return found if found.get("ended") else None

    done = until(ended, PATIENCE_SECONDS, pause=0.3)
    assert (done["state"], done["exitCode"]) == ("success", 0)
    # The log of a pod is whole wherever it is read.
    assert "it went on" in a.ask("GET", f"/batches/{batch}/log?from=0&size=-1")["log"]
    assert sorted(jobs.said) == ["batch", "statement"]
    # The very driver goes on under its new owner.
    assert a.session(session)["appId"] == application
    assert a.driver_pod(session)["metadata"]["uid"] == uid
    assert a.text(session, "sc.parallelize(range(7), 2).count()") == "7"
    a.delete(session)
    until(lambda: not a.objects("pods") and not a.objects("secrets"), PATIENCE_SECONDS, pause=0.5)
