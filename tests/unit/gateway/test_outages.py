"""What the gateway stands on goes away for a while: the database, its disk, the hub, the clock, its own time.

docs/operator.md says what happens then ("What happens when"); each sentence of it has its test here.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import hub_stand_in
from support.running_gateway import RunningGateway

from .conftest import admit_people, client, new_session, run
from .test_sessions import driver_pid, until

COUNT = "open('count', 'a').write('x') and len(open('count').read())"
"""A statement that answers how often it has run in its session."""


def statement(alice, session, number, wait=0):
    return alice.get(f"/sessions/{session}/statements/{number}?wait={wait}").json()


def submit(alice, session, code):
    made = alice.post(f"/sessions/{session}/statements", json={"code": code})
    assert made.status_code == 201, made.text
    return made.json()["id"]


def value(answer):
    return answer["output"]["data"]["text/plain"]


def comes_back(alice, session, seconds=60.0):
    """Until the gateway takes statements again; those it refused meanwhile have not run."""
    made = until(
        lambda: (m := alice.post(f"/sessions/{session}/statements", json={"code": COUNT})).status_code == 201 and m,
        seconds,
    )
    return made.json()["id"]


# The database


@pytest.fixture
def database(postgres):
    """The options of a gateway on an empty database."""
    return ("--database-url", postgres.url(postgres.new_database()))


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_database_gone_for_a_while(start_mortal, postgres, database, how):
    gateway = start_mortal(*database)
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        running = submit(alice, session, "sleep 1")
        waiting = submit(alice, session, COUNT)
        (postgres.stop if how == "stopped" else postgres.freeze)()
        try:
            for refused in (
                alice.post("/sessions", json={"kind": "pyspark", "name": "during"}),
                alice.post(f"/sessions/{session}/statements", json={"code": COUNT}),
                alice.delete(f"/sessions/{session}"),
            ):
                assert refused.status_code == 503, refused.text
                assert refused.json()["msg"].startswith("The gateway cannot reach its database")
                assert refused.headers["Retry-After"]
            # What was taken on goes on, and its outcome is told.
            assert value(statement(alice, session, running, wait=20)) == "slept"
            assert value(statement(alice, session, waiting, wait=20)) == "1"
            assert alice.get("/health/ready").status_code == 503
            assert alice.get("/health/live").status_code == 200
        finally:
            (postgres.start if how == "stopped" else postgres.thaw)()
        assert value(statement(alice, session, comes_back(alice, session), wait=20)) == "2"
        until(lambda: alice.get("/health/ready").status_code == 200)
        assert [each["name"] for each in alice.get("/sessions").json()["sessions"]] == [None]
        listed = alice.get(f"/sessions/{session}/statements").json()["statements"]
        assert [value(each) for each in listed] == ["slept", "1", "2"]


def test_a_gateway_killed_while_the_database_is_away_loses_no_outcome(start_mortal, postgres, database):
    gateway = start_mortal(*database)
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        pid = driver_pid(alice, session)
        number = submit(alice, session, f"__import__('time').sleep(0.5) or {COUNT}")
        postgres.crash()
        try:
            assert value(statement(alice, session, number, wait=20)) == "1"
            # The line is lost and found again: what the database does not have yet must not be forgotten by the driver.
            connected = gateway.log.count("driver_connected")
            os.kill(pid, signal.SIGUSR1)
            until(lambda: gateway.log.count("driver_connected") > connected)
            gateway.kill()
            gateway.launch()
            until(lambda: "database_awaited" in gateway.log)
        finally:
            postgres.start()
        gateway.wait_ready()
        assert value(statement(alice, session, number, wait=20)) == "1"
        assert value(run(alice, session, COUNT)) == "2"


def test_a_server_that_never_comes_is_a_sentence_after_a_while(tmp_path):
    gateway = RunningGateway(
        tmp_path, "http://127.0.0.1:1/hub/api", "--database-url", f"postgresql://sparkyard@/x?host={tmp_path}",
        "--database-wait-seconds", "0.5",
    )  # fmt: skip
    gateway.launch()
    assert gateway.process.wait(60) == 2
    assert "sparkyard-gateway: The database postgresql+psycopg://" in gateway.log
    assert "Traceback" not in gateway.log


# Its disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a small disk, as root: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def test_a_full_disk(small_disk, start_mortal):
    gateway = start_mortal("--state-dir", str(small_disk / "state"))
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        running = submit(alice, session, "sleep 1")
        waiting = submit(alice, session, f"len('{'x' * 50_000}')")
        ballast = fill(small_disk)
        # SQLite may still have some room of its own; a large statement finds its end.
        large = {"code": f"len('{'x' * 1_000_000}')"}
        refused = alice.post(f"/sessions/{session}/statements", json=large)
        assert refused.status_code == 503
        assert "disk of the gateway's database is full" in refused.json()["msg"]
        assert value(statement(alice, session, running, wait=20)) == "slept"
        assert value(statement(alice, session, waiting, wait=20)) == "50000"
        assert alice.get("/health/ready").status_code == 503
        # A session that cannot be written down is refused; one whose driver finds no room is dead and says why.
        made = alice.post("/sessions", json={"kind": "pyspark", "name": "x" * 100, "conf": {}})
        if made.status_code == 201:
            until(lambda: alice.get(f"/sessions/{made.json()['id']}/state").json()["state"] in {"dead", "idle"})
        else:
            assert made.status_code == 503
        ballast.unlink()
        until(lambda: alice.post(f"/sessions/{session}/statements", json=large).status_code == 201)
        until(lambda: alice.get("/health/ready").status_code == 200)
        gateway.kill()
        gateway.start()
        assert value(statement(alice, session, running)) == "slept"
        assert value(statement(alice, session, waiting)) == "50000"
        assert value(run(alice, session, "40 + 2")) == "42"


# The hub


def test_a_hub_gone_for_a_while(start_mortal, hub):
    with hub_stand_in.running() as own:
        admit_people(own)
        gateway = start_mortal("--hub-api-url", own.url)
        with client(gateway, "token-of-alice") as alice:
            patient = new_session(alice, heartbeatTimeoutInSecond=4)
            running = submit(alice, patient, f"__import__('time').sleep(3) or {COUNT}")
            own.status = 500
            refused = until(lambda: (r := alice.get(f"/sessions/{patient}/state")).status_code == 503 and r)
            assert refused.json()["msg"].startswith("JupyterHub answers with an error")
            # Nobody can ask about the session now, for longer than its heartbeat: that is not its owner's fault.
            end = time.monotonic() + 6
            while time.monotonic() < end:
                assert alice.get(f"/sessions/{patient}/state").status_code == 503
                time.sleep(0.2)
            own.status = None
            assert until(lambda: (r := alice.get(f"/sessions/{patient}/state")).status_code == 200 and r).json()[
                "state"
            ] in {"idle", "busy"}
            assert value(statement(alice, patient, running, wait=20)) == "1"
            # With the hub back, a session nobody asks about ends as ever.
            ended = until(lambda: (s := alice.get("/sessions").json()["sessions"][0])["state"] == "dead" and s, 60)
            assert "heartbeat timeout" in ended["stateReason"]


# The clock


@pytest.fixture
def clock(tmp_path):
    """By how many seconds the gateway's clock is wrong; a test may write into it."""
    file = tmp_path / "clock"
    file.write_text("0")
    return file


