"""The stories of tests/local on a real Kubernetes, in a real browser: `helm install`, a login, a pod, a cell on pods.

One installation serves all of them, so they run in order, and what may break things comes last.

place       the installation
visitor     a page without cookies
start       what Dana read while her notebook pod started, and her JupyterLab
lab         her JupyterLab, with one notebook of PySpark
ana, dana   clients of the gateway, as scripts of theirs
"""

import ast
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as BrowserError

from support import installation
from support.browser import PATIENT, Lab, chromium, give_name_and_password, new_page, sign_in
from support.cluster import lifecycle
from support.cluster.using import Cluster
from support.hub_session import HubSession
from support.installation import Installation
from support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.spark, pytest.mark.timeout(900)]
CATALOG = Path(__file__).parent / "stories_catalog.yaml"
LONG = 240.0


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation.running(cluster, tmp_path_factory.mktemp("installation"), CATALOG) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    page = new_page(browser, any_certificate=True)
    yield page
    page.context.close()


def enter(page: Page, place: Installation, name: str) -> None:
    """Sign in, from the address that people type."""
    sign_in(page, place.address, name, place.password(name))


# Signing in -----------------------------------------------------------------------------------------------------------


def test_a_person_signs_in_and_is_shown_the_profiles_of_their_groups(visitor: Page, place: Installation) -> None:
    enter(visitor, place, "dana")

    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()
    expect(visitor.get_by_role("radio")).to_have_count(4)
    expect(visitor.get_by_role("radio", name=re.compile("^Small"))).to_have_count(3)
    expect(visitor.get_by_role("radio", name=re.compile("^Large"))).to_be_visible()


def test_an_analyst_is_not_shown_the_profile_of_another_group(visitor: Page, place: Installation) -> None:
    enter(visitor, place, "ana")

    expect(visitor.get_by_role("radio")).to_have_count(3)
    expect(visitor.get_by_text("Large", exact=True)).to_have_count(0)


def test_a_person_in_no_group_reads_which_groups_would_do_and_whom_to_ask(visitor: Page, place: Installation) -> None:
    enter(visitor, place, "noor")

    expect(visitor.get_by_role("heading", name="No access yet")).to_be_visible()
    expect(visitor.get_by_text("data-science", exact=True)).to_be_visible()
    assert visitor.request.get(f"{place.address}/hub/home", max_redirects=0).status in (302, 403), "not signed in"


def test_signing_out_ends_the_providers_session_too(visitor: Page, place: Installation) -> None:
    enter(visitor, place, "ana")
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()

    visitor.get_by_role("button", name=re.compile("log ?out", re.IGNORECASE)).click()
    expect(visitor.get_by_text(re.compile("signed out", re.IGNORECASE)).first).to_be_visible()

    visitor.goto(place.address)
    assert visitor.url.startswith(place.provider.address), "the provider asks for name and password again"
    give_name_and_password(visitor, "ana", place.password("ana"))
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()


# A notebook on pods ---------------------------------------------------------------------------------------------------

STEPS = re.compile(
    r"(Server requested|Asking the cluster for a server|Looking for a machine|Waiting for the volume of your folders"
    r"|Connecting your folders|Fetching the image JupyterLab 4 .*|Preparing your server|Starting JupyterLab)"
    r"( \(\d+ s\))?"
)


@pytest.fixture(scope="module")
def start(browser: Browser, place: Installation) -> tuple[set[str], Lab]:
    page = new_page(browser, any_certificate=True)
    enter(page, place, "dana")
    page.get_by_role("radio", name="Small, with pandas 2.1").check()
    page.get_by_role("button", name="Start").click()
    steps: set[str] = set()

    def there() -> bool:
        try:
            if page.locator("#sy-failure").is_visible():
                raise AssertionError(page.inner_text("body"))
            steps.update(page.locator("#sy-steps .sy-words").all_inner_texts())
        except BrowserError:  # it goes on to JupyterLab in just this moment
            page.wait_for_timeout(100)
        return re.search("/user/dana/lab", page.url) is not None

    until(there, LONG, pause=0.1)
    lab = Lab(page)
    lab.wait()
    return steps, lab


