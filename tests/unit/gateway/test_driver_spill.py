"""Outputs that no answer can hold: kept in files, bounded, read in pieces."""

from pathlib import Path

import pytest

from sparkyard_gateway.driver.interrupts import Interrupts
from sparkyard_gateway.driver.spill import LARGEST_PIECE, TEXT, Spill, Transcript
from sparkyard_gateway.driver.streams import Streams


@pytest.fixture
def spill(tmp_path: Path) -> Spill:
    return Spill(str(tmp_path / "outputs"), 1000)


def whole(spill: Spill, statement: int, mime: str = TEXT, size: int = 7) -> str:
    text, place = "", 0
    while (piece := spill.piece(statement, mime, place, size)) is not None and piece.start < piece.total:
        assert piece.start == place
        text, place = text + piece.text, piece.end
    return text


def test_pieces_join_to_what_was_kept(spill: Spill) -> None:
    text = "eins äö€ 😀 zwei\n" * 5
    assert spill.append(3, TEXT, text[:20])
    assert spill.append(3, TEXT, text[20:])
    assert whole(spill, 3) == text
    middle = spill.piece(3, TEXT, 6, 4)  # from within the ä
    assert middle is not None
    assert (middle.start, middle.text) == (7, "ö")
    beyond = spill.piece(3, TEXT, 10_000, 5)
    assert beyond is not None
    assert (beyond.start, beyond.end, beyond.text) == (beyond.total, beyond.total, "")
    assert spill.piece(4, TEXT, 0, 5) is None
    assert spill.piece(3, "image/png", 0, 5) is None


def test_the_oldest_makes_room_and_one_alone_never_exceeds_the_bound(spill: Spill, tmp_path: Path) -> None:
    assert spill.append(1, TEXT, "a" * 400)
    assert spill.keep(2, "application/json", {"b": "b" * 380})
    assert spill.append(3, TEXT, "c" * 400)
    assert spill.piece(1, TEXT, 0, 1) is None
    assert whole(spill, 2, "application/json", 100) == '{"b": "' + "b" * 380 + '"}'
    assert not spill.append(3, TEXT, "c" * 601)
    assert spill.append(3, TEXT, "c" * 600)
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["3-text_plain"]


def test_a_type_names_no_other_file(spill: Spill, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert spill.piece(1, "/../../secret", 0, 100) is None
    assert spill.keep(1, "/../../x", "text")
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["1-_.._.._x"]


def test_a_piece_is_no_larger_than_a_message_may_be(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path), 10 * LARGEST_PIECE)
    spill.append(1, TEXT, "x" * (2 * LARGEST_PIECE))
    piece = spill.piece(1, TEXT, 0, 2**31 - 1)
    assert piece is not None
    assert len(piece.text) == LARGEST_PIECE


def test_a_disk_that_takes_nothing_costs_the_kept_output_alone(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    spill = Spill(str(tmp_path / "outputs"), 1000)
    transcript = Transcript(spill, 1, 10)
    transcript.add("x" * 50)
    transcript.add("y" * 50)
    assert transcript.sentence() is None


def test_a_short_output_leaves_no_file(spill: Spill, tmp_path: Path) -> None:
    transcript = Transcript(spill, 1, 100)
    transcript.add("x" * 100)
    assert transcript.sentence() is None
    assert not (tmp_path / "outputs").exists()


def test_a_cell_that_prints_too_much_says_where_all_of_it_is(spill: Spill) -> None:
    streams = Streams(Interrupts(), 100, lambda *_: True, spill)
    output = streams.begin(5)
    for number in range(40):
        output.write(f"out {number}\n", output.stdout)
        output.write(f"err {number}\n", output.stderr)
    streams.end(output)
    assert output.truncated() == (
        "The statement printed 270 characters to stdout and 270 characters to stderr; the first and the last 50 are "
        "here. All of it is kept while the session lives: GET .../statements/5/output."
    )
    assert whole(spill, 5, size=100) == "".join(f"out {number}\nerr {number}\n" for number in range(40))


def test_one_that_fills_the_bound_says_that_its_end_is_lost(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path / "outputs"), 300)
    transcript = Transcript(spill, 5, 100)
    for _ in range(50):  # the first eleven are more than an answer holds, the others more than fit beside them
        transcript.add("0123456789")
    transcript.close()
    assert whole(spill, 5) == "0123456789" * 11
    sentence = transcript.sentence()
    assert sentence is not None
    assert sentence.startswith("Its beginning, as much as a session keeps, is kept")
