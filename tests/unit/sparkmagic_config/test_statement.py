"""A statement's result: which of its text is still to be shown."""

import pytest

from sparkyard_sparkmagic.statement import Result


@pytest.mark.parametrize(
    ("text", "streamed", "echo", "unseen"),
    [
        ("2", "", "", "2"),
        ("   a\n0  1", "", "   a\n0  1", ""),
        ("printed\nT!\nto stderr", "", "T!", "printed\nto stderr"),
        ("printed\nT!", "printed\n", "T!", ""),
        ("T!\nT!", "T!\n", "T!", ""),
        ("cut", "", "not in it", "cut"),
    ],
)
def test_a_value_with_a_richer_form_is_not_shown_as_text_too(text: str, streamed: str, echo: str, unseen: str) -> None:
    assert Result({"text/plain": text, "text/html": "<b>"}, streamed, None, echo).unseen == unseen