def test_the_start_page_says_in_plain_words_what_happens(start: tuple[set[str], Lab]) -> None:
    steps, _ = start
    assert len(steps) > 1
    assert [step for step in steps if not STEPS.fullmatch(step)] == []


@pytest.fixture(scope="module")
def lab(start: tuple[set[str], Lab]) -> Lab:
    _, found = start
    found.new_notebook("PySpark")
    return found


def drivers(place: Installation, team: str = "science") -> list[dict[str, Any]]:
    return place.pods(place.teams[team], **{"sparkyard/role": "driver"})


def executors(place: Installation, team: str = "science") -> list[dict[str, Any]]:
    return place.pods(place.teams[team], **{"sparkyard/role": "executor"})


def printed(lab: Lab, code: str) -> str:
    """What a cell prints, waited for as long as it takes."""
    number = lab.cells.count() - 1
    lab.run(f"{code}\nprint('end of', 'cell')", number)
    expect(lab.output(number)).to_contain_text("end of cell", timeout=PATIENT)
    return str(lab.output(number).inner_text())


def test_the_first_cell_runs_on_spark(lab: Lab, place: Installation) -> None:
    code = """
import socket
def where(numbers):
    yield socket.gethostname(), sum(numbers)
parts = sc.parallelize(range(1000), 4).mapPartitions(where).collect()
print("rows:", sum(part for _, part in parts))
print("pods:", [socket.gethostname(), *sorted({host for host, _ in parts})])
"""
    said = printed(lab, code)

    assert "rows: 499500" in said
    (names,) = re.findall(r"pods: (\[.*\])", said)
    driver, *others = ast.literal_eval(names)
    assert [driver] == [pod["metadata"]["name"] for pod in drivers(place)]
    assert others
    assert set(others) <= {pod["metadata"]["name"] for pod in executors(place)}


def test_a_task_has_the_libraries_of_the_executors_image(lab: Lab) -> None:
    code = """
def version(_):
    import pandas
    return pandas.__version__
import pandas
print("pandas:", pandas.__version__, "inside a task:", sc.parallelize([0], 1).map(version).first())
"""
    assert re.search(r"pandas: 2\.3\.\d+ inside a task: 2\.1\.\d+", printed(lab, code))


def test_output_appears_while_the_cell_still_runs(lab: Lab) -> None:
    number = lab.cells.count() - 1
    lab.run("import time\nprint('step 0')\nwhile 'go_on' not in globals():\n    time.sleep(0.2)", number)

    expect(lab.output(number)).to_contain_text("step 0", timeout=PATIENT)
    expect(lab.cell(number).locator(".jp-InputPrompt")).to_have_text("[*]:")  # nothing ends it but the next story


def test_an_interrupt_stops_the_cell_and_leaves_the_session_usable(lab: Lab) -> None:
    running = lab.cells.count() - 2
    lab.page.get_by_role("button", name=re.compile("Interrupt")).click()

    expect(lab.output(running)).to_contain_text("KeyboardInterrupt", timeout=PATIENT)
    assert "still here 42" in printed(lab, "mark = 42\nprint('still here', mark)")


def test_the_spark_ui_opens_from_the_notebook_for_its_owner_alone(lab: Lab, visitor: Page, place: Installation) -> None:
    link = lab.notebook.get_by_role("link", name=re.compile("Spark UI")).first
    with lab.page.context.expect_page() as opened:
        link.click()
    spark_ui = opened.value
    expect(spark_ui.get_by_text("Spark Jobs").first).to_be_visible(timeout=PATIENT)

    enter(visitor, place, "ana")
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()
    answer = visitor.goto(spark_ui.url)
    assert answer is not None
    assert answer.status == 404
    spark_ui.close()


# Two tenants, one of them with Spark 4 ------------------------------------------------------------------------------


