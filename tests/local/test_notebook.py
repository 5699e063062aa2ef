"""The main job in a real browser: a profile, JupyterLab, cells on Spark, interrupt, restart."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser import PATIENT, Lab, enter, new_page, sign_in, start_server
from support.hub_session import HubSession
from support.standalone import Standalone, User

pytestmark = [pytest.mark.browser, pytest.mark.spark]


@pytest.fixture(scope="module")
def lab(browser: Browser, stack: Standalone, dana: User) -> Lab:
    """Dana's JupyterLab on the profile Small, one for the stories of this module; they run in order."""
    page = new_page(browser)
    sign_in(page, stack.address, dana.name, dana.password)
    return start_server(page, "Small")


def test_the_first_cell_runs_on_spark(lab: Lab) -> None:
    lab.new_notebook("PySpark")

    lab.run("print('rows:', spark.range(1000).selectExpr('sum(id) AS total').first().total)")

    expect(lab.output(0)).to_contain_text("rows: 499500", timeout=PATIENT)


def test_output_appears_while_the_cell_still_runs(lab: Lab) -> None:
    lab.run("import time\nfor step in range(3):\n    print('step', step)\n    time.sleep(2)\nprint('finished')")

    expect(lab.output(1)).to_contain_text("step 0", timeout=10_000)
    expect(lab.output(1)).not_to_contain_text("finished", timeout=1)
    expect(lab.output(1)).to_contain_text("finished", timeout=15_000)


def test_an_interrupt_stops_the_cell_and_leaves_the_session_usable(lab: Lab) -> None:
    lab.run("mark = 'still here'\nprint('looping')\nwhile True:\n    pass")
    expect(lab.output(2)).to_contain_text("looping", timeout=15_000)

    lab.page.get_by_role("button", name=re.compile("Interrupt")).click()

    expect(lab.output(2)).to_contain_text("KeyboardInterrupt", timeout=15_000)
    lab.run("print(mark)")
    expect(lab.output(3)).to_contain_text("still here", timeout=15_000)


def test_a_restarted_kernel_starts_afresh(lab: Lab) -> None:
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.get_by_role("button", name="Confirm Kernel Restart").click()
    lab.wait_for_kernel()

    lab.run("print('mark' in globals(), spark.range(3).count())", 4)

    expect(lab.output(4)).to_contain_text("False 3", timeout=PATIENT)


def test_example_01_runs_by_clicks(lab: Lab, stack: Standalone, dana: User) -> None:
    lab.menu("File", "Close Tab")
    discard = lab.page.get_by_role("button", name=re.compile("Discard|Don't Save"))
    discard.click() if discard.count() else None
    lab.open_file("examples", "01-flights.ipynb")

    lab.menu("Run", "Run All Cells")

    expect(lab.output(0)).to_contain_text("336,776 flights, 16 airlines", timeout=PATIENT)
    expect(lab.output(1)).to_contain_text("United Air Lines Inc.", timeout=PATIENT)
    expect(lab.output(2)).to_contain_text("105.7", timeout=PATIENT)  # La Guardia's worst day
    expect(lab.output(3).locator("img").first).to_be_visible(timeout=PATIENT)
    expect(lab.output(6)).to_contain_text("DataFrame (10, 4)", timeout=PATIENT)

    lab.cell(-1).locator(".jp-InputPrompt").click()
    lab.page.get_by_role("toolbar", name="main area toolbar").get_by_role(
        "button", name=re.compile("^Insert a cell below")
    ).click()
    lab.run("flights.where('dest = \"HNL\"').count()")
    expect(lab.output(7)).to_contain_text("707", timeout=PATIENT)


def test_the_spark_ui_opens_from_the_notebook_for_its_owner_alone(
    lab: Lab, browser: Browser, stack: Standalone, ana: User
) -> None:
    link = lab.notebook.get_by_role("link", name=re.compile("Spark UI")).first
    with lab.page.context.expect_page() as opened:
        link.click()
    spark_ui = opened.value
    expect(spark_ui.get_by_text("Spark Jobs").first).to_be_visible(timeout=30_000)

    stranger = new_page(browser)
    sign_in(stranger, stack.address, ana.name, ana.password)
    expect(stranger.get_by_role("heading", name="Choose a profile")).to_be_visible()
    answer = stranger.goto(spark_ui.url)
    assert answer is not None
    assert answer.status == 404
    stranger.context.close()


def test_the_classic_interface_works_too(lab: Lab, stack: Standalone, dana: User) -> None:
    page: Page = lab.page.context.new_page()
    page.goto(f"{stack.address}/user/{dana.name}/tree/examples")
    expect(page.get_by_role("listitem", name=re.compile("^Name: 01-flights.ipynb"))).to_be_visible(timeout=PATIENT)
    page.goto(f"{stack.address}/user/{dana.name}/notebooks/examples/03-two-profiles.ipynb")
    expect(page.locator(".jp-CodeCell").first).to_be_visible(timeout=PATIENT)
    expect(page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')).to_be_visible(timeout=PATIENT)
    first = page.locator(".jp-CodeCell").first
    for _ in range(10):  # a kernel that still connects lets a key go by
        enter(first)
        page.keyboard.press("Shift+Enter")
        try:
            expect(first.locator(".jp-InputPrompt")).not_to_have_text("[ ]:", timeout=5_000)
        except AssertionError:
            continue
        break
    expect(page.locator(".jp-CodeCell").first.locator(".jp-Cell-outputWrapper")).to_contain_text(
        re.compile(r"pandas inside a task:\s+2\.3\."), timeout=PATIENT
    )
    page.close()


def test_stopping_the_server_ends_its_drivers(lab: Lab, stack: Standalone, dana: User) -> None:
    with HubSession(stack.address, dana.name, dana.password) as session:
        answer = session.send("DELETE", f"/hub/api/users/{dana.name}/server")
        assert answer.status_code in (202, 204), answer.text
        token = session.token()
        for _ in range(60):
            sessions = httpx.get(f"{stack.gateway}/sessions", headers={"Authorization": f"token {token}"}).json()[
                "sessions"
            ]
            if not [it for it in sessions if it["state"] in ("starting", "idle", "busy")]:
                break
            time.sleep(0.5)
        else:
            raise AssertionError(f"sessions are left: {sessions}")
