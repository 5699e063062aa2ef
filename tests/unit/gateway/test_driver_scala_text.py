"""Scala without a JVM: how a cell is cut into chunks, and how errors are told with the lines of the cell."""

import pytest

from sparkyard_gateway.driver.scala_chunks import Chunk, Incomplete, Tops, Unparsable, chunks
from sparkyard_gateway.driver.scala_errors import Place, compile_error, newest, runtime_error, thrown, wrapped
from sparkyard_gateway.driver.scala_magics import run_magic, table


def parse(code: str) -> Tops:
    """A parser for cells in which every line is one tree, told by its first word, and `{` stands alone in a line."""
    kinds = {"case": "ClassDef", "class": "ClassDef", "object": "ModuleDef", "def": "DefDef", "val": "ValDef"}
    tops: Tops = []
    place, depth = 0, 0
    for line in code.split("\n"):
        for part in line.split(";"):
            word = part.split("//")[0].strip().partition(" ")[0]
            if word == "oops":
                raise Unparsable("<console>:1: error: illegal start\n")
            if word.startswith("."):
                if not tops:
                    raise Unparsable("<console>:1: error: illegal start\n")
            elif word and not depth:
                tops.append((kinds.get(word, "Apply"), place + 1))
            depth += part.count("{") - part.count("}")
            place += len(part) + 1
    if depth:
        raise Incomplete
    return tops


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("val a = 1\nval b = 2\na + b", [(0, "val a = 1\nval b = 2\na + b")]),
        ("", []),
        ("\n\n// a comment\n", []),
        ("\n\nval a = 1", [(2, "val a = 1")]),
        ("case P\nobject P\nval d", [(0, "case P\nobject P"), (2, "val d")]),
        ("case P; val d", [(0, "case P;"), (0, " val d")]),
        ("case P\ndef f\n\nval d\n  .map\nd", [(0, "case P\ndef f\n"), (3, "val d\n  .map\nd")]),
        ("case P\nfirst\ncase Q\nsecond", [(0, "case P"), (1, "first\ncase Q"), (3, "second")]),
        ("val a\ncase P\nobject P", [(0, "val a\ncase P\nobject P")]),
        ("val m\n%json m", [(0, "val m"), (1, "%json m")]),
        ("%json a\n%table b\nval c", [(0, "%json a"), (1, "%table b"), (2, "val c")]),
        ("val s {\n%json s\n}", [(0, "val s {\n%json s\n}")]),
    ],
)
def test_a_cell_is_cut_only_where_it_must_be(cell: str, expected: list[tuple[int, str]]) -> None:
    assert [(chunk.first, chunk.code) for chunk in chunks(cell, parse)] == expected


def test_magics_are_told_from_code() -> None:
    assert chunks("val m\n%json m", parse)[1] == Chunk(1, "%json m", magic=True)


def test_a_cell_that_is_not_whole_runs_nothing() -> None:
    with pytest.raises(Incomplete):
        chunks("val a\n%json a\ndef f {", parse)
    with pytest.raises(Unparsable) as caught:
        chunks("val a\n%json a\nval b\noops", parse)
    assert caught.value.first == 2


@pytest.mark.parametrize(
    ("code", "computed", "reported", "line"),
    [
        ("val a = 1\nval b = 2", "val a = 1\nval b = 2", 11, 1),
        ("val a = 1\nval b = 2", "val a = 1\nval b = 2", 12, 2),
        ("1 + x", "val res0 =\n1 + x", 12, 1),
        ("val a = 1\na + x\n  .y", "val a = 1\n;\nval res0 =\na + x\n  .y", 14, 2),
        ("val a = 1\na + x\n  .y", "val a = 1\n;\nval res0 =\na + x\n  .y", 15, 3),
        ("f(1); g(2)", "f(1);;\nval res0 =\n g(2)", 13, 1),
    ],
)
def test_lines_of_what_scala_2_12_compiles_are_lines_of_the_cell(
    code: str, computed: str, reported: int, line: int
) -> None:
    preamble = "\n" * 8 + computed  # and two lines of the package, which are in front of all
    assert wrapped(0, 0, code, computed, preamble).line(reported) == line
    assert wrapped(0, 5, code, computed, preamble).line(reported) == line + 5


IN_2_12 = (
    "<console>:24: error: type mismatch;\n found   : Int(5)\n required: String\n"
    "       val s: String = 5\n                       ^\n"
)
IN_2_13 = (
    "       val s: String = 5\n                       ^\nOn line 3: error: type mismatch;\n"
    "        found   : Int(5)\n        required: String\n"
)
IN_2_13_ALONE = (
    "                       ^\n       error: type mismatch;\n        found   : Int(5)\n        required: String\n"
)


@pytest.mark.parametrize(
    ("said", "place", "cell", "line"),
    [
        (IN_2_12, Place(0, 0, 21), "val z = 1\n\nval s: String = 5", 3),
        (IN_2_13, Place(0), "val z = 1\n\nval s: String = 5", 3),
        (IN_2_13_ALONE, Place(0), "val s: String = 5", 1),
        (IN_2_13_ALONE, Place(0, 4), "\n\n\n\nval s: String = 5", 5),
    ],
)
def test_both_scalas_tell_an_error_of_compilation_alike(said: str, place: Place, cell: str, line: int) -> None:
    error = compile_error(said, place, cell)
    assert error["ename"] == "Error"
    assert error["evalue"] == f"<console>:{line}: error: type mismatch;"
    assert error["traceback"] == [
        " found   : Int(5)\n", " required: String\n", "       val s: String = 5\n", "                       ^\n",
    ]  # fmt: skip
    assert error["trace"]["line"] == line


