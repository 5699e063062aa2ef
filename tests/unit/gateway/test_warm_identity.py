"""Where the gateway is root: a warm driver is a system user of its own, and its event log becomes its owner's."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkyard_gateway.backends import processes, warm_logs
from sparkyard_gateway.backends.base import Identity
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.warm_uids import is_warm
from support.hub_stand_in import HubStandIn
from support.running_gateway import RunningGateway
from support.waiting import until

from .conftest import SIMULATED, client, new_session, run
from .test_local import as_root, text
from .test_pool import Yard, catalog
from .test_sessions import alive

UID, ALICE = 1_900_000_001, 61001
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as what it is about does")


@pytest.fixture(scope="module")
def yard(hub: HubStandIn) -> Iterator[Yard]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    folder.chmod(0o755)
    (folder / "catalog.yaml").write_text(catalog(2))
    (folder / "homes").mkdir()
    driver = folder / "driver.py"
    shutil.copy(SIMULATED, driver)
    driver.chmod(0o644)
    (folder / "homes" / "alice").mkdir(mode=0o700)
    os.chown(folder / "homes" / "alice", ALICE, ALICE)
    gateway = RunningGateway(
        folder, hub.url, "--driver-program", str(driver), "--catalog", str(folder / "catalog.yaml"),
        "--homes-dir", str(folder / "homes"), "--stop-drivers-on-exit", "--warm-memory-free-mib", "0",
        "--sweep-seconds", "0.2",
    )  # fmt: skip
    gateway.start()
    yield Yard(folder, gateway)
    gateway.stop()
    shutil.rmtree(folder)


@as_root
def test_each_is_a_system_user_of_its_own_that_reads_nobody_elses(yard):
    yard.until_idle(2)
    with client(yard.gateway, "token-of-alice") as alice, client(yard.gateway, "token-of-bob") as bob:
        mine, theirs = new_session(alice), new_session(bob)
        uids = [int(text(who, which, "os.getuid()")) for who, which in ((alice, mine), (bob, theirs))]
        assert all(map(is_warm, uids))
        assert uids[0] != uids[1]
        assert text(alice, mine, "(os.getuid(), os.getgid(), os.getgroups())") == f"({uids[0]}, {uids[0]}, [])"
        assert text(alice, mine, "__import__('pwd').getpwuid(os.getuid()).pw_name") == f"'warm-{mine}'"
        folder, pid = text(bob, theirs, "os.getcwd()").strip("'"), text(bob, theirs, "os.getpid()")
        homes = yard.folder / "homes"
        for forbidden in (
            f"os.listdir({folder!r})", f"os.kill({pid}, 9)", f"open('/proc/{pid}/environ').read()",
            f"os.listdir({str(homes / 'alice')!r})", f"os.listdir({str(yard.folder / 'state' / 'events')!r})",
            f"os.listdir({str(yard.folder / 'state' / 'events' / f'.warm-{theirs}')!r})",
        ):  # fmt: skip
            output = run(alice, mine, forbidden)["output"]
            assert output["ename"] == "PermissionError", (forbidden, output)
        assert "cannot read your home folder" in alice.get(f"/sessions/{mine}").json()["notice"]
        own = new_session(alice, warm=False)
        assert text(alice, own, "os.getuid()") == str(ALICE)
        assert alice.get(f"/sessions/{own}").json()["notice"] is None
        for who, which in ((alice, mine), (alice, own), (bob, theirs)):
            who.delete(f"/sessions/{which}")


@as_root
def test_nothing_of_it_can_hide_from_its_end(yard):
    yard.until_idle(2)
    with client(yard.gateway, "token-of-alice") as alice:
        session = new_session(alice)
        uid = int(text(alice, session, "os.getuid()"))
        away = "__import__('subprocess').Popen(['sleep', '300'], start_new_session=True, cwd='/tmp').pid"
        runaway = int(text(alice, session, away))
        assert alive(runaway)
        alice.delete(f"/sessions/{session}")
        until(lambda: not alive(runaway))
        until(lambda: processes.running_as(uid) == [])


def written(folder: Path, name: str, content: str = "log", uid: int = UID) -> Path:
    file = folder / name
    file.write_text(content)
    os.chown(file, uid, uid)
    return file


@root
def test_only_the_drivers_own_plain_files_are_given_to_its_owner(tmp_path):
    logs = EventLogs(tmp_path / "events")
    secret = tmp_path / "secret"
    secret.write_text("the gateway's")
    secret.chmod(0o600)
    folder = logs.make(logs.warm_folder(7), Identity(UID, UID, "warm-7"))
    application = folder / "eventlog_v2_local-1"
    application.mkdir()
    os.chown(application, UID, UID)
    written(application, "events_1_local-1.zstd")
    written(application, "program").chmod(0o4755)
    (application / "link").symlink_to(secret)
    os.link(secret, application / "second-name")
    os.link(written(tmp_path, "shared"), application / "third-name")
    os.mkfifo(application / "pipe")
    written(application, "others", uid=61002)
    (application / "folder").mkdir()
    deep = "import os\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')"
    subprocess.run([sys.executable, "-c", deep], cwd=application / "folder", check=True)
    (folder / "eventlog_v2_elsewhere").symlink_to(tmp_path)
    (folder / "unasked").write_text("no log")
    warm_logs.hand_over(logs, 7, UID, "alice", Identity(ALICE, ALICE, "alice"))
    mine = logs.folder_of("alice") / "eventlog_v2_local-1"
    assert sorted(each.name for each in mine.iterdir()) == ["events_1_local-1.zstd", "program"]
    for each in (mine, *mine.iterdir()):
        found = each.lstat()
        assert (found.st_uid, found.st_gid) == (ALICE, ALICE)
        assert stat.S_IMODE(found.st_mode) == (0o700 if each == mine else 0o600)
    assert [each.name for each in logs.folder_of("alice").iterdir()] == ["eventlog_v2_local-1"]
    assert not logs.warm_folder(7).exists()
    assert (secret.stat().st_uid, secret.stat().st_nlink, secret.read_text()) == (0, 1, "the gateway's")
    assert (tmp_path / "shared").stat().st_uid == UID
    assert logs.has("alice", "local-1")


@root
def test_a_log_goes_into_no_folder_that_its_owner_put_elsewhere(tmp_path):
    logs = EventLogs(tmp_path / "events")
    folder = logs.make(logs.warm_folder(7), Identity(UID, UID, "warm-7"))
    application = folder / "eventlog_v2_local-1"
    application.mkdir()
    written(application, "events_1")
    (tmp_path / "elsewhere").mkdir()
    theirs = logs.prepare("alice", Identity(ALICE, ALICE, "alice"))
    (theirs / "eventlog_v2_local-1").symlink_to(tmp_path / "elsewhere")
    warm_logs.hand_over(logs, 7, UID, "alice", Identity(ALICE, ALICE, "alice"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not logs.warm_folder(7).exists()


def test_without_system_users_the_log_moves_as_it_is(tmp_path):
    logs = EventLogs(tmp_path / "events")
    application = logs.make(logs.warm_folder(3), None) / "eventlog_v2_local-1"
    application.mkdir()
    (application / "events_1").write_text("log")
    assert logs.warm_numbers() == [3]
    warm_logs.hand_over(logs, 3, os.geteuid(), "alice", None)
    assert logs.has("alice", "local-1")
    assert logs.warm_numbers() == []
    logs.make(logs.warm_folder(4), None)
    warm_logs.discard(logs, 4)
    assert logs.warm_numbers() == []
