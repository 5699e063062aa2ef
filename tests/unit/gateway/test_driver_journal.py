import json
import os
from pathlib import Path

import pytest

from sparkyard_gateway.driver.journal import Journal, encode


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.jsonl")


def test_messages_are_numbered_and_written_before_they_are_handed_on(path: str) -> None:
    journal = Journal(path)
    assert [journal.append({"t": "begin", "statement": n})[0] for n in range(3)] == [1, 2, 3]
    written = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert [(m["seq"], m["statement"]) for m in written] == [(1, 0), (2, 1), (3, 2)]
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_an_acknowledgement_counts_for_all_before_it(path: str) -> None:
    journal = Journal(path)
    for n in range(4):
        journal.append({"t": "begin", "statement": n})
    journal.ack(3)
    assert [seq for seq, _ in journal.waiting()] == [4]
    journal.ack(2)  # late
    assert [seq for seq, _ in journal.waiting()] == [4]


def test_an_acknowledgement_of_what_was_never_sent_is_not_believed(path: str) -> None:
    journal = Journal(path)
    journal.append({"t": "begin", "statement": 0})
    journal.ack(99)
    assert [seq for seq, _ in [journal.append({"t": "begin", "statement": 1})]] == [2]
    assert [seq for seq, _ in journal.waiting()] == [2]


def test_a_result_can_be_had_again_after_it_was_acknowledged(path: str) -> None:
    journal = Journal(path)
    journal.append({"t": "done", "statement": 0, "output": {"data": {"text/plain": "é世"}}})
    journal.append({"t": "done", "statement": 1, "output": {"data": {"text/plain": "two"}}})
    journal.ack(2)
    again = json.loads(journal.done_text(0) or "")
    assert again["output"]["data"]["text/plain"] == "é世"
    assert journal.done_text(7) is None


def test_a_new_life_remembers_the_old_one(path: str) -> None:
    first = Journal(path)
    first.append({"t": "begin", "statement": 0})
    first.append({"t": "done", "statement": 0})
    first.append({"t": "begin", "statement": 1})
    second = Journal(path)
    assert second.begun == {0: True, 1: False}
    assert second.last_done == 0
    assert second.append({"t": "done", "statement": 1})[0] == 4
    assert [seq for seq, _ in second.waiting()] == [1, 2, 3, 4]


def test_half_a_line_of_a_killed_process_is_cut_off(path: str) -> None:
    Journal(path).append({"t": "begin", "statement": 0})
    with Path(path).open("a") as stream:
        stream.write('{"t":"done","statement":0,"se')
    journal = Journal(path)
    assert journal.begun == {0: False}
    journal.append({"t": "done", "statement": 0})
    assert Journal(path).begun == {0: True}


def test_a_cell_that_closed_all_descriptors_does_not_stop_it(path: str) -> None:
    journal = Journal(path)
    os.close(journal._descriptor)
    journal.append({"t": "done", "statement": 0})
    assert json.loads(journal.done_text(0) or "")["seq"] == 1


def test_a_full_disk_keeps_results_in_memory(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    journal = Journal(path)
    os.close(journal._descriptor)
    journal._descriptor = os.open("/dev/full", os.O_WRONLY)
    seq, _ = journal.append({"t": "done", "statement": 0})
    assert [waiting for waiting, _ in journal.waiting()] == [seq]
    assert "No space left" in capfd.readouterr().err


def test_lone_surrogates_are_written_as_python_shows_them() -> None:
    assert json.loads(encode({"text": ["a\ud800b", {"\udfff": 1}]}).encode()) == {"text": ["a\\ud800b", {"\\udfff": 1}]}
