"""Sessions whose drivers are batches of a real Apache Livy 0.7.1: everything that holds on one machine holds there.

One session serves all tests that leave it usable; those that end a driver start their own. In the tests of claims the
test itself plays the driver: the batch's program only writes down the arguments that it was given.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from support import hub_stand_in
from support.hub_stand_in import HubStandIn
from support.running_gateway import RunningGateway
from support.upstream_livy import UpstreamLivy, gateway_before

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

PARKED_DRIVER = """\
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
name = sys.argv[2].split("/")[-2]
with open(os.path.join(here, f"session-{name}.unfinished"), "w") as file:
    json.dump(sys.argv[1:], file)
os.rename(file.name, os.path.join(here, f"session-{name}.json"))
time.sleep(600)
"""
NEW_TOKEN = "t" * 43
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 120) -> T:
    """Wait for a condition, for a time that a busy machine may need."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in.running() as running:
        running.admit("token-of-ann", "ann", ("people",))
        running.admit("token-of-bob", "bob", ("people",))
        yield running


@pytest.fixture(scope="module")
def gateway(upstream_livy: UpstreamLivy, hub: HubStandIn) -> Iterator[RunningGateway]:
    running = gateway_before(upstream_livy, hub.url, "sessions", "--stop-drivers-on-exit")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def mortal(upstream_livy: UpstreamLivy, hub: HubStandIn, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """A gateway of one test's own, with other batches' names."""
    name = request.node.name.replace("[", "-").replace("]", "")
    running = gateway_before(upstream_livy, hub.url, name, "--stop-drivers-on-exit", *getattr(request, "param", ()))
    yield running
    running.stop()


def client_of(gateway: RunningGateway, token: str = "token-of-ann") -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"token {token}"}, timeout=70)


