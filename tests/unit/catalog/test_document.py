"""YAML with positions: what the text itself may and may not be."""

import pytest

from sparkyard_catalog.document import LARGEST_FILE, Flaw, read


def flaws(text: str | bytes) -> list[Flaw]:
    return read(text if isinstance(text, bytes) else text.encode()).flaws


def test_data_and_positions() -> None:
    document = read(b"a: 1\nb:\n  - x\n  - {c: true, d: null}\n")
    assert document.data == {"a": 1, "b": ["x", {"c": True, "d": None}]}
    assert document.flaws == []
    assert document.keys["b", 1, "c"] == (4, 6)
    assert document.values["b", 0] == (3, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1", -1), ("0x10", 16), ("010", 10), ("1.5", 1.5), ("1e3", 1000.0), ("yes", "yes"), ("true", True),
     ("~", None), ("'5'", "5"), ("2024-01-01", "2024-01-01"), (".inf", ".inf"), ("1.2.3", "1.2.3")],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert read(f"a: {text}".encode()).data == {"a": value}


def test_a_byte_order_mark_is_no_problem() -> None:
    assert read(b"\xef\xbb\xbfa: 1").data == {"a": 1}


def test_keys_stay_as_written() -> None:
    assert read(b"007: a\ntrue: b\n1.10: c\n").data == {"007": "a", "true": "b", "1.10": "c"}


def test_anchors_and_merges() -> None:
    document = read(b"base: &b {x: 1, y: 2}\nother:\n  y: 3\n  <<: *b\nlist: [*b]\n")
    assert document.data == {"base": {"x": 1, "y": 2}, "other": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2}]}
    assert document.keys["other", "y"] == (3, 3)
    assert document.keys["other", "x"] == (1, 11)  # a merged key is where it is written


def test_of_several_merged_mappings_the_first_wins() -> None:
    assert read(b"a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n").data["c"] == {"x": 1, "y": 2}  # type: ignore[index]


def test_duplicate_keys_are_all_found() -> None:
    found = flaws("a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n")
    assert [(flaw.line, flaw.column, flaw.key) for flaw in found] == [(2, 11, "b.c"), (3, 1, "a"), (4, 1, "a")]
    assert "first on line 1" in found[1].message


def test_every_tab_that_indents_is_named() -> None:
    found = flaws("a:\n\tb: 1\n  \tc: 2\n")
    assert [(flaw.line, flaw.column) for flaw in found] == [(2, 1), (3, 3)]
    assert all("use spaces" in flaw.message for flaw in found)


def test_a_tab_elsewhere_is_no_problem() -> None:
    assert read(b"a: |\n  \tliteral\nb: [1,\n\t2]\n").data == {"a": "\tliteral\n", "b": [1, 2]}


def test_a_tab_before_a_comment_is_named_alone() -> None:
    assert [(flaw.line, flaw.column) for flaw in flaws("a: |\n  \tliteral\nb: 1\t# comment\n")] == [(3, 5)]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "]"),
        ("a: b: c\n", 1, "a ':' is not expected here"),
        ("a: 1\n  b: 2\n", 2, "a ':' is not expected here"),
        ("a: 1\nb\nc: 2\n", 2, "a key without ':'"),
        ("a: @x\n", 1, "put the value in quotes"),
        ("a: *nowhere\n", 1, "anchor"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "not allowed"),
        ("a: !secret x\n", 1, "not allowed"),
        ("? [a, b]\n: 1\n", 1, "a key must be plain text"),
        ("a: 1\n---\nb: 2\n", 3, "second document"),
        ("a: {<<: 5}\n", 1, "<< takes a mapping"),
        ("a: !!int five\n", 1, "not a number"),
        (f"a: {'9' * 5000}\n", 1, "not a number"),
        ("a: \x01\n", 1, "U+0001"),
    ],
)
def test_what_is_not_fit_yaml_is_said_with_its_line(text: str, line: int, word: str) -> None:
    found = flaws(text)
    assert found
    assert found[0].line == line
    assert word in found[0].message


def test_what_is_not_utf_8_is_said_with_its_place() -> None:
    (flaw,) = flaws("a: 1\nb: Größe\n".encode("latin-1"))
    assert (flaw.line, flaw.column) == (2, 6)
    assert "UTF-8" in flaw.message


def test_too_large_a_file() -> None:
    (flaw,) = flaws(b"# " + b"x" * LARGEST_FILE)
    assert "at most 512 KiB" in flaw.message


@pytest.mark.timeout(60)
def test_a_billion_laughs_are_cut_short() -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (flaw,) = flaws("\n".join(lines))
    assert "remove aliases" in flaw.message


def test_an_alias_that_holds_itself() -> None:
    found = flaws("a: &a [*a]\n")
    assert "holds itself" in found[0].message


@pytest.mark.parametrize("depth", [60, 1200])
def test_nesting_has_an_end(depth: int) -> None:
    found = flaws("[" * depth + "]" * depth)
    assert "nested" in found[0].message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_nothing_is_nothing(text: str) -> None:
    document = read(text.encode())
    assert document.data is None
    assert document.flaws == []
