"""The local backend: a driver is its user's, alone in its folder, and found by what the kernel knows of it."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.base import BackendError
from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.local import LocalBackend
from sparkyard_gateway.backends.reach import closed_to
from sparkyard_gateway.backends.user_names import name_library
from support import uids
from support.running_gateway import RunningGateway

from .conftest import CATALOG, SIMULATED, client, new_session, run
from .test_sessions import until

as_root = pytest.mark.skipif(
    uids.why_not() is not None or name_library() is None,
    reason=f"drivers have no uids of their own here: {uids.why_not() or 'libnss-wrapper is missing'}",
)


def text(client, session, code):
    output = run(client, session, code)["output"]
    assert output["status"] == "ok", output
    return output["data"]["text/plain"]


@pytest.fixture(scope="module")
def dropping(hub):
    """A gateway whose folders other users may pass through, with homes of Alice and Bob."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    folder.chmod(0o755)
    (folder / "catalog.yaml").write_text(CATALOG)
    (folder / "catalog.yaml").chmod(0o600)
    (folder / "homes").mkdir()
    driver = folder / "driver.py"
    shutil.copy(SIMULATED, driver)
    driver.chmod(0o644)
    for name, uid in (("alice", 61001), ("bob", 61002)):
        (folder / "homes" / name).mkdir(mode=0o700)
        os.chown(folder / "homes" / name, uid, uid)
    gateway = RunningGateway(
        folder, hub.url, "--driver-program", str(driver), "--catalog", str(folder / "catalog.yaml"),
        "--homes-dir", str(folder / "homes"), "--stop-drivers-on-exit",
    )  # fmt: skip
    gateway.start()
    yield gateway
    gateway.stop()
    shutil.rmtree(folder)


@as_root
def test_a_driver_runs_as_its_users_system_user_and_reads_nobody_elses(dropping):
    with client(dropping, "token-of-alice") as alice, client(dropping, "token-of-bob") as bob:
        mine, theirs = new_session(alice), new_session(bob)
        assert text(alice, mine, "(os.getuid(), os.getgid(), os.getgroups())") == "(61001, 61001, [])"
        assert text(alice, mine, "__import__('pwd').getpwuid(os.getuid()).pw_name") == "'alice'"
        assert text(bob, theirs, "os.getuid()") == "61002"
        bobs_folder = text(bob, theirs, "os.getcwd()").strip("'")
        bobs_pid = text(bob, theirs, "os.getpid()")
        state = dropping._folder / "state"
        for forbidden in (
            f"os.listdir({bobs_folder!r})",
            f"open({str(state / 'gateway.sqlite')!r}).read()",
            f"os.listdir({str(state)!r})",
            f"os.listdir({str(state / 'sessions')!r})",
            f"open({str(state / 'sessions' / str(mine) / 'driver.log')!r}, 'a')",
            f"open({str(dropping._folder / 'catalog.yaml')!r}).read()",
            f"open('/proc/{bobs_pid}/environ').read()",
            f"os.listdir('/proc/{bobs_pid}/fd')",
            f"os.kill({bobs_pid}, 9)",
            f"open('/proc/{dropping.process.pid}/environ').read()",
            f"os.listdir({str(dropping._folder / 'homes' / 'bob')!r})",
            "os.setuid(0)",
        ):
            output = run(alice, mine, forbidden)["output"]
            assert output["ename"] == "PermissionError", (forbidden, output)
        made = text(alice, mine, "(open('file', 'w').close(), oct(os.stat('file').st_mode & 0o777))[1]")
        assert made == "'0o600'"


@as_root
def test_without_a_home_it_is_not_known_who_to_run_as(dropping):
    with client(dropping, "token-of-ada") as ada:
        number = ada.post("/sessions", json={"kind": "pyspark"}).json()["id"]
        dead = until(lambda: (s := ada.get(f"/sessions/{number}").json())["state"] == "dead" and s)
        assert "Start your server once" in dead["stateReason"]


@as_root
def test_where_the_user_cannot_read_the_interpreter_the_log_says_who_drivers_run_as(hub, tmp_path):
    # pytest's folder is closed to other users.
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "homes" / "alice").mkdir(parents=True)
    os.chown(tmp_path / "homes" / "alice", 61001, 61001)
    tmp_path.chmod(0o700)
    gateway = RunningGateway(
        tmp_path, hub.url, "--driver-program", str(SIMULATED), "--catalog", str(tmp_path / "catalog.yaml"),
        "--homes-dir", str(tmp_path / "homes"), "--stop-drivers-on-exit",
    )  # fmt: skip
    gateway.start()
    try:
        with client(gateway, "token-of-alice") as alice:
            assert text(alice, new_session(alice), "os.getuid()") == "0"
        assert "drivers_run_as_the_gateways_user" in gateway.log
    finally:
        gateway.stop()