@dataclass
class Tenant:
    """A person with a script of theirs: signed in at the hub, and a client of the gateway through the proxy."""

    name: str
    hub: HubSession
    gateway: httpx.Client

    def new_session(self, profile: str) -> int:
        made = self.gateway.post("/sessions", json={"kind": "pyspark", "profile": profile})
        assert made.status_code == 201, made.text
        number: int = made.json()["id"]
        until(lambda: self._ready(number), LONG, pause=0.5)
        return number

    def _ready(self, number: int) -> bool:
        seen = self.gateway.get(f"/sessions/{number}").json()
        assert seen["state"] in {"starting", "idle"}, (seen, self.gateway.get(f"/sessions/{number}/log").text)
        return bool(seen["state"] == "idle")

    def text(self, session: int, code: str) -> str:
        path = f"/sessions/{session}/statements"
        statement = self.gateway.post(path, json={"code": code}).json()
        while statement["state"] not in ("available", "cancelled"):
            statement = self.gateway.get(f"{path}/{statement['id']}", params={"wait": 20}).json()
        assert statement["output"]["status"] == "ok", statement
        shown: str = statement["output"]["data"]["text/plain"]
        return shown


def tenant(place: Installation, name: str) -> Iterator[Tenant]:
    with place.sign_in(name) as hub:
        headers = {"Authorization": f"token {hub.token()}"}
        with httpx.Client(base_url=place.gateway, headers=headers, timeout=120) as gateway:
            yield Tenant(name, hub, gateway)


@pytest.fixture(scope="module")
def dana(place: Installation) -> Iterator[Tenant]:
    yield from tenant(place, "dana")


@pytest.fixture(scope="module")
def ana(place: Installation) -> Iterator[Tenant]:
    yield from tenant(place, "ana")


@pytest.fixture(scope="module")
def anas_session(ana: Tenant) -> Iterator[int]:
    number = ana.new_session("spark-4")
    yield number
    ana.gateway.delete(f"/sessions/{number}")


def danas_session(dana: Tenant) -> int:
    """The session of Dana's notebook. After a fault the gateway, or the hub that it asks, may be a moment away."""
    until(lambda: dana.gateway.get("/sessions").status_code == 200, LONG, pause=0.5)
    (found,) = [it["id"] for it in dana.gateway.get("/sessions").json()["sessions"] if it["state"] in ("idle", "busy")]
    number: int = found
    return number


def test_spark_4_runs_a_job_on_executors(ana: Tenant, anas_session: int, place: Installation) -> None:
    code = """
import socket
def where(numbers):
    import pyspark
    yield socket.gethostname(), pyspark.__version__, sum(numbers)
parts = sc.parallelize(range(1000), 2).mapPartitions(where).collect()
spark.version, sorted({part[:2] for part in parts}), sum(part[2] for part in parts)
"""
    version, places, total = ast.literal_eval(ana.text(anas_session, code))
    assert version.startswith("4.1")
    assert total == 499500
    (executor,) = executors(place, "analytics")
    assert places == [(executor["metadata"]["name"], version)]
    query = "spark.range(100).selectExpr('id % 7 AS k', 'id').groupBy('k').sum('id').orderBy('k').collect()[3][1]"
    assert ana.text(anas_session, query) == str(sum(n for n in range(100) if n % 7 == 3))


def test_a_strangers_session_answers_exactly_as_an_unknown_one(lab: Lab, ana: Tenant, dana: Tenant) -> None:
    del lab
    number, unknown = danas_session(dana), 987_654
    for method, path, body in (
        ("GET", "/sessions/{}", None),
        ("GET", "/sessions/{}/log", None),
        ("GET", "/sessions/{}/statements", None),
        ("GET", "/sessions/{}/statements/0", None),
        ("POST", "/sessions/{}/statements", {"code": "1+1"}),
        ("POST", "/sessions/{}/statements/0/cancel", {}),
        ("DELETE", "/sessions/{}", None),
    ):
        theirs, nobodys = (ana.gateway.request(method, path.format(it), json=body) for it in (number, unknown))
        assert theirs.status_code == nobodys.status_code == 404, f"{method} {path}"
        assert theirs.text.replace(str(number), "N") == nobodys.text.replace(str(unknown), "N")


def test_lists_hold_ones_own_alone(lab: Lab, ana: Tenant, anas_session: int, dana: Tenant) -> None:
    del lab
    assert [it["id"] for it in ana.gateway.get("/sessions").json()["sessions"]] == [anas_session]
    assert anas_session not in [it["id"] for it in dana.gateway.get("/sessions").json()["sessions"]]


