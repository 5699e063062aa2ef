"""The fixtures of the tests on Kubernetes.

cluster     a running cluster: this machine's own, or with SPARKYARD_CLUSTER=existing the one of KUBECONFIG
namespace   a namespace of the test's own
"""

import contextlib
import os
from collections.abc import Generator, Iterator

import pytest

from support.cluster import machine, using
from support.cluster.place import Place, name_of


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Two files may run side by side; a test that takes the node away runs alone."""
    if os.environ.get("SPARKYARD_CLUSTER") == "existing":
        return (yield)
    with using.turn(Place(name_of()), alone=item.get_closest_marker("alone_on_cluster") is not None):
        return (yield)


@pytest.fixture(scope="session")
def cluster() -> Iterator[using.Cluster]:
    """A running cluster, or a skip that the end of the run repeats loudly."""
    if os.environ.get("SPARKYARD_CLUSTER") != "existing":
        obstacles = machine.obstacles()
        if obstacles:
            pytest.skip("; ".join(obstacles))
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(using.running())
        except SystemExit as problem:  # a sentence for whoever reads it, not a traceback
            pytest.fail(str(problem), pytrace=False)
        yield found


@pytest.fixture
def namespace(cluster: using.Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    with cluster.namespace() as name:
        yield name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was not tested."""
    skipped = any(each.nodeid.startswith("tests/cluster/") for each in terminalreporter.stats.get("skipped", []))
    obstacles = machine.obstacles() if skipped and os.environ.get("SPARKYARD_CLUSTER") != "existing" else []
    if obstacles:
        terminalreporter.section("LEFT OUT: every test on Kubernetes", red=True, bold=True)
        for obstacle in obstacles:
            terminalreporter.line(f"- {obstacle}")
        terminalreporter.line("With SPARKYARD_CLUSTER=existing and KUBECONFIG they run on a cluster of your own.")
