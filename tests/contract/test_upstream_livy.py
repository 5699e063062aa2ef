"""Sessions whose drivers are batches of a real Apache Livy 0.7.1: everything that holds on one machine holds there.

One session serves all tests that leave it usable; those that end a driver start their own. In the tests of claims the
test itself plays the driver: the batch's program only writes down the arguments that it was given.
"""

import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from support import hub_stand_in, tls
from support.hub_stand_in import HubStandIn
from support.running_gateway import RunningGateway
from support.upstream_livy import UpstreamLivy, gateway_before
from support.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

PARKED_DRIVER = """\
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
name = sys.argv[1].split("/")[-2]
with open(os.path.join(here, f"session-{name}.unfinished"), "w") as file:
    json.dump(sys.argv[1:], file)
os.rename(file.name, os.path.join(here, f"session-{name}.json"))
time.sleep(600)
"""
NEW_TOKEN = "t" * 43
COUNT = itertools.count()
T = TypeVar("T")


def kill(gateway: RunningGateway) -> None:
    assert gateway.process is not None
    gateway.process.kill()
    gateway.process.wait()


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in.running() as running:
        running.admit("token-of-ann", "ann", ("people",))
        running.admit("token-of-bob", "bob", ("people",))
        yield running


@pytest.fixture(scope="module")
def gateway(upstream_livy: UpstreamLivy, hub: HubStandIn) -> Iterator[RunningGateway]:
    """Its drivers reach it by TLS, as they must on a real cluster."""
    serving = tls.identity(upstream_livy.allowed / "tls")
    running = gateway_before(
        upstream_livy, hub.url, "sessions", "--stop-drivers-on-exit", "--driver-ca-file", str(serving.authority)
    )
    with tls.terminator(serving, running.port) as port:
        running._options += ("--driver-url", f"wss://127.0.0.1:{port}")
        running.start()
        yield running
        running.stop()


@pytest.fixture
def mortal(upstream_livy: UpstreamLivy, hub: HubStandIn) -> Iterator[RunningGateway]:
    """A gateway of one test's own, not yet started."""
    name = f"mortal{next(COUNT)}"
    running = gateway_before(upstream_livy, hub.url, name, "--stop-drivers-on-exit", namespace=name)
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
    assert answer["state"] == "idle", (answer["stateReason"], client.get(f"/sessions/{number}/log?size=200").json())
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
    kill(gateway)
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
    until(lambda: upstream_livy.ended("test", number))
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


# Claims: the test plays the driver


@pytest.fixture(scope="module")
def parked(upstream_livy: UpstreamLivy, hub: HubStandIn) -> Iterator[RunningGateway]:
    """A gateway whose batches only write down what arguments they were given."""
    program = upstream_livy.allowed / "parked.py"
    program.write_text(PARKED_DRIVER)
    running = gateway_before(
        upstream_livy, hub.url, "parked", "--stop-drivers-on-exit", "--livy-driver-file", program.as_uri(),
        "--concurrent-starts", "20", namespace="parked",
    )  # fmt: skip
    running.start()
    yield running
    running.stop()


class Claim:
    """A starting session of Ann's, and the claim in the arguments of its batch."""

    def __init__(self, gateway: RunningGateway, livy: UpstreamLivy, client: httpx.Client) -> None:
        self.gateway = gateway
        self.client = client
        self.session: int = client.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        self.file = livy.allowed / f"session-{self.session}.json"
        until(lambda: self.file.exists() or self.state != "starting")
        assert self.file.exists(), (client.get(f"/sessions/{self.session}").json(), gateway.log[-3000:])
        self.arguments: list[str] = json.loads(self.file.read_text())
        told = dict(argument.lstrip("-").split("=", 1) for argument in self.arguments)
        self.file.unlink()
        self.code, self.url = told["claim"], told["claim-url"]

    @property
    def state(self) -> str:
        return str(self.client.get(f"/sessions/{self.session}/state").json()["state"])

    def redeem(self, code: str, token: str = NEW_TOKEN, **headers: str) -> httpx.Response:
        return httpx.post(self.url, json={"claim": code, "token": token}, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def as_ann(parked: RunningGateway) -> Iterator[httpx.Client]:
    with client_of(parked) as made:
        yield made


@pytest.fixture(scope="module")
def claim(parked, upstream_livy, as_ann) -> Claim:
    """One that stays unclaimed until the last test of it."""
    return Claim(parked, upstream_livy, as_ann)


@pytest.mark.parametrize("code", ["", "x" * 43, "unclaimed"])
def test_a_wrong_claim_is_refused_and_changes_nothing(claim, code):
    answer = claim.redeem(code)
    assert answer.status_code == 401
    assert answer.json() == {"msg": "No session here waits for a driver with this claim."}
    assert claim.state == "starting"


def test_a_claim_is_good_for_its_own_session_alone(claim, parked):
    for other in (claim.session + 1000, claim.session + 1001, 2**31 - 1):
        answer = httpx.post(f"{parked.url}/driver/v1/{other}/bootstrap", json={"claim": claim.code, "token": NEW_TOKEN})
        assert (answer.status_code, answer.json()) == (401, claim.redeem("x").json())
    assert claim.state == "starting"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"claim": "c"}', b'{"claim": "c", "token": "short"}', b"x" * 5000, b'{"claim": 5}']
)
def test_what_is_no_claim_is_refused_without_a_word_of_what_was_sent(claim, parked, body):
    answer = httpx.post(f"{parked.url}/driver/v1/{claim.session}/bootstrap", content=body)
    assert answer.status_code in {400, 413}
    assert "short" not in answer.text