def test_nobody_reaches_anothers_server(lab: Lab, ana: Tenant) -> None:
    del lab
    for path in ("lab", "api/status", "api/contents"):
        assert ana.hub.get(f"/user/dana/{path}", follow_redirects=True).status_code == 403, path
    assert ana.hub.get("/hub/api/users/dana").status_code == 404
    assert ana.hub.send("DELETE", "/hub/api/users/dana/server").status_code in (403, 404)


def test_code_in_a_driver_reaches_no_pod_of_another_tenant(
    lab: Lab, ana: Tenant, anas_session: int, place: Installation
) -> None:
    del lab
    (notebook,) = place.pods(component="singleuser-server")
    (driver,) = drivers(place)
    gateway = place.pods(**{"app.kubernetes.io/name": "sparkyard-gateway"})[0]
    targets = [(pod["status"]["podIP"], port) for pod, port in ((notebook, 8888), (driver, 4040), (gateway, 8711))]
    code = f"""
import socket
from concurrent.futures import ThreadPoolExecutor
def reached(target):
    try:
        socket.create_connection(target, timeout=5).close()
        return True
    except OSError:
        return False
list(ThreadPoolExecutor(3).map(reached, {targets}))
"""
    assert ast.literal_eval(ana.text(anas_session, code)) == [False, False, True]


# What breaks while it runs --------------------------------------------------------------------------------------------

STEADY = """
import time
mark = 'kept'
def slow(n):
    time.sleep(1)
    return n
print('begun', flush=True)
print('total', sc.parallelize(range(SIZE), SIZE).map(slow).sum(), mark)
"""


def begin(lab: Lab, size: int) -> int:
    """Start a job of as many tasks of a second each, and return once it runs; the number of its cell."""
    number = lab.cells.count() - 1
    lab.run(STEADY.replace("SIZE", str(size)), number)
    expect(lab.output(number)).to_contain_text("begun", timeout=PATIENT)
    expect(lab.output(number)).to_contain_text(re.compile(r"[1-9]\d* of \d+ tasks"), timeout=PATIENT)
    return number


def ended_well(lab: Lab, number: int, size: int) -> None:
    """Wait for its result, which only an undisturbed job has."""
    expect(lab.output(number)).to_contain_text(f"total {sum(range(size))} kept", timeout=2 * PATIENT)


def test_a_job_goes_on_when_an_executor_is_lost(lab: Lab, place: Installation) -> None:
    until(lambda: len(executors(place)) == 2, LONG, pause=0.5)
    number = begin(lab, 12)
    lost = executors(place)[0]

    place.kill(lost)

    ended_well(lab, number, 12)
    # Another one takes its place.
    names = lambda: {pod["metadata"]["name"] for pod in executors(place)}  # noqa: E731
    until(lambda: len(names()) == 2 and lost["metadata"]["name"] not in names(), LONG, pause=0.5)


def test_nothing_is_lost_when_a_gateway_is_killed(lab: Lab, place: Installation, dana: Tenant) -> None:
    session = danas_session(dana)
    number = begin(lab, 16)
    owner = place.owner(session)

    place.kill(place.cluster.get("pod", owner, place.namespace))

    ended_well(lab, number, 16)
    assert danas_session(dana) == session
    assert "still kept" in printed(lab, "print('still', mark)")


def test_notebook_and_session_go_on_without_the_hub_and_a_login_works_again(
    lab: Lab, visitor: Page, place: Installation
) -> None:
    (before,) = place.pods(component="singleuser-server")
    number = begin(lab, 10)
    place.kill(place.pods(component="hub")[0])

    ended_well(lab, number, 10)
    until(place.reached, LONG, pause=0.5)
    enter(visitor, place, "ana")
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()
    assert "still kept" in printed(lab, "print('still', mark)")
    (after,) = place.pods(component="singleuser-server")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_proxy_that_was_lost_leads_everybody_to_their_server_again(
    lab: Lab, place: Installation, dana: Tenant
) -> None:
    session = danas_session(dana)
    number = begin(lab, 10)
    place.kill(place.pods(component="proxy")[0])

    ended_well(lab, number, 10)  # the page connects again by itself
    until(lambda: place.reached("/services/gateway/health/live"), LONG, pause=0.5)
    assert danas_session(dana) == session
    assert "still kept" in printed(lab, "print('still', mark)")


