"""The fixtures of the tests on Kubernetes.

cluster     a running cluster: this machine's own, or with SPARKYARD_CLUSTER=existing the one of KUBECONFIG
namespace   a namespace of the test's own
"""

import os
from collections.abc import Iterator

import pytest

from support.cluster import machine, using

HERE = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[using.Cluster]:
    """A running cluster, or a skip that the end of the run repeats loudly."""
    if os.environ.get("SPARKYARD_CLUSTER") != "existing":
        obstacles = machine.obstacles()
        if obstacles:
            request.config.stash[HERE] = obstacles
            pytest.skip("; ".join(obstacles))
    with using.running() as found:
        yield found


@pytest.fixture
def namespace(cluster: using.Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    with cluster.namespace() as name:
        yield name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at the end what was not tested."""
    obstacles = config.stash.get(HERE, [])
    if obstacles:
        terminalreporter.section("LEFT OUT: every test on Kubernetes", red=True, bold=True)
        for obstacle in obstacles:
            terminalreporter.line(f"- {obstacle}")
        terminalreporter.line("With SPARKYARD_CLUSTER=existing and KUBECONFIG they run on a cluster of your own.")
