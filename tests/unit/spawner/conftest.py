"""Fixtures of the spawners' tests.

open_folder  a temporary folder that other users can enter, as pytest's own cannot be
hub          a real JupyterHub process with LocalSpawner on free ports, without a proxy: its own port is asked
quiet_hub    the same, one for all tests of a module that start no server
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.running_hub import Hub

HERE = Path(__file__).parent
NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """Servers run under uids of their own where we are root, and pytest closes its folders to everybody else."""
    with TemporaryDirectory(prefix="sparkyard-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def running_hub() -> Iterator[Hub]:
    with folder_for_all() as folder:
        shutil.copy(HERE / "catalog.yaml", folder)
        (folder / "examples").mkdir()
        (folder / "examples" / "01-first.ipynb").write_text(NOTEBOOK)
        hub = Hub(folder, folder / "catalog.yaml", folder / "examples")
        hub.start()
        try:
            yield hub
        finally:
            hub.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        yield folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def quiet_hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub
