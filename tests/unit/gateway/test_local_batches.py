"""Batches under their users' own uids: what a hostile one can't do, and whose files it can't have."""

import asyncio
import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.base import AttemptEnd, BatchOrder
from sparkyard_gateway.backends.local_batches import LocalBatches
from sparkyard_gateway.backends.spark_application import application_in
from support.running_gateway import RunningGateway

from .conftest import CATALOG, SIMULATED, client
from .test_batches import ended, said, submit
from .test_local import as_root
from .test_sessions import alive, until

HOSTILE = """\
import json, os, sys
supervisor = os.getppid()
folder = os.path.dirname(os.getcwd())
state = os.path.dirname(os.path.dirname(folder))
attempts = {
    "become root": lambda: os.setuid(0),
    "end the supervisor": lambda: os.kill(supervisor, 9),
    "read the supervisor": lambda: open(f"/proc/{supervisor}/environ").read(),
    "forge the outcome": lambda: open(folder + "/outcome.json", "w"),
    "replace the outcome": lambda: os.replace(__file__, folder + "/outcome.json"),
    "write the log": lambda: open(folder + "/driver.log", "a"),
    "read the database": lambda: open(state + "/gateway.sqlite").read(),
    "list the batches": lambda: os.listdir(state + "/batches"),
    "read a stranger's home": lambda: os.listdir(os.path.dirname(os.path.dirname(__file__)) + "/bob"),
}
told = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}
for name, attempt in attempts.items():
    try:
        told[name] = repr(attempt())
    except OSError as error:
        told[name] = type(error).__name__
print(json.dumps(told))
"""
ESCAPES = """\
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print("escaped", os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def dropping(hub):
    """A gateway whose folders other users may pass through, with homes of Alice and Bob."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    folder.chmod(0o755)
    (folder / "catalog.yaml").write_text(CATALOG)
    (folder / "homes").mkdir()
    driver = folder / "driver.py"
    shutil.copy(SIMULATED, driver)
    driver.chmod(0o644)
    for name, uid in (("alice", 61001), ("bob", 61002)):
        home = folder / "homes" / name
        home.mkdir(mode=0o700)
        for script, text in (("hostile.py", HOSTILE), ("escapes.py", ESCAPES), ("secret.py", "print('a secret')")):
            (home / script).write_text(text)
            (home / script).chmod(0o600)
            os.chown(home / script, uid, uid)
        os.chown(home, uid, uid)
    (folder / "homes" / "alice" / "link.py").symlink_to(folder / "homes" / "bob" / "secret.py")
    (folder / "homes" / "alice" / "root.py").symlink_to("/etc/shadow")
    gateway = RunningGateway(
        folder, hub.url, "--driver-program", str(driver), "--catalog", str(folder / "catalog.yaml"),
        "--homes-dir", str(folder / "homes"), "--stop-drivers-on-exit", "--stop-grace-seconds", "0.5",
    )  # fmt: skip
    gateway.start()
    yield gateway
    gateway.stop()
    shutil.rmtree(folder)


@as_root
def test_a_batch_is_its_users_and_cannot_touch_its_supervisor_nor_its_outcome(dropping):
    with client(dropping, "token-of-alice") as alice:
        number = alice.post("/batches", json={"file": "home://hostile.py"}).json()["id"]
        done = ended(alice, number)
        assert (done["state"], done["exitCode"]) == ("success", 0), done
        told = json.loads(next(line for line in done["log"] if line.startswith("{")))
        assert (told.pop("uid"), told.pop("gid"), told.pop("groups")) == (61001, 61001, [])
        assert told == dict.fromkeys(told, "PermissionError")
        assert len(told) == 9


@as_root
@pytest.mark.parametrize("link", ["link.py", "root.py"])
def test_a_link_out_of_the_home_leads_only_where_its_user_may_go(dropping, link):
    with client(dropping, "token-of-alice") as alice:
        done = ended(alice, alice.post("/batches", json={"file": f"home://{link}"}).json()["id"])
        assert done["state"] == "dead"
        assert "Permission denied" in done["stateReason"]
        assert "secret" not in "".join(done["log"])


