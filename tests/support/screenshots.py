"""``make docs``: the main pages of a running Sparkyard, as pictures in docs/images."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from support.browser import PATIENT, Lab, chromium, give_name_and_password, new_page
from support.hub_session import HubSession
from support.standalone import ROOT, Standalone, running

IMAGES = ROOT / "docs" / "images"

WORKS = """# Flights per carrier and day
import time
sc.parallelize(range(4), 4).map(lambda part: time.sleep(600 * (part > 1))).count()
"""
FAILS = """rows = spark.range(0, 40000000).selectExpr("id", "repeat('x', 60) AS features")
rows.collect()
"""


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
        take_sessions(stack, page, folder)


def take_sessions(stack: Standalone, page: Page, folder: Path) -> None:
    """The Sessions page beside the notebook: one session at work, one that has failed."""
    dana = stack.user("dana")
    with HubSession(stack.address, dana.name, dana.password) as hub:
        headers = {"Authorization": f"token {hub.token()}"}
    with httpx.Client(base_url=stack.gateway, headers=headers, timeout=180) as gateway:
        for name, code in (("features", FAILS), ("daily report", WORKS)):
            wish = {"kind": "pyspark", "profile": "small", "name": name}
            number = gateway.post("/sessions", json=wish).json()["id"]
            gateway.post(f"/sessions/{number}/statements", json={"code": code})
        page.goto(f"{stack.address}/services/gateway/ui/")
        work = page.get_by_role("row").filter(has_text="daily report")
        expect(work).to_contain_text("50 %", timeout=PATIENT)
        expect(page.get_by_role("row").filter(has_text="features")).to_contain_text("dead", timeout=PATIENT)
        page.screenshot(path=folder / "sessions.png")
        page.get_by_role("link", name=re.compile("^[0-9]+ · features")).click()
        expect(page.get_by_text("java.lang.OutOfMemoryError").first).to_be_visible(timeout=PATIENT)
        page.screenshot(path=folder / "session.png")
        for each in gateway.get("/sessions").json()["sessions"]:
            gateway.delete(f"/sessions/{each['id']}")


if __name__ == "__main__":
    take(IMAGES)
    print(f"written: {IMAGES}")
