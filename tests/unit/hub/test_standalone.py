"""The launcher with everything it starts: real processes on free ports, and nothing of them left afterwards."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from support.hub_session import HubSession
from support.standalone import COMMAND, ROOT, free_port

PATIENCE = 120


@dataclass
class Launcher:
    """`sparkyard-standalone` with a home of its own, and what it ever started."""

    home: Path
    port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SPARKYARD_HOME": str(self.home)}

    def arguments(self, *more: str) -> list[str]:
        return [str(COMMAND), "up", "--port", str(self.port), *more]

    def up(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.arguments("--detach", *more),
            env=self.environment | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def up_in_foreground(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.arguments(),
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_for(lambda: (self.home / "standalone.json").exists() or process.poll() is not None)
        assert process.poll() is None, process.stdout and process.stdout.read()
        return process

    def down(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), "down"], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    @property
    def record(self) -> dict[str, object]:
        return json.loads((self.home / "standalone.json").read_text())

    def passwords(self) -> dict[str, str]:
        return {user["name"]: user["password"] for user in self.record["users"]}

    def family(self) -> list[psutil.Process]:
        """The launcher and all that descends from it."""
        guard = psutil.Process(self.record["pid"])
        return [guard, *guard.children(recursive=True)]

    def has_left_nothing(self, family: list[psutil.Process]) -> None:
        """Assert it: no process, no port, no record, no secret of the run."""
        _, left = psutil.wait_procs(family, timeout=30)
        left = [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert not left, [process.cmdline() for process in left]
        for port in range(self.port, self.port + 5):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"something still listens at {port}"
        assert not (self.home / "standalone.json").exists()
        assert not list(self.home.glob("hub/traefik*")), "the proxy's files hold a password's hash"


def wait_for(condition, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def start_a_server(launcher: Launcher, name: str) -> HubSession:
    """Sign in, pick the first profile, wait for JupyterLab."""
    session = HubSession(launcher.record["address"], name, launcher.passwords()[name])
    assert session.landing.status_code == 200, session.landing.text
    answer = session.send("POST", f"/hub/api/users/{name}/server", json={"profile": "small"})
    assert answer.status_code in (201, 202), answer.text
    wait_for(lambda: session.get(f"/hub/api/users/{name}").json()["servers"].get("", {}).get("ready"))
    return session


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    # Not below pytest's own folder, which other users may not enter: homes belong to uids of their own.
    home = Path(tempfile.mkdtemp(prefix="sparkyard-"))
    home.chmod(0o755)
    made = Launcher(home / "state")
    yield made
    made.down()
    shutil.rmtree(home)


def test_from_the_first_start_to_the_second(launcher):
    first = launcher.up()
    assert first.returncode == 0, first.stdout + first.stderr
    record = launcher.record
    assert f"open  {record['address']}" in first.stdout
    for user in record["users"]:
        assert f"{user['name']}" in first.stdout
        assert user["password"] in first.stdout
    assert (launcher.home / "standalone.json").stat().st_mode & 0o077 == 0
    assert record["address"] == f"http://127.0.0.1:{launcher.port}"
    for name in ("gateway", "provider"):
        assert httpx.get(record[name]).status_code < 500
    for process in launcher.family():
        for connection in process.net_connections():
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), process.cmdline()

    again = launcher.up()
    assert again.returncode == 0
    assert f"already runs here at {record['address']}" in again.stdout

    passwords = launcher.passwords()
    session = start_a_server(launcher, "dana")
    with session:
        assert "There is no such page" in session.get("/hub/nothing").text
        assert "Stop it" in session.get("/hub/home").text
        home = next((launcher.home / "users").glob("dana*"))
        (home / "mine.ipynb").write_text("{}")
    for secret in (*passwords.values(), *(path.read_text().strip() for path in launcher.home.glob("*/*_token"))):
        assert not [log for log in launcher.home.glob("logs/*") if secret in log.read_text(errors="replace")]
        for process in launcher.family():
            assert secret not in " ".join(process.cmdline())
            assert secret not in process.environ().values()

    family = launcher.family()
    assert launcher.down().returncode == 0
    launcher.has_left_nothing(family)

    assert launcher.up().returncode == 0
    assert launcher.passwords() == passwords
    assert (home / "mine.ipynb").read_text() == "{}"
    with HubSession(launcher.record["address"], "dana", passwords["dana"]) as session:
        assert session.get("/hub/api/user").json()["groups"] == ["data-science"]


def test_ctrl_c_stops_everything_servers_included(launcher):
    process = launcher.up_in_foreground()
    start_a_server(launcher, "dana").__exit__(None, None, None)
    family = launcher.family()
    assert any("jupyterhub-singleuser" in " ".join(each.cmdline()) for each in family)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Stopped." in output
    assert "Traceback" not in output
    launcher.has_left_nothing(family)


@pytest.mark.parametrize("victim", ["guard", "runner"])
def test_a_killed_launcher_leaves_nothing_either(launcher, victim):
    assert launcher.up().returncode == 0
    start_a_server(launcher, "dana").__exit__(None, None, None)
    family = launcher.family()
    guard = family[0]
    (guard if victim == "guard" else guard.children()[0]).kill()
    launcher.has_left_nothing(family)
    log = (launcher.home / "logs" / "launcher.log").read_text()
    assert "Traceback" not in log


@pytest.mark.parametrize(("part", "mark"), [("gateway", "sparkyard-gateway"), ("JupyterHub", "-m jupyterhub")])
def test_a_part_that_dies_is_named_and_the_rest_stopped(launcher, part, mark):
    process = launcher.up_in_foreground()
    family = launcher.family()
    next(each for each in family if mark in " ".join(each.cmdline())).kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"sparkyard: {part}" in output
    assert "was ended by SIGKILL; the end of " in output
    assert "Traceback" not in output
    launcher.has_left_nothing(family)


def test_a_part_that_cannot_start_is_named_with_its_last_words(launcher):
    """Something else has the gateway's database folder: a file."""
    (launcher.home / "gateway").parent.mkdir()
    (launcher.home / "gateway").mkdir()
    (launcher.home / "gateway" / "gateway.sqlite").mkdir()
    failed = launcher.up()
    assert failed.returncode == 1
    assert "sparkyard: gateway ended with exit code" in failed.stdout
    assert not (launcher.home / "standalone.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", launcher.port)) != 0


