"""Hostile cells on one machine: what the code of one user can do to other users, to the gateway and to the machine.

Drivers are simulated, but everything that matters here is real: processes under their users' own uids, started by a
gateway that runs as root, and the kernel between them.
"""

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.cgroups import find_hierarchy
from sparkyard_gateway.backends.limits import prlimit
from sparkyard_gateway.backends.local import name_library
from support import uids
from support.running_gateway import RunningGateway

from .conftest import CATALOG, SIMULATED, client, new_session, run
from .test_sessions import until as until_soon

as_root = pytest.mark.skipif(
    uids.why_not() is not None or name_library() is None or prlimit() is None,
    reason=f"drivers have no uids of their own here: {uids.why_not() or 'libnss-wrapper or prlimit is missing'}",
)
grouped = pytest.mark.skipif(find_hierarchy() is None, reason="no cgroups can be made here")
pytestmark = as_root

until = partial(until_soon, seconds=60)
FIRST = 100_000 + 4 * (os.getpid() % 50_000)
"""System users that nobody else on this machine has: some cells here end all that is their user's."""
HOMES = {"alice": FIRST, "bob": FIRST + 1, "service~~etl": FIRST + 2}


def _gateway(hub, *options: str, on_exit: str = "--stop-drivers-on-exit") -> RunningGateway:
    """A gateway whose folders other users may pass through, with homes and files that are not for everybody."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    folder.chmod(0o755)
    (folder / "catalog.yaml").write_text(CATALOG)
    (folder / "token").write_text("the-token-of-the-gateways-service-" + "x" * 32)
    for secret in ("catalog.yaml", "token"):
        (folder / secret).chmod(0o600)
    driver = folder / "driver.py"
    shutil.copy(SIMULATED, driver)
    driver.chmod(0o644)
    (folder / "homes").mkdir(mode=0o711)
    for name, uid in HOMES.items():
        home = folder / "homes" / name
        home.mkdir(mode=0o700)
        (home / "secret").write_text("of " + name)
        for path in (home, home / "secret"):
            os.chown(path, uid, uid)
    gateway = RunningGateway(
        folder, hub.url, "--driver-program", str(driver), "--catalog", str(folder / "catalog.yaml"),
        "--homes-dir", str(folder / "homes"), "--hub-token-file", str(folder / "token"), on_exit,
        "--sweep-seconds", "0.2", *options,
    )  # fmt: skip
    gateway.start()
    return gateway


@pytest.fixture(scope="module")
def gateway(hub):
    made = _gateway(hub)
    yield made
    made.stop()
    shutil.rmtree(made._folder)


@pytest.fixture(scope="module")
def mallory(gateway):
    """Alice, on the wrong path."""
    with client(gateway, "token-of-alice") as made:
        yield made


@pytest.fixture(scope="module")
def victim(gateway):
    with client(gateway, "token-of-bob") as made:
        yield made


@pytest.fixture
def hostile(mallory):
    session = new_session(mallory)
    yield session
    mallory.delete(f"/sessions/{session}")


@pytest.fixture(scope="module")
def bobs(victim):
    session = new_session(victim, name="bobs")
    yield session
    victim.delete(f"/sessions/{session}")


def value(client, session, code: str) -> str:
    output = run(client, session, code)["output"]
    assert output["status"] == "ok", output
    return output["data"]["text/plain"]


def script(code: str) -> str:
    """Statements, for a driver that evaluates one expression; what they call `answer` is its value."""
    return f"[space := {{'os': os}}, exec({code!r}, space), space.get('answer')][2]"


def refused(client, session, code: str) -> str:
    """The name of the error that the kernel answers with."""
    output = run(client, session, code)["output"]
    assert output["status"] == "error", (code, output)
    return output["ename"]


def test_another_users_files_and_the_gateways_are_closed(gateway, mallory, hostile, victim, bobs):
    work = value(victim, bobs, "os.getcwd()").strip("'")
    value(victim, bobs, "open('journal', 'w').write('bobs')")
    state, folder = gateway._folder / "state", gateway._folder
    session = state / "sessions" / str(bobs)
    for path in (
        folder / "homes" / "bob" / "secret", folder / "homes" / "service~~etl" / "secret",
        f"{work}/journal", session / "driver.log", state / "sessions" / str(hostile) / "driver.log",
        state / "gateway.sqlite", state / "gateway.sqlite-wal", state / "lock", folder / "catalog.yaml",
        folder / "token", "/etc/shadow",
    ):  # fmt: skip
        assert Path(path).exists(), path
        assert refused(mallory, hostile, f"open({str(path)!r}).read()") == "PermissionError"
        assert refused(mallory, hostile, f"open({str(path)!r}, 'a')") == "PermissionError"
    for path in (folder / "homes" / "bob", folder / "homes", work, session, state, state / "sessions"):
        assert refused(mallory, hostile, f"os.listdir({str(path)!r})") == "PermissionError"
        assert refused(mallory, hostile, f"open({str(path)!r} + '/planted', 'w')") == "PermissionError"
        assert refused(mallory, hostile, f"os.rename({str(path)!r}, {str(path)!r} + '-moved')") == "PermissionError"
    # Nor by a detour through a link: whoever follows it is still Mallory.
    value(mallory, hostile, f"os.symlink({work!r} + '/journal', 'link')")
    assert refused(mallory, hostile, "open('link').read()") == "PermissionError"
    assert refused(mallory, hostile, f"os.link({work!r} + '/journal', 'hard')") == "PermissionError"


def test_other_processes_are_closed(gateway, mallory, hostile, victim, bobs):
    assert gateway.process is not None
    theirs = int(value(victim, bobs, "os.getpid()"))
    for pid in (theirs, gateway.process.pid, 1):
        for file in ("environ", "mem", "maps", "stack", "syscall", "auxv"):
            name = refused(mallory, hostile, f"open('/proc/{pid}/{file}', 'rb').read(1)")
            assert name in {"PermissionError", "ProcessLookupError"}, (pid, file, name)
        for link in ("cwd", "root", "exe"):
            assert refused(mallory, hostile, f"os.readlink('/proc/{pid}/{link}')") == "PermissionError"
        for listing in ("fd", "fdinfo", "map_files"):
            assert refused(mallory, hostile, f"os.listdir('/proc/{pid}/{listing}')") == "PermissionError"
        for write in ("mem", "oom_score_adj", "clear_refs", "coredump_filter"):
            assert refused(mallory, hostile, f"open('/proc/{pid}/{write}', 'wb')") == "PermissionError"
        for signal in (0, 2, 9, 15, 19):
            assert refused(mallory, hostile, f"os.kill({pid}, {signal})") == "PermissionError"
        assert refused(mallory, hostile, f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)") == "PermissionError"
        assert refused(mallory, hostile, f"os.sched_setaffinity({pid}, {{0}})") == "PermissionError"
        assert refused(mallory, hostile, f"__import__('resource').prlimit({pid}, 7, (0, 0))") == "PermissionError"
        # ptrace(PTRACE_ATTACH) and (PTRACE_SEIZE), process_vm_readv, and taking a descriptor by a pidfd.
        answer = value(
            mallory,
            hostile,
            script(
                "import ctypes\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                f"pid = {pid}\n"
                "class Piece(ctypes.Structure):\n"
                "    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
                "buffer = ctypes.create_string_buffer(8)\n"
                "mine, other = Piece(ctypes.addressof(buffer), 8), Piece(0x400000, 8)\n"
                "calls = (lambda: libc.ptrace(16, pid, 0, 0), lambda: libc.ptrace(0x4206, pid, 0, 0),\n"
                "    lambda: libc.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(other), 1, 0),\n"
                "    lambda: libc.syscall(438, os.pidfd_open(pid), 0, 0))\n"
                "answer = [(call(), ctypes.get_errno()) for call in calls]\n"
            ),
        )
        assert answer == str([(-1, 1)] * 4), "each is refused with EPERM"
    assert value(victim, bobs, "1") == "1"


def test_the_environment_is_scrubbed_and_there_is_no_way_up(gateway, mallory, hostile):
    names = value(mallory, hostile, "sorted(os.environ)")
    for name in ("SPARKYARD", "JUPYTERHUB", "SECRET", "TOKEN", "TEST_HUB", "PYTEST"):
        assert name not in names
    assert "token" not in value(mallory, hostile, "open('/proc/self/environ').read()").lower()
    assert "bootstrap-fd" in value(mallory, hostile, "open('/proc/self/cmdline').read()")
    assert value(mallory, hostile, "os.getresuid() + os.getresgid()") == str((FIRST,) * 6)
    for up in (
        "os.setuid(0)",
        "os.setgid(0)",
        "os.setgroups([0])",
        f"os.setuid({FIRST + 1})",
        "os.chroot('.')",
        "os.nice(-5)",
    ):
        assert refused(mallory, hostile, up) == "PermissionError"
    # Nothing of the gateway's stayed open: its own few descriptors lead nowhere but to its log and its sockets.
    targets = value(mallory, hostile, "[os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]]")
    assert "sqlite" not in targets
    assert "memfd" not in targets, "the bootstrap was read and closed"


def test_to_kill_all_kills_ones_own(gateway, mallory, victim, bobs):
    session = new_session(mallory)
    mallory.post(f"/sessions/{session}/statements", json={"code": "[os.kill(-1, 9), os.kill(os.getpid(), 9)]"})
    dead = until(lambda: (s := mallory.get(f"/sessions/{session}").json())["state"] == "dead" and s)
    assert "exit code" in dead["stateReason"] or "SIGKILL" in dead["stateReason"]
    assert value(victim, bobs, "1") == "1"
    assert victim.get("/health/ready").status_code == 200


def test_a_service_accounts_driver_runs_as_a_system_user_of_its_own(gateway, mallory, hostile):
    with client(gateway, "token-of-etl") as etl:
        session = new_session(etl)
        assert value(etl, session, "os.getuid()") == str(FIRST + 2)
        assert refused(etl, session, f"open({str(gateway._folder / 'homes' / 'alice' / 'secret')!r}).read()") == (
            "PermissionError"
        )
        pid = value(etl, session, "os.getpid()")
        assert refused(mallory, hostile, f"os.kill({pid}, 9)") == "PermissionError"
        etl.delete(f"/sessions/{session}")


# Lies


def test_a_driver_that_lies_harms_its_own_session_alone(gateway, mallory, victim, bobs):
    session = new_session(mallory)
    token = value(mallory, session, "bootstrap['token']").strip("'")
    pid = int(value(mallory, session, "os.getpid()"))
    running = mallory.post(f"/sessions/{session}/statements", json={"code": "os.kill(os.getpid(), 19)"}).json()["id"]
    until(lambda: processes._stat(pid)[0] == "T")
    url = f"{gateway.url.replace('http', 'ws')}/driver/v1/{session}"

    def lie(*messages: object, session: int = session, epoch: int = 1) -> None:
        """As its driver, which stands still: say hello, then these."""
        with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, max_size=None) as line:
            hello = {"t": "hello", "session": session, "epoch": epoch, "pid": 1}
            line.send(json.dumps(hello))
            try:
                line.recv(timeout=10)
                for message in messages:
                    line.send(message if isinstance(message, str) else json.dumps(message))
                line.ping().wait(10)
            except ConnectionClosed:
                pass

    done = {"t": "done", "at": 1, "status": "ok", "output": {"status": "ok", "data": {"text/plain": "forged"}}}
    lie(session=bobs)  # says to be another's
    lie({"t": "done"}, {"t": "hello"}, {"t": "nonsense"}, "[]", "{", '"', "null", "")
    lie({**done, "seq": -1, "statement": 0}, {**done, "seq": 1.5, "statement": 0}, {**done, "seq": "1", "statement": 0})
    lie("[" * 200_000)
    lie('{"t":"done","seq":900,"statement":1,"at":1,"status":"ok","output":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}")
    lie('{"t":"done","seq":901,"statement":1,"at":1,"status":"ok","output":{"data":{"text/plain":"\\ud800"}}}')
    lie({"t": "stream", "statement": running, "offset": 2**53, "text": "x"})
    lie({"t": "stream", "statement": running, "offset": 2**60, "text": "x"})
    lie({"t": "progress", "statement": running, "fraction": 7, "stages": []})
    lie({"t": "completion", "request": "0" * 16, "candidates": ["x"]})
    lie({"t": "ready", "seq": 902, "app_id": "x\0y", "spark_version": "1", "python_version": "1"})
    lie({"t": "ready", "seq": 903, "app_id": "x" * 256, "spark_version": "1", "python_version": "1"})
    lie({"t": "ready", "seq": 904, "app_id": "x", "spark_version": "1", "python_version": "1", "spark_ui": gateway.url})
    # Statements that it was never given, and those of others by their numbers.
    lie(*({**done, "seq": 905 + number, "statement": number} for number in (2, 77, 2**31, 2**53)))
    lie({**done, "seq": 2**53, "statement": running})
    forged = mallory.get(f"/sessions/{session}/statements/{running}?wait=10").json()
    assert forged["output"]["data"] == {"text/plain": "forged"}, "about its own statement a driver is believed"
    assert mallory.get(f"/sessions/{session}/statements").json()["total_statements"] == running + 1

    # The Spark UI that it named is not one of its own ports.
    assert mallory.get(f"/spark-ui/{session}/").status_code == 404
    assert value(victim, bobs, "40 + 2") == "42"
    assert all("forged" not in str(each) for each in victim.get(f"/sessions/{bobs}/statements").json()["statements"])
    assert victim.get("/health/ready").status_code == 200
    assert mallory.get(f"/sessions/{session}").status_code == 200
    assert "request_failed" not in gateway.log
    assert mallory.delete(f"/sessions/{session}").status_code == 200
    until(lambda: processes.stamp(pid) is None)


def test_a_bootstrap_token_opens_its_own_session_alone_and_nothing_after_its_end(gateway, mallory, victim, bobs):
    session = new_session(mallory)
    token = value(mallory, session, "bootstrap['token']").strip("'")
    base = f"{gateway.url.replace('http', 'ws')}/driver/v1/"

    def opens(number: int) -> bool:
        try:
            with connect(f"{base}{number}", additional_headers={"Authorization": f"Bearer {token}"}):
                return True
        except InvalidStatus as error:
            return error.response.status_code != 403

    assert not opens(bobs)
    assert not opens(999_999)
    mallory.delete(f"/sessions/{session}")
    until(lambda: not opens(session))
    assert not opens(bobs)


# Too much

HOG = "import time\nkept = bytearray(1200 << 20)\nkept[::4096] = b'x' * len(kept[::4096])\ntime.sleep(120)\n"
BOMB = (
    "import time\n"
    "made = []\n"
    "try:\n"
    "    while len(made) < 3000:\n"
    "        child = os.fork()\n"
    "        if not child:\n"
    "            os.setsid(); os.chdir('/'); time.sleep(300); os._exit(0)\n"
    "        made.append(child)\n"
    "except OSError as error:\n"
    "    answer = (type(error).__name__, len(made))\n"
)
LIMITS = ("--driver-memory-limit-mib", "400", "--driver-process-limit", "60")


@pytest.fixture(scope="module", params=[pytest.param("cgroups", marks=grouped), "looking"])
def fenced(hub, request):
    made = _gateway(hub, *LIMITS, *(("--no-driver-cgroups",) if request.param == "looking" else ()))
    made.by = request.param
    assert f'"by": "{request.param}"' in made.log
    yield made
    made.stop()
    shutil.rmtree(made._folder)


def test_who_takes_too_much_memory_ends_and_reads_why(fenced):
    with client(fenced, "token-of-alice") as alice, client(fenced, "token-of-bob") as bob:
        mine, theirs = new_session(alice), new_session(bob)
        # Beyond what one process may have: an error in the cell, and the session goes on.
        assert refused(alice, mine, "bytearray(3000 << 20)") == "MemoryError"
        assert value(alice, mine, "1") == "1"
        alice.post(f"/sessions/{mine}/statements", json={"code": script(HOG)})
        dead = until(lambda: (s := alice.get(f"/sessions/{mine}").json())["state"] == "dead" and s)
        assert "needed more memory" in dead["stateReason"]
        assert "0.4 GiB that the session has" in dead["stateReason"]
        assert value(bob, theirs, "1") == "1"
        bob.delete(f"/sessions/{theirs}")


@grouped
def test_files_in_memory_count(hub, fenced):
    if fenced.by != "cgroups":
        pytest.skip("only the kernel knows whose they are")
    name = f"/dev/shm/sparkyard-test-{os.getpid()}"
    with client(fenced, "token-of-alice") as alice:
        session = new_session(alice)
        fill = f"file = open({name!r}, 'wb')\nfor _ in range(1000): file.write(b'x' * (1 << 20))\n"
        try:
            alice.post(f"/sessions/{session}/statements", json={"code": script(fill)})
            dead = until(lambda: (s := alice.get(f"/sessions/{session}").json())["state"] == "dead" and s)
            assert "needed more memory" in dead["stateReason"]
        finally:
            Path(name).unlink(missing_ok=True)


def test_a_fork_bomb_is_bounded_and_nothing_of_it_is_left(fenced):
    with client(fenced, "token-of-alice") as alice, client(fenced, "token-of-bob") as bob:
        mine, theirs = new_session(alice), new_session(bob)
        output = run(alice, mine, script(BOMB))["output"]
        assert output["status"] == "ok", output
        error, made = eval(output["data"]["text/plain"])
        assert error == "BlockingIOError"
        # With groups it is the session's limit; else the user's, who may have some sessions.
        assert made < (60 if fenced.by == "cgroups" else 60 * 8)
        assert value(bob, theirs, "__import__('subprocess').run(['true']).returncode") == "0"
        if fenced.by == "looking":
            # What has left its session hides from a look; it is the user's limit that held it.
            value(alice, mine, script("import signal\nfor pid in os.listdir('/proc'):\n"
                                      "    if pid.isdecimal() and int(pid) != os.getpid():\n"
                                      "        try: os.kill(int(pid), signal.SIGKILL)\n"
                                      "        except OSError: pass\n"))  # fmt: skip
        alice.delete(f"/sessions/{mine}")
        until(lambda: not _processes_of(HOMES["alice"]))
        bob.delete(f"/sessions/{theirs}")


def test_a_crowd_that_stays_in_its_session_ends_with_it(fenced):
    crowd = BOMB.replace("os.setsid(); os.chdir('/'); ", "")
    # A pipeline's: of Alice's bomb the remains may still be counted, until the machine's first process has buried them.
    with client(fenced, "token-of-etl") as etl:
        session = new_session(etl)
        answer = etl.post(f"/sessions/{session}/statements", json={"code": script(crowd)}).json()
        if fenced.by == "looking":
            dead = until(lambda: (s := etl.get(f"/sessions/{session}").json())["state"] == "dead" and s)
            assert "a session has 60 at most" in dead["stateReason"]
        else:
            etl.get(f"/sessions/{session}/statements/{answer['id']}?wait=30")
            etl.delete(f"/sessions/{session}")
        until(lambda: not _processes_of(HOMES["service~~etl"]))


def test_after_a_restart_of_the_gateway_a_driver_is_still_fenced(hub):
    gateway = _gateway(hub, *LIMITS, on_exit="--no-stop-drivers-on-exit")
    try:
        with client(gateway, "token-of-alice") as alice:
            session = new_session(alice)
            assert gateway.process is not None
            gateway.process.kill()
            gateway.process.wait()
            gateway.start()
            until(lambda: alice.get(f"/sessions/{session}").json()["state"] == "idle")
            alice.post(f"/sessions/{session}/statements", json={"code": script(HOG)})
            dead = until(lambda: (s := alice.get(f"/sessions/{session}").json())["state"] == "dead" and s)
            assert "needed more memory" in dead["stateReason"]
    finally:
        gateway.stop()
        shutil.rmtree(gateway._folder)


def _processes_of(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if entry.stat().st_uid == uid and processes.stamp(int(entry.name)) is not None:
                    found.append(int(entry.name))
            except FileNotFoundError:
                continue
    return found