def test_neither_a_browser_nor_the_hubs_path_leads_to_it(claim, parked):
    assert claim.redeem(claim.code, Origin="http://127.0.0.1").status_code == 404
    path = f"/services/gateway/driver/v1/{claim.session}/bootstrap"
    assert httpx.post(parked.url + path, json={"claim": claim.code, "token": NEW_TOKEN}).status_code == 404
    assert claim.state == "starting"


def test_the_claim_is_no_token_of_a_driver(claim, parked):
    for token in (claim.code, "unclaimed"):
        answer = httpx.get(
            f"{parked.url}/driver/v1/{claim.session}",
            headers={
                "Authorization": f"Bearer {token}", "Connection": "Upgrade", "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            },
        )  # fmt: skip
        assert answer.status_code == 403


def test_a_claim_works_once_and_again_for_the_same_driver_only(claim, parked):
    told = claim.redeem(claim.code)
    assert told.status_code == 200
    assert told.json()["session"] == claim.session
    assert told.json()["conf"]["spark.hadoop.fs.s3a.secret.key"] == "hush-hush"
    assert NEW_TOKEN not in told.text
    # Its answer was lost, or the gateway was killed while it answered.
    kill(parked)
    parked.start()
    assert claim.redeem(claim.code).json() == told.json()
    assert claim.state == "starting"
    # Somebody else read the arguments, and comes second; or is the driver, and a thief was first.
    stolen = claim.redeem(claim.code, "u" * 43)
    assert (stolen.status_code, list(stolen.json())) == (403, ["msg"])
    ended = until(lambda: (s := claim.client.get(f"/sessions/{claim.session}").json())["state"] == "dead" and s)
    assert "used twice" in ended["stateReason"]
    assert claim.redeem(claim.code).status_code == 401
    assert claim.redeem(claim.code, "u" * 43).status_code == 401


def test_of_two_who_claim_at_once_one_is_refused(parked, upstream_livy, as_ann):
    claim = Claim(parked, upstream_livy, as_ann)
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda n: claim.redeem(claim.code, f"{n}" * 43).status_code, range(8)))
    assert answers.count(200) <= 1
    assert set(answers) <= {200, 403, 401}
    until(lambda: claim.state == "dead")


def test_a_claim_expires_with_the_time_to_start(upstream_livy, mortal):
    program = upstream_livy.allowed / "parked.py"
    mortal._options += ("--livy-driver-file", program.as_uri())
    mortal.start()
    with client_of(mortal) as client:
        claim = Claim(mortal, upstream_livy, client)
        kill(mortal)
        mortal._options += ("--start-timeout-seconds", "1")
        mortal.start()
        ended = until(lambda: (s := client.get(f"/sessions/{claim.session}").json())["state"] == "dead" and s)
        assert "did not start within 1 s" in ended["stateReason"]
        assert claim.redeem(claim.code).status_code == 401
        until(lambda: upstream_livy.ended(mortal._folder.name, claim.session))


def test_killed_before_the_number_was_written_down_finds_the_batch_by_its_name(parked, upstream_livy, as_ann):
    claim = Claim(parked, upstream_livy, as_ann)
    batch = upstream_livy.batch_of(claim.session, "parked")
    kill(parked)
    with sqlite3.connect(parked._folder / "state" / "gateway.sqlite") as rows:
        rows.execute("UPDATE sessions SET handle = NULL WHERE id = ?", (claim.session,))
    parked.start()
    assert claim.redeem(claim.code).status_code == 200
    assert upstream_livy.batch_of(claim.session, "parked")["id"] == batch["id"]
    assert as_ann.delete(f"/sessions/{claim.session}").status_code == 200
    until(lambda: upstream_livy.ended("parked", claim.session))


