"""Livy's recorded requests to batches, asked of batches on this machine, and of batches at a real upstream Livy.

What is compared and where ours are otherwise stands in support/batch_recordings.py.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support import batch_recordings, running_gateway, upstream_livy
from support.batch_recordings import DEVIATIONS, OTHER_WORDS, SCRIPTS, STATES, WISHES, BatchReplay
from support.running_gateway import TOKEN
from support.transcripts import RECORDED

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module", params=["local", "livy"])
def backend(request: pytest.FixtureRequest) -> str:
    """Where the batches run."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def replay(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[BatchReplay]:
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "homes" / "ann").mkdir(parents=True)
    for name, text in SCRIPTS.items():
        (folder / "homes" / "ann" / name).write_text(text)
    options = _at_livy(folder, request) if backend == "livy" else ("--homes-dir", str(folder / "homes"))
    with running_gateway.running(folder, *options) as gateway:
        headers = {"Authorization": f"token {TOKEN}"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=130) as client:
            yield BatchReplay(client, "home://")


def _at_livy(folder: Path, request: pytest.FixtureRequest) -> tuple[str, ...]:
    livy: upstream_livy.UpstreamLivy = request.getfixturevalue("upstream_livy")
    homes = f"{(folder / 'homes').as_uri()}/{{user}}"
    return (*upstream_livy.options(livy, "contract"), "--livy-poll-seconds", "0.5", "--livy-homes", homes)


@pytest.mark.parametrize("recorded", batch_recordings.recorded(), ids=lambda each: each.title)
def test_as_livy(replay, recorded):
    replay.compare(recorded)


def test_the_application_is_known_and_its_output_is_in_the_log(replay, backend):
    if "4" not in replay.ours:
        pytest.skip("asked after the recorded requests")
    good, log = replay.good()
    # Livy itself knows no application of spark-submit's local mode.
    assert good["appId"] is None if backend == "livy" else good["appId"].startswith("local-")
    assert log[:2] == ["stdout: ", "\nstderr: "]
    assert "count 1000 20 b c" in log


def test_the_lists_of_exceptions_hold_nothing_that_is_not_recorded(replay):
    known = {each.title for each in batch_recordings.recorded()}
    assert {*WISHES, *STATES, *DEVIATIONS, *OTHER_WORDS} <= known
