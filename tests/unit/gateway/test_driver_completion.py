"""Completion without Spark: what is offered, and that nothing of the user's is run."""

import threading
from typing import Any

import pytest

from sparkyard_gateway.driver.completion import Completion, Found, Match
from sparkyard_gateway.driver.python_completion import PythonCompleter
from sparkyard_gateway.driver.sql_completion import SqlCompleter


class Trap:
    """Whoever touches one of these has run code of the user's."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    @property
    def prop(self) -> "Other":
        self.touched.append("prop")
        raise SystemExit

    def method(self) -> "Other":
        self.touched.append("method")
        raise SystemExit

    def __getattr__(self, name: str) -> Any:
        self.__dict__["touched"].append(name)
        raise AttributeError(name)

    def __dir__(self) -> list[str]:
        self.touched.append("dir")
        return []


class Other:
    """What a trap promises."""

    height = 1

    def again(self) -> "Other":
        return self


def no_sql(_code: str, cursor: int) -> Found:
    return Found(cursor, cursor, [Match("SQL", "keyword")])


def texts(names: dict[str, Any], code: str, cursor: int | None = None) -> list[str]:
    found = PythonCompleter(names, no_sql)(code, len(code) if cursor is None else cursor)
    return [match.text for match in found.matches]


def test_names_of_the_session_the_cell_and_python() -> None:
    names = {"counter": 1, "_hidden": 2}
    assert texts(names, "cou") == ["counter"]
    assert texts(names, "def county(): pass\ncou") == ["counter", "county"]
    assert texts(names, "whi") == ["while"]
    assert texts(names, "enumer") == ["enumerate"]
    assert "_hidden" not in texts(names, "")
    assert texts(names, "_hid") == ["_hidden"]


def test_the_place_of_the_word_is_told() -> None:
    found = PythonCompleter({"spark": 1}, no_sql)("x = spa + 1", 7)
    assert (found.start, found.end, [match.text for match in found.matches]) == (4, 7, ["spark"])


def test_attributes_are_looked_at_and_never_asked_for() -> None:
    trap = Trap()
    names = {"trap": trap}
    assert texts(names, "trap.") == ["method", "prop", "touched"]
    assert texts(names, "trap.prop.he") == ["height"]
    assert texts(names, "trap.method().again().a") == ["again"]
    assert texts(names, "trap.nothing.x") == []
    assert trap.touched == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("'abc'.upp", ["upper"]),
        ("f'{1}'.upp", ["upper"]),
        ("[1].app", ["append"]),
        ("{'a': 1}.ite", ["items"]),
        ("x = {}\nx.ite", ["items"]),
        ("import os\nos.pathc", ["pathconf", "pathconf_names"]),
        ("import os.path as p\np.dirn", ["dirname"]),
        ("from collections import OrderedDict as O\nO().move", ["move_to_end"]),
        ("(names\n   .ke", ["keys"]),
        ("names['k'].upp", ["upper"]),
        ("print(names.ke", ["keys"]),
        ("y = 5 if names.ke", ["keys"]),
        ("dict(a=1).ite", ["items"]),
        ("unknown.x", []),
        ("1 +* .x", []),
        ("names.", None),
        ("# names.", None),
    ],
)
def test_expressions(code: str, expected: list[str] | None) -> None:
    offered = texts({"names": {"k": "v"}}, code)
    if expected is not None:
        assert offered == expected


def test_keys_and_columns_inside_quotes() -> None:
    pandas = pytest.importorskip("pandas")
    names = {"prices": {"apple": 1, "pear": 2, 3: 4}, "frame": pandas.DataFrame({"length": [1], "two words": [2]})}
    assert texts(names, "prices['") == ["apple", "pear"]
    assert texts(names, 'prices["ap') == ["apple"]
    assert texts(names, "frame['") == ["length", "two words"]
    assert texts(names, "frame.groupby('le") == ["length"]
    assert texts(names, "frame.le")[0] == "length"
    assert texts(names, "x = 'closed' + pri") == ["prices", "print"]


def test_a_dict_of_the_users_own_class_is_not_asked() -> None:
    class Sly(dict[str, int]):
        def __iter__(self) -> Any:
            raise SystemExit

    assert texts({"sly": Sly(a=1)}, "sly['") == []


def test_sql_inside_a_call_of_sql() -> None:
    found = PythonCompleter({}, no_sql)('spark.sql("""select ', 20)
    assert [match.text for match in found.matches] == ["SQL"]
    assert (found.start, found.end) == (20, 20)


def test_imports() -> None:
    assert "json" in texts({}, "import js")
    assert "path" in texts({}, "from os import pa")
    assert texts({}, "from no_such_module import x") == []


class Session:
    """Stands for a SparkSession whose metastore is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def sql(self, text: str) -> Any:
        self.asked.append(text)
        rows = [{"tableName": "flights"}, {"tableName": "planes"}]
        return type("Frame", (), {"collect": lambda _self: rows})()

    def table(self, name: str) -> Any:
        self.asked.append(name)
        if name != "flights":
            raise ValueError(name)
        return type("Frame", (), {"columns": ["origin", "dest"]})()


def test_sql_offers_tables_columns_and_keywords() -> None:
    session = Session()
    complete = SqlCompleter(lambda: session)

    def offered(code: str, cursor: int | None = None) -> list[str]:
        return [match.text for match in complete(code, len(code) if cursor is None else cursor).matches]

    assert offered("select * from fl") == ["flights"]
    assert offered("select f.or from flights f", 11) == ["origin"]
    assert offered("select de from flights", 9)[0] == "dest"
    assert offered("SEL") == ["SELECT"]
    assert session.asked.count("show tables") == 1, "what the metastore said is remembered for a while"


def test_an_answer_comes_in_time_or_empty() -> None:
    answers: list[dict[str, Any]] = []
    arrived = threading.Event()

    def send(message: dict[str, Any]) -> bool:
        answers.append(message)
        arrived.set()
        return True

    forever = threading.Event()

    def stuck(_code: str, cursor: int) -> Found:
        forever.wait(30)
        return Found(cursor, cursor, [])

    Completion({"pyspark": stuck}, send).request({"t": "complete", "request": "r", "code": "x", "cursor": 1})
    assert arrived.wait(10)
    assert (answers[0]["request"], answers[0]["candidates"]) == ("r", [])
    forever.set()


def test_an_unknown_kind_and_a_failing_completer_answer_empty() -> None:
    answers: list[dict[str, Any]] = []
    arrived = threading.Semaphore(0)

    def send(message: dict[str, Any]) -> bool:
        answers.append(message)
        arrived.release()
        return True

    def failing(_code: str, _cursor: int) -> Found:
        raise RuntimeError("no")

    completion = Completion({"pyspark": failing}, send)
    completion.request({"t": "complete", "request": "1", "code": "x", "kind": "cobol", "cursor": 99})
    completion.request({"t": "complete", "request": "2", "code": "x", "kind": "pyspark", "cursor": 1})
    assert arrived.acquire(timeout=10)
    assert arrived.acquire(timeout=10)
    assert {answer["request"] for answer in answers} == {"1", "2"}
    assert all(answer["candidates"] == [] for answer in answers)
