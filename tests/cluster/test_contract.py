"""What a real Livy 0.9 was asked and answered, asked of a gateway whose drivers and batches are pods.

routes      the requests that need no Spark; their drivers are simulated
spark       statements on real Spark, and batches, of one gateway
"""

import re
from collections.abc import Iterator

import pytest

from support import batch_recordings, contract_on_pods, job_server
from support.batch_recordings import SCRIPTS, BatchReplay
from support.cluster.using import Cluster
from support.contract_on_pods import OnPods
from support.deviations import Otherwise
from support.replay import Replay
from support.schedule import ROUTES, SPARK
from support.transcripts import RECORDED, Exchange

pytestmark = [
    pytest.mark.spark,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared, the recorded answers of a real Livy"),
]

WITHOUT_R = {
    "05: result of: kind given: sparkr with no R installed": Otherwise(
        "the same end, in words that say what the Spark image lacks",
        expect={"output.status": "error", "state": "available", "output.evalue": re.compile("has no R")},
    )
}


@pytest.fixture(scope="module")
def routes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    cluster.load("spark-3.5")
    folder = tmp_path_factory.mktemp("routes")
    with contract_on_pods.running(cluster, folder, "--concurrent-starts", "1", simulated=True) as there:
        yield Replay(there.people, ROUTES, there.kill)


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[str]:
    """Where batches find their files."""
    with job_server.running(cluster.host, SCRIPTS) as found:
        yield f"{found.url}/jobs/"


@pytest.fixture(scope="module")
def there(cluster: Cluster, jobs: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnPods]:
    cluster.load("spark-3.5")
    with contract_on_pods.running(cluster, tmp_path_factory.mktemp("spark"), simulated=False, files=(jobs,)) as found:
        yield found


@pytest.fixture(scope="module")
def spark(there: OnPods) -> Replay:
    return Replay(there.people, SPARK, there.kill, WITHOUT_R)


@pytest.fixture(scope="module")
def batches(there: OnPods, jobs: str) -> BatchReplay:
    return BatchReplay(there.people["bob"], jobs)


@pytest.mark.parametrize("recorded", [each for each in ROUTES if isinstance(each, Exchange)], ids=lambda each: each.id)
def test_routes_as_livy(routes, recorded):
    routes.compare(recorded)


@pytest.mark.parametrize("recorded", [each for each in SPARK if isinstance(each, Exchange)], ids=lambda each: each.id)
def test_statements_as_livy(spark, recorded):
    spark.compare(recorded)


@pytest.mark.parametrize("recorded", batch_recordings.recorded(), ids=lambda each: each.title)
def test_batches_as_livy(batches, recorded):
    batches.compare(recorded)


def test_the_application_is_known_and_its_output_is_in_the_log(batches):
    if "4" not in batches.ours:
        pytest.skip("asked after the recorded requests")
    good, log = batches.good()
    assert good["appId"].startswith("spark-")
    assert log[:2] == ["stdout: ", "\nstderr: "]
    assert "count 1000 20 b c" in log