def test_warnings_before_an_error_are_not_its_words() -> None:
    said = "      ^\n       warning: dull\n        still dull\n"
    said += "       x.y\n         ^\nOn line 2: error: no y\n        no\n"
    assert compile_error(said, Place(0), "dull\nx.y")["traceback"] == [" no\n", "       x.y\n", "         ^\n"]
    said = "<console>:22: warning: dull\n<console>:23: error: no y\n"
    assert compile_error(said, Place(0, 0, 21), "dull\nx.y")["evalue"] == "<console>:2: error: no y"


def test_an_error_without_a_word_still_says_something() -> None:
    assert compile_error("", Place(3), "x")["evalue"] == "<console>:1: error: the code cannot be compiled"


def frames(*each: str) -> str:
    return "".join("F\x01" + frame.replace(" ", "\x01") + "\x02" for frame in each)


TOLD = (
    "E\x01org.apache.spark.SparkException: aborted: ArithmeticException\n"
    "\tat $line9.$read$$iw.$anonfun$f$1(<console>:24)\n\x02"
    + frames(
        "org.apache.spark.Dag run Dag.scala 10",
        "$line7.$read$$iw$$iw g <console> 24",
        "$line9.$read$$iw$$iw <init> <console> 25",
        "$line9.$read$$iw <init> <console> 31",
        "$line9.$read$ <clinit> <console> 33",
        "$line9.$eval$ print <console> 6",
    )
    + "E\x01java.lang.ArithmeticException: / by zero\x02"
    + frames("$line9.$read$$iw $anonfun$f$1 <console> 24", "java.lang.Thread run Thread.java 840")
)


def test_an_exception_is_told_with_its_root_and_the_lines_of_the_cells() -> None:
    places = {"$line7": Place(2, 0, 22), "$line9": Place(3, 0, 22)}
    chain = thrown(TOLD)
    assert newest(chain) == "$line9"
    error = runtime_error(chain, places.get, 3)
    assert error["evalue"] == "org.apache.spark.SparkException: aborted: ArithmeticException"
    assert error["traceback"][:4] == [
        "\tat $anonfun$f$1(<cell 3>:2)\n",
        "\n",
        "  at org.apache.spark.Dag.run(Dag.scala:10)\n",
        "  at g(<cell 2>:2)\n",
    ]
    assert "  ... 4 elided\n" in error["traceback"]
    assert "Caused by: java.lang.ArithmeticException: / by zero\n" in error["traceback"]
    trace = error["trace"]
    assert trace["root"] == "java.lang.ArithmeticException: / by zero"
    assert trace["full"].startswith("Root cause: java.lang.ArithmeticException: / by zero\n\n")
    assert trace["line"] == 3
    assert [(frame["file"], frame["line"]) for frame in trace["frames"]] == [
        ("<cell 2>", 2), ("<cell 3>", 3), ("<cell 3>", 2),
    ]  # fmt: skip


def test_magics_are_worded_as_livy_words_them_in_scala() -> None:
    values = {"m": '{"a":1}', "t": '[[1,"a"],[2,"b"]]', "n": "[1.5,NaN]"}
    assert run_magic("json", "m", values.get).data == {"application/json": {"a": 1}}
    assert run_magic("json", "n", values.get).data == {"application/json": [1.5, None]}
    assert run_magic("table", "t", values.get).data == {
        "application/vnd.livy.table.v1+json": {
            "headers": [{"type": "BIGINT_TYPE", "name": "0"}, {"type": "STRING_TYPE", "name": "1"}],
            "data": [[1, "a"], [2, "b"]],
        }
    }
    assert run_magic("json", "nosuch", values.get).error == {
        "ename": "NameError", "evalue": "Value nosuch does not exist", "traceback": [],
    }  # fmt: skip
    assert run_magic("matplot", "m", values.get).error == {
        "ename": "UnknownMagic", "evalue": "Unknown magic command matplot", "traceback": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "types", "data"),
    [
        ([[1], ["a"]], ["STRING_TYPE"], [["1"], ["a"]]),
        ([[1], [2.5]], ["DOUBLE_TYPE"], [[1], [2.5]]),
        ([[True], [None]], ["BOOLEAN_TYPE"], [[True], [None]]),
        ([{"a": 1}, {"b": [2]}], ["BIGINT_TYPE", "ARRAY_TYPE"], [[1, None], [None, [2]]]),
        ([{"a": {"x": 1}}], ["MAP_TYPE"], [[{"x": 1}]]),
        (7, ["BIGINT_TYPE"], [[7]]),
        ([], [], []),
        ([[None]], ["NULL_TYPE"], [[None]]),
    ],
)
def test_rows_of_any_types_make_a_table(value: object, types: list[str], data: list[list[object]]) -> None:
    made = table(value)
    assert [head["type"] for head in made["headers"]] == types
    assert made["data"] == data
