"""The Sessions page in a real Chromium: live, by keyboard, on a phone, in both themes, by axe's rules, never markup."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sparkyard_gateway.browser_login import LOGIN_COOKIE
from sparkyard_gateway.sealing import Seal
from support.browser import chromium
from support.running_gateway import RunningGateway

from .conftest import StartGateway, client, new_session, run
from .test_sessions import driver_pid, until

pytestmark = pytest.mark.browser

SECRET = "5" * 64
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PATIENT = 30_000
expect.set_options(timeout=PATIENT)


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    token = tmp_path_factory.mktemp("service") / "token"
    token.write_text(SECRET)
    return start_gateway("--hub-token-file", str(token))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def busy(as_alice: httpx.Client) -> Iterator[int]:
    """A session of Alice's that runs a statement whose code is markup, and has failed before."""
    number = new_session(as_alice, name="nightly")
    run(as_alice, number, f"os.write(2, {EVIL.encode()!r} + b'\\nneedle in line\\n') and None")
    run(as_alice, number, "1 / 0")
    as_alice.post(f"/sessions/{number}/statements", json={"code": f"stream {EVIL} {'step ' * 1000}"})
    yield number
    as_alice.delete(f"/sessions/{number}")


@pytest.fixture(scope="module")
def dead(as_alice: httpx.Client) -> int:
    """A session of Alice's whose driver was killed after an exception of Spark's."""
    number = new_session(as_alice)
    text = (Path(__file__).parent / "logs" / "udf.log").read_bytes()
    run(as_alice, number, f"os.write(2, {text!r}) and None")
    pid = driver_pid(as_alice, number)
    os.kill(pid, signal.SIGKILL)
    until(lambda: as_alice.get(f"/sessions/{number}/state").json()["state"] == "dead")
    return number


def signed_in(
    browser: Browser, gateway: RunningGateway, token: str, path: str = "", *, theme: str = "light", width: int = 1280
) -> Page:
    context = browser.new_context(
        color_scheme="dark" if theme == "dark" else "light", viewport={"width": width, "height": 850}
    )
    sealed = Seal(SECRET, "browser-login").seal(600, token=token)
    url = f"{gateway.url}/services/gateway/ui/"
    context.add_cookies([{"name": LOGIN_COOKIE, "value": sealed, "url": url, "httpOnly": True, "sameSite": "Lax"}])
    page = context.new_page()
    page.set_default_timeout(PATIENT)
    page.goto(url + path)
    return page


def row(page: Page, number: int):
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile(rf"^{number}\b")))


def accessible(page: Page) -> None:
    found = Axe().run(page, options=RULES)
    problems = [
        f"{problem['id']}: {problem['help']} at {node['html']} {node.get('failureSummary', '')}"
        for problem in found.response["violations"]
        for node in problem["nodes"]
    ]
    assert not problems, "\n".join(problems)


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1280)])
def test_both_pages_are_accessible_in_both_themes_and_on_a_phone(
    browser: Browser, gateway: RunningGateway, busy: int, dead: int, theme: str, width: int
) -> None:
    page = signed_in(browser, gateway, "token-of-alice", theme=theme, width=width)
    expect(row(page, busy)).to_contain_text("busy")
    expect(row(page, busy).get_by_role("progressbar")).to_be_visible()
    expect(row(page, dead)).to_contain_text("SIGKILL")
    assert page.locator("html").get_attribute("data-bs-theme") == theme
    accessible(page)
    fits(page)

    row(page, busy).get_by_role("button", name="Stop").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")

    for number in (busy, dead):
        row(page, number).get_by_role("link").first.click()
        expect(page.get_by_role("heading", name=re.compile(f"^Session {number}"))).to_be_visible()
        expect(page.get_by_role("region", name="Lines of the log")).to_contain_text("the simulated driver is up")
        page.get_by_role("searchbox").fill("simulated")
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 line holds “simulated”.")).to_be_visible()
        accessible(page)
        fits(page)
        page.go_back()
    page.context.close()


