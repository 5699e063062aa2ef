"""The keeper and the hub's handle on it, with real processes: a small program stands for the notebook server."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sparkyard_spawner import keeper
from sparkyard_spawner.process import ServerProcess, last_lines

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as other users")

# A server with a kernel that has left for a session of its own, and whose parent has gone: nothing but its ancestry
# leads to it.
SERVER_WITH_DETACHED_KERNEL = """
import os, signal, sys, time
from pathlib import Path
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("kernel.pid").write_text(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
Path("server.pid").write_text(str(os.getpid()))
time.sleep(600)
"""


def plan(home: Path, command: list[str], **changes: object) -> keeper.Plan:
    given: keeper.Plan = {
        "command": command,
        "home": str(home),
        "uid": None,
        "examples": None,
        "supervisor": None,
        "grace_seconds": 3.0,
    }
    return {**given, **changes}  # type: ignore[typeddict-item]


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finished(process: ServerProcess) -> None:
    eventually(lambda: process.poll() is not None)


@pytest.fixture
def home(open_folder: Path) -> Path:
    folder = open_folder / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def launch(home: Path, open_folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    started: list[ServerProcess] = []

    def start(*command: str, env: dict[str, str] | None = None, **changes: object) -> ServerProcess:
        process = ServerProcess.launch(
            plan(home, list(command), **changes), env or {"PATH": "/usr/bin:/bin"}, open_folder / "server.log"
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.handle is not None and process.handle.poll() is None:
            keeper.end_descendants(process.pid)
            process.handle.kill()
            process.handle.wait()


def detached(
    launch: Callable[..., ServerProcess], home: Path, how: str, **changes: object
) -> tuple[ServerProcess, int, int]:
    """A server with a detached kernel: the process, the server's pid, the kernel's pid."""
    process = launch(sys.executable, "-c", SERVER_WITH_DETACHED_KERNEL, how, **changes)
    eventually(
        lambda: (home / "server.pid").exists() and (home / "kernel.pid").exists() and (home / "kernel.pid").read_text()
    )
    return process, int((home / "server.pid").read_text()), int((home / "kernel.pid").read_text())


async def test_stopping_leaves_nothing_of_what_the_server_started(
    launch: Callable[..., ServerProcess], home: Path
) -> None:
    process, server, kernel = detached(launch, home, "polite")
    assert process.poll() is None

    assert await process.stop(now=False, seconds=10)

    assert process.poll() == 128 + signal.SIGTERM
    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(kernel)


async def test_a_server_that_ignores_the_signal_is_killed_after_its_grace(
    launch: Callable[..., ServerProcess], home: Path
) -> None:
    process, server, kernel = detached(launch, home, "deaf", grace_seconds=0.5)

    assert await process.stop(now=False, seconds=10)

    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(kernel)


async def test_stopping_now_asks_nobody(launch: Callable[..., ServerProcess], home: Path) -> None:
    process, server, kernel = detached(launch, home, "deaf", grace_seconds=600)

    assert await process.stop(now=True, seconds=600)

    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(kernel)


def test_a_server_that_ends_by_itself_takes_its_kernels_with_it(
    launch: Callable[..., ServerProcess], home: Path
) -> None:
    process, server, kernel = detached(launch, home, "polite")

    os.kill(server, signal.SIGKILL)

    finished(process)
    assert process.poll() == 128 + signal.SIGKILL
    assert not psutil.pid_exists(kernel)


def test_a_killed_keeper_takes_the_server_with_it(launch: Callable[..., ServerProcess], home: Path) -> None:
    process, server, kernel = detached(launch, home, "polite")

    os.kill(process.pid, signal.SIGKILL)

    finished(process)
    eventually(lambda: keeper.started_at(server) is None)
    os.kill(kernel, signal.SIGKILL)  # what detached itself outlives a kill -9 of the keeper: the one gap


def test_all_ends_when_the_supervisor_is_gone(launch: Callable[..., ServerProcess], home: Path) -> None:
    supervisor = subprocess.Popen(["/bin/sleep", "600"])
    started = keeper.started_at(supervisor.pid)
    process, server, kernel = detached(launch, home, "polite", supervisor=[supervisor.pid, started])

    supervisor.kill()
    supervisor.wait()

    finished(process)
    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(kernel)


def test_a_command_that_is_not_there_ends_with_a_sentence(
    launch: Callable[..., ServerProcess], open_folder: Path
) -> None:
    process = launch("/nowhere/python")

    finished(process)
    assert process.poll() == keeper.CANNOT_START
    assert last_lines(open_folder / "server.log", 5) == ("Could not start /nowhere/python: No such file or directory",)


@as_root
def test_the_server_runs_as_the_users_own_uid_and_gains_nothing(
    launch: Callable[..., ServerProcess], home: Path, open_folder: Path
) -> None:
    os.chown(home, 61007, 61007)
    examples = open_folder / "examples"
    examples.mkdir()
    (examples / "01.ipynb").write_text("example")
    # A link that the user planted, so that the copy would overwrite a file of root's.
    planted = open_folder / "of-root"
    planted.write_text("of root")
    (home / "examples").mkdir()
    os.chown(home / "examples", 61007, 61007)
    (home / "examples" / "01.ipynb").symlink_to(open_folder / "elsewhere")

    process = launch(
        "/bin/sh",
        "-c",
        "id -u; id -g; id -G; pwd; umask; grep NoNewPrivs /proc/self/status",
        uid=61007,
        examples=str(examples),
    )

    finished(process)
    assert process.poll() == 0
    *words, _privileges = (line.strip() for line in last_lines(open_folder / "server.log", 6))
    assert words == ["61007", "61007", "61007", str(home), "0077"]
    assert _privileges.split() == ["NoNewPrivs:", "1"]
    assert not (open_folder / "elsewhere").exists()


def test_examples_are_copied_once_and_the_users_changes_stay(
    launch: Callable[..., ServerProcess], home: Path, open_folder: Path
) -> None:
    examples = open_folder / "examples"
    examples.mkdir()
    (examples / "01.ipynb").write_text("first")
    (examples / "notes.txt").write_text("not a notebook")

    finished(launch("/bin/true", examples=str(examples)))
    assert [path.name for path in (home / "examples").iterdir()] == ["01.ipynb"]
    assert stat.S_IMODE((home / "examples" / "01.ipynb").stat().st_mode) == 0o600

    (home / "examples" / "01.ipynb").write_text("changed by the user")
    (examples / "02.ipynb").write_text("second")
    finished(launch("/bin/true", examples=str(examples)))

    assert (home / "examples" / "01.ipynb").read_text() == "changed by the user"
    assert (home / "examples" / "02.ipynb").read_text() == "second"


def test_a_server_is_found_again_by_pid_and_start_time(launch: Callable[..., ServerProcess]) -> None:
    process = launch("/bin/sleep", "600")

    found = ServerProcess.from_state(process.state())
    assert found is not None
    assert found.poll() is None

    another = ServerProcess.from_state({**process.state(), "started_at": process.started_at - 1})
    assert another is not None
    assert another.poll() == 0, "the pid now belongs to somebody else"


@pytest.mark.parametrize("state", [{}, {"pid": 12}, {"pid": 0, "started_at": 0}, {"pid": "12", "started_at": 3}])
def test_a_state_that_names_no_process_is_none(state: dict[str, object]) -> None:
    assert ServerProcess.from_state(state) is None


async def test_a_server_of_an_earlier_hub_is_stopped_too(launch: Callable[..., ServerProcess], home: Path) -> None:
    process, server, kernel = detached(launch, home, "polite")
    found = ServerProcess.from_state(process.state())
    assert found is not None
    # The hub that started it is gone; here its parent still has to collect it.
    collecting = asyncio.create_task(asyncio.to_thread(process.handle.wait))  # type: ignore[union-attr]

    assert await found.stop(now=False, seconds=10)

    await collecting
    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(kernel)


def test_the_log_is_ours_alone_and_its_end_shows_no_secret(
    launch: Callable[..., ServerProcess], open_folder: Path
) -> None:
    process = launch("/bin/sh", "-c", "echo one; echo the token is abc123; echo three")

    finished(process)
    assert stat.S_IMODE((open_folder / "server.log").stat().st_mode) == 0o600
    assert last_lines(open_folder / "server.log", 2, secrets=("abc123", "")) == ("the token is [secret]", "three")
    assert last_lines(open_folder / "nothing.log", 2) == ()


def test_a_long_log_makes_room(launch: Callable[..., ServerProcess], open_folder: Path) -> None:
    (open_folder / "server.log").write_bytes(b"x" * 5_000_001)

    finished(launch("/bin/echo", "new"))

    assert (open_folder / "server.log").read_text() == "new\n"
    assert (open_folder / "server.old.log").stat().st_size == 5_000_001
