"""Cells without Spark: every answer as a real Livy recorded it, and what Livy does badly done well."""

import pickle
import sys
from collections.abc import Iterator

import pytest

from support.driver_cells import Cells


@pytest.fixture
def cells() -> Iterator[Cells]:
    with Cells() as running:
        yield running


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1+1", "2"),
        ('print("hello")', "hello"),
        ('import sys\nprint("out")\nprint("err", file=sys.stderr)\n"tail"', "out\n'tail'\nerr"),
        ("x = 5", ""),
        ("", ""),
        ("   \n", ""),
        ("# nothing", ""),
        ('print("h\\u00e9llo \\u4e16\\u754c")', "héllo 世界"),
        ("None", ""),
        ("1\n2", "2"),
        ("for i in range(3):\n    i", "0\n1\n2"),
        ("print('a   \\n\\n')", "a"),
        ("x = 1\r\nx + 1\r\n", "2"),
        ("y = (7\n% 4)\ny", "3"),
    ],
)
def test_text_is_as_livy_answers(cells: Cells, code: str, text: str) -> None:
    assert cells.text(code) == text


@pytest.mark.parametrize(
    ("code", "ename", "evalue", "traceback"),
    [
        ("1/0", "ZeroDivisionError", "division by zero",
         ["Traceback (most recent call last):\n", "ZeroDivisionError: division by zero\n"]),
        ("def f():\n    return [][3]\nf()", "IndexError", "list index out of range",
         ["Traceback (most recent call last):\n", '  File "<stdin>", line 2, in f\n',
          "IndexError: list index out of range\n"]),
        ('try:\n    1/0\nexcept Exception as e:\n    raise ValueError("bad") from e', "ValueError", "bad",
         ["Traceback (most recent call last):\n", "ValueError: bad\n"]),
        ("def (", "SyntaxError", "invalid syntax (<stdin>, line 1)",
         ['  File "<stdin>", line 1\n', "    def (\n", "        ^\n", "SyntaxError: invalid syntax\n"]),
        ("nosuchname", "NameError", "name 'nosuchname' is not defined",
         ["Traceback (most recent call last):\n", "NameError: name 'nosuchname' is not defined\n"]),
        ("raise SystemExit(3)", "SystemExit", "3", ["Traceback (most recent call last):\n", "SystemExit: 3\n"]),
        ('input("? ")', "EOFError", "EOF when reading a line",
         ["Traceback (most recent call last):\n", "EOFError: EOF when reading a line\n"]),
        ("%nosuch x", "UnknownMagic", "unknown magic command 'nosuch'",
         ["UnknownMagic: unknown magic command 'nosuch'\n"]),
        ("%", "UnknownMagic", "magic command not specified", ["UnknownMagic: magic command not specified\n"]),
    ],
)  # fmt: skip
def test_errors_are_as_livy_answers(cells: Cells, code: str, ename: str, evalue: str, traceback: list[str]) -> None:
    output = cells.run(code)
    assert (output["status"], output["ename"], output["evalue"]) == ("error", ename, evalue)
    assert output["traceback"] == traceback


def test_the_trace_points_into_the_cell_and_names_the_cause(cells: Cells) -> None:
    cells.run("def broken(n):\n    return 1 / n")
    trace = cells.run(
        "a = 1\n\ntry:\n    broken(0)\nexcept ZeroDivisionError as error:\n    raise ValueError('no') from error"
    )["trace"]
    assert trace["line"] == 6
    assert [(frame["file"], frame["line"]) for frame in trace["frames"]] == [("<cell 1>", 6)]
    assert "return 1 / n" in trace["full"]
    assert 'File "<cell 0>", line 2, in broken' in trace["full"]
    assert "direct cause" in trace["full"]
    assert "sparkyard" not in trace["full"]


@pytest.mark.timeout(60)
def test_a_recursion_that_fails_at_every_level_is_told_in_no_time(cells: Cells) -> None:
    deeper = "def f(n):\n    try:\n        f(n + 1)\n"
    code = deeper + "    except RecursionError as error:\n        raise RecursionError(n)\nf(0)"
    output = cells.run(code)
    assert (output["ename"], output["evalue"]) == ("RecursionError", "0")
    assert output["trace"]["full"].count("another exception occurred") <= 6


