"""A forked gateway is what the command would be: the same words and exit codes, its own environment, folder and end."""

import os
import signal
import subprocess
import sys

import pytest

from support import fork_server
from support.fork_server import Forked


@pytest.fixture
def forked(tmp_path):
    """Runs a module with arguments, forked; what it says is in a file of its name."""

    def start(module: str, *arguments: str, **environment: str) -> Forked:
        with (tmp_path / f"{module}.log").open("ab") as log:
            return fork_server.server().start(
                module, list(arguments), tmp_path, log.fileno(), {**os.environ, **environment}
            )

    return start


@pytest.mark.parametrize("arguments", [["--help"], ["--port", "many"], ["--catalog", "nowhere.yaml"], ["--no-such"]])
def test_it_says_what_the_command_says_and_ends_as_it_does(forked, tmp_path, arguments):
    command = subprocess.run(
        [sys.executable, "-m", "sparkyard_gateway.command", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert forked("sparkyard_gateway.command", *arguments).wait(60) == command.returncode
    assert (tmp_path / "sparkyard_gateway.command.log").read_text() == command.stdout


def test_it_has_its_own_environment_and_folder_and_nothing_of_its_siblings(forked, tmp_path):
    (tmp_path / "seen.py").write_text(
        "import glob, os, threading\n"
        "print(os.getcwd(), os.environ['OF_ITS_OWN'], os.environ.get('OF_THE_OTHERS'), threading.active_count())\n"
        "print([os.readlink(each) for each in glob.glob('/proc/self/fd/*') if os.path.lexists(each)])\n"
    )
    waiting = forked("http.server", "0", "--bind", "127.0.0.1", OF_THE_OTHERS="1")
    try:
        assert forked("seen", OF_ITS_OWN="2").wait(60) == 0
    finally:
        waiting.kill()
    assert waiting.wait(60) == -signal.SIGKILL
    assert waiting.poll() == -signal.SIGKILL
    first, second = (tmp_path / "seen.log").read_text().splitlines()
    assert first == f"{tmp_path} 2 None 1"
    assert "socket" not in second


def test_who_does_not_end_is_waited_for_no_longer_than_was_said(forked):
    waiting = forked("http.server", "0", "--bind", "127.0.0.1")
    try:
        assert waiting.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.01)
    finally:
        waiting.terminate()
    assert waiting.wait(60) == -signal.SIGTERM
