"""A statement's result: which of its text is still to be shown, and where it failed."""

import pytest

from sparkyard_sparkmagic.statement import Result, located


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


HEAD = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("traceback", "output", "shown"),
    [
        ([HEAD, "E: x\n"], {"evalue": "x", "trace": {"line": 3}}, [HEAD, "  in line 3 of the code\n", "E: x\n"]),
        (
            ["  ... 9 elided\n"],
            {"evalue": "x", "trace": {"line": 2}},
            ["  in line 2 of the code\n", "  ... 9 elided\n"],
        ),
        ([], {"evalue": "x", "trace": {"line": 2}}, ["  in line 2 of the code\n"]),
        ([HEAD, '  File "<stdin>", line 3, in f\n'], {"evalue": "x", "trace": {"line": 3}}, None),
        (["x.y\n"], {"evalue": "<console>:3: error: no y", "trace": {"line": 3}}, None),
        ([HEAD], {"evalue": "x", "trace": {"line": None}}, None),
        ([HEAD], {"evalue": "x"}, None),
    ],
)
def test_an_error_tells_its_line_once(traceback: list[str], output: dict[str, object], shown: list[str] | None) -> None:
    assert located(output, traceback) == (traceback if shown is None else shown)
