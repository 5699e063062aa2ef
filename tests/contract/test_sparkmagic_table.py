"""The result table in a real Chromium: sorted by mouse and by keyboard, and read by axe."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from sparkyard_sparkmagic import blocks
from sparkyard_sparkmagic.gateway import SessionView
from sparkyard_sparkmagic.table import Column, Table
from support.browser import chromium, new_page

pytestmark = pytest.mark.browser

TABLE = Table(
    (Column("name", "string"), Column("n", "long"), Column("cost", "decimal(10,2)")),
    [["10", 10, "1.50"], ["9", 9, "-3.00"], [None, None, "12.00"], ["<b>b</b>", 100, None], ["a", float("nan"), "0"]],
    "there are more",
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield new_page(browser)


@pytest.fixture
def shown(page: Page) -> Page:
    stages = [{"id": 1, "name": "count", "tasks": 4, "done": 1}]
    view = SessionView(1, "idle", spark_ui_path="/services/gateway/spark-ui/1/")
    parts = [
        TABLE.html(),
        TABLE.html(),
        blocks.running(stages, 0.25, 3)["text/html"],
        blocks.waiting(None, 1)["text/html"],
        blocks.status(view, "Small")["text/html"],
        blocks.sessions([view], 1)["text/html"],
        blocks.settings({"driverMemory": "2g"})["text/html"],
    ]
    page.set_content(f'<!doctype html><html lang="en"><title>t</title><main>{"".join(parts)}</main></html>')
    return page


def column(page: Page, number: int) -> list[str]:
    table = page.get_by_role("region", name="Result table").first
    return table.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


def test_numbers_sort_as_numbers_and_null_stays_last(shown: Page) -> None:
    heading = shown.get_by_role("button", name="n", exact=True).first
    heading.click()
    assert column(shown, 2) == ["9", "10", "100", "NaN", "null"]
    heading.click()
    assert column(shown, 2)[-1] == "null"
    assert column(shown, 2)[-4:-1] == ["100", "10", "9"]
    shown.get_by_role("button", name="cost").first.click()
    assert column(shown, 3) == ["-3.00", "0", "1.50", "12.00", "null"]


def test_texts_sort_as_texts_by_keyboard_and_it_is_announced(shown: Page) -> None:
    heading = shown.get_by_role("button", name="name").first
    heading.focus()
    shown.keyboard.press("Enter")
    assert column(shown, 1) == ["<b>b</b>", "10", "9", "a", "null"]
    cell = shown.get_by_role("columnheader", name="name").first
    expect(cell).to_have_attribute("aria-sort", "ascending")
    expect(shown.get_by_role("status").first).to_have_text("Sorted by name, ascending")
    shown.keyboard.press("Space")
    expect(cell).to_have_attribute("aria-sort", "descending")


def test_two_tables_do_not_disturb_each_other(shown: Page) -> None:
    second = shown.get_by_role("region", name="Result table").nth(1)
    second.get_by_role("button", name="name").click()
    assert column(shown, 1) == ["10", "9", "null", "<b>b</b>", "a"]


def test_without_scripts_it_is_a_table_still(shown: Page) -> None:
    stripped = TABLE.html().replace("<script>", "<template>").replace("</script>", "</template>")
    shown.set_content(stripped)
    assert shown.get_by_role("button").count() == 0
    assert column(shown, 1)[0] == "10"


def test_axe_finds_nothing(shown: Page) -> None:
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    results = Axe().run(shown, context="main", options=options)
    assert results.violations_count == 0, results.generate_report()
