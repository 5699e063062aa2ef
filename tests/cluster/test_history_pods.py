"""The Spark UI of what has ended as pods on a real Kubernetes: its event log was carried to the gateway, and is shown
by a pod of its owner's.

spark     the gateway, its namespace, and Ann and Bob who use it
ended     a session of hers that ran a job and was stopped
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from sparkyard_gateway.browser_login import LOGIN_COOKIE
from sparkyard_gateway.sealing import Seal
from support import job_server
from support.browser import chromium
from support.cluster.using import Cluster, RefusedError
from support.job_server import PRELUDE, JobServer
from support.running_gateway import TOKEN
from support.spark_pods import ANN, BOB, PATIENCE_SECONDS, PodsGateway, running
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

SECRET = "5" * 64
PREFIX = "/services/gateway"
COUNT = "spark.range(1000).selectExpr('id % 7 AS k').groupBy('k').count().collect()"
SPARK = "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
FILES = {
    "unseen.py": PRELUDE + SPARK + f"{COUNT}\nsay('unseen')\nwait_for('unseen')\nspark.stop()\nsys.exit(3)\n",
    "evicted.py": PRELUDE + SPARK + f"{COUNT}\nsay('evicted')\ntime.sleep(3600)\n",
}


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[JobServer]:
    with job_server.running(cluster.host, FILES) as found:
        yield found


@pytest.fixture(scope="module")
def spark(cluster: Cluster, jobs: JobServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "token").write_text(SECRET)
    options = ("--hub-token-file", str(folder / "token"))
    with running(
        cluster, folder, ("spark-3.5", "spark-3.5-pandas-2.1", "spark-4"), (f"{jobs.url}/jobs/",), options
    ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def ended(spark: PodsGateway) -> dict[str, Any]:
    number = counted(spark)
    spark.ask("POST", f"/sessions/{number}/stop")
    return spark.until_dead(number)


def counted(spark: PodsGateway, profile: str = "small") -> int:
    """A session of Ann's that has run a job."""
    number = spark.new_session(profile)
    spark.until_idle(number)
    assert spark.run(number, COUNT)["status"] == "ok"
    return number


def batch(spark: PodsGateway, jobs: JobServer, name: str) -> int:
    """A batch of Ann's that has run a job and still runs."""
    made: int = spark.ask(
        "POST", "/batches", file=f"{jobs.url}/jobs/{name}.py", args=[jobs.url], profile="small"
    )["id"]  # fmt: skip
    until(lambda: name in jobs.said, PATIENCE_SECONDS, pause=0.3)
    return made


def batch_pod(spark: PodsGateway) -> str:
    """The driver's pod of the only batch that runs."""
    pods = spark.cluster.get("pods", namespace=spark.namespace, **{"sparkyard/role": "driver"})["items"]
    (name,) = [each["metadata"]["name"] for each in pods if "sparkyard/attempt" in each["metadata"]["labels"]]
    return str(name)


def until_over(spark: PodsGateway, number: int) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = spark.ask("GET", f"/batches/{number}")
        return found if found["ended"] is not None else None

    return until(over, PATIENCE_SECONDS, pause=0.3)


def seen(spark: PodsGateway, path: str, whom: dict[str, str] = ANN) -> httpx.Response:
    """What somebody gets who opens a page by a token; a history server that starts may take its time."""
    return httpx.get(f"{spark.url}{path}", headers=whom, timeout=300, follow_redirects=True)


def stages(spark: PodsGateway, path: str, application: str) -> set[str]:
    """How the stages are that are shown of an application."""
    answer = seen(spark, f"{path}api/v1/applications/{application}/stages")
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return {each["status"] for each in answer.json()}


def complete(spark: PodsGateway, path: str, application: str) -> bool:
    """Whether its log has an end."""
    answer = seen(spark, f"{path}api/v1/applications/{application}")
    assert answer.status_code == 200, (answer.status_code, answer.text)
    found: bool = answer.json()["attempts"][-1]["completed"]
    return found