@pytest.fixture(scope="module")
def ann(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with client_of(gateway) as made:
        yield made


@pytest.fixture(scope="module")
def session(ann: httpx.Client, gateway: RunningGateway) -> int:
    return idle_session(ann, gateway, name="shared")


def idle_session(client: httpx.Client, gateway: RunningGateway, **wish: object) -> int:
    made = client.post("/sessions", json={"kind": "pyspark", **wish})
    assert made.status_code == 201, made.text
    number: int = made.json()["id"]

    def started() -> Any:
        answer = client.get(f"/sessions/{number}?wait=20&state=starting").json()
        return answer if answer["state"] != "starting" else None

    answer = until(started, 240)
    assert answer["state"] == "idle", (answer, gateway.log[-5000:])
    return number


def run(client: httpx.Client, session: int, code: str, **more: object) -> dict[str, Any]:
    posted = client.post(f"/sessions/{session}/statements?wait=60", json={"code": code, **more})
    assert posted.status_code == 201, posted.text
    found: dict[str, Any] = posted.json()
    return found


def text(client: httpx.Client, session: int, code: str) -> str:
    output = run(client, session, code)["output"]
    assert output["status"] == "ok", output
    return str(output["data"]["text/plain"])


# Sessions and statements


def test_the_session_is_a_batch_in_its_owners_name(ann, session, upstream_livy):
    shown = ann.get(f"/sessions/{session}").json()
    batch = upstream_livy.batch_of(session)
    assert (batch["state"], batch["proxyUser"], batch["name"]) == ("running", "ann", f"sparkyard-test-{session}-1")
    assert shown["appId"].startswith("local-")
    assert shown["sparkVersion"].startswith("3.5")
    assert "recorded, not used" in shown["notice"]
    assert text(ann, session, "sc.sparkUser()") == "'ann'"


def test_statements_of_both_kinds_share_one_spark(ann, session):
    assert text(ann, session, "spark.range(1000).count()") == "1000"
    assert text(ann, session, "sc.parallelize([1, 2, 3]).map(lambda v: v * 2).sum()") == "12"
    run(ann, session, "spark.range(5).createOrReplaceTempView('five')")
    rows = run(ann, session, "select count(*) as n from five", kind="sql")["output"]["data"]["application/json"]
    assert rows["data"] == [[5]]


def test_an_error_points_at_its_line(ann, session):
    output = run(ann, session, "def half():\n    1 / 0\nhalf()")["output"]
    assert (output["status"], output["ename"], output["evalue"]) == ("error", "ZeroDivisionError", "division by zero")
    assert any("line 2, in half" in line for line in output["traceback"]), output


def test_output_comes_while_it_is_printed(ann, session):
    code = "import time\nfor n in range(300):\n    print('line', n, flush=True)\n    time.sleep(0.1)"
    number = ann.post(f"/sessions/{session}/statements", json={"code": code}).json()["id"]

    def streamed() -> Any:
        answer = ann.get(f"/sessions/{session}/statements/{number}?wait=10&since=0").json()
        return answer if "line 1" in answer["stream"]["text"] else None

    assert until(streamed)["state"] == "running"
    assert ann.post(f"/sessions/{session}/statements/{number}/cancel").json() == {"msg": "canceled"}


def test_a_loop_is_cancelled_and_the_session_goes_on(ann, session):
    number = ann.post(f"/sessions/{session}/statements", json={"code": "while True: pass"}).json()["id"]
    until(lambda: ann.get(f"/sessions/{session}/statements/{number}").json()["state"] == "running")
    ann.post(f"/sessions/{session}/statements/{number}/cancel")
    until(lambda: ann.get(f"/sessions/{session}/statements/{number}?wait=10").json()["state"] == "cancelled")
    assert text(ann, session, "1 + 1") == "2"


def test_the_log_is_the_batchs(ann, session):
    run(ann, session, "import os\nos.system('echo a line from a child process')")

    def found() -> bool:
        page = ann.get(f"/sessions/{session}/log?from=0&size=-1").json()
        assert page["total"] == len(page["log"])
        return "a line from a child process" in page["log"]

    until(found)


def test_no_secret_is_where_others_look(ann, session, upstream_livy):
    """Not in arguments, environments, what Livy shows and logs, nor where the user's own code finds it."""
    batch = upstream_livy.batch_of(session)
    page = httpx.get(f"{upstream_livy.url}/batches/{batch['id']}/log?from=0&size=1000").text
    assert "hush-hush" not in page + json.dumps(batch) + upstream_livy.log
    assert text(ann, session, "spark.conf.get('spark.hadoop.fs.s3a.secret.key')") == "'hush-hush'"
    family = [psutil.Process(int(text(ann, session, "import os\nos.getpid()")))]
    family += [family[0].parent()]
    for process in family:
        assert "hush-hush" not in " ".join(process.cmdline())
    assert text(ann, session, "[k for k in os.environ if 'GATEWAY' in k or 'SECRET' in k]") == "[]"


def test_the_claim_in_the_arguments_opens_nothing_once_the_driver_is_there(ann, hub, upstream_livy, gateway, session):
    """Whoever reads it learns nothing by it. That it ends the session is the price: see the tests of claims."""
    driver = psutil.Process(int(text(ann, session, "import os\nos.getpid()")))
    arguments = driver.cmdline()
    code = arguments[arguments.index("--claim") + 1]
    with pytest.raises(httpx.HTTPStatusError):
        httpx.get(f"{gateway.url}/sessions/{session}", headers={"Authorization": f"token {code}"}).raise_for_status()
    assert ann.get(f"/sessions/{session}").json()["state"] == "idle"


def test_the_driver_works_in_a_private_folder_of_its_own(ann, session):
    folder = text(ann, session, "import os\nos.getcwd(), oct(os.stat('.').st_mode & 0o777)")
    assert "sparkyard-" in folder
    assert "0o700" in folder


def test_another_person_finds_no_such_session(gateway, session):
    with client_of(gateway, "token-of-bob") as bob:
        assert bob.get(f"/sessions/{session}").status_code == 404
        assert bob.delete(f"/sessions/{session}").status_code == 404
        assert bob.get(f"/sessions/{session}/log").status_code == 404


def test_no_page_is_proxied_that_the_upstream_does_not_vouch_for(ann, gateway, session):
    """In local mode Livy names no Spark UI, and the driver's own word is its user's word."""
    assert ann.get(f"/spark-ui/{session}/").status_code == 404


def test_a_killed_gateway_finds_the_driver_again_and_repeats_nothing(ann, gateway, session, upstream_livy):
    batch = upstream_livy.batch_of(session)
    pid = text(ann, session, "import os\ncount = 0\nos.getpid()")
    code = "import time\ncount += 1\ntime.sleep(8)\ncount"
    running = ann.post(f"/sessions/{session}/statements", json={"code": code}).json()["id"]
    until(lambda: ann.get(f"/sessions/{session}/statements/{running}").json()["state"] == "running")
    assert gateway.process is not None
    gateway.process.kill()
    gateway.process.wait()
    gateway.start()
    done = until(
        lambda: (s := ann.get(f"/sessions/{session}/statements/{running}?wait=30").json())["state"] == "available" and s
    )
    assert done["output"]["data"]["text/plain"] == "1"
    assert text(ann, session, "os.getpid()") == pid
    assert upstream_livy.batch_of(session)["id"] == batch["id"]


def test_an_upstream_that_is_silent_for_a_while_changes_nothing(ann, session, upstream_livy):
    upstream_livy.pause()
    try:
        assert text(ann, session, "1 + 2") == "3"
        time.sleep(3)
        assert ann.get(f"/sessions/{session}").json()["state"] == "idle"
    finally:
        upstream_livy.resume()
    assert text(ann, session, "2 + 2") == "4"


def test_a_deleted_session_takes_its_batch_along(ann, gateway, upstream_livy):
    number = idle_session(ann, gateway)
    driver = psutil.Process(int(text(ann, number, "import os\nos.getpid()")))
    family = [driver, driver.parent()]
    folder = text(ann, number, "os.getcwd()").strip("'")
    assert ann.delete(f"/sessions/{number}").json() == {"msg": "deleted"}
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family))
    until(
        lambda: all(
            each["state"] in {"success", "killed", "dead"}
            for each in upstream_livy.batches()
            if each["name"] == f"sparkyard-test-{number}-1"
        )
    )
    assert not Path(folder).exists()


