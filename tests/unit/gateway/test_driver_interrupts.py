"""Cancelling, on this process's own main thread, with a real queue and no Spark."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.driver.interrupts import Interrupts
from sparkyard_gateway.driver.journal import Journal
from sparkyard_gateway.driver.statements import Statements
from support.driver_cells import Cells, give_back_sigint


class NoJobs:
    """Stands where Spark stands in a driver: nothing to cancel."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []
        self.broken_calls = 0

    def enter(self, statement: int, code: str) -> None: ...

    def cancel(self, statement: int) -> None:
        self.cancelled.append(statement)

    def forget_broken_call(self) -> None:
        self.broken_calls += 1


class Session:
    """Statements run on the main thread by `run`; a story on another thread says what comes when."""

    def __init__(self, cells: Cells, folder: Path) -> None:
        self.messages: list[dict[str, Any]] = []
        self.again: list[int] = []
        self.jobs = NoJobs()
        self.cells = cells
        self.journal = Journal(str(folder / "journal.jsonl"))
        self.statements = Statements(
            self.journal, self._send, self._send_again, cells.interrupts, cells.streams, 10_000_000
        )

    def run(self, story: Callable[[], None]) -> None:
        failed: list[BaseException] = []

        def tell() -> None:
            try:
                story()
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
            finally:
                self.statements.stop()

        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        self.statements.run({"pyspark": self.cells.interpreter}, self.jobs)
        telling.join(10)
        if failed:
            raise failed[0]

    def submit(self, number: int, code: str) -> None:
        self.statements.submit(number, code, "pyspark")

    def cancel(self, number: int) -> None:
        self.statements.cancel(number)

    def wait(self, kind: str, number: int, seconds: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self.messages:
                if message["t"] == kind and message["statement"] == number:
                    return message
            time.sleep(0.002)
        raise AssertionError(f"no {kind} of {number}: {self.messages}")

    def _send(self, message: dict[str, Any]) -> None:
        json.loads(self.journal.append(message)[1])
        self.messages.append(message)

    def _send_again(self, number: int) -> bool:
        self.again.append(number)
        return True


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    before = signal.getsignal(signal.SIGINT)
    with Cells() as cells:
        yield Session(cells, tmp_path)
    give_back_sigint(before)


def cancel_after(session: Session, code: str, seconds: float = 0.1) -> dict[str, Any]:
    """Run the code, cancel it, and see that the session works on."""

    def story() -> None:
        session.submit(0, code)
        session.wait("begin", 0)
        time.sleep(seconds)
        session.cancel(0)
        session.wait("done", 0)
        session.submit(1, "1 + 1")
        assert session.wait("done", 1)["output"]["data"] == {"text/plain": "2"}

    session.run(story)
    return session.wait("done", 0)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import threading\nthreading.Lock().acquire() and threading.Event().wait(60)",
        "import subprocess\nsubprocess.run(['sleep', '60'])",
        "import socket\na, b = socket.socketpair()\na.recv(1)",
        "while True: print('x' * 100)",
        "def f():\n    try:\n        f()\n    except RecursionError:\n        f()\nf()",
        "import queue\nqueue.Queue().get()",
        "class Slow:\n    def __repr__(self):\n        while True: pass\nSlow()",
        "sum(i for i in iter(int, 1))",
        "import os\nwhile True: os.system('sleep 60')",
    ],
)
def test_cancel_stops_plain_python(session: Session, code: str) -> None:
    limit = sys.getrecursionlimit()
    done = cancel_after(session, code)
    assert done["status"] == "cancelled"
    assert done["output"]["ename"] == "KeyboardInterrupt"
    assert sys.getrecursionlimit() == limit


def test_a_cell_that_swallows_the_first_interrupts_is_struck_again(session: Session) -> None:
    code = (
        "import time\nswallowed = 0\nwhile True:\n    try:\n        while True: time.sleep(0.001)\n"
        "    except KeyboardInterrupt:\n        swallowed += 1\n        if swallowed > 3: raise"
    )
    assert cancel_after(session, code)["output"]["ename"] == "KeyboardInterrupt"


def test_a_cell_that_cleans_up_and_ends_well_is_cancelled_all_the_same(session: Session) -> None:
    done = cancel_after(
        session, "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('tidied')"
    )
    assert done["status"] == "cancelled"
    assert done["output"]["data"] == {"text/plain": "tidied"}


def test_a_handler_that_a_cell_installed_is_gone_with_the_next(session: Session) -> None:
    def story() -> None:
        session.submit(0, "import signal\nold = signal.signal(signal.SIGINT, signal.SIG_IGN)")
        session.submit(1, "while True: pass")
        session.wait("begin", 1)
        session.cancel(1)
        assert session.wait("done", 1)["output"]["ename"] == "KeyboardInterrupt"

    session.run(story)


