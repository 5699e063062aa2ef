"""The index of the fixtures, and the few that every test may use.

shared_facts        ../shared beside the project, or a skip that says so
upstream_livy       a real Apache Livy 0.7.1 with a real spark-submit, one for all tests that ask for it
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from support import quick_java
from support import upstream_livy as livy
from support.by_file import TOGETHER, ByFile

# A busy machine is slow: how long an example takes says nothing about it.
hypothesis.settings.register_profile(
    "sparkyard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("sparkyard")

# Before anything starts that may start a JVM.
quick_java.use()

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Tell how a process of the tests died, which the library does not."""
    if error:
        with contextlib.suppress(AttributeError, subprocess.TimeoutExpired):
            print(f"\n{node.gateway.id} ended with code {node.gateway._io.popen.wait(10)}", flush=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what takes minutes in one piece, or it would be left for the end, with nothing to do beside it."""
    minutes = {item.path for item in items if any(item.iter_markers("spark")) or any(item.iter_markers("browser"))}
    items.sort(key=lambda item: (not item.nodeid.startswith(TOGETHER), item.path not in minutes))


@pytest.fixture(scope="session")
def shared_facts() -> Path:
    """The folder of recorded answers beside the project; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    return folder


@pytest.fixture(scope="session")
def upstream_livy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[livy.UpstreamLivy]:
    """An upstream Livy, which runs batches in local mode."""
    running = livy.shared(tmp_path_factory.getbasetemp())
    yield running
    running.end()
