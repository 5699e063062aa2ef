"""A batch's log, put together from looks at the rings that an upstream Livy keeps."""

import pytest

from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.upstream_log import LONGEST_LINE, MISSED, UpstreamLog, join, lay_over, split


@pytest.mark.parametrize(
    ("old", "new", "whole"),
    [
        ([], [], []),
        ([], ["a"], ["a"]),
        (["a"], [], ["a"]),
        (["a", "b"], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b", "c"], ["a", "b", "c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["a", "b", "c", "d"]),
        (["a", "b", "c"], ["c"], ["a", "b", "c"]),
        (["x", "x"], ["x", "x", "x"], ["x", "x", "x"]),
        (["a", "b"], ["y", "z"], ["a", "b", MISSED, "y", "z"]),
    ],
)
def test_a_later_look_is_laid_over_an_earlier_one(old, new, whole):
    assert lay_over(old, new) == whole


def test_sections_as_livy_marks_them():
    lines = ["stdout: ", "one", "two\nthree", "\nstderr: ", "four", "\nYARN Diagnostics: ", "five"]
    assert split(lines) == (["one", "two", "three"], ["four"], ["five"])
    assert join(split(lines)) == ["one", "two", "three", "stderr: ", "four", "YARN Diagnostics: ", "five"]
    assert split(["a line of the tail alone"]) == (["a line of the tail alone"], [], [])
    assert split(["stdout: ", "x" * 10_000])[0] == ["x" * LONGEST_LINE]


def test_what_is_kept_outlives_the_ring_and_the_gateway(tmp_path):
    folder = tmp_path / "7"
    first = UpstreamLog(folder)
    first.take(["stdout: ", "a", "b", "\nstderr: ", "warning"])
    first.take(["stdout: ", "b", "c", "\nstderr: ", "warning", "error"])
    after = UpstreamLog(folder)
    after.take(["stdout: ", "c", "d", "\nstderr: ", "error"])
    assert after.lines == ["a", "b", "c", "d", "stderr: ", "warning", "error"]
    page = DriverLog(folder).page(0, -1)
    assert page == (0, 9, ["stdout: ", "\nstderr: ", *after.lines])
    assert (DriverLog(folder).path.stat().st_mode & 0o777) == 0o600


def test_a_look_that_tells_nothing_new_writes_nothing(tmp_path):
    kept = UpstreamLog(tmp_path / "7")
    kept.take(["stdout: ", "a", "\nstderr: "])
    path = DriverLog(tmp_path / "7").path
    path.write_text("untouched\n")
    kept.take(["stdout: ", "a", "\nstderr: "])
    assert path.read_text() == "untouched\n"


def test_a_log_of_nothing_is_no_file(tmp_path):
    UpstreamLog(tmp_path / "7").take(["stdout: ", "\nstderr: "])
    assert DriverLog(tmp_path / "7").tail(5) == ["stdout: ", "\nstderr: "]
