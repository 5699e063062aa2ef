"""A person in a real Chromium: signing in, choosing a profile, working in JupyterLab. Found by label and role."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENT = 180_000
"""Milliseconds for what starts Spark or a server on two busy cores."""


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Debian's Chromium, headless, quiet towards the network."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *options])
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, *, width: int = 1280, height: int = 850, any_certificate: bool = False) -> Page:
    """A page of its own: no cookies are shared with any other."""
    size: ViewportSize = {"width": width, "height": height}
    page = browser.new_context(viewport=size, ignore_https_errors=any_certificate).new_page()
    page.set_default_timeout(30_000)
    return page


def give_name_and_password(page: Page, name: str, password: str) -> None:
    """Fill in the provider's two pages."""
    page.get_by_label(re.compile("login|user|name", re.IGNORECASE)).first.fill(name)
    page.keyboard.press("Enter")
    page.get_by_label(re.compile("password", re.IGNORECASE)).first.fill(password)
    page.keyboard.press("Enter")


def sign_in(page: Page, address: str, name: str, password: str) -> None:
    """From the printed address through the provider's pages to the hub."""
    page.goto(address)
    give_name_and_password(page, name, password)


def start_server(page: Page, profile: str | None = None) -> "Lab":
    """Choose a profile by its title (or keep the one that is chosen), start, and wait for JupyterLab."""
    if profile is not None:
        page.get_by_role("radio", name=re.compile(rf"^{re.escape(profile)}\b")).first.check()
    page.get_by_role("button", name="Start").click()
    try:
        page.wait_for_url(re.compile(r"/user/[^/]+/lab"), timeout=PATIENT)
    except PlaywrightTimeout as error:
        raise AssertionError(f"no JupyterLab at {page.url}, which says:\n{page.inner_text('body')}") from error
    lab = Lab(page)
    lab.wait()
    return lab


def enter(cell: Locator) -> None:
    """Click into a cell's editor until the cursor is there: a page that still lays itself out loses clicks."""
    for _ in range(20):
        cell.locator(".cm-content").click()
        try:
            expect(cell.locator(".cm-content")).to_be_focused(timeout=1_000)
        except AssertionError:
            continue
        return
    expect(cell.locator(".cm-content")).to_be_focused()


class Lab:
    """JupyterLab in a page, and the one notebook that is open in it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait(self) -> None:
        """Until the launcher or a document is there."""
        expect(self.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=PATIENT)
        expect(self.page.locator(".jp-Launcher:visible, .jp-Notebook:visible").first).to_be_visible(timeout=PATIENT)

    def new_notebook(self, kernel: str) -> None:
        """Click the kernel's card under Notebook."""
        self.page.locator(f'.jp-LauncherCard[data-category="Notebook"][title^="{kernel}"]').first.click()
        expect(self.notebook).to_be_visible()
        self.wait_for_kernel()

    def open_file(self, *names: str) -> None:
        """Open a file by double-clicks in the file browser, through its folders."""
        for name in names:
            self.page.get_by_role("listitem", name=re.compile(rf"^Name: {re.escape(name)}\b")).dblclick()
        expect(self.notebook).to_be_visible()
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Until the kernel answers, as the status bar says."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=PATIENT)

    @property
    def notebook(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    @property
    def cells(self) -> Locator:
        """Its code cells."""
        return self.notebook.locator(".jp-CodeCell")

    def cell(self, number: int) -> Locator:
        """One code cell, counted from 0; -1 is the last."""
        return self.cells.nth(number) if number >= 0 else self.cells.last

    def output(self, number: int) -> Locator:
        """What stands under one code cell."""
        return self.cell(number).locator(".jp-Cell-outputWrapper")

    def type(self, code: str, number: int = -1) -> None:
        """Put code into a cell in one go: the editor's help with indents and brackets would change typed lines."""
        enter(self.cell(number))
        self.page.keyboard.insert_text(code)

    def run(self, code: str, number: int = -1) -> None:
        """Type code and press Shift+Enter."""
        self.type(code, number)
        self.page.keyboard.press("Shift+Enter")

    def menu(self, *names: str) -> None:
        """Choose an entry of the menu bar."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).first.click()
        for name in names[1:]:
            self.page.get_by_role("menuitem", name=re.compile(f"^{re.escape(name)}")).last.click()

    def screenshot(self, path: Path) -> None:
        """A picture of the page."""
        self.page.screenshot(path=str(path))
