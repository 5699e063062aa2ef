"""How tests are handed out among processes, one of which dies."""

from types import SimpleNamespace

import pytest

from support.by_file import ByFile

TESTS = [f"tests/unit/test_{file}.py::test_{number}" for file in range(30) for number in range(4)]


class Worker:
    """A process of the tests as the library has it: it begins a test once it knows the next, or that there is none."""

    def __init__(self) -> None:
        self.gateway = SimpleNamespace(id="one")
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class Run:
    """A run of all tests; the process that comes to `deadly` dies, so often."""

    def __init__(self, hook: object, deadly: str, times: int, reruns: int | None) -> None:
        four = ["popen"] * 4
        option = SimpleNamespace(loadscopereorder=False, tx=four, reruns=reruns)
        config = SimpleNamespace(option=option, getvalue={"tx": four}.__getitem__, hook=hook)
        self.scheduler = ByFile(config)
        self.workers: list[Worker] = []
        self.ran: list[str] = []
        self.died: list[str | None] = []
        for _ in four:
            self._begin()
        self.scheduler.schedule()
        while able := self._able():
            for worker in able:
                index = worker.queue.pop(0)
                if TESTS[index] == deadly and len(self.died) < times:
                    self.died.append(self.scheduler.remove_node(worker))
                    self.workers.remove(worker)
                    self._begin()
                    self.scheduler.schedule()
                else:
                    self.ran.append(TESTS[index])
                    self.scheduler.mark_test_complete(worker, index)

    def _able(self) -> list[Worker]:
        if self.scheduler.tests_finished:  # as the library asks after each word of a process
            for each in self.workers:
                each.shutdown()
        return [each for each in self.workers if each.queue and (each.shutting_down or len(each.queue) > 1)]

    def _begin(self) -> None:
        self.workers.append(Worker())
        self.scheduler.add_node(self.workers[-1])
        self.scheduler.add_node_collection(self.workers[-1], TESTS)


@pytest.mark.parametrize("deadly", [TESTS[0], TESTS[3], TESTS[70], TESTS[-7], TESTS[-1]])
def test_after_a_death_all_that_is_left_is_run_once(pytestconfig, deadly):
    run = Run(pytestconfig.hook, deadly, times=1, reruns=1)
    assert run.died == [deadly]
    assert sorted(run.ran) == sorted(TESTS)


@pytest.mark.parametrize(("reruns", "deaths"), [(None, 1), (0, 1), (1, 2)])
@pytest.mark.parametrize("deadly", [TESTS[0], TESTS[3], TESTS[70], TESTS[-7], TESTS[-1]])
def test_what_is_always_deadly_is_tried_as_often_as_what_fails(pytestconfig, deadly, reruns, deaths):
    run = Run(pytestconfig.hook, deadly, times=9, reruns=reruns)
    assert run.died == [deadly] * deaths
    assert sorted([*run.ran, deadly]) == sorted(TESTS)
