"""Complete R by R's own completion, which knows the objects of the session, while no R statement runs.

R itself is started by the first R statement, so before it there is nothing to complete by.
"""

from __future__ import annotations

from typing import Callable, List

from .completion import Found, Match


class RCompleter:
    """Candidates by R."""

    def __init__(self, complete: Callable[[str], List[bytes]]) -> None:
        self._complete = complete

    def __call__(self, code: str, cursor: int) -> Found:
        """Candidates for what stands before the cursor, in its line."""
        line = code[:cursor].rpartition("\n")[2]
        answer = [field.decode("utf-8", "replace") for field in self._complete(line)] if line.strip() else []
        if not answer or not line.endswith(answer[0]):
            return Found(cursor, cursor, [])
        token = answer[0]
        pairs = zip(answer[1::2], answer[2::2])  # noqa: B905  Python 3.8
        matches = [Match(name, kind) for name, kind in pairs if name]
        if [match.text for match in matches] == [token]:
            matches = []  # R's word for knowing nothing
        return Found(cursor - len(token), cursor, matches)