@as_root
@pytest.mark.parametrize("script", ["kill -9 $$", "exit 1", "exit 137"])
def test_a_driver_never_runs_as_root_because_its_users_own_process_failed(script):
    # A user could see to it that a process of theirs fails: by many others, or by taking all memory.
    folder = Path(tempfile.mkdtemp(prefix="reach-"))
    folder.chmod(0o755)
    try:
        python = folder / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        (folder / "homes" / "alice").mkdir(parents=True)
        os.chown(folder / "homes" / "alice", 61001, 61001)
        backend = LocalBackend(folder / "sessions", lambda *_: None, homes_dir=folder / "homes", program=python)
        for _ in range(2):
            with pytest.raises(BackendError, match="under your own system user"):
                backend._owners.identity("alice", python)
        # Once it works it is known, and by whom the driver runs.
        python.write_text("#!/bin/sh\nexit 0\n")
        assert backend._owners.identity("alice", python).uid == 61001
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to other users")
def test_modes_say_what_a_user_can_get_at():
    top = Path(tempfile.mkdtemp(prefix="reach-"))
    try:
        (top / "open" / "deep").mkdir(parents=True)
        (top / "open" / "deep" / "file").write_text("")
        (top / "link").symlink_to(top / "open" / "deep" / "file")
        for path, mode in (("", 0o755), ("open", 0o711), ("open/deep", 0o711), ("open/deep/file", 0o644)):
            (top / path).chmod(mode)
        for path in ("open/deep/file", "open/deep", "link"):
            assert not closed_to(top / path, 61001, 61001)
        (top / "open").chmod(0o700)
        for path in ("open/deep/file", "open/deep", "link"):
            assert closed_to(top / path, 61001, 61001)
        os.chown(top / "open", 61001, 0)
        assert not closed_to(top / "link", 61001, 61001)
        (top / "open").chmod(0o077)  # closed to its owner alone
        assert closed_to(top / "link", 61001, 61001)
        assert not closed_to(top / "link", 61002, 61002)
        assert closed_to(top / "missing", 61001, 61001)
    finally:
        shutil.rmtree(top)


def _sleeper(**options) -> subprocess.Popen:
    return subprocess.Popen(["sleep", "60"], start_new_session=True, **options)


async def test_a_process_is_known_by_its_start_not_its_number():
    sleeper = _sleeper()
    stamp = processes.stamp(sleeper.pid)
    assert stamp == processes.stamp(sleeper.pid)
    sleeper.kill()
    until(lambda: processes.stamp(sleeper.pid) is None)
    sleeper.wait()
    assert processes.stamp(sleeper.pid) is None


async def test_a_watch_sees_the_end_of_a_child_and_of_an_orphan(tmp_path):
    ended: list[int | None] = []
    child = _sleeper()
    processes.Watch(child.pid, ended.append)
    child.kill()
    await asyncio.sleep(0.1)
    assert ended == [-9]
    child.returncode = -9
    script = (
        "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3, stderr=-3).pid)"
    )
    orphan = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    processes.Watch(orphan, ended.append)
    os.kill(orphan, 9)
    await asyncio.sleep(0.2)
    assert ended == [-9, None]


async def test_a_driver_that_claims_anothers_port_is_not_believed(tmp_path):
    backend = LocalBackend(tmp_path, lambda *_: None)
    serve = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", serve], start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        port = int(driver.stdout.readline())
        handle = {"pid": driver.pid, "stamp": processes.stamp(driver.pid), "uid": 0}
        with socket.create_server(("127.0.0.1", 0)) as others:
            assert await backend.listens(1, handle, "127.0.0.1", port)
            assert not await backend.listens(1, handle, "127.0.0.1", others.getsockname()[1])
            assert not await backend.listens(1, handle, "192.0.2.7", port)
            assert not await backend.listens(1, {**handle, "stamp": 1}, "127.0.0.1", port)
            assert not await backend.listens(1, None, "127.0.0.1", port)
    finally:
        driver.kill()
        driver.wait()


def test_a_log_is_cut_while_it_is_written_and_keeps_what_came_before(tmp_path):
    log = DriverLog(tmp_path)
    descriptor = log.open()
    os.write(descriptor, b"".join(b"line %d\n" % number for number in range(1000)))
    assert not log.rotate(1_000_000)
    assert log.rotate(1000)
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert log.path.read_bytes() == b"after\n"
    begin, total, lines = log.page(-1, 3)
    assert (begin, total, lines) == (1000, 1003, ["line 998", "line 999", "after"])
    assert log.page(0, 4)[2] == ["stdout: ", "\nstderr: ", "line 0", "line 1"]
    assert {path.stat().st_mode & 0o777 for path in (log.path, log.older)} == {0o600}


def test_the_tail_of_a_log_is_whole_lines(tmp_path):
    log = DriverLog(tmp_path)
    assert log.tail(10) == ["stdout: ", "\nstderr: "]
    log.path.write_text("".join(f"{'x' * 100} {number}\n" for number in range(500)))
    tail = log.tail(10)
    assert len(tail) == 10
    assert tail[-1].endswith(" 499")
    assert all(line.startswith("x" * 100) for line in tail)


async def test_a_folder_as_deep_as_its_user_made_it_goes_with_the_session(tmp_path):
    backend = LocalBackend(tmp_path / "sessions", lambda *_: None)
    work = tmp_path / "sessions" / "7" / "work"
    work.mkdir(parents=True)
    script = "import os\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')"
    subprocess.run([sys.executable, "-c", script], cwd=work, check=True)
    await backend.forget(7, keep_log=True)
    assert not work.exists()
    assert work.parent.exists()


def test_logs_of_sessions_that_ended_long_ago_go(tmp_path):
    backend = LocalBackend(tmp_path, lambda *_: None)
    for number in (1, 2, 3):
        (tmp_path / str(number) / "work").mkdir(parents=True)
        (tmp_path / str(number) / "driver.log").write_text("x")
    old = time.time() - 1000
    for number in (1, 2):
        os.utime(tmp_path / str(number) / "driver.log", (old, old))
    (tmp_path / "4" / "work").mkdir(parents=True)
    (tmp_path / "4" / "driver.log").write_text("x")
    os.utime(tmp_path / "4" / "driver.log", (time.time() - 100, time.time() - 100))
    backend.tidy(1000, 500, frozenset({2}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4"]
    assert [(tmp_path / each / "work").exists() for each in "234"] == [True, True, False]
