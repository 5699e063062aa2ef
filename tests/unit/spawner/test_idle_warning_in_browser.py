"""A server that nobody uses: JupyterLab says so before the hub stops it, and a click keeps it. All parts are real."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import APIResponse, Browser, Locator, Page, expect

from support.browser import PATIENT, chromium
from support.running_hub import Hub, free_port
from support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Lab does nothing of its own in a tab that is in the background: only such a server is without use.
IN_THE_BACKGROUND = """
Object.defineProperty(Document.prototype, "hidden", {get: () => true});
Object.defineProperty(Document.prototype, "visibilityState", {get: () => "hidden"});
"""


@pytest.fixture
def hub(open_folder: Path) -> Iterator[Hub]:
    """One that stops a server after half a minute without use, and says so a quarter before."""
    shutil.copy(Path(__file__).parent / "catalog.yaml", open_folder)
    (open_folder / "examples").mkdir()
    running = Hub(open_folder, open_folder / "catalog.yaml", open_folder / "examples")
    running.culling = {"idle": 30, "age": 0, "warning": 15}
    running.public_port = free_port()
    # What Lab asks while it loads is use; the hub has to hear of it sooner than after five minutes.
    running.config = {"Spawner": {"environment": {"JUPYTERHUB_ACTIVITY_INTERVAL": "1"}}}
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def open_lab(browser: Browser, hub: Hub, user: str) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENT)
    page.add_init_script(IN_THE_BACKGROUND)
    page.goto(f"{hub.public_url}/hub/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill("open")
    page.keyboard.press("Enter")
    page.get_by_role("radio", name=re.compile("^Small")).first.check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"/user/[^/]+/lab"))
    return page


def warning(page: Page) -> Locator:
    return page.get_by_role("alert").filter(has_text="This server will be stopped at")


def test_a_click_keeps_a_server_that_is_stopped_without_one(hub: Hub, browser: Browser) -> None:
    left, kept = open_lab(browser, hub, "sam"), open_lab(browser, hub, "ann")
    expect(warning(left)).to_be_visible(timeout=PATIENT)
    expect(warning(kept)).to_be_visible(timeout=PATIENT)
    address = f"{hub.public_url}/user/ann/sparkyard/idle"
    before = hub.server("ann")["last_activity"]
    for stranger in (httpx.get(address), httpx.post(address), left.request.get(address), kept.request.post(address)):
        # Without a name, as another person, and from a page that has the cookies but not the server's own token.
        assert (stranger.status if isinstance(stranger, APIResponse) else stranger.status_code) == 403
    assert hub.server("ann")["last_activity"] == before

    kept.get_by_role("button", name="Keep it running").click()
    until(lambda: hub.server("ann")["last_activity"] > before)
    expect(warning(kept)).to_be_hidden()

    expect(warning(left)).to_contain_text("Nobody has used it for a while")
    expect(left).to_have_title(re.compile("^Stops soon: "))
    found = Axe().run(left, context="#sparkyard-idle-warning")
    assert not found.response["violations"], found.response["violations"]
    hub.wait(lambda: hub.stopped("sam"), "nobody stopped the server that nobody kept")
    assert "Culling server sam" in hub.log
    if "Culling server ann" in hub.log:
        assert hub.log.index("Culling server sam") < hub.log.index("Culling server ann")
