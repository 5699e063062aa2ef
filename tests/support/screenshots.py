"""``make docs``: the four main pages of a running Sparkyard, as pictures in docs/images."""

from pathlib import Path

from playwright.sync_api import expect

from support.browser import PATIENT, Lab, chromium, give_name_and_password, new_page
from support.standalone import ROOT, running

IMAGES = ROOT / "docs" / "images"


def take(folder: Path) -> None:
    """Walk through the main job as Dana and keep a picture of each page."""
    folder.mkdir(parents=True, exist_ok=True)
    with running() as stack, chromium() as browser:
        dana = stack.user("dana")
        page = new_page(browser, width=1280, height=800)
        page.goto(stack.address)
        page.screenshot(path=folder / "sign-in.png")
        give_name_and_password(page, dana.name, dana.password)
        page.wait_for_url("**/hub/spawn**")
        page.screenshot(path=folder / "profiles.png")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/hub/spawn-pending/**")
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / "starting.png")
        page.wait_for_url("**/user/dana/lab**", timeout=PATIENT)
        lab = Lab(page)
        lab.wait()
        lab.open_file("examples", "01-flights.ipynb")
        lab.menu("Run", "Run All Cells")
        expect(lab.output(6)).to_contain_text("DataFrame (10, 4)", timeout=PATIENT)
        lab.cell(3).scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "notebook.png")


if __name__ == "__main__":
    take(IMAGES)
    print(f"written: {IMAGES}")
