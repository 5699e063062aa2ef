"""What was printed is shown once, and all of it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkyard_sparkmagic.transcript import rest


@pytest.mark.parametrize(
    ("streamed", "final", "left"),
    [
        ("", "2", "2"),
        ("a\nb\n", "a\nb", ""),
        ("a\nb\n", "a\nb\n5", "5"),
        ("a\nwarning\nb\n", "a\nb\n5\nwarning", "5"),
        ("a\n", "a\na", "a"),
        ("a\n[more than 3 characters: the rest is not shown]\n", "a\nb", "b"),
        ("tick", "tick", ""),
    ],
)
def test_what_is_left_to_show(streamed: str, final: str, left: str) -> None:
    assert rest(streamed, final) == left


lines = st.lists(st.text("abc", min_size=1, max_size=3), max_size=6)


@given(lines, lines, st.randoms())
def test_every_line_appears_as_often_as_it_was_printed(early: list[str], late: list[str], random: object) -> None:
    final = early + late
    mixed = list(early)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    streamed = "".join(f"{line}\n" for line in mixed)
    shown = streamed.splitlines() + rest(streamed, "\n".join(final)).splitlines()
    assert Counter(shown) == Counter(final)
