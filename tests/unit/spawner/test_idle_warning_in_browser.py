"""A server that nobody uses: JupyterLab says so before the hub stops it, and a click keeps it. All parts are real."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

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
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@contextmanager
def used(hub: Hub, user: str) -> Iterator[None]:
    """While this lasts somebody uses the server: on a busy machine Lab may load for longer than it may be idle."""
    over = threading.Event()

    def say() -> None:
        while not over.wait(1):
            now = datetime.now(UTC).isoformat()
            hub.api("POST", f"/users/{user}/activity", json={"servers": {"": {"last_activity": now}}})

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    try:
        yield
    finally:
        over.set()
        saying.join()


def open_lab(browser: Browser, hub: Hub, user: str) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENT)
    page.add_init_script(IN_THE_BACKGROUND)
    page.goto(f"{hub.public_url}/hub/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill("open")
    page.keyboard.press("Enter")
    page.get_by_role("radio", name=re.compile("^Small")).first.check()
    with page.expect_response(re.compile("/sparkyard/idle$")):  # Lab is there, and what shows the warning
        page.get_by_role("button", name="Start").click()
    return page


def warning(page: Page) -> Locator:
    return page.get_by_role("alert").filter(has_text="This server will be stopped at")


def test_a_click_keeps_a_server_that_is_stopped_without_one(hub: Hub, browser: Browser) -> None:
    with used(hub, "sam"), used(hub, "ann"):
        left, kept = open_lab(browser, hub, "sam"), open_lab(browser, hub, "ann")
        address = f"{hub.public_url}/user/ann/sparkyard/idle"
        # Without a name, as another person, and from elsewhere in a browser that has the cookies.
        assert [httpx.get(address).status_code, httpx.post(address).status_code] == [403, 403]
        assert [left.request.get(address).status, left.request.post(address).status] == [403, 403]
        assert kept.request.post(address).status == 403
        assert kept.request.get(address).json()["why"] == "idle"

    expect(warning(kept)).to_be_visible(timeout=PATIENT)
    before = hub.server("ann")["last_activity"]
    kept.get_by_role("button", name="Keep it running").click()
    until(lambda: hub.server("ann")["last_activity"] > before)
    expect(warning(kept)).to_be_hidden()

    expect(warning(left)).to_contain_text("Nobody has used it for a while", timeout=PATIENT)
    expect(left).to_have_title(re.compile("^Stops soon: "))
    found = Axe().run(left, context="#sparkyard-idle-warning")
    assert not found.response["violations"], found.response["violations"]
    hub.wait(lambda: hub.stopped("sam"), "nobody stopped the server that nobody kept")
    assert "Culling server sam" in hub.log
    if "Culling server ann" in hub.log:  # later, as nobody clicks again
        assert hub.log.index("Culling server sam") < hub.log.index("Culling server ann")