@as_root
def test_what_has_left_session_folder_and_parent_ends_with_its_batch(dropping):
    with client(dropping, "token-of-alice") as alice:
        number = alice.post("/batches", json={"file": "home://escapes.py"}).json()["id"]
        pid = int(said(alice, number, "escaped"))
        assert Path(f"/proc/{pid}").stat().st_uid == 61001
        alice.delete(f"/batches/{number}")
        until(lambda: not alive(pid), 30)


@as_root
def test_without_a_home_it_is_not_known_who_to_run_as(dropping):
    with client(dropping, "token-of-ada") as ada:
        done = ended(ada, submit(ada, "prints.py"))
        assert (done["state"], done["exitCode"], done["started"]) == ("error", None, None)
        assert "Start your server once" in done["stateReason"]


async def test_what_was_prepared_runs_nothing_until_it_is_told_and_nothing_once_it_is_let_go(tmp_path):
    ends: list[tuple[int, AttemptEnd]] = []
    backend = LocalBatches(tmp_path / "batches", lambda *end: ends.append(end), program=SIMULATED)
    script, mark = tmp_path / "script.py", tmp_path / "mark"
    script.write_text("import sys\nopen(sys.argv[1], 'a').write('x')\n")
    order = BatchOrder(
        attempt=1, owner="alice", app_name="a", conf={}, cores=1, file=f"file://{script}", args=(str(mark),)
    )
    handle = await backend.prepare(order)
    await backend.stop(1, handle, 0.1)
    assert await backend.end_of(1) == AttemptEnd(None, began=False)
    assert await backend.adopt(1, None) is None
    assert not mark.exists()
    handle = await backend.prepare(order)
    assert not mark.exists()
    await backend.begin(1)
    await backend.begin(1)

    async def over() -> None:
        while (1, AttemptEnd(0)) not in ends:
            await asyncio.sleep(0.02)

    await over()
    assert mark.read_text() == "x"
    assert ends == [(1, AttemptEnd(None, began=False)), (1, AttemptEnd(0))]
    assert await backend.adopt(1, handle) is None
    await backend.close()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b'[{"id": "local-1732", "name": "x", "attempts": []}]', "local-1732"),
        (b"[]", None),
        (b"{}", None),
        (b"<html>", None),
        (b'[{"id": 5}]', None),
        (b'[{"id": "<script>"}]', None),
        (b'[{"id": "' + b"x" * 200 + b'"}]', None),
        (b"", None),
    ],
)
def test_of_what_a_spark_ui_answers_only_a_plausible_id_is_taken(answer, found):
    application = application_in(answer, "http://127.0.0.1:4040")
    assert (application.id if application else None) == found


async def test_one_that_is_withheld_never_begins_and_one_that_has_begun_cannot_be_withheld(tmp_path):
    ends: list[tuple[int, AttemptEnd]] = []
    backend = LocalBatches(tmp_path / "batches", lambda *end: ends.append(end), program=SIMULATED)
    mark = tmp_path / "mark"
    script = tmp_path / "script.py"
    script.write_text("import sys, time\nopen(sys.argv[1], 'a').write('x')\ntime.sleep(float(sys.argv[2]))\n")
    order = BatchOrder(
        attempt=1, owner="alice", app_name="a", conf={}, cores=1, file=f"file://{script}", args=(str(mark), "600")
    )
    handle = await backend.prepare(order)
    # As another gateway does that shares the folder, while this one is frozen; then this one says the word.
    assert await backend.withhold(1)
    await backend.begin(1)
    while (1, AttemptEnd(None, began=False)) not in ends:
        await asyncio.sleep(0.02)
    assert not mark.exists()
    assert await backend.adopt(1, handle) is None
    handle = await backend.prepare(order)
    await backend.begin(1)
    while not mark.exists():
        await asyncio.sleep(0.02)
    assert not await backend.withhold(1)
    # Another one has it now: what ends is not told, and what was prepared in vain goes without a word.
    await backend.let_go(1)
    await backend.stop(1, handle, 0.1)
    second = await backend.prepare(dataclasses.replace(order, attempt=2))
    await backend.abandon(2, second)
    assert not processes.same(second)
    assert ends == [(1, AttemptEnd(None, began=False))]
    assert mark.read_text() == "x"
    await backend.close()
