"""What the warm pool decides, by table."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sparkyard_catalog import Catalog, Person, SessionChoices, load, resolve_session
from sparkyard_gateway import memory
from sparkyard_gateway.backends import warm_uids
from sparkyard_gateway.backends.warm_uids import WarmUids
from sparkyard_gateway.orders import granted
from sparkyard_gateway.warm import Kept, Rests, Wanted, essence, plan, wanted

from .conftest import CATALOG

GIB = 1024**3
SMALL = Wanted("small", 2, {"driver_memory": "512m", "conf": {}})
LARGE = Wanted("large", 1, {"driver_memory": "4g", "conf": {}})


def up(number: int, wish: Wanted = SMALL) -> Kept:
    return Kept(number, wish.profile, wish.mark)


def starting(number: int, wish: Wanted = SMALL) -> Kept:
    return replace(up(number, wish), starting=True)


def ending(number: int, wish: Wanted = SMALL) -> Kept:
    return replace(up(number, wish), ending=True)


OTHER = Wanted("small", 2, {"driver_memory": "1g", "conf": {}})


@pytest.mark.parametrize(
    ("kept", "more", "ended", "started"),
    [
        pytest.param([], {}, [], "small", id="none yet"),
        pytest.param([up(1)], {}, [], "large", id="the profile that lacks most comes first"),
        pytest.param([up(1), up(2), up(3, LARGE)], {}, [], None, id="as it should be"),
        pytest.param([starting(1)], {}, [], None, id="one starts at a time"),
        pytest.param([up(1), up(2), ending(3, LARGE)], {}, [], "large", id="one that ends counts no more"),
        pytest.param([up(1)], {"turn": False}, [], None, id="people wait for theirs"),
        pytest.param([up(1), up(2), up(3), up(4, LARGE)], {}, [3], None, id="one too many: the youngest goes"),
        pytest.param([starting(1), up(2), up(3), up(4, LARGE)], {}, [1], None, id="or one that isn't up"),
        pytest.param([up(1, OTHER), up(2), up(4, LARGE)], {}, [1], "small", id="of an older catalog"),
        pytest.param([up(1, Wanted("gone", 1, SMALL.spec))], {}, [1], "small", id="of no profile"),
        pytest.param([up(1), up(2)], {"free": 6 * GIB}, [], None, id="no memory for a large one"),
        pytest.param([up(1), up(2)], {"free": 7 * GIB}, [], "large", id="memory for a large one"),
        pytest.param([up(1)], {"free": 4 * GIB}, [], "small", id="a small one where a large one doesn't fit"),
        pytest.param([up(1), up(2)], {"free": 1 * GIB}, [2], None, id="memory is short"),
        pytest.param([starting(1), up(2)], {"free": 1 * GIB}, [1], None, id="first goes what isn't up"),
        pytest.param([up(1), ending(2)], {"free": 1 * GIB}, [], None, id="one that ends gives its memory back first"),
        pytest.param([up(1), up(2, OTHER)], {"free": 1 * GIB}, [2], None, id="so does one that ends in any case"),
        pytest.param([], {"free": 1 * GIB}, [], None, id="nothing to give"),
        pytest.param([up(1)], {"resting": frozenset({LARGE.mark})}, [], "small", id="a broken profile rests"),
        pytest.param([], {"resting": frozenset({LARGE.mark, SMALL.mark})}, [], None, id="as may all"),
    ],
)
def test_a_step(kept, more, ended, started):
    step = plan({"small": SMALL, "large": LARGE}, kept, **{"free": None, "least": 2 * GIB, **more})
    assert sorted(step.end) == ended
    assert (step.start.profile if step.start else None) == started


def test_each_failure_doubles_the_pause_and_use_ends_it():
    rests = Rests()
    assert [rests.failed("a", 100.0) - 100 for _ in range(9)] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert rests.resting(699.0) == {"a"}
    assert rests.resting(700.0) == frozenset()
    rests.served("a")
    assert rests.failed("a", 0.0) == 5
    rests.forget_all_but(frozenset({"b"}))
    assert rests.resting(1.0) == frozenset()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    file = tmp_path / "catalog.yaml"
    file.write_text(CATALOG + "    sessions: {warm: 2, idle_timeout: {default: 1h, max: 12h}}\n")
    return load(file)


ALICE = Person("alice", frozenset({"people"}))


@pytest.mark.parametrize(
    ("choices", "same"),
    [
        ({}, True),
        ({"kind": "sql", "idle_timeout": "5m"}, True),
        ({"driver_memory": "512m", "executors": 1}, True),
        ({"conf": {"spark.driver.memory": "512m"}}, True),
        ({"driver_memory": "1g"}, False),
        ({"executors": 2}, False),
        ({"conf": {"spark.sql.shuffle.partitions": "7"}}, False),
        ({"files": ("s3a://bucket/alice/a.txt",)}, False),
        ({"jars": ("s3a://bucket/alice/a.jar",)}, False),
    ],
)
def test_a_driver_is_good_for_those_who_ask_for_what_it_has(catalog, choices, same):
    asked = granted(resolve_session(catalog, ALICE, SessionChoices(profile="small", **choices)))
    assert (essence(asked) == wanted(catalog)["small"].mark) is same


def test_a_profile_with_something_of_its_users_homes_keeps_none(tmp_path, catalog):
    assert wanted(catalog)["small"].count == 2
    file = tmp_path / "catalog.yaml"
    fixed = "      conf: {spark.files: 'home://data/a.txt'}\n"
    file.write_text(file.read_text().replace("      user_conf:\n", f"{fixed}      user_conf:\n"))
    assert wanted(load(file)) == {}


def test_memory_is_what_the_machine_or_the_container_has(tmp_path):
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    assert memory.available(meminfo, cgroup) is None
    meminfo.write_text("MemTotal:       8000 kB\nMemAvailable:   5000 kB\n")
    assert memory.available(meminfo, cgroup) == 5000 * 1024
    cgroup.mkdir()
    (cgroup / "memory.max").write_text("max\n")
    assert memory.available(meminfo, cgroup) == 5000 * 1024
    (cgroup / "memory.max").write_text("4096000\n")
    (cgroup / "memory.current").write_text("3072000\n")
    (cgroup / "memory.stat").write_text("anon 1000000\ninactive_file 1024000\n")
    assert memory.available(meminfo, cgroup) == 2048000


def test_no_uid_is_ever_anothers(tmp_path):
    uids = WarmUids(tmp_path / "uids")
    given = [uids.of(number) for number in range(1, 1000)]
    assert len(set(given)) == len(given)
    assert all(warm_uids.is_warm(uid) for uid in given)
    assert WarmUids(tmp_path / "uids").of(7) == uids.of(7)
    assert [each.name for each in tmp_path.iterdir()] == ["uids"]
    assert WarmUids(tmp_path / "others").of(7) != uids.of(7)
    assert not any(map(warm_uids.is_warm, (None, 0, 61000, 65534, warm_uids.FIRST + warm_uids.COUNT)))


def test_two_gateways_that_share_a_folder_draw_one_lot_and_a_file_cut_short_is_drawn_anew(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: WarmUids(tmp_path / "uids").of(7), range(64)))
    assert len(set(drawn)) == 1
    (tmp_path / "uids").write_text("")
    assert WarmUids(tmp_path / "uids").of(7) == WarmUids(tmp_path / "uids").of(7)
