"""How tests are handed out among processes, one of which dies."""

from types import SimpleNamespace

import pytest

from support.by_file import ByFile

TESTS = [f"tests/unit/test_{file}.py::test_{number}" for file in range(30) for number in range(4)]
CRASHES = "tests/unit/test_28.py::test_1"


class Worker:
    """A process of the tests as the library has it: it begins a test once it knows the next, or that there is none."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True


@pytest.fixture
def scheduler(pytestconfig):
    words = {"tx": ["popen"] * 4, "loadscopereorder": False}
    option = SimpleNamespace(loadscopereorder=False, tx=words["tx"])
    config = SimpleNamespace(option=option, getvalue=words.__getitem__, hook=pytestconfig.hook)
    return ByFile(config, log=None)


def test_after_a_death_all_that_is_left_is_run_once(scheduler):
    workers = [Worker(f"gw{number}") for number in range(4)]
    for each in workers:
        scheduler.add_node(each)
        scheduler.add_node_collection(each, TESTS)
    scheduler.schedule()
    ran: list[str] = []
    died = None
    while ready := [each for each in workers if each.queue and (len(each.queue) > 1 or each.shutting_down)]:
        for each in ready:
            index = each.queue.pop(0)
            if TESTS[index] == CRASHES and died is None:
                died = scheduler.remove_node(each)
                workers.remove(each)
                workers.append(Worker("gw4"))
                scheduler.add_node(workers[-1])
                scheduler.add_node_collection(workers[-1], TESTS)
                scheduler.schedule()
            else:
                ran.append(TESTS[index])
                scheduler.mark_test_complete(each, index)
    assert died == CRASHES
    assert sorted(ran) == sorted(TESTS)