def test_it_changes_by_itself_and_a_session_is_stopped_by_keyboard(
    browser: Browser, gateway: RunningGateway, as_alice: httpx.Client
) -> None:
    page = signed_in(browser, gateway, "token-of-alice")
    number = new_session(as_alice, name="short-lived")
    line = row(page, number)
    expect(line).to_contain_text("idle")
    as_alice.post(f"/sessions/{number}/statements", json={"code": "sleep 60"})
    expect(line).to_contain_text("busy")
    expect(line.get_by_text("sleep 60")).to_be_visible()

    line.get_by_role("link", name="short-lived").focus()
    page.keyboard.press("Tab")
    expect(line.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Stop session {number} · short-lived?")
    expect(dialog).to_contain_text("Its statement is running and will be cut off.")
    # The harmless answer is the one that Enter gives.
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(line.get_by_role("button", name="Stop")).to_be_focused()
    assert as_alice.get(f"/sessions/{number}/state").json()["state"] == "busy"

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(line).to_contain_text("dead")
    expect(line).to_contain_text("The session was stopped on the Sessions page by its owner.")
    expect(page.get_by_role("status").first).to_contain_text(f"Session {number} · short-lived is")
    expect(line.get_by_role("link", name="short-lived")).to_be_focused()
    as_alice.delete(f"/sessions/{number}")
    expect(line).to_have_count(0)
    page.context.close()


def test_a_sessions_page_shows_the_exception_first_and_the_log_as_it_grows(
    browser: Browser, gateway: RunningGateway, dead: int, as_alice: httpx.Client
) -> None:
    page = signed_in(browser, gateway, "token-of-alice", f"sessions/{dead}")
    failure = page.get_by_role("region", name="The exception in its log")
    expect(failure).to_contain_text("ZeroDivisionError: integer division or modulo by zero")
    expect(failure).to_contain_text("Raised in <cell 1>, line 1, in <lambda>")
    expect(failure.get_by_role("listitem")).to_have_count(1)
    failure.get_by_role("button", name=re.compile("^line")).first.click()
    marked = page.locator("#found-lines .marked")
    expect(marked).to_contain_text("ZeroDivisionError")
    assert page.evaluate(
        "document.getElementById('failure').compareDocumentPosition(document.getElementById('log')) & 4"
    ), "the log comes before its exception"
    page.context.close()

    number = new_session(as_alice)
    page = signed_in(browser, gateway, "token-of-alice", f"sessions/{number}")
    log = page.get_by_role("region", name="Lines of the log")
    expect(log).to_contain_text("the simulated driver is up")
    run(as_alice, number, "os.write(2, 'später, und noch später\\n'.encode()) and None")
    expect(log).to_contain_text("später, und noch später")
    run(as_alice, number, "{}['nothing']")
    expect(page.get_by_role("listitem").filter(has_text="{}['nothing']")).to_contain_text("KeyError: 'nothing'")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"session-{number}.log"
    as_alice.delete(f"/sessions/{number}")
    page.context.close()


def test_what_users_write_is_never_markup(browser: Browser, gateway: RunningGateway, busy: int) -> None:
    page = signed_in(browser, gateway, "token-of-alice", f"sessions/{busy}")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    expect(page.get_by_role("region", name="Lines of the log")).to_contain_text(EVIL)
    expect(page.get_by_role("listitem").filter(has_text=EVIL).first).to_be_visible()
    page.get_by_role("searchbox").fill("<img src=x")
    page.keyboard.press("Enter")
    expect(page.locator("#found-lines")).to_contain_text(EVIL)
    assert page.locator("main img, main script:not([src])").count() == 0
    assert page.title() == f"Session {busy} · nightly · Sparkyard"
    # Not even where a script of ours would do it by mistake.
    assert (
        page.evaluate("(() => { try { document.body.innerHTML = '<p>' } catch (e) { return e.name } })()")
        == "TypeError"
    )
    assert said == [] or all("TrustedHTML" in each for each in said)
    page.context.close()


def test_people_see_their_own_and_an_admin_all(browser: Browser, gateway: RunningGateway, busy: int) -> None:
    with client(gateway, "token-of-ada") as api:
        own = new_session(api, name="adas")
        page = signed_in(browser, gateway, "token-of-ada")
        expect(row(page, busy)).to_contain_text("alice")
        page.get_by_role("radio", name="Mine (1)").check()
        expect(row(page, own)).to_be_visible()
        expect(row(page, busy)).to_be_hidden()
        page.get_by_role("radio", name="All that you may see").check()
        row(page, busy).get_by_role("button", name="Stop").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"Stop session {busy} · nightly of alice?")
        page.context.close()
        api.delete(f"/sessions/{own}")
    page = signed_in(browser, gateway, "token-of-bob")
    expect(page.get_by_text("No session is running.")).to_be_visible()
    expect(page.get_by_role("table")).to_be_hidden()
    answer = page.goto(f"{gateway.url}/services/gateway/ui/sessions/{busy}")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no such session, or it is not yours to see.")).to_be_visible()
    accessible(page)
    page.context.close()


def test_the_theme_is_the_hubs(browser: Browser, gateway: RunningGateway) -> None:
    page = signed_in(browser, gateway, "token-of-bob")
    page.get_by_role("button", name="Toggle dark mode").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    assert page.evaluate("localStorage.getItem('jupyterhub-bs-theme')") == "dark"
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.context.close()
