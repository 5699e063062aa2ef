"""Completion: the session's own for code that runs there, IPython's for code that runs here."""

from dataclasses import dataclass
from typing import Any

from sparkyard_sparkmagic import cell as cells
from sparkyard_sparkmagic.errors import SparkyardError
from sparkyard_sparkmagic.keeper import PYTHON, SCALA, R, SessionKeeper

SECONDS = 2.0
_TYPES_KEY = "_jupyter_types_experimental"


@dataclass(frozen=True)
class Remote:
    """A place in code that runs on Spark."""

    code: str
    cursor: int
    kind: str
    offset: int  # where `code` begins in the cell


def locate(code: str, cursor: int, bare: str, comment: str, spark: str = PYTHON) -> Remote | None:
    """The code on Spark that the cursor is in; None where the cursor is in local code or on a magic's line.

    `spark` is the kind of %%spark cells.
    """
    kinds = {"spark": spark, "pretty": spark, "sql": "sql", "pyspark": PYTHON, "scala": SCALA, "r": R}
    cell = cells.read(code, comment)
    if cell.magic is None:
        return Remote(code, cursor, kinds[bare], 0)
    kind = kinds.get(cell.magic)
    offset = len(code) - len(cell.body)
    if kind is None or cursor < offset:
        return None
    return Remote(cell.body, cursor - offset, kind, offset)


def ask(keeper: SessionKeeper, place: Remote) -> dict[str, Any] | None:
    """A complete_reply from the session, or None if it has no answer in time."""
    session = keeper.session
    if session is None or not session.ready or session.view is None:
        return None
    try:
        answer = keeper.gateway.complete(session.view.id, place.code, place.kind, place.cursor, seconds=SECONDS)
    except SparkyardError:
        return None
    candidates = [str(one) for one in answer.get("candidates") or ()]
    start = int(answer.get("cursorStart", _word_start(place.code, place.cursor)))
    end = int(answer.get("cursorEnd", place.cursor))
    reply = {
        "status": "ok",
        "matches": candidates,
        "cursor_start": place.offset + start,
        "cursor_end": place.offset + end,
        "metadata": {},
    }
    typed = [one for one in answer.get("matches") or () if isinstance(one, dict) and one.get("type")]
    if len(typed) == len(candidates):
        reply["metadata"] = {
            _TYPES_KEY: [
                {
                    "text": text,
                    "type": str(one["type"]),
                    "start": reply["cursor_start"],
                    "end": reply["cursor_end"],
                    "signature": str(one.get("signature") or ""),
                }
                for text, one in zip(candidates, typed, strict=True)
            ]
        }
    return reply


def _word_start(code: str, cursor: int) -> int:
    start = cursor
    while start > 0 and (code[start - 1].isalnum() or code[start - 1] == "_"):
        start -= 1
    return start