@pytest.mark.parametrize("hours", [5, -5])
def test_a_clock_that_jumps(start_mortal, hub, clock, hours):
    with hub_stand_in.running() as own:
        admit_people(own)
        gateway = start_mortal("--hub-api-url", own.url, clock=clock)
        with client(gateway, "token-of-alice") as alice, client(gateway, "token-of-bob") as bob:
            session = new_session(alice, heartbeatTimeoutInSecond=600, idleTimeout="1h")
            gone = new_session(alice)
            alice.post(f"/sessions/{gone}/stop")
            until(lambda: alice.get(f"/sessions/{gone}/state").json()["state"] == "dead")
            short = new_session(bob, idleTimeout="3s")
            running = submit(alice, session, f"__import__('time').sleep(1) or {COUNT}")
            clock.write_text(str(hours * 3600))
            # A short timeout still comes, and in its time: several sweeps have passed over the others by then.
            ended = until(lambda: (s := bob.get(f"/sessions/{short}").json())["state"] == "dead" and s, 60)
            assert "idle for 3 s" in ended["stateReason"]
            done = statement(alice, session, running, wait=20)
            assert value(done) == "1"
            assert done["started"] <= done["completed"]
            assert [each["id"] for each in alice.get("/sessions").json()["sessions"]] == [session, gone]
            later = new_session(alice)
            assert [each["id"] for each in alice.get("/sessions").json()["sessions"]] == [session, gone, later]
            # A revoked token ends in its time as well.
            del own.people["token-of-bob"]
            until(lambda: bob.get("/sessions").status_code == 401)
            # A start is the moment where only the clock on the wall is there to ask: nothing running ends by it.
            gateway.kill()
            gateway.start()
            assert value(run(alice, session, COUNT)) == "2"


def test_a_gateway_that_was_stopped_in_mid_step_does_not_blame_its_clients(start_mortal):
    gateway = start_mortal()
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice, heartbeatTimeoutInSecond=4)
        gateway.process.send_signal(signal.SIGSTOP)
        time.sleep(7)
        gateway.process.send_signal(signal.SIGCONT)
        assert alice.get(f"/sessions/{session}/state").json()["state"] == "idle"
        # A few sweeps, of which one must have come late.
        time.sleep(0.5)
        assert value(run(alice, session, COUNT)) == "1"
