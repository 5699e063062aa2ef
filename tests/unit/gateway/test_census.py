"""One look at all processes for all who end some, and nothing that it misses."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from sparkyard_gateway.backends import census
from sparkyard_gateway.backends.census import Census, everybody
from support.waiting import until

FAMILY = (
    "import os, signal, time\n{deaf}\nif os.fork() == 0:\n    os.setpgid(0, 0)\n    os.chdir('/')\ntime.sleep(600)\n"
)


@pytest.fixture
def families(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Leaders of sessions, each with a child in a group and a folder of its own."""
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for each in made:
        for pid in everybody().by_leader.get(each.pid, []):
            os.kill(pid, signal.SIGKILL)
        each.kill()
        each.wait()


def family(made: list[subprocess.Popen[bytes]], folder: Path, *, deaf: bool = False) -> int:
    code = FAMILY.format(deaf="signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else "")
    child = subprocess.Popen([sys.executable, "-S", "-c", code], cwd=folder, start_new_session=True)
    made.append(child)
    until(lambda: len(everybody().by_leader.get(child.pid, [])) == 2, 60)
    return child.pid


async def test_a_session_is_ended_with_all_that_it_started(families, tmp_path):
    kind, deaf = family(families, tmp_path), family(families, tmp_path, deaf=True)
    together = Census()
    assert await asyncio.gather(together.end_session(kind, 60), together.end_session(deaf, 0.05)) == [True, True]
    seen = everybody().by_leader
    assert kind not in seen
    assert deaf not in seen
    assert families[1].wait() == -signal.SIGKILL
    assert await together.end_session(kind, 60), "what is gone is gone"


async def test_what_left_its_session_but_not_its_folder_is_ended(families, tmp_path):
    leader = family(families, tmp_path)
    assert leader in everybody().by_folder[str(tmp_path)]
    assert await Census().end_working_in(tmp_path)
    assert str(tmp_path) not in everybody().by_folder
    # The child that went elsewhere is its session's to find.
    assert len(everybody().by_leader[leader]) == 1


async def test_all_who_ask_before_a_look_begins_get_that_one_and_who_asks_later_gets_another(monkeypatch):
    going, begun, looks = Event(), Event(), []

    def slow() -> census.Seen:
        looks.append(census.Seen())
        begun.set()
        going.wait(60)
        return looks[-1]

    monkeypatch.setattr(census, "everybody", slow)
    shared = Census()
    first = [asyncio.create_task(shared.look()) for _ in range(50)]
    await asyncio.to_thread(begun.wait, 60)
    later = [asyncio.create_task(shared.look()) for _ in range(50)]
    await asyncio.sleep(0)
    going.set()
    assert {id(each) for each in await asyncio.gather(*first)} == {id(looks[0])}
    assert {id(each) for each in await asyncio.gather(*later)} == {id(looks[1])}
    assert len(looks) == 2


async def test_one_who_gives_up_takes_the_look_from_nobody():
    shared = Census()
    impatient, patient = asyncio.create_task(shared.look()), asyncio.create_task(shared.look())
    await asyncio.sleep(0)
    impatient.cancel()
    assert any(os.getpid() in pids for pids in (await patient).by_leader.values())


async def test_a_number_that_became_somebody_elses_is_left_alone(families, tmp_path, monkeypatch):
    leader = family(families, tmp_path)
    stale = census.Seen({4_000_000: [leader]}, {str(tmp_path / "gone"): [leader]})
    monkeypatch.setattr(census, "everybody", lambda: stale)
    shared = Census()
    assert await shared.kill_members(4_000_000, signal.SIGKILL) == 1
    assert not await shared.end_working_in(tmp_path / "gone", 0.05)
    assert families[0].poll() is None


async def test_ending_many_at_once_takes_few_looks(families, tmp_path, monkeypatch):
    leaders = [family(families, tmp_path) for _ in range(12)]
    looks = []
    monkeypatch.setattr(census, "everybody", lambda: looks.append(1) or everybody())
    shared = Census()
    await asyncio.gather(*(shared.end_session(each, 60) for each in leaders))
    seen = everybody().by_leader
    assert not any(each in seen for each in leaders)
    # Each for itself would take three at the very least.
    assert len(looks) < 3 * len(leaders)
