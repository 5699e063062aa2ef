"""A driver's journal after its death: what of it is believed, and what is not even read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway import journals
from sparkyard_gateway.driver.journal import Journal
from sparkyard_gateway.journals import outcomes

OUTPUT = {"status": "ok", "execution_count": 0, "data": {"text/plain": "7"}}


def begin(statement: int, seq: int = 1) -> dict[str, Any]:
    return {"t": "begin", "seq": seq, "statement": statement, "at": 5}


def done(statement: int, seq: int = 2, **more: Any) -> dict[str, Any]:
    return {"t": "done", "seq": seq, "statement": statement, "at": 6, "status": "ok", "output": OUTPUT, **more}


def write(folder: Path, *lines: object) -> Path:
    path = folder / journals.NAME
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return path


def found(folder: Path, *wanted: int) -> list[tuple[str, int]]:
    return [(each.t, each.statement) for each in outcomes(folder, wanted)]


def test_the_drivers_own_journal_is_read(tmp_path):
    journal = Journal(str(tmp_path / journals.NAME))
    for message in (begin(0), done(0), begin(1), done(1, truncated="cut"), begin(2)):
        journal.append({key: value for key, value in message.items() if key != "seq"})
    assert found(tmp_path, 1, 2, 3) == [("begin", 1), ("done", 1), ("begin", 2)]
    (_, told) = outcomes(tmp_path, [1])
    assert told.model_dump()["output"] == OUTPUT


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"rubbish\n", b"[]\n", b"\xff\xfe\n", b"[" * 200_000 + b"\n", b'{"t":"done"}\n', b"\0" * 4096 + b"\n",
        json.dumps(done(-1)).encode() + b"\n", json.dumps(done(1, status="fine")).encode() + b"\n",
        json.dumps(done(1, output="text")).encode() + b"\n", json.dumps(done(1, at=2**60)).encode() + b"\n",
        json.dumps({"t": "hello", "session": 1, "epoch": 1, "pid": 1}).encode() + b"\n",
    ],
)  # fmt: skip
def test_what_is_no_message_of_its_is_passed_over(tmp_path, line):
    write(tmp_path, begin(7), line, done(7))
    assert found(tmp_path, 1, 7) == [("begin", 7), ("done", 7)]


def test_only_what_is_asked_for_is_told_and_of_each_the_first(tmp_path):
    write(tmp_path, done(1), done(2), done(1, truncated="again"))
    (told,) = outcomes(tmp_path, [1, 3])
    assert told.model_dump()["truncated"] is None


def test_the_line_that_a_killed_driver_was_writing_does_not_count(tmp_path):
    write(tmp_path, done(1), json.dumps(done(2)).encode())
    assert found(tmp_path, 1, 2) == [("done", 1)]


def test_of_a_long_one_the_end_is_read_and_of_a_long_line_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "MOST_READ", 4096)
    monkeypatch.setattr(journals, "LONGEST_LINE", 1024)
    filler = [done(5, truncated="x" * 500)] * 20
    write(tmp_path, done(1), *filler, done(2, truncated="y" * 2000), done(3))
    assert found(tmp_path, 1, 2, 3) == [("done", 3)]


def test_a_hole_of_a_terabyte_is_no_matter(tmp_path):
    path = write(tmp_path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + json.dumps(done(1)).encode() + b"\n")
    assert found(tmp_path, 1) == [("done", 1)]


def test_what_is_no_plain_file_of_its_own_is_not_read(tmp_path):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    for each in (work, elsewhere):
        each.mkdir()
    secret = write(elsewhere, done(1))
    name = work / journals.NAME
    assert found(work, 1) == []
    name.symlink_to(secret)
    assert found(work, 1) == []
    name.unlink()
    name.hardlink_to(secret)
    assert found(work, 1) == []
    name.unlink()
    os.mkfifo(name)
    assert found(work, 1) == []
    name.unlink()
    name.mkdir()
    assert found(work, 1) == []
    assert found(tmp_path / "absent", 1) == []
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    assert found(link, 1) == []
    assert found(elsewhere, 1) == [("done", 1)] or secret.stat().st_nlink != 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_not_read(tmp_path):
    path = write(tmp_path, done(1))
    os.chown(path, 61001, 61001)
    assert found(tmp_path, 1) == []
    os.chown(tmp_path, 61001, 61001)
    assert found(tmp_path, 1) == [("done", 1)]
