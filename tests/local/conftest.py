"""Fixtures of the stories on this machine.

stack         a whole running Sparkyard: provider, hub with Traefik, gateway; one for all stories
browser       a real Chromium, one for all stories
visitor       a page without cookies
dana, ana, lee, ada, noor   the demonstration users: data scientist, analyst, lead, admin, in no group

They end with the last story, not with the run: other tests follow in the same process, and Playwright's loop is in the
way of every other.
"""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page

from support.browser import chromium, new_page
from support.hub_session import HubSession
from support.standalone import Standalone, User, running


@pytest.fixture(scope="package")
def stack() -> Iterator[Standalone]:
    with running() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running(stack: Standalone) -> Iterator[None]:
    """Each module's stories begin with nobody's server or session running: a story that failed may have left one."""
    yield
    for name in ("dana", "ana", "ada"):
        user = stack.user(name)
        with HubSession(stack.address, user.name, user.password) as session:
            session.stop_server()
            headers = {"Authorization": f"token {session.token()}"}
        with httpx.Client(base_url=stack.gateway, headers=headers, timeout=60) as gateway:
            for left in gateway.get("/sessions").json()["sessions"]:
                if left["owner"] == name:
                    gateway.delete(f"/sessions/{left['id']}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    yield page
    page.context.close()


@pytest.fixture(scope="package")
def dana(stack: Standalone) -> User:
    return stack.user("dana")


@pytest.fixture(scope="package")
def ana(stack: Standalone) -> User:
    return stack.user("ana")


@pytest.fixture(scope="package")
def ada(stack: Standalone) -> User:
    return stack.user("ada")


@pytest.fixture(scope="package")
def noor(stack: Standalone) -> User:
    return stack.user("noor")