def test_a_driver_that_is_refused_ends_by_itself_and_says_why(parked, upstream_livy, as_ann, gateway, ann):
    """The whole program with a claim that somebody else has used: as the driver meets a thief who was first."""
    claim = Claim(parked, upstream_livy, as_ann)
    assert claim.redeem(claim.code).status_code == 200
    driver = next((gateway._folder / "state" / "driver").glob("*.py"))
    ended = subprocess.run(
        [sys.executable, str(driver), *claim.arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 77
    assert "DRIVER cannot start: the gateway refused this driver's claim" in ended.stderr
    assert claim.code not in ended.stderr
    until(lambda: claim.state == "dead")


# An upstream that is down, or not as it should be


def test_an_upstream_that_is_down_is_a_clear_refusal(mortal):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        mortal._options += ("--livy-url", f"http://127.0.0.1:{probe.getsockname()[1]}")
    mortal.start()
    with client_of(mortal) as client:
        number = client.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        dead = until(lambda: (s := client.get(f"/sessions/{number}").json())["state"] == "dead" and s)
        assert "the upstream Livy does not answer" in dead["stateReason"]
        assert client.delete(f"/sessions/{number}").json() == {"msg": "deleted"}


def test_a_refusal_of_the_upstream_is_passed_on(mortal):
    mortal._options += ("--livy-driver-file", "file:///etc/driver.py")
    mortal.start()
    with client_of(mortal) as client:
        number = client.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        dead = until(lambda: (s := client.get(f"/sessions/{number}").json())["state"] == "dead" and s)
        assert "The upstream Livy refused to start the driver: " in dead["stateReason"]
        assert "/etc/driver.py" in dead["stateReason"]


@pytest.fixture
def another_livy(tmp_path: Path) -> Iterator[UpstreamLivy]:
    """One that a test may kill, and that runs nothing in its users' names."""
    running = UpstreamLivy(tmp_path, impersonation=False)
    running.start()
    yield running
    running.end()


def test_no_driver_runs_in_another_name_than_its_owners_and_an_upstream_without_memory_ends_none(another_livy, hub):
    gateway = gateway_before(another_livy, hub.url, "gateway")
    gateway.start()
    try:
        with client_of(gateway) as client:
            number = client.post("/sessions", json={"kind": "pyspark"}).json()["id"]
            dead = until(lambda: (s := client.get(f"/sessions/{number}").json())["state"] == "dead" and s)
            assert "would not run the driver in your name" in dead["stateReason"]
            until(lambda: another_livy.ended("test", number))
            gateway.stop()
            gateway._options += ("--no-livy-impersonate", "--livy-poll-seconds", "1")
            gateway.start()
            number = idle_session(client, gateway)
            another_livy.kill()
            assert text(client, number, "1 + 1") == "2"
            another_livy.start()
            # It counts from 0 again: what is batch 0 now is nobody's of ours.
            until(lambda: "batch_forgotten_by_upstream" in gateway.log)
            assert text(client, number, "2 + 2") == "4"
            pid = int(text(client, number, "import os\nos.getpid()"))
            os.kill(pid, signal.SIGKILL)
            dead = until(lambda: (s := client.get(f"/sessions/{number}").json())["state"] == "dead" and s)
            assert "no longer knows the driver's batch" in dead["stateReason"]
    finally:
        gateway.stop()


def test_a_gateway_that_starts_while_the_upstream_is_away_serves_and_finds_its_driver_later(
    parked, upstream_livy, as_ann
):
    claim, gone = Claim(parked, upstream_livy, as_ann), Claim(parked, upstream_livy, as_ann)
    kill(parked)
    with sqlite3.connect(parked._folder / "state" / "gateway.sqlite") as rows:
        rows.execute("UPDATE sessions SET handle = NULL WHERE id = ?", (claim.session,))
        rows.execute("UPDATE sessions SET removed_at = 1 WHERE id = ?", (gone.session,))
    upstream_livy.pause()
    try:
        parked.start()
        assert claim.state == "starting"
        assert as_ann.get(f"/sessions/{gone.session}").status_code == 404
        assert as_ann.delete(f"/sessions/{claim.session}").json() == {"msg": "deleted"}
    finally:
        upstream_livy.resume()
    until(lambda: upstream_livy.ended("parked", claim.session) and upstream_livy.ended("parked", gone.session))