def carried(spark: PodsGateway, place: str) -> int:
    """How many bytes of a place's event logs the gateway keeps."""
    parts = (spark.state.parent / "pod-events" / place).glob("eventlog_v2_*/events_*")
    return sum(each.stat().st_size for each in parts)


def until_carried(spark: PodsGateway, place: str) -> None:
    """Return when nothing has been added for a while to what is kept: a job that has ended is in it."""
    known: list[int] = []

    def settled() -> bool:
        known.append(carried(spark, place))
        return known[-1] > 0 and len(known) > 8 and len(set(known[-8:])) == 1

    until(settled, PATIENCE_SECONDS, pause=1.0)


def pods_of_histories(spark: PodsGateway) -> list[dict[str, Any]]:
    selected = {"sparkyard/role": "history"}
    found: list[dict[str, Any]] = spark.cluster.get("pods", namespace=spark.namespace, **selected)["items"]
    return found


def test_an_ended_session_shows_its_jobs(spark, ended):
    path = ended["sparkUiPath"]
    assert path == f"{PREFIX}/spark-ui/{ended['id']}/"
    page = seen(spark, path)
    assert page.status_code == 200, page.text
    assert "Completed Jobs" in page.text
    assert page.headers["Content-Security-Policy"].startswith("sandbox ")
    assert "COMPLETE" in stages(spark, path, ended["appId"])
    assert complete(spark, path, ended["appId"])


def test_it_is_shown_in_a_browser(spark, ended):
    for pod in pods_of_histories(spark):
        name = pod["metadata"]["name"]
        spark.cluster.kubectl("delete", "pod", name, "-n", spark.namespace, "--grace-period=0", "--force")
    # People come by https, where a browser tells what it fetches as a part of a page.
    with chromium(f"--unsafely-treat-insecure-origin-as-secure={spark.url}") as browser:
        context = browser.new_context()
        sealed = Seal(SECRET, "browser-login").seal(600, token=TOKEN)
        address = f"{spark.url}{PREFIX}/"
        context.add_cookies([{"name": LOGIN_COOKIE, "value": sealed, "url": address, "httpOnly": True}])
        page = context.new_page()
        page.goto(f"{spark.url}{ended['sparkUiPath']}", timeout=60_000)
        # Until its pod is there, which takes longer than a person looks at nothing; then the page itself goes on.
        expect(page.get_by_role("heading", name="Opening the history")).to_be_visible()
        expect(page.get_by_text("Completed Jobs").first).to_be_visible(timeout=300_000)
        page.get_by_role("link", name="Stages", exact=True).click()
        expect(page.get_by_text("Completed Stages").first).to_be_visible(timeout=60_000)
        page.locator("a.name-link").first.click()
        # These its scripts fetch.
        expect(page.get_by_text("Summary Metrics for").first).to_be_visible(timeout=120_000)
        expect(page.locator("#active-tasks-table tbody tr").first).to_be_visible(timeout=120_000)


def test_a_stranger_and_nobody_are_refused(spark, ended):
    application = f"history/{ended['appId']}/jobs/"
    for below in ("", application, f"api/v1/applications/{ended['appId']}/stages"):
        theirs = httpx.get(f"{spark.url}{ended['sparkUiPath']}{below}", headers=BOB)
        unknown = httpx.get(f"{spark.url}{PREFIX}/spark-ui/999/{below}", headers=BOB)
        assert (theirs.status_code, unknown.status_code) == (404, 404)
        assert theirs.text.replace(str(ended["id"]), "N") == unknown.text.replace("999", "N")
        nobody = httpx.get(f"{spark.url}{ended['sparkUiPath']}{below}", headers={"Sec-Fetch-Mode": "cors"})
        assert nobody.status_code == 401
    # Nor does a session's address lead to another application of the same person's, or to their list.
    for below in ("history/spark-0123/jobs/", "api/v1/applications", "api/v1/applications/spark-0123"):
        assert httpx.get(f"{spark.url}{ended['sparkUiPath']}{below}", headers=ANN).status_code == 404