def test_an_upgrade_keeps_servers_and_sessions(lab: Lab, place: Installation, dana: Tenant, ana: Tenant) -> None:
    def uids(pods: list[dict[str, Any]]) -> set[str]:
        return {pod["metadata"]["uid"] for pod in pods}

    session = danas_session(dana)
    stay = uids([*place.pods(component="singleuser-server"), *drivers(place), *drivers(place, "analytics")])
    go = uids([*place.pods(component="hub"), *place.pods(**{"app.kubernetes.io/name": "sparkyard-gateway"})])
    number = begin(lab, 20)

    # That other chart's own proxy is replaced by the first upgrade: Lab says that it cannot reach its server.
    unreached = lab.page.get_by_role("dialog", name=re.compile("^Server unavailable"))
    lab.page.add_locator_handler(unreached, lambda dialog: dialog.get_by_role("button", name="Dismiss").click())
    place.helm(
        "upgrade",
        gateway={"settings": {"max_sessions_per_user": 7}},
        jupyterhub={"custom": {"sparkyard": {"contact": "the new team"}}},
    )

    ended_well(lab, number, 20)
    assert danas_session(dana) == session
    assert "still kept" in printed(lab, "print('still', mark)")
    assert ana.hub.get("/user/dana/lab", follow_redirects=True).status_code == 403
    now = uids([*place.pods(), *drivers(place), *drivers(place, "analytics")])
    assert stay <= now
    assert not go & now, "hub and gateways are new"


@pytest.mark.alone_on_cluster
def test_a_kubelet_that_is_away_for_a_while_ends_nothing(lab: Lab, place: Installation, dana: Tenant) -> None:
    cluster = place.cluster
    assert cluster.place is not None

    def node_is(status: str) -> bool:
        (node,) = cluster.get("nodes")["items"]
        return any(it["type"] == "Ready" and it["status"] == status for it in node["status"]["conditions"])

    session = danas_session(dana)
    number = begin(lab, 20)
    kubelet = lifecycle.process(cluster.place, "kubelet")
    kubelet.send_signal(signal.SIGSTOP)
    try:
        until(lambda: node_is("Unknown"), LONG, pause=1)
        # Kubernetes lets nothing through its Services now; the job itself needs none.
        assert drivers(place)
    finally:
        kubelet.send_signal(signal.SIGCONT)
    until(lambda: node_is("True"), LONG, pause=1)
    until(place.reached, LONG, pause=0.5)

    ended_well(lab, number, 20)
    assert danas_session(dana) == session
    assert "still kept" in printed(lab, "print('still', mark)")


def test_a_driver_that_is_lost_is_told_in_the_cell_at_once(lab: Lab, place: Installation, dana: Tenant) -> None:
    session = danas_session(dana)
    number = begin(lab, 600)
    (driver,) = drivers(place)

    place.kill(driver)

    words = f"The driver's pod {driver['metadata']['name']} was deleted"
    expect(lab.output(number)).to_contain_text(words, timeout=PATIENT)
    seen = dana.gateway.get(f"/sessions/{session}").json()
    assert seen["state"] == "dead"
    assert words in seen["stateReason"]
    until(lambda: not executors(place), LONG, pause=0.5)


def test_stopping_the_server_ends_its_drivers(lab: Lab, place: Installation, dana: Tenant) -> None:
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.get_by_role("button", name="Confirm Kernel Restart").click()
    lab.wait_for_kernel()
    assert "False 3" in printed(lab, "print('mark' in globals(), spark.range(3).count())")

    dana.hub.stop_server()

    until(lambda: not place.pods(component="singleuser-server"), LONG, pause=0.5)
    until(lambda: not place.pods(place.teams["science"]), LONG, pause=0.5)
    states = {it["state"] for it in dana.gateway.get("/sessions").json()["sessions"]}
    assert not states & {"starting", "idle", "busy"}
