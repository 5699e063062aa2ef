"""What a driver on one machine may take: derived from what was granted, and held by what the machine offers."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from sparkyard_gateway.backends import processes
from sparkyard_gateway.backends.cgroups import Hierarchy, find_hierarchy
from sparkyard_gateway.backends.fences import Fence, Fences
from sparkyard_gateway.backends.limits import MIB, Limits, limited, limits_of, prlimit
from sparkyard_gateway.backends.usage import Usage, usage_by_leader

GIB = 1024 * MIB


def _asked(driver="1g", executor="1g", **more):
    named = {f"spark.{name.replace('_', '.')}": value for name, value in more.items()}
    return {"spark.driver.memory": driver, "spark.executor.memory": executor, **named}


@pytest.mark.parametrize(
    ("conf", "memory_mib"),
    [
        # Each heap with 40% on top, and with 384 MiB at the least.
        (_asked(executor_instances="1"), 2 * 1433),
        (_asked("512m", "512m"), 2 * 896),
        (_asked("10g", executor_instances="2"), 14336 + 2 * 1433),
        # What was granted beside the heap counts as it was granted.
        (_asked(executor_memoryOverhead="512m"), 1433 + 1536),
        (_asked(executor_memoryOverhead="512"), 1433 + 1536),
        (_asked(executor_pyspark_memory="2g"), 2866 + 2048),
        (_asked(memory_offHeap_size="1g"), 2866 + 1024),
        (_asked("1048576k", "1G"), 2866),
        ({}, 2866),
    ],
)
def test_memory_follows_from_what_was_granted(conf, memory_mib):
    found = limits_of(conf, cpus=2)
    assert abs(found.memory - memory_mib * MIB) < 2 * MIB
    assert found.process_memory == found.memory + GIB


def test_processes_follow_from_the_machine_and_the_operator_has_the_last_word():
    assert limits_of({}, cpus=2).processes == 640
    assert limits_of({}, cpus=64).processes == 4608
    fixed = limits_of({"spark.driver.memory": "8g"}, memory_mib=300, processes=50)
    assert (fixed.memory, fixed.processes, fixed.user_processes) == (300 * MIB, 50, 400)


def test_limits_outlive_a_gateway_in_a_drivers_handle():
    limits = Limits(memory=GIB, processes=100)
    assert Limits.of(limits.as_json()) == limits
    for broken in (None, {}, [], {"memory": 1}, {"memory": 1, "processes": 2, "more": 3}):
        assert Limits.of(broken) is None


@pytest.mark.skipif(prlimit() is None, reason="util-linux has no prlimit here")
def test_a_program_begins_under_its_limits_and_can_not_raise_them():
    limits = Limits(memory=600 * MIB, processes=50)
    show = "import resource as r; print(*map(r.getrlimit, (r.RLIMIT_DATA, r.RLIMIT_NPROC, r.RLIMIT_CORE)), sep='|')"
    shown = subprocess.run(
        limited([sys.executable, "-c", show], limits, own_user=True), capture_output=True, text=True, check=True
    )
    most = 600 * MIB + GIB
    assert shown.stdout.strip() == f"({most}, {most})|(400, 400)|(0, 0)"
    assert not [each for each in limited(["true"], limits, own_user=False) if "nproc" in each]


# Groups, on folders that look like the kernel's


def _files(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")


def test_version_1_is_found_where_both_controllers_are(tmp_path):
    own = "4:memory:/ours\n8:cpu,pids:/\n9:name=systemd:/\n0::/\n"
    _files(tmp_path / "memory" / "ours")
    _files(tmp_path / "cpu,pids")
    # These folders are none of the kernel's: a group made in them has no files to write its limits to.
    assert find_hierarchy(tmp_path, own) is None
    assert [path.name for path in (tmp_path / "memory" / "ours").iterdir()] == [], "the trial leaves nothing behind"
    assert find_hierarchy(tmp_path, "4:memory:/\n9:name=systemd:/\n") is None


def test_version_2_needs_memory_and_pids_to_be_handed_down(tmp_path):
    _files(tmp_path / "ours", "cgroup.subtree_control")
    assert find_hierarchy(tmp_path, "0::/ours\n") is None
    (tmp_path / "ours" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    trial = tmp_path / "ours" / f"sparkyard-trial-{os.getpid()}"
    _files(trial, "memory.max", "memory.swap.max", "pids.max", "cgroup.procs")
    found = find_hierarchy(tmp_path, "0::/ours\n")
    assert found is not None
    assert found.version == 2
    assert (trial / "memory.max").read_text() == str(1 << 30)
    _files(tmp_path / "ours" / "one", "memory.max", "memory.swap.max", "pids.max", "cgroup.procs", "memory.events")
    group = found.make("one", Limits(memory=300 * MIB, processes=40))
    assert (group.memory / "memory.max").read_text() == str(300 * MIB)
    assert (group.memory / "memory.swap.max").read_text() == "0"
    assert (group.pids / "pids.max").read_text() == "40"
    group.enter(12345)
    assert group.members() == [12345]
    (group.memory / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
    assert not group.ran_out_of_memory()
    (group.memory / "memory.events").write_text("low 0\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert group.ran_out_of_memory()


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    for own in ("", "0::/\n", "0::/../..\n"):
        assert find_hierarchy(tmp_path, own) is None


# Looking


def test_a_look_sees_what_the_processes_of_a_session_use():
    script = "import time; kept = b'x' * (200 << 20); print('ready', flush=True); time.sleep(60)"
    hog = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    try:
        assert hog.stdout is not None
        hog.stdout.readline()
        [mine] = usage_by_leader()[hog.pid]
        assert mine.pid == hog.pid
        assert mine.threads == 1
        assert mine.resident > 200 * MIB
        assert mine.proportional() > 200 * MIB
        fence = Fence(Limits(memory=100 * MIB, processes=10), None)
        assert "needed more memory (0.2 GiB) than the 0.1 GiB" in (fence.look([mine]) or "")
        assert Fence(Limits(memory=GIB, processes=10), None).look([mine]) is None
    finally:
        hog.kill()
        hog.communicate()


def test_shared_memory_is_not_counted_for_each_who_shares_it():
    # The same pages in three processes: together they have them once.
    script = (
        "import os, time; kept = b'x' * (100 << 20)\n"
        "for _ in range(2):\n"
        "    if not os.fork(): break\n"
        "else: print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    hog = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    try:
        assert hog.stdout is not None
        hog.stdout.readline()
        deadline = time.monotonic() + 30
        while len(seen := usage_by_leader().get(hog.pid, [])) < 3:
            assert time.monotonic() < deadline
        assert sum(each.resident for each in seen) > 250 * MIB
        assert Fence(Limits(memory=200 * MIB, processes=10), None).look(seen) is None
    finally:
        os.killpg(hog.pid, 9)
        hog.communicate()


def test_too_many_threads_are_too_many_processes():
    fence = Fence(Limits(memory=GIB, processes=10), None)
    assert "11 processes and threads" in (fence.look([Usage(1, 5, 0), Usage(2, 6, 0)]) or "")


async def test_who_is_over_is_told_of_and_its_end_takes_the_fence_away():
    over = asyncio.Event()
    fences = Fences("test", lambda _number: over.set(), 100, 10, hierarchy=lambda: None)
    script = "import time; kept = b'x' * (200 << 20); time.sleep(60)"
    hog = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        fences.make(1, {}).enter(hog.pid)
        await asyncio.wait_for(over.wait(), 60)
        assert "needed more memory" in (fences.verdict(1) or "")
        assert fences.verdict(2) is None
    finally:
        hog.kill()
        hog.wait()
    await fences.end(1)
    assert fences.verdict(1) is None
    await fences.end(1)


def test_groups_that_a_dead_gateway_left_go_and_those_in_use_stay(tmp_path):
    _files(tmp_path, "cgroup.subtree_control")
    hierarchy = Hierarchy(dict.fromkeys(("memory", "pids"), tmp_path), 2)
    for name in ("sparkyard-dead-1", "sparkyard-new-1", "sparkyard-busy-1", "somebody-elses"):
        _files(tmp_path / name)
    (tmp_path / "sparkyard-busy-1" / "cgroup.procs").write_text("1")  # as the kernel, a folder with files refuses
    for name in ("sparkyard-dead-1", "sparkyard-busy-1", "somebody-elses"):
        os.utime(tmp_path / name, (0, 0))
    hierarchy.tidy()
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"sparkyard-new-1", "sparkyard-busy-1", "somebody-elses"}


@pytest.mark.skipif(find_hierarchy() is None, reason="no cgroups can be made here")
async def test_what_hides_ends_with_its_group_and_the_group_goes():
    fences = Fences(f"test{os.getpid()}", lambda _number: None)
    script = (
        "import os, time\n"
        "if not os.fork():\n"
        "    os.setsid(); os.chdir('/')\n"
        "    if not os.fork(): print(os.getpid(), flush=True); time.sleep(300)\n"
        "else: time.sleep(300)\n"
    )
    fence = fences.make(1, {})
    gate = subprocess.Popen(
        ["sh", "-c", 'read _; exec "$0" -c "$1"', sys.executable, script],
        start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    fence.enter(gate.pid)
    assert gate.stdin is not None
    assert gate.stdout is not None
    gate.stdin.write("\n")
    gate.stdin.close()
    hidden = int(gate.stdout.readline())
    assert os.getsid(hidden) != gate.pid
    assert fence.group is not None
    assert {gate.pid, hidden} <= set(fence.group.members())
    await fences.end(1)
    gate.wait()
    gate.stdout.close()
    deadline = time.monotonic() + 30
    while processes.stamp(hidden) is not None:
        assert time.monotonic() < deadline, "what hid lives on"
    assert not fence.group.memory.exists()
    assert not fence.group.pids.exists()
