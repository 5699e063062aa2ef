"""A driver's log as a file: pages by lines, pieces by positions that outlive a cut, and no work without bounds."""

import os

import pytest

from sparkyard_gateway.backends import driver_log
from sparkyard_gateway.backends.driver_log import HEAD, DriverLog
from sparkyard_gateway.driver_logs import whole_characters


@pytest.fixture
def log(tmp_path):
    return DriverLog(tmp_path)


def write(log, text):
    descriptor = log.open()
    os.write(descriptor, text.encode() if isinstance(text, str) else text)
    os.close(descriptor)


def read_all(log, position=0):
    return b"".join(log.pieces(position))


@pytest.mark.parametrize(
    ("first", "size", "answer"),
    [
        (0, 3, (0, 12, [*HEAD, "line 0"])),
        (5, 2, (5, 12, ["line 3", "line 4"])),
        (10, 100, (10, 12, ["line 8", "line 9"])),
        (50, 5, (50, 12, [])),
        (-1, 2, (10, 12, ["line 8", "line 9"])),
        (-1, 0, (12, 12, [])),
        (-1, 100, (0, 12, [*HEAD, *(f"line {n}" for n in range(10))])),
        (-1, -1, (0, 12, [*HEAD, *(f"line {n}" for n in range(10))])),
        (9, -1, (9, 12, ["line 7", "line 8", "line 9"])),
    ],
)
def test_pages(log, first, size, answer):
    write(log, "".join(f"line {n}\r\n" for n in range(9)) + "line 9")
    assert log.page(first, size) == answer


def test_lines_across_pieces_and_parts_are_whole(log, monkeypatch):
    monkeypatch.setattr(driver_log, "PIECE", 7)
    lines = [f"number {n} äöü" for n in range(50)]
    write(log, "\n".join(lines[:30]) + "\nhalf a ")
    assert log.rotate(10)
    write(log, "line\n" + "\n".join(lines[30:]) + "\n")
    expected = [*HEAD, *lines[:30], "half a line", *lines[30:]]
    assert log.page(0, -1) == (0, len(expected), expected)
    assert log.page(-1, 25)[2] == expected[-25:]


def test_a_position_stays_where_it_was_when_the_log_is_cut(log):
    write(log, b"a" * 100)
    middle = log.read(40, 10)
    assert (middle.start, middle.data, middle.end) == (40, b"a" * 10, 50)
    assert log.rotate(50)
    write(log, b"b" * 100)
    assert log.read(90, 1000).data == b"a" * 10
    assert log.read(100, 1000).data == b"b" * 100
    assert log.end() == 200
    # The first part goes: who was in the midst of it goes on with what is left, and learns from where.
    assert log.rotate(50)
    write(log, b"c")
    piece = log.read(40, 1000)
    assert (piece.start, piece.data) == (100, b"b" * 100)
    assert read_all(log) == b"b" * 100 + b"c"
    assert log.end() == 201
    assert {path.stat().st_mode & 0o777 for path in log.path.parent.iterdir()} == {0o600}


def test_searching_counts_all_and_gives_some(log):
    write(log, "".join(f"line {n} {'ERROR' if n % 3 == 0 else 'fine'}\n" for n in range(20)))
    found = log.search("error", 2, 3)
    assert (found.total, found.numbers) == (7, [8, 11, 14])
    assert found.lines == ["line 6 ERROR", "line 9 ERROR", "line 12 ERROR"]
    assert [log.page(number, 1)[2][0] for number in found.numbers] == found.lines
    assert log.search("stderr", 0, 10).numbers == [1]
    assert log.search("nowhere", 0, 10).total == 0
    # It is text that is looked for, not a pattern.
    assert log.search(".*", 0, 10).total == 0


def test_a_line_without_end_and_a_hole_are_read_in_bounds(log, monkeypatch):
    monkeypatch.setattr(driver_log, "MOST_READ", 50_000)
    monkeypatch.setattr(driver_log, "PIECE", 10_000)
    monkeypatch.setattr(driver_log, "LONGEST_LINE", 2_000)
    write(log, "before\n")
    # A user's code has the descriptor, and can make the file as large as the file system can tell.
    os.truncate(log.path, 1 << 40)
    write(log, "after\n")
    _, total, lines = log.page(0, -1)
    assert (total, lines[:2]) == (3, HEAD)
    assert len(lines[2]) < 25_000
    assert lines[2].endswith("after")
    assert log.read(0, 10).start == log.end() - 50_000
    assert log.search("after", 0, 10).total == 1
    assert log.rotate(1000)
    assert log.older.stat().st_size == 50_000
    # And as short.
    os.truncate(log.path, 0)
    assert log.read(log.end() + 1000, 10).data == b""


def test_nothing_there_is_an_empty_log(log):
    assert log.page(0, -1) == (0, 2, HEAD)
    assert (log.end(), read_all(log), log.search("x", 0, 1).total) == (0, b"", 0)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"plain", 5),
        ("ä".encode(), 2),
        ("ä".encode()[:1], 0),
        (b"x" + "€".encode()[:2], 1),
        (b"x" + "😀".encode()[:3], 1),
        (b"x" + "😀".encode(), 5),
        (b"x\xbf\xbf\xbf\xbf", 5),
        (b"\xff", 1),
        (b"", 0),
    ],
)
def test_characters_are_not_cut_in_two(data, kept):
    piece = whole_characters(driver_log.Piece(7, data))
    assert (piece.start, len(piece.data)) == (7, kept)