def test_a_waiting_statement_is_cancelled_without_having_run(session: Session) -> None:
    def story() -> None:
        session.submit(0, "import time\ntime.sleep(0.3)\n'first'")
        session.submit(1, "1/0")
        session.submit(2, "'third'")
        session.wait("begin", 0)
        session.cancel(1)
        done = session.wait("done", 1)
        assert (done["status"], done["output"]) == ("cancelled", None)
        assert session.wait("done", 0)["output"]["data"] == {"text/plain": "'first'"}
        assert session.wait("done", 2)["output"]["data"] == {"text/plain": "'third'"}

    session.run(story)
    assert not [m for m in session.messages if m["t"] == "begin" and m["statement"] == 1]


def test_cancelling_what_is_over_or_unknown_does_nothing(session: Session) -> None:
    def story() -> None:
        session.submit(0, "1")
        session.wait("done", 0)
        session.cancel(0)
        session.cancel(7)
        session.submit(1, "import time\ntime.sleep(0.3)\n'untouched'")
        assert session.wait("done", 1)["output"]["data"] == {"text/plain": "'untouched'"}

    session.run(story)
    assert [m["status"] for m in session.messages if m["t"] == "done"] == ["ok", "ok"]


def test_a_foreign_sigint_hurts_nobody(session: Session) -> None:
    def story() -> None:
        session.submit(0, "import time\nfor n in range(30): time.sleep(0.01)\n'whole'")
        session.wait("begin", 0)
        for _ in range(20):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.01)
        assert session.wait("done", 0)["output"]["data"] == {"text/plain": "'whole'"}

    session.run(story)


def test_a_late_strike_never_reaches_the_next_statement(session: Session) -> None:
    """Cancel at the very moment of the end, hundreds of times: the neighbours are always whole."""

    def story() -> None:
        for number in range(0, 400, 2):
            session.submit(number, "for n in range(1000): pass")
            session.submit(number + 1, "total = 0\nfor n in range(2000): total += 1\ntotal")
            session.wait("begin", number)
            session.cancel(number)
            assert session.wait("done", number)["status"] in ("ok", "cancelled")
            after = session.wait("done", number + 1)
            assert (after["status"], after["output"]["data"]) == ("ok", {"text/plain": "2000"})

    session.run(story)


def test_a_cancel_in_the_moment_of_the_beginning_counts(session: Session) -> None:
    """Whenever it comes between the word that a statement begins and its first line, the statement is struck."""

    def story() -> None:
        for number in range(150):
            session.submit(number, "while True: pass")
            session.wait("begin", number)
            session.cancel(number)
            assert session.wait("done", number)["status"] == "cancelled"

    session.run(story)


def test_a_number_is_run_once(session: Session) -> None:
    def story() -> None:
        session.submit(0, "count = globals().get('count', 0) + 1\nimport time\ntime.sleep(0.2)\ncount")
        session.wait("begin", 0)
        session.submit(0, "count += 100")
        session.wait("done", 0)
        session.submit(0, "count += 100")
        session.submit(1, "count")
        assert session.wait("done", 1)["output"]["data"] == {"text/plain": "1"}

    session.run(story)
    assert session.again == [0]


def test_what_a_former_life_began_is_not_run_again(session: Session, tmp_path: Path) -> None:
    earlier = Journal(str(tmp_path / "earlier.jsonl"))
    earlier.append({"t": "begin", "statement": 0})
    session.journal = session.statements._journal = Journal(str(tmp_path / "earlier.jsonl"))

    def story() -> None:
        session.submit(0, "print('again')")
        assert session.wait("done", 0)["output"]["ename"] == "DriverRestarted"

    session.run(story)


def test_an_unknown_kind_is_an_error_that_names_the_known(session: Session) -> None:
    def story() -> None:
        session.statements.submit(0, "1+1", "sparkr")
        output = session.wait("done", 0)["output"]
        assert output["ename"] == "InterpreterError"
        assert "pyspark" in output["evalue"]

    session.run(story)


def test_a_strike_inside_our_own_code_waits_for_its_end() -> None:
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    try:
        interrupts.install()
        interrupts.begin(1)
        interrupts._struck = 1
        reached: list[str] = []

        def our_code() -> None:
            with interrupts.shielded():
                signal.raise_signal(signal.SIGINT)
                reached.append("the end of the stretch")

        with pytest.raises(KeyboardInterrupt):
            our_code()
        assert reached
    finally:
        interrupts.end()
        signal.signal(signal.SIGINT, before)