def test_a_very_deep_traceback_keeps_both_ends(cells: Cells) -> None:
    cells.run("import sys\nsys.setrecursionlimit(6000)\ndef f(n):\n    return 1 / 0 if n == 5000 else f(n + 1)")
    try:
        output = cells.run("a = 1\nf(0)")
    finally:
        sys.setrecursionlimit(1000)
    assert output["ename"] == "ZeroDivisionError"
    assert output["trace"]["frames"][0]["text"] == "f(0)"
    assert "return 1 / 0" in output["trace"]["frames"][-1]["text"]
    assert len("".join(output["traceback"])) < 50_000


def test_the_exception_that_a_cell_keeps_is_not_changed_by_telling_it(cells: Cells) -> None:
    cells.run(
        "try:\n    1/0\nexcept Exception as e:\n    kept = ValueError('x')\n    kept.__cause__ = e\n    raise kept"
    )
    assert cells.text("type(kept.__cause__).__name__, kept.__suppress_context__") == "('ZeroDivisionError', True)"


def test_a_syntax_error_tells_its_line(cells: Cells) -> None:
    assert cells.run("a = 1\nb = = 2")["trace"]["line"] == 2


def test_line_numbers_below_a_magic_line_are_those_of_the_cell(cells: Cells) -> None:
    assert cells.run("j = 1\n%json j\n\n1/0")["trace"]["line"] == 4


def test_what_was_printed_before_an_error_is_not_lost(cells: Cells) -> None:
    assert cells.run("print('so far')\n1/0")["data"] == {"text/plain": "so far"}


def test_names_last_from_cell_to_cell_and_underscore_is_the_last_value(cells: Cells) -> None:
    cells.run("a = 20")
    cells.run("a + 1")
    assert cells.text("_ + a") == "41"


def test_future_imports_last_and_ours_are_not_the_users(cells: Cells) -> None:
    assert cells.text("def f(x: int): pass\nf.__annotations__") == "{'x': <class 'int'>}"
    cells.run("from __future__ import annotations")
    assert cells.text("def f(x: int): pass\nf.__annotations__") == "{'x': 'int'}"


def test_cells_are_main_and_their_classes_can_be_pickled(cells: Cells) -> None:
    assert cells.text("__name__") == "'__main__'"
    cells.run("import pickle\nclass Point:\n    def __init__(self): self.x = 4")
    assert cells.text("pickle.loads(pickle.dumps(Point())).x") == "4"
    assert pickle.loads(pickle.dumps(sys.modules["__main__"].Point())).x == 4


def test_source_of_a_cell_can_be_inspected(cells: Cells) -> None:
    cells.run("def f():\n    return 'here'")
    assert "return 'here'" in cells.text("import inspect\nprint(inspect.getsource(f))")