def refused(completed: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refusal."""
    assert completed.returncode == 1, completed.stdout
    assert "Traceback" not in completed.stderr
    return completed.stderr


def test_a_taken_port_is_refused_before_anything_starts(launcher):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", launcher.port))
        taken.listen()
        assert f"sparkyard: Port {launcher.port} is taken by" in refused(launcher.up())


def test_a_broken_catalog_is_refused_with_its_line(launcher, tmp_path):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("version: 1\nprofils: {}\n")
    words = refused(launcher.up("--catalog", str(catalog)))
    assert f"{catalog}:2" in words
    assert "profiles" in words, "it says what would be right"


def test_a_missing_java_is_refused(launcher):
    assert "JAVA_HOME is /nowhere" in refused(launcher.up(JAVA_HOME="/nowhere"))


def test_a_folder_that_cannot_be_written_is_refused(launcher):
    assert "/proc/sparkyard" in refused(launcher.up(SPARKYARD_HOME="/proc/sparkyard"))


def test_down_ends_one_that_is_still_starting(launcher):
    starting = subprocess.Popen(
        launcher.arguments(), env=launcher.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starting.stdout
    assert starting.stdout.readline() == "Starting Sparkyard:\n"
    family = psutil.Process(starting.pid).children(recursive=True)
    assert launcher.down().stdout == "Sparkyard is stopped.\n"
    starting.communicate(timeout=PATIENCE)
    assert starting.returncode == 130
    launcher.has_left_nothing(family)


def test_down_without_up_says_so(launcher):
    down = launcher.down()
    assert down.returncode == 0
    assert down.stdout == "Nothing of Sparkyard runs here.\n"


def test_without_its_folder_it_stops(launcher):
    """Whoever removes a state folder without `down` is not left with processes that nothing ends."""
    assert launcher.up().returncode == 0
    family = launcher.family()
    shutil.rmtree(launcher.home, ignore_errors=True)
    launcher.has_left_nothing(family)


def test_a_person_dropped_at_the_provider_is_refused_at_their_next_start(launcher):
    assert launcher.up().returncode == 0
    address = launcher.record["address"]
    with HubSession(address, "dana", launcher.passwords()["dana"]) as session:
        token = session.token()
        with sqlite3.connect(launcher.home / "provider" / "canaille.sqlite") as database:
            database.execute("DELETE FROM membership_association_table")
        started = session.send("POST", "/hub/api/users/dana/server", json={"profile": "small"})
        assert started.status_code == 403
        assert "dana is in none of the groups that may use Sparkyard" in started.json()["message"]
        page = session.get("/hub/home", follow_redirects=True)
        assert page.status_code == 403
        assert "No access yet" in page.text
        answer = httpx.get(f"{address}/hub/api/user", headers={"Authorization": f"token {token}"})
        assert answer.status_code == 403, "and their tokens are worth nothing"
