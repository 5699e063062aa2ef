"""The Sessions page through the real hub, and what Spark's history server shows of a session that ended there."""

import re
import ssl
from collections.abc import Iterator

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from support import uids
from support.browser import PATIENT, give_name_and_password, new_page
from support.hub_session import HubSession
from support.standalone import Standalone, User

pytestmark = [pytest.mark.browser, pytest.mark.spark]

UI = "/services/gateway/ui/"
JOB = "spark.range(0, 1000, 1, 4).selectExpr('id % 7 AS k').groupBy('k').count().collect()"
SLOW = "import time\nsc.parallelize(range(2), 2).map(lambda n: time.sleep(600)).count()"


@pytest.fixture(scope="module")
def api(stack: Standalone, dana: User) -> Iterator[httpx.Client]:
    """Dana's client of the gateway; her home, and with it her drivers' system user, comes with her server."""
    with HubSession(stack.address, dana.name, dana.password) as hub:
        hub.start_server()
        token = hub.token()
    headers = {"Authorization": f"token {token}"}
    with httpx.Client(base_url=f"{stack.address}/services/gateway", headers=headers, timeout=130) as client:
        yield client


@pytest.fixture(scope="module")
def session(api: httpx.Client) -> int:
    """A session of Dana's that has run a job and runs another, which takes its time."""
    number: int = api.post("/sessions", json={"kind": "pyspark", "profile": "small", "name": "flights"}).json()["id"]
    ran = api.post(f"/sessions/{number}/statements?wait=60", json={"code": JOB}).json()
    while ran["state"] != "available":
        ran = api.get(f"/sessions/{number}/statements/{ran['id']}?wait=60").json()
    assert ran["output"]["status"] == "ok", ran
    api.post(f"/sessions/{number}/statements", json={"code": SLOW})
    return number


def signed_in(browser: Browser, stack: Standalone, user: User) -> Page:
    page = new_page(browser)
    page.goto(stack.address + UI)
    give_name_and_password(page, user.name, user.password)
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible(timeout=PATIENT)
    return page


def test_everybody_finds_the_page_and_sees_what_is_theirs_to_see(
    browser: Browser, stack: Standalone, dana: User, ana: User, ada: User, session: int
) -> None:
    page = signed_in(browser, stack, dana)
    row = page.get_by_role("row").filter(has_text="flights")
    expect(row).to_contain_text("busy", timeout=PATIENT)
    expect(row.get_by_text("sc.parallelize(range(2), 2)")).to_be_visible()
    expect(row).to_contain_text(re.compile(r"\d+ MiB"))
    # The link from the hub's own pages.
    page.goto(f"{stack.address}/hub/home")
    page.get_by_role("navigation").get_by_role("link", name="Sessions").click()
    expect(row).to_be_visible(timeout=PATIENT)
    cookies = {each["name"]: each for each in page.context.cookies()}
    login = cookies["sparkyard-gateway-login"]
    assert (login["path"], login["httpOnly"], login["sameSite"]) == (UI, True, "Lax")
    page.context.close()

    page = signed_in(browser, stack, ada)
    expect(page.get_by_role("row").filter(has_text="flights")).to_contain_text("dana", timeout=PATIENT)
    page.get_by_role("link", name=re.compile("^[0-9]+ · flights")).first.click()
    expect(page.get_by_text("Statement 1 is running.")).to_be_visible(timeout=PATIENT)
    page.context.close()

    page = signed_in(browser, stack, ana)
    expect(page.get_by_text("No session is running.")).to_be_visible(timeout=PATIENT)
    answer = page.goto(f"{stack.address}{UI}sessions/{session}")
    assert answer is not None
    assert answer.status == 404
    page.context.close()


def test_a_session_is_stopped_there_and_its_spark_ui_goes_on_as_its_history(
    browser: Browser, stack: Standalone, dana: User, ana: User, api: httpx.Client, session: int
) -> None:
    page = signed_in(browser, stack, dana)
    page.get_by_role("link", name=re.compile("^[0-9]+ · flights")).first.click()
    before = page.get_by_role("link", name="Spark UI").get_attribute("href")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("dead", exact=True)).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text("The session was stopped on the Sessions page by its owner.")).to_be_visible()
    link = page.get_by_role("link", name="Spark history")
    assert link.get_attribute("href") == before == f"/services/gateway/spark-ui/{session}/"

    with page.context.expect_page() as opened:
        link.click()
    history = opened.value
    expect(history.get_by_text("Completed Jobs").first).to_be_visible(timeout=PATIENT)
    assert history.evaluate("window.origin") == "null"
    history.get_by_role("link", name="Stages", exact=True).click()
    expect(history.get_by_text("Stages for All Jobs").first).to_be_visible(timeout=PATIENT)
    history.locator("a.name-link").first.click()
    expect(history.get_by_text("Summary Metrics for").first).to_be_visible(timeout=PATIENT)
    history.get_by_role("link", name="Executors", exact=True).click()
    expect(history.locator("#active-executors-table tbody tr").first).to_contain_text("driver", timeout=PATIENT)
    address = history.url
    # An address of the time when it lived leads to the same page of its history.
    history.goto(f"{stack.address}/services/gateway/spark-ui/{session}/environment/")
    expect(history.get_by_text("Runtime Information")).to_be_visible(timeout=PATIENT)
    page.context.close()

    stranger = new_page(browser)
    stranger.goto(stack.address + before)
    give_name_and_password(stranger, ana.name, ana.password)
    expect(stranger.get_by_text("This Spark UI is not there, or not yours.")).to_be_visible(timeout=PATIENT)
    answer = stranger.goto(address)
    assert answer is not None
    assert answer.status == 404
    stranger.context.close()

    # Once Livy's routes have forgotten the session it is the same.
    application = api.get(f"/sessions/{session}/record").json()["appId"]
    api.delete(f"/sessions/{session}")
    found = api.get(f"/spark-ui/{session}/history/{application}/jobs/", follow_redirects=True)
    assert found.status_code == 200
    assert "Completed Jobs" in found.text
    assert "sandbox" in found.headers["Content-Security-Policy"]
    # One application of hers, not the list of all.
    for path in ("api/v1/applications", "history/local-1/jobs/", f"api/v1/applications/{application}0"):
        assert api.get(f"/spark-ui/{session}/{path}").status_code == 404


def test_the_history_server_is_its_users_and_lets_nobody_else_in(stack: Standalone, dana: User, session: int) -> None:
    servers = [
        each
        for each in psutil.Process(stack.gateway_pid).children()
        if any("history.HistoryServer" in argument for argument in each.cmdline())
    ]
    assert len(servers) == 1
    if uids.why_not() is None:
        home = (stack.home / "users" / dana.name).stat()
        assert servers[0].uids().real == home.st_uid != 0
    listening = [each.laddr for each in servers[0].net_connections() if each.status == psutil.CONN_LISTEN]
    assert listening
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    for host, port, *_ in listening:
        assert host in {"127.0.0.1", "::ffff:127.0.0.1"}
        for scheme in ("http", "https"):
            try:
                answer = httpx.get(f"{scheme}://127.0.0.1:{port}/api/v1/applications", verify=anybody)
            except httpx.TransportError:
                continue
            # The plain port says where the other is, and nothing more.
            assert (answer.status_code, answer.content) == (302, b"")
