"""Event logs: a folder for each user, in bounds, and nothing that a user puts there leads anywhere else."""

import os
import subprocess
import sys
import time

import pytest

from sparkyard_gateway.backends.base import Identity
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.errors import NoSuchRoute
from sparkyard_gateway.history import path_of

from .test_local import as_root

DAY = 24 * 3600


@pytest.fixture
def logs(tmp_path):
    return EventLogs(tmp_path / "events")


def write(logs, owner, application, size, age):
    """An application's log of two parts, last written so many seconds ago."""
    folder = logs.prepare(owner, None) / f"eventlog_v2_{application}"
    folder.mkdir()
    for number in (1, 2):
        part = folder / f"events_{number}_{application}.zstd"
        part.write_bytes(b"x" * (size // 2))
        at = time.time() - age - (2 - number)
        os.utime(part, (at, at))
    os.utime(folder, (at, at))
    return folder


def left(logs, owner):
    return sorted(each.name.removeprefix("eventlog_v2_") for each in logs.folder_of(owner).iterdir())


@pytest.mark.parametrize(
    "owner", ["dana", "dana.lee@example.com", "Dana", "dänä", "a/../../b", ".", "..", "a" * 200, "-"]
)
def test_every_name_has_a_folder_of_its_own_below_the_events(logs, owner):
    folder = logs.prepare(owner, None)
    assert folder.parent == logs.folder_of("somebody").parent
    assert folder.resolve() == folder
    assert folder.name not in {".", ".."}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o711


def test_no_two_names_share_a_folder(logs):
    names = ["dana", "Dana", "d.ana", "d-ana", "d@ana", "D-ana", "d_ana"]
    assert len({logs.folder_of(name) for name in names}) == len(names)
    # Nor can a name be made to look like another one's folder.
    assert logs.folder_of(logs.folder_of("Dana").name) != logs.folder_of("Dana")


@as_root
def test_a_users_folder_is_the_users(logs):
    folder = logs.prepare("alice", Identity(61001, 61001, "alice"))
    found = folder.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (61001, 61001, 0o700)


@pytest.mark.parametrize("application", [None, "", "..", "../bob/eventlog_v2_x", "a/b", "x" * 200, "local-1\n"])
def test_a_driver_that_says_a_strange_name_has_no_log(logs, application):
    write(logs, "alice", "local-1", 10, 0)
    assert logs.has("alice", "local-1")
    assert not logs.has("alice", application)
    assert not logs.has("bob", "local-1")


def test_old_logs_go(logs):
    write(logs, "alice", "old", 1000, 8 * DAY)
    write(logs, "alice", "running", 1000, 8 * DAY)
    write(logs, "alice", "new", 1000, DAY)
    write(logs, "bob", "running", 1000, 8 * DAY)
    logs.tidy(1 << 30, 7 * DAY, {"alice": frozenset({"running"})})
    assert left(logs, "alice") == ["new", "running"]
    assert left(logs, "bob") == []


def test_of_too_many_the_oldest_go_and_running_ones_last(logs):
    for age, name in enumerate(("newest", "newer", "older", "running")):
        write(logs, "alice", name, 100_000, age * 100)
    write(logs, "bob", "large", 100_000, 0)
    logs.tidy(250_000, 7 * DAY, {"alice": frozenset({"running"})})
    assert left(logs, "alice") == ["newest", "running"]
    # Everybody has as much.
    assert left(logs, "bob") == ["large"]
    logs.tidy(150_000, 7 * DAY, {"alice": frozenset({"running"})})
    assert left(logs, "alice") == ["running"]
    logs.tidy(70_000, 7 * DAY, {"alice": frozenset({"running"})})
    # The part that is being written stays.
    assert [each.name for each in (logs.folder_of("alice") / "eventlog_v2_running").iterdir()] == [
        "events_2_running.zstd"
    ]


def test_what_a_user_puts_there_leads_nowhere(logs, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x" * 100_000)
    folder = logs.prepare("alice", None)
    (folder / "eventlog_v2_link").symlink_to(precious)
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    inside = write(logs, "alice", "inside", 1000, 8 * DAY)
    (inside / "events_0_link").symlink_to(precious / "file")
    for link in ("eventlog_v2_link", "up", "loop"):
        os.utime(folder / link, (0, 0), follow_symlinks=False)
    logs.tidy(1, 7 * DAY, {})
    assert (precious / "file").stat().st_size == 100_000
    assert left(logs, "alice") == []


def test_a_folder_as_deep_as_a_user_likes_is_removed_and_nobody_elses_waits_for_it(logs):
    script = "import os\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')"
    folder = logs.prepare("alice", None) / "eventlog_v2_deep"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    write(logs, "alice", "new", 1000, 0)
    write(logs, "bob", "old", 1000, 8 * DAY)
    logs.tidy(1 << 30, 7 * DAY, {})
    assert left(logs, "alice") == ["new"]
    assert left(logs, "bob") == []


APP = "local-17"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"history/{APP}/jobs/", f"history/{APP}/jobs/"),
        (f"/history/{APP}/stages/stage/", f"history/{APP}/stages/stage/"),
        (f"history/{APP}", f"history/{APP}"),
        (f"api/v1/applications/{APP}/stages/0/0/taskTable", f"api/v1/applications/{APP}/stages/0/0/taskTable"),
        ("static/spark-logo.png", "static/spark-logo.png"),
        ("api/v1/version", "api/v1/version"),
        # Where the UI had it while it lived.
        ("", None),
        ("stages/stage/", None),
        ("environment/", None),
    ],
)
def test_paths_of_a_sessions_history(path, found):
    assert path_of(APP, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "history/local-18/jobs/",
        "history/",
        f"history/{APP}0/jobs/",
        "api/v1/applications",
        "api/v1/applications/local-18/logs",
        "static/",
        "static",
    ],
)
def test_paths_of_others_are_not_reached(path):
    if path == "static":
        assert path_of(APP, path) is None
        return
    with pytest.raises(NoSuchRoute):
        path_of(APP, path)
