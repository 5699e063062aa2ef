"""The profile page and the pages around a start in a real Chromium: keyboard, phone, both themes, and axe's rules."""

import html
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from support.browser import chromium
from support.running_hub import Hub

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def signed_in(
    browser: Browser, hub: Hub, user: str, *, theme: str = "light", width: int = 1280, script: bool = True
) -> Page:
    context = browser.new_context(
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": 844},
        java_script_enabled=script,
    )
    page = context.new_page()
    page.goto(f"{hub.url}/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill("open")
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/spawn*")
    return page


def accessible(page: Page) -> None:
    """Our part of the page keeps axe's rules."""
    found = Axe().run(page, context="main", options=RULES)
    problems = [
        f"{problem['id']}: {problem['help']} at {node['html']} {node.get('failureSummary', '')}"
        for problem in found.response["violations"]
        for node in problem["nodes"]
    ]
    assert not problems, "\n".join(problems)


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"


@THEMES
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_accessible_in_both_themes_and_on_a_phone(
    quiet_hub: Hub, browser: Browser, theme: str, width: int
) -> None:
    page = signed_in(browser, quiet_hub, "sam", theme=theme, width=width)
    accessible(page)
    fits(page)

    page.get_by_role("radio", name="Large").check()
    page.get_by_text("Change sizes or images of Large").click()
    accessible(page)
    fits(page)

    page.get_by_role("textbox", name="Memory", exact=True).fill("64g")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("driver_memory '64g' is not granted by profile 'large'")
    accessible(page)
    fits(page)
    page.context.close()


def test_it_is_used_by_keyboard_alone(quiet_hub: Hub, browser: Browser) -> None:
    page = signed_in(browser, quiet_hub, "sam")

    expect(page.get_by_role("radio", name="Small")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Large")).to_be_checked()
    expect(page.get_by_role("status")).to_have_text("Large")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for label in ("Image", "Image of your own", "Cores"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("group", name="Driver").get_by_label(label, exact=True)).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("5")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text(
        "driver_cores '5' is not granted by profile 'large'; it allows 1 to 4"
    )
    wrong = page.get_by_role("spinbutton", name="Cores", exact=True)
    expect(wrong).to_be_focused()
    expect(wrong).to_have_value("5")
    expect(wrong).to_have_accessible_description(
        "Error: driver_cores '5' is not granted by profile 'large'; it allows 1 to 4. 1 to 4, normally 1"
    )
    page.context.close()


def test_it_works_without_javascript(quiet_hub: Hub, browser: Browser) -> None:
    page = signed_in(browser, quiet_hub, "sam", script=False)

    page.get_by_role("radio", name="Large").check()
    page.get_by_text("Change sizes or images of Large").click()
    page.get_by_role("group", name="Executors").get_by_label("Executors").fill("99")
    page.get_by_role("button", name="Start").click()

    expect(page.get_by_role("alert")).to_contain_text(
        "executors '99' is not granted by profile 'large'; it allows 1 to 8"
    )
    expect(page.get_by_role("radio", name="Large")).to_be_checked()
    page.context.close()


def test_a_click_on_a_card_chooses_it(quiet_hub: Hub, browser: Browser) -> None:
    page = signed_in(browser, quiet_hub, "sam")

    page.get_by_role("definition").filter(has_text="2, each 1 core, 2 GiB").click()

    expect(page.get_by_role("radio", name="Large")).to_be_checked()
    page.context.close()


@THEMES
def test_an_admin_reads_of_a_broken_catalog(quiet_hub: Hub, browser: Browser, theme: str) -> None:
    good = quiet_hub.catalog.read_text()
    try:
        quiet_hub.catalog.write_text(good.replace("    title: Small", "    titel: Small"))
        page = signed_in(browser, quiet_hub, "ada", theme=theme)
        expect(page.get_by_role("region", name="Trouble with the catalog")).to_contain_text("did you mean 'title'")
        accessible(page)
        page.context.close()
    finally:
        quiet_hub.catalog.write_text(good)


@THEMES
def test_a_start_is_followed_cancelled_and_its_failure_explained(hub: Hub, browser: Browser, theme: str) -> None:
    program = hub.folder / "image" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    lab = 'ref: "registry.example.com/lab:1"'
    hub.catalog.write_text(hub.catalog.read_text().replace(lab, f'{lab}, local: {{python: "{program}"}}'))

    page = signed_in(browser, hub, "sam", theme=theme)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Starting Small")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Starting JupyterLab")).to_have_attribute(
        "aria-current", "step"
    )
    expect(page.get_by_text(re.compile(r"Starting JupyterLab \(([2-9]|\d\d+) s\)"))).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/hub/spawn/sam*")
    assert hub.stopped("sam")

    program.write_text("#!/bin/sh\nsleep 1\necho 'No <module> named jupyterhub'\nexit 3\n")
    page.keyboard.press("Enter")
    failure = page.get_by_role("alert")
    expect(failure).to_contain_text("JupyterLab ended while it was starting (exit status 3)")
    expect(failure).to_contain_text("No <module> named jupyterhub")
    expect(failure).to_be_focused()
    accessible(page)
    page.reload()
    expect(page.get_by_role("heading", name="Your server did not start")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Back to the profiles").click()
    expect(page.get_by_role("radio", name="Small")).to_be_checked()
    expect(page.get_by_text("your last choice")).to_be_visible()
    page.context.close()


def test_the_hub_shows_no_html_of_a_users_making(quiet_hub: Hub, browser: Browser) -> None:
    page = signed_in(browser, quiet_hub, "sam")

    page.goto(f"{quiet_hub.url}/spawn?profile=%3Cimg%20src%3Dx%20onerror%3Ddocument.title%3D1%3E")

    expect(page.get_by_role("alert")).to_contain_text("<img src=x")
    assert page.title() == "Choose a profile · Sparkyard"
    assert "<img src=x" not in html.unescape(page.get_by_role("alert").inner_html().replace("&lt;", "LT"))
    page.context.close()
