"""The HTML blocks: nothing from outside is markup, and links stay on our site."""

import pytest

from sparkyard_sparkmagic import blocks
from sparkyard_sparkmagic.gateway import SessionView

EVIL = '<img src=x onerror="alert(1)">'


def test_hostile_names_are_text() -> None:
    view = SessionView(
        3, "starting", kind=EVIL, reason=EVIL, profile=EVIL, driver_image=EVIL, executor_image=EVIL,
        spark_version=EVIL, app_id=EVIL, spark_ui_path=f"/x{EVIL}",
    )  # fmt: skip
    bundles = [
        blocks.waiting(view, 1),
        blocks.status(view, EVIL),
        blocks.sessions([view], 3),
        blocks.settings({"name": EVIL, "conf": {EVIL: EVIL}}),
        blocks.running([{"id": EVIL, "name": EVIL, "tasks": 3, "done": 1}], 0.3, 2),
        blocks.saying(EVIL),
    ]
    for bundle in bundles:
        assert "<img" not in bundle["text/html"]
        assert 'onerror="' not in bundle["text/html"]


@pytest.mark.parametrize("path", ["javascript:alert(1)", "//evil.example/", "/\\evil.example", "http://evil", "", None])
def test_only_paths_on_our_site_are_linked(path: str | None) -> None:
    assert blocks.spark_ui_link(SessionView(1, "idle", spark_ui_path=path)) == ""


def test_the_status_names_what_the_session_is() -> None:
    view = SessionView(
        7, "idle", driver_image="reg/d:1", executor_image="reg/e:1", spark_version="3.5.9", spark_ui_path="/s/7/"
    )
    html = blocks.status(view, "Small team")["text/html"]
    for part in ("Spark session 7", "Small team", "3.5.9", "reg/d:1", "reg/e:1", 'href="/s/7/"', "noopener"):
        assert part in html


def test_stages_have_bars_that_can_be_read_aloud() -> None:
    stage = {"id": 3, "name": "count at <cell>", "tasks": 8, "done": 3, "running": 2, "failed": 1}
    bundle = blocks.running([stage], 0.375, 4)
    assert '<progress aria-label="Stage 3: count at &lt;cell&gt;" max="8" value="3"' in bundle["text/html"]
    assert bundle["text/plain"].splitlines() == [
        "Running for 4 s, 38% of the tasks done",
        "Stage 3: count at <cell>: 3 of 8 tasks (2 running, 1 failed)",
    ]