@pytest.mark.parametrize("code", ["exit()", "quit(2)", "import sys; sys.exit('bye')"])
def test_leaving_python_leaves_the_cell_only(cells: Cells, code: str) -> None:
    assert cells.run(code)["ename"] == "SystemExit"
    assert cells.text("1+1") == "2"
    assert cells.run("input()")["ename"] == "EOFError"


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("def f(): return f()\nf()", "RecursionError"),
        ("a\x00b", "ValueError" if sys.version_info < (3, 12) else "SyntaxError"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("(" * 500, "SyntaxError"),
        ("class Sly(Exception):\n    def __str__(self): raise RuntimeError('no')\nraise Sly", "Sly"),
        ("class Shy:\n    def __repr__(self): return 1 / 0\nShy()", "ZeroDivisionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('deep')", "BaseException"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_the_driver_outlives(cells: Cells, code: str, ename: str) -> None:
    output = cells.run(code)
    assert output["ename"] == ename
    assert isinstance(output["evalue"], str)
    assert cells.text("1+1") == "2"


def test_stdout_that_a_cell_closed_or_replaced_is_there_again(cells: Cells) -> None:
    cells.run("import sys, io\nsys.stdout.close()")
    assert cells.text("print('still')") == "still"
    cells.run("import sys, io\nsys.stdout = io.StringIO(); sys.stderr = None")
    assert cells.text("print('again')") == "again"


def test_a_redirected_echo_goes_where_the_cell_wants_it(cells: Cells) -> None:
    cells.run("import io, contextlib\nkept = io.StringIO()")
    assert cells.text("with contextlib.redirect_stdout(kept):\n    print('in')\nkept.getvalue()") == "'in\\n'"


class TestMagics:
    def test_json(self, cells: Cells) -> None:
        data = cells.data('j = {"a": 1, "b": [1,2,3]}\n%json j')
        assert data == {"application/json": {"a": 1, "b": [1, 2, 3]}}

    def test_text_before_a_magic_stays(self, cells: Cells) -> None:
        data = cells.data('j = 1\nprint("before magic")\n%json j')
        assert data == {"application/json": 1, "text/plain": "before magic"}

    def test_json_of_an_unknown_name_is_an_error_and_not_livys_ok(self, cells: Cells) -> None:
        output = cells.run("%json nosuch")
        assert (output["status"], output["ename"], output["evalue"]) == ("error", "KeyError", "'nosuch'")
        assert output["traceback"] == ["KeyError: 'nosuch'\n"]

    def test_json_of_what_json_cannot_say_is_an_error(self, cells: Cells) -> None:
        assert cells.run("j = {1, 2}\n%json j")["ename"] == "TypeError"

    def test_json_is_a_picture_of_the_moment(self, cells: Cells) -> None:
        data = cells.data("j = [1]\n%json j\nj.append(2)\n%json j")
        assert data["application/json"] == [1, 2]

    def test_table_of_tuples(self, cells: Cells) -> None:
        table = cells.data('t = [(1,"a"),(2,"b")]\n%table t')["application/vnd.livy.table.v1+json"]
        assert table["headers"] == [{"name": "0", "type": "INT_TYPE"}, {"name": "1", "type": "STRING_TYPE"}]
        assert table["data"] == [[1, "a"], [2, "b"]]

    def test_table_of_mixed_rows_is_text_and_kills_nobody(self, cells: Cells) -> None:
        table = cells.data('bad = [(1,),("a",),(None,)]\n%table bad')["application/vnd.livy.table.v1+json"]
        assert table == {"headers": [{"name": "0", "type": "STRING_TYPE"}], "data": [["1"], ["a"], [None]]}

    def test_table_of_dicts_with_holes_keeps_its_columns(self, cells: Cells) -> None:
        table = cells.data('t = [{"b": 2.5}, {"a": 1, "b": 1}]\n%table t')["application/vnd.livy.table.v1+json"]
        assert [header["type"] for header in table["headers"]] == ["INT_TYPE", "DOUBLE_TYPE"]
        assert table["data"] == [[None, 2.5], [1, 1]]

    def test_table_types(self, cells: Cells) -> None:
        code = (
            "import datetime, decimal\n"
            "day, moment = datetime.date(2020,1,2), datetime.datetime(2020,1,2,3)\n"
            "t = [(None, True, 1.5, day, moment, decimal.Decimal('1.50'), [1], {'k': 2}, float('nan'))]\n"
            "%table t"
        )
        table = cells.data(code)["application/vnd.livy.table.v1+json"]
        assert [header["type"].replace("_TYPE", "") for header in table["headers"]] == [
            "NULL", "BOOLEAN", "DOUBLE", "DATE", "TIMESTAMP", "DECIMAL", "ARRAY", "MAP", "DOUBLE",
        ]  # fmt: skip
        assert table["data"] == [[None, True, 1.5, "2020-01-02", "2020-01-02 03:00:00", "1.50", [1], {"k": 2}, None]]

    @pytest.mark.parametrize("value", ["[]", "5", "'abc'", "[[], []]"])
    def test_table_of_odd_things(self, cells: Cells, value: str) -> None:
        assert "application/vnd.livy.table.v1+json" in cells.data(f"t = {value}\n%table t")

    def test_a_magic_line_in_a_string_is_a_string(self, cells: Cells) -> None:
        assert cells.text('s = """\n%json x\n"""\nlen(s)') == "9"


class TestRichOutput:
    def test_html_comes_beside_the_text(self, cells: Cells) -> None:
        code = "class T:\n    def __repr__(self): return 'T!'\n    def _repr_html_(self): return '<b>T</b>'\nT()"
        assert cells.data(code) == {"text/html": "<b>T</b>", "text/plain": "T!"}

    def test_the_text_of_a_value_with_a_richer_form_is_marked(self, cells: Cells) -> None:
        code = "class T:\n    def __repr__(self): return 'T!'\n    def _repr_html_(self): return '<b>T</b>'\n"
        output = cells.run(code + "print('x')\nT()")
        assert output["data"]["text/plain"] == "x\nT!"
        assert output["echo"] == "T!"
        assert "echo" not in cells.run("print('x')\n'plain'")

    def test_a_picture_is_base64(self, cells: Cells) -> None:
        code = "class P:\n    def _repr_png_(self): return b'\\x89PNG'\n    def __repr__(self): return 'P'\nP()"
        assert cells.data(code)["image/png"] == "iVBORw=="

    def test_a_class_is_no_instance_of_itself(self, cells: Cells) -> None:
        assert cells.text("class P:\n    def _repr_html_(self): return 'x'\nP") == "<class '__main__.P'>"

    def test_none_is_no_html(self, cells: Cells) -> None:
        assert (
            cells.text("class P:\n    def _repr_html_(self): return None\n    def __repr__(self): return 'P'\nP()")
            == "P"
        )

    def test_display_shows_several_things_in_order(self, cells: Cells) -> None:
        code = (
            "class H:\n    def __init__(self, t): self.t = t\n    def _repr_html_(self): return self.t\n"
            "display(H('<i>1</i>'), 'plain')\ndisplay(H('<i>2</i>'))"
        )
        data = cells.data(code)
        assert data["text/html"] == "<div><i>1</i></div>\n<div><i>2</i></div>"
        assert data["text/plain"] == "plain"

    def test_a_pandas_frame_is_a_table_and_its_text(self, cells: Cells) -> None:
        data = cells.data('import pandas as pd\npd.DataFrame({"a":[1,2]})')
        assert data["text/plain"] == "   a\n0  1\n1  2"
        assert "<table" in data["text/html"]

    def test_an_error_in_a_rich_form_is_the_cells_error(self, cells: Cells) -> None:
        assert cells.run("class P:\n    def _repr_html_(self): return 1/0\nP()")["ename"] == "ZeroDivisionError"


class TestFigures:
    @pytest.fixture(autouse=True)
    def _agg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MPLBACKEND", "Agg")

    def test_a_figure_left_open_is_shown_once(self, cells: Cells) -> None:
        data = cells.data("import matplotlib.pyplot as plt\nlines = plt.plot([1,2,3])")
        assert data["image/png"].startswith("iVBOR")
        assert cells.data("1") == {"text/plain": "1"}

    def test_two_figures_are_two_pictures(self, cells: Cells) -> None:
        data = cells.data("import matplotlib.pyplot as plt\n_ = plt.plot([1]); _ = plt.figure(); _ = plt.plot([2])")
        assert data["text/html"].count("data:image/png;base64,") == 2

    def test_matplot_shows_the_current_figure_and_nothing_twice(self, cells: Cells) -> None:
        code = "import matplotlib.pyplot as plt\nplt.figure(figsize=(1,1)); plt.plot([1,2,3])\n%matplot plt"
        data = cells.data(code)
        assert set(data) == {"image/png", "text/plain"}
        assert data["text/plain"].startswith("[<matplotlib.lines.Line2D")

    def test_matplot_in_the_next_cell_shows_the_same_figure(self, cells: Cells) -> None:
        shown = cells.data("import matplotlib.pyplot as plt\nlines = plt.plot([1,2,3])")["image/png"]
        assert cells.data("%matplot plt")["image/png"] == shown

    def test_an_empty_figure_is_not_shown(self, cells: Cells) -> None:
        assert cells.data("import matplotlib.pyplot as plt\nf = plt.figure()") == {"text/plain": ""}

    def test_a_figure_of_a_failed_cell_does_not_leak_into_the_next(self, cells: Cells) -> None:
        cells.run("import matplotlib.pyplot as plt\nlines = plt.plot([1])\n1/0")
        assert cells.data("2") == {"text/plain": "2"}