def test_what_shows_it_has_no_right_and_answers_the_gateway_alone(spark, ended):
    assert seen(spark, ended["sparkUiPath"]).status_code == 200
    (pod,) = pods_of_histories(spark)
    assert pod["metadata"]["labels"]["sparkyard/user"] == "ann"
    assert pod["spec"]["serviceAccountName"] == "spark-executor"
    assert pod["spec"]["automountServiceAccountToken"] is False
    mounted = [each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]]
    assert not [path for path in mounted if "serviceaccount" in path]
    secret = spark.cluster.get("secret", pod["metadata"]["name"], spark.namespace)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    for port in (4440, 4441):
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://{pod['status']['podIP']}:{port}/", verify=False, timeout=20)
    account = f"system:serviceaccount:{spark.namespace}:spark-executor"
    with pytest.raises(RefusedError):
        spark.cluster.kubectl("auth", "can-i", "list", "pods", "-n", spark.namespace, "--as", account)


def test_a_session_whose_driver_is_killed_while_no_gateway_lives_shows_its_last_job(spark):
    number = counted(spark)
    until_carried(spark, str(number))
    pod = spark.driver_pod(number)["metadata"]["name"]
    spark.kill()
    spark.cluster.kubectl("delete", "pod", pod, "-n", spark.namespace, "--grace-period=0", "--force")
    spark.start()
    dead = spark.until_dead(number)
    assert "COMPLETE" in stages(spark, dead["sparkUiPath"], dead["appId"])
    assert not complete(spark, dead["sparkUiPath"], dead["appId"])


def test_a_batch_that_ends_while_no_gateway_lives_keeps_its_code_and_shows_its_end(spark, jobs):
    number = batch(spark, jobs, "unseen")
    spark.kill()
    jobs.go.add("unseen")
    # It has written its end, and there is nobody to send that to.
    name, where = batch_pod(spark), ("-n", spark.namespace)
    until(lambda: "cannot be sent" in spark.cluster.kubectl("logs", name, *where), PATIENCE_SECONDS, pause=0.5)
    spark.start()
    over = until_over(spark, number)
    assert (over["state"], over["exitCode"]) == ("dead", 3)
    path = over["appInfo"]["sparkUiUrl"]
    assert path == f"{PREFIX}/spark-ui/batches/{number}/"
    assert "COMPLETE" in stages(spark, path, over["appId"])
    assert complete(spark, path, over["appId"])
    assert httpx.get(f"{spark.url}{path}", headers=BOB).status_code == 404


def test_a_batch_whose_pod_is_taken_away_shows_its_last_job(spark, jobs):
    number = batch(spark, jobs, "evicted")
    until_carried(spark, f"batch-{number}")
    spark.cluster.kubectl("delete", "pod", batch_pod(spark), "-n", spark.namespace, "--grace-period=0", "--force")
    over = until_over(spark, number)
    assert "COMPLETE" in stages(spark, over["appInfo"]["sparkUiUrl"], over["appId"])


def test_spark_4_is_shown_by_spark_4(spark):
    number = counted(spark, "four")
    spark.ask("POST", f"/sessions/{number}/stop")
    ended = spark.until_dead(number)
    assert "COMPLETE" in stages(spark, ended["sparkUiPath"], ended["appId"])
    assert complete(spark, ended["sparkUiPath"], ended["appId"])
    assert seen(spark, f"{ended['sparkUiPath']}api/v1/version").json()["spark"].startswith("4.")


def test_one_pod_of_an_image_shows_all_of_a_persons_and_none_is_left(spark, ended):
    assert seen(spark, ended["sparkUiPath"]).status_code == 200
    images = [pod["spec"]["containers"][0]["image"] for pod in pods_of_histories(spark)]
    assert len(set(images)) == len(images)
    assert "sparkyard/spark:3.5" in images
    spark.stop()
    until(lambda: not pods_of_histories(spark), PATIENCE_SECONDS, pause=0.5)
    spark.start()