def test_a_killed_driver_is_a_dead_session_with_the_reason(ann, gateway):
    number = idle_session(ann, gateway)
    pid = int(text(ann, number, "import os\nos.getpid()"))
    waiting = ann.post(f"/sessions/{number}/statements", json={"code": "import time\ntime.sleep(600)"}).json()["id"]
    until(lambda: ann.get(f"/sessions/{number}/statements/{waiting}").json()["state"] == "running")
    os.kill(pid, signal.SIGKILL)
    dead = until(lambda: (s := ann.get(f"/sessions/{number}?wait=30&state=busy").json())["state"] == "dead" and s)
    assert "The driver ended on the upstream Livy" in dead["stateReason"]
    output = ann.get(f"/sessions/{number}/statements/{waiting}").json()["output"]
    assert output["status"] == "error"
    assert "The driver ended on the upstream Livy" in output["evalue"]
    assert ann.get(f"/sessions/{number}/log?from=0&size=-1").json()["total"] > 2


def test_a_killed_jvm_is_a_dead_session_with_the_reason(ann, gateway):
    number = idle_session(ann, gateway)
    jvm = psutil.Process(int(text(ann, number, "import os\nos.getpid()"))).parent()
    jvm.kill()
    dead = until(lambda: (s := ann.get(f"/sessions/{number}?wait=30&state=idle").json())["state"] == "dead" and s)
    assert "Spark's JVM ended" in dead["stateReason"]
