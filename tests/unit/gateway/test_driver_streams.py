import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from sparkyard_gateway.driver.streams import Pile
from support.driver_cells import Cells


@pytest.fixture
def cells() -> Iterator[Cells]:
    with Cells() as running:
        yield running


def test_a_pile_keeps_all_up_to_its_limit() -> None:
    pile = Pile(10)
    pile.add("12345")
    pile.add("67890")
    assert (pile.text(), pile.cut) == ("1234567890", False)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_pile_keeps_the_beginning_and_the_end(size: int) -> None:
    whole = "".join(chr(ord("a") + n % 26) for n in range(5000))
    pile = Pile(100)
    for start in range(0, len(whole), size):
        pile.add(whole[start : start + size])
    text = pile.text()
    assert pile.cut
    assert pile.total == 5000
    assert text.startswith(whole[:50] + "\n[... 4,900 characters left out ...]\n")
    assert text.endswith(whole[-50:])


def test_a_hundred_megabytes_cost_little_and_are_spoken_of() -> None:
    with Cells(output_limit=10_000) as cells:
        text = cells.text("line = 'x' * 999_999\nfor _ in range(100): print(line)\nprint('the end')")
        assert len(text) < 11_000
        assert text.endswith("the end")
        assert cells.replies[0].truncated == [
            "The statement printed 100,000,008 characters to stdout; the first and the last 5,000 are here."
        ]
        assert len(cells.streamed()) < 11_000
        assert cells.run("1")["data"]["text/plain"] == "1"


def test_output_is_streamed_while_the_cell_runs(cells: Cells) -> None:
    cells.run("import time\nfor n in range(4):\n    print(n)\n    time.sleep(0.1)\nprint('end', end='')")
    assert cells.streamed() == "0\n1\n2\n3\nend"
    assert len(cells.sent) >= 3
    assert [offset for _, offset, _ in cells.sent] == sorted({offset for _, offset, _ in cells.sent})


def test_a_quick_cell_streams_nothing_as_its_answer_has_it(cells: Cells) -> None:
    cells.run("print('quick')")
    cells.run("1 + 1")
    assert cells.sent == []


def test_many_small_writes_become_few_chunks(cells: Cells) -> None:
    cells.run("import time\nend = time.time() + 0.5\nn = 0\nwhile time.time() < end:\n    print(n); n += 1")
    assert len(cells.sent) <= 14
    lines = cells.streamed().split()
    assert lines == [str(n) for n in range(len(lines))]


def test_a_chunk_that_could_not_be_sent_is_sent_later(cells: Cells) -> None:
    line_is_up = threading.Event()
    sent: list[str] = []

    def send(_statement: int, offset: int, text: str) -> bool:
        if line_is_up.is_set():
            assert offset == len("".join(sent))
            sent.append(text)
        return line_is_up.is_set()

    cells.streams._send = send
    threading.Timer(0.3, line_is_up.set).start()
    cells.run("import time\nprint('one')\ntime.sleep(0.2)\nprint('two')\ntime.sleep(0.4)")
    assert "".join(sent) == "one\ntwo\n"


def test_a_thread_of_the_cell_prints_into_it_and_later_into_the_log(
    cells: Cells, capfd: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import threading, time\nproceed = threading.Event()\n"
        "def talk():\n    print('during')\n    proceed.wait()\n    print('after')\n"
        "t = threading.Thread(target=talk); t.start(); time.sleep(0.05)"
    )
    assert cells.text(code) == "during"
    assert cells.text("proceed.set(); t.join(); print('mine')") == "mine"
    assert capfd.readouterr().out == "after\n"


def test_a_thread_that_prints_between_cells_writes_to_the_log(cells: Cells, capfd: pytest.CaptureFixture[str]) -> None:
    cells.run("import threading, time\nt = threading.Timer(0.1, lambda: print('late')); t.start()")
    time.sleep(0.3)
    assert capfd.readouterr().out == "late\n"
    assert cells.text("print('next')") == "next"


def test_children_write_to_the_log(cells: Cells, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import subprocess, sys, os\np = subprocess.run(['echo', 'child'], stdout=sys.stdout)\nprint('cell')"
    assert cells.text(code) == "cell"
    assert cells.text("import os\nos.system('echo shell >&2')") == "0"
    caught = capfd.readouterr()
    assert (caught.out, caught.err) == ("child\n", "shell\n")


def test_a_forked_child_writes_to_the_log_and_not_into_the_cell() -> None:
    program = (
        "import os, sys\nsys.path.insert(0, 'tests')\n"
        "from support.driver_cells import Cells\n"
        "with Cells() as cells:\n"
        "    os.register_at_fork(after_in_child=cells.streams.in_child)\n"
        '    output = cells.run(\'import os\\nchild = os.fork()\\nif not child:\\n    print("from the child")\\n'
        '    os._exit(0)\\nos.waitpid(child, 0)\\nprint("from the parent")\')\n'
        "    os.write(1, repr(output['data']).encode())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "from the child\n{'text/plain': 'from the parent'}"


def test_a_finalizer_that_prints_while_we_take_in_text_does_not_lock_us_up(cells: Cells) -> None:
    code = (
        "import gc\nclass Talks:\n    def __del__(self): print('.', end='')\n"
        "gc.set_threshold(1)\ntry:\n    for n in range(2000):\n        a = Talks(); a.me = a; print('x' * 10)\n"
        "finally:\n    gc.set_threshold(700, 10, 10); n = gc.collect()"
    )
    assert cells.text(code).count("x") == 20_000


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import sys\nn = sys.stdout.buffer.write('é'.encode())", "é"),
        ("import sys\nn = sys.stdout.buffer.write(b'\\xff!')", "\\xff!"),
        ("import sys\nn = sys.stdout.write('a'); sys.stdout.writelines(['b', 'c']); sys.stdout.flush()", "abc"),
        ("import sys\nprint(sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.fileno())", "False utf-8 1"),
        ("print('nul\\x00 tab\\t')", "nul\x00 tab"),
        ("import sys\nsys.stdout.reconfigure(encoding='latin-1')\nprint('ö')", "ö"),
    ],
)
def test_stdout_does_what_a_file_does(cells: Cells, code: str, text: str) -> None:
    assert cells.text(code) == text


def test_print_of_no_text_is_an_error(cells: Cells) -> None:
    assert cells.run("import sys\nsys.stdout.write(b'x')")["ename"] == "TypeError"


def test_a_lone_surrogate_does_not_end_the_cell(cells: Cells) -> None:
    assert cells.text("print('\\ud800')") == "\ud800"


def test_a_closed_descriptor_loses_log_lines_only(cells: Cells) -> None:
    kept = os.dup(1)
    try:
        os.close(1)
        cells.streams.write("nobody hears this", 1)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert cells.text("print('fine')") == "fine"
