"""The Spark UI in a real browser: it works for its owner, and its pages can do nothing in the owner's name."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from support.browser import give_name_and_password, new_page
from support.hub_session import HubSession
from support.standalone import Standalone, User

pytestmark = [pytest.mark.browser, pytest.mark.spark]

CODE = "spark.range(0, 1000, 1, 4).selectExpr('id % 7 AS k').groupBy('k').count().collect()"
PATIENT = 60_000


@pytest.fixture(scope="module")
def path(stack: Standalone, dana: User) -> Iterator[str]:
    """The path of the Spark UI of a session of Dana's that has run something."""
    with HubSession(stack.address, dana.name, dana.password) as hub:
        # Her home, and with it the system user her drivers run as, comes with her server.
        hub.start_server()
        token = hub.token()
    headers = {"Authorization": f"token {token}"}
    with httpx.Client(base_url=f"{stack.address}/services/gateway", headers=headers, timeout=130) as client:
        number = client.post("/sessions", json={"kind": "pyspark", "profile": "small"}).json()["id"]
        ran = client.post(f"/sessions/{number}/statements?wait=60", json={"code": CODE}).json()
        while ran["state"] != "available":
            ran = client.get(f"/sessions/{number}/statements/{ran['id']}?wait=60").json()
        assert ran["output"]["status"] == "ok", ran
        yield client.get(f"/sessions/{number}").json()["sparkUiPath"]
        client.delete(f"/sessions/{number}")


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Standalone, dana: User, path: str) -> Iterator[Page]:
    """Dana at the Jobs page."""
    page = new_page(browser)
    page.goto(stack.address + path)
    give_name_and_password(page, dana.name, dana.password)
    expect(page.get_by_text("Spark Jobs").first).to_be_visible(timeout=PATIENT)
    yield page
    page.context.close()


def test_its_pages_work_with_what_their_scripts_fetch(page: Page) -> None:
    problems: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.get_by_role("link", name="Stages", exact=True).click()
    page.locator("a.name-link").first.click()
    expect(page.get_by_text("Summary Metrics for").first).to_be_visible(timeout=PATIENT)
    expect(page.locator("#active-tasks-table tbody tr").first).to_be_visible(timeout=PATIENT)
    page.get_by_role("link", name="Executors", exact=True).click()
    expect(page.locator("#active-executors-table tbody tr").first).to_contain_text("driver", timeout=PATIENT)
    page.get_by_role("link", name="Environment", exact=True).click()
    expect(page.get_by_text("Runtime Information")).to_be_visible(timeout=PATIENT)
    page.get_by_role("link", name="SQL / DataFrame", exact=True).click()
    expect(page.get_by_text("Completed Queries").first).to_be_visible(timeout=PATIENT)
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_text("Event Timeline").click()
    page.reload()
    expect(page.get_by_text("Spark Jobs").first).to_be_visible(timeout=PATIENT)
    assert [each for each in problems if "favicon" not in each] == []


def test_its_scripts_act_for_nobody(page: Page, stack: Standalone) -> None:
    assert page.evaluate("window.origin") == "null"
    assert page.evaluate("(() => { try { return document.cookie } catch (error) { return error.name } })()") == (
        "SecurityError"
    )
    setting = "(() => { try { document.cookie = 'a=b; path=/hub/' } catch (error) { return error.name } })()"
    assert page.evaluate(setting) == "SecurityError"
    fetching = "(url) => fetch(url, {credentials: 'include'}).then(answer => answer.status, error => error.name)"
    for elsewhere in ("/hub/api/user", "/hub/home", "/services/gateway/sessions", "/user/dana/api/contents"):
        assert page.evaluate(fetching, stack.address + elsewhere) == "TypeError"
    assert page.evaluate("window.open('/hub/home') === null")


def test_an_address_copied_to_another_browser_is_worth_nothing(
    page: Page, browser: Browser, stack: Standalone, ana: User, path: str
) -> None:
    stranger = new_page(browser)
    stranger.goto(stack.address + path)
    give_name_and_password(stranger, ana.name, ana.password)
    expect(stranger.get_by_text("This Spark UI is not there, or not yours.")).to_be_visible(timeout=PATIENT)
    for url in (page.url, stack.address + path):
        answer = stranger.goto(url)
        assert answer is not None
        assert answer.status == 404
        theirs = stranger.content()
        answer = stranger.goto(f"{stack.address}/services/gateway/spark-ui/99999/")
        assert answer is not None
        assert (answer.status, stranger.content()) == (404, theirs)
    stranger.context.close()


def test_one_who_is_not_signed_in_is_sent_to_sign_in_and_back(
    browser: Browser, stack: Standalone, dana: User, path: str
) -> None:
    visitor = new_page(browser)
    visitor.goto(f"{stack.address}{path}stages/")
    give_name_and_password(visitor, dana.name, dana.password)
    expect(visitor.get_by_text("Stages for All Jobs").first).to_be_visible(timeout=PATIENT)
    visitor.context.close()


def test_a_program_may_use_its_token_and_no_cookie_is_passed_on(stack: Standalone, dana: User, path: str) -> None:
    with HubSession(stack.address, dana.name, dana.password) as hub:
        token = hub.token()
        # The browser's cookies of the hub are no login here.
        answer = hub.get(f"{path}api/v1/applications", headers={"Sec-Fetch-Mode": "cors"})
        assert answer.status_code == 401
    answer = httpx.get(
        f"{stack.address}{path}api/v1/applications", headers={"Authorization": f"token {token}"}, timeout=60
    )
    assert answer.status_code == 200
    assert answer.json()[0]["id"].startswith("local-")
    assert "set-cookie" not in answer.headers
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    refused = httpx.post(
        f"{stack.address}{path}jobs/job/kill/?id=0", headers={"Authorization": f"token {token}"}, timeout=60
    )
    assert refused.status_code == 405
