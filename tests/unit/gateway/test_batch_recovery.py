"""A gateway that is killed: its batches run on, run once, and their ends are known although nobody was there."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from sparkyard_gateway.backends import processes
from support.running_gateway import RunningGateway

from .conftest import CATALOG, SIMULATED, client
from .test_batches import ended, said, submit, write_scripts
from .test_recovery import kill
from .test_sessions import alive, until

COUNTS = "import os, sys, time\nprint('ran', os.getpid(), flush=True)\nopen(sys.argv[1], 'a').write('x')\n"


@pytest.fixture
def mortal(hub, tmp_path, request):
    """A gateway for one test, which may kill it; its batches run on without it."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    write_scripts(tmp_path / "homes", "alice")
    (tmp_path / "homes" / "alice" / "jobs" / "counts.py").write_text(COUNTS)
    gateway = RunningGateway(
        tmp_path, hub.url, "--driver-program", str(SIMULATED), "--catalog", str(tmp_path / "catalog.yaml"),
        "--homes-dir", str(tmp_path / "homes"), "--sweep-seconds", "0.1", "--stop-grace-seconds", "0.5",
        "--concurrent-starts", "8", *getattr(request, "param", ()), forked=True,
    )  # fmt: skip
    gateway.start()
    yield gateway
    gateway.stop()
    for folder in tmp_path.glob("state/batches/*"):
        for pid in processes.working_in(folder) + processes.working_in(folder / "work"):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def alice(mortal):
    with client(mortal, "token-of-alice") as made:
        yield made


def rows(gateway: RunningGateway, query: str, *values: object) -> list[tuple]:
    """Look into the database, or change it while no gateway runs."""
    with sqlite3.connect(gateway._folder / "state" / "gateway.sqlite") as connection:
        return connection.execute(query, values).fetchall()


def test_what_runs_is_found_again_and_what_ended_meanwhile_is_known(mortal, alice):
    long = submit(alice, "waits.py", "600", name="long")
    others = [submit(alice, "waits.py", "600") for _ in range(3)]
    deleted = submit(alice, "deaf.py", name="deaf")
    pids = {number: int(said(alice, number, "pid")) for number in (long, deleted, *others)}
    interrupted, killed, cut_off = others
    # The driver does not heed, so the answer comes while it still lives; its supervisor goes on with what it was told.
    assert alice.delete(f"/batches/{deleted}").json() == {"msg": "deleted"}
    kill(mortal)
    os.kill(pids[interrupted], signal.SIGINT)
    os.kill(pids[killed], signal.SIGKILL)
    # As after a power cut: it began, and then there is nothing.
    supervisor = int(Path(f"/proc/{pids[cut_off]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    os.kill(pids[cut_off], signal.SIGKILL)
    until(lambda: not any(alive(pids[each]) for each in (deleted, *others)), 30)
    mortal.start()
    done = ended(alice, interrupted)
    assert (done["state"], done["exitCode"], done["stateReason"]) == (
        "killed", -2, "The batch was ended by SIGINT. KeyboardInterrupt",
    )  # fmt: skip
    done = ended(alice, killed)
    assert (done["state"], done["exitCode"]) == ("killed", -9)
    assert "(SIGKILL)" in done["stateReason"]
    done = ended(alice, cut_off)
    assert (done["state"], done["exitCode"]) == ("error", None)
    assert "nobody saw how" in done["stateReason"]
    assert alice.get(f"/batches/{deleted}").status_code == 404
    until(lambda: rows(mortal, "SELECT state FROM batches WHERE ended_at > 0 AND id = ?", deleted) == [("killed",)], 30)
    # The one that lives is watched: its end and its exit code are seen too.
    assert alice.get("/batches/long").json()["state"] == "running"
    os.kill(pids[long], signal.SIGTERM)
    done = ended(alice, long)
    assert (done["state"], done["exitCode"], done["log"][-1]) == ("killed", -15, f"pid {pids[long]}")
    # None was run a second time.
    assert rows(mortal, "SELECT count(*) FROM attempts") == [(5,)]


def test_killed_at_any_moment_of_the_start_a_batch_runs_exactly_once(mortal, alice, tmp_path):
    """Eight batches in eight moments: from the row alone to well under way."""
    marks = [tmp_path / f"mark-{number}" for number in range(8)]
    key = [{"Idempotency-Key": f"once-{number}"} for number in range(8)]
    numbers = [submit(alice, "counts.py", str(mark), headers=each) for mark, each in zip(marks, key, strict=True)]
    kill(mortal)
    mortal.start()
    done = [ended(alice, number) for number in numbers]
    assert [each["state"] for each in done] == ["success"] * 8, done
    assert [mark.read_text() for mark in marks] == ["x"] * 8
    # And what a client repeats because its answer was lost starts nothing.
    again = [submit(alice, "counts.py", str(mark), headers=each) for mark, each in zip(marks, key, strict=True)]
    assert again == numbers
    assert [mark.read_text() for mark in marks] == ["x"] * 8
    assert alice.get("/batches").json()["total"] == 8


def test_an_attempt_that_was_prepared_and_never_told_to_begin_is_prepared_anew(mortal, alice, tmp_path):
    mark = tmp_path / "mark"
    number = submit(alice, "counts.py", str(mark))
    ended(alice, number)
    kill(mortal)
    mark.unlink()
    # As if the gateway had died between writing the handle and saying the word.
    (attempt,) = rows(mortal, "SELECT id FROM attempts WHERE batch_id = ?", number)
    rows(mortal, "UPDATE batches SET state = 'starting', reason = NULL, ended_at = NULL WHERE id = ?", number)
    rows(mortal, "UPDATE attempts SET ended_at = NULL, exit_code = NULL, started_at = NULL WHERE id = ?", *attempt)
    (mortal._folder / "state" / "batches" / str(attempt[0]) / "outcome.json").unlink()
    mortal.start()
    assert ended(alice, number)["state"] == "success"
    assert mark.read_text() == "x"
    assert "batch_prepared_anew" in mortal.log


@pytest.mark.parametrize("mortal", [("--stop-drivers-on-exit",)], indirect=True)
def test_the_standalone_stop_leaves_no_batch_and_says_so(mortal, alice):
    number = submit(alice, "waits.py", "600")
    pid = int(said(alice, number, "pid"))
    mortal.stop()
    assert not alive(pid)
    mortal.start()
    done = ended(alice, number)
    assert (done["state"], done["stateReason"]) == ("killed", "The gateway was stopped.")
    events = [event for (event,) in rows(mortal, "SELECT event FROM batch_events ORDER BY id")]
    assert events == ["created", "started", "ended"]
