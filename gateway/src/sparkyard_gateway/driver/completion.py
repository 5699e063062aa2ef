"""Answer completion requests on threads of their own, within a bounded time, also while a statement runs.

Two seconds is when a person has typed on: what is not known by then is not worth waiting for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping

from .journal import Message
from .notes import note

_SECONDS = 2.0
_MOST_THREADS = 4
_MOST_MATCHES = 500


@dataclass(frozen=True)
class Match:
    """One candidate and what it is: function, class, module, keyword, column, table ..."""

    text: str
    kind: str


@dataclass(frozen=True)
class Found:
    """Candidates for the text between two places of the code."""

    start: int
    end: int
    matches: List[Match]


Completer = Callable[[str, int], Found]


class Completion:
    """Has a completer for each kind."""

    def __init__(self, completers: Mapping[str, Completer], send: Callable[[Message], bool]) -> None:
        self._completers = completers
        self._send = send
        self._working = threading.Semaphore(_MOST_THREADS)

    def request(self, message: Message) -> None:
        """Answer a `complete` message, at the latest when the time is over."""
        if not self._working.acquire(blocking=False):
            self._answer(message, Found(_cursor(message), _cursor(message), []))
            return
        threading.Thread(target=self._work, args=(message,), name="sparkyard-completion", daemon=True).start()

    def _work(self, message: Message) -> None:
        nothing = Found(_cursor(message), _cursor(message), [])
        found: List[Found] = []

        def look() -> None:
            try:
                completer = self._completers.get(str(message.get("kind", "pyspark")))
                if completer is not None:
                    found.append(completer(str(message["code"]), _cursor(message)))
            except Exception as error:  # noqa: BLE001  looking at a user's objects may raise anything
                note(f"completion failed: {type(error).__name__}: {error}")
            finally:
                self._working.release()

        looking = threading.Thread(target=look, name="sparkyard-completing", daemon=True)
        looking.start()
        looking.join(_SECONDS)
        self._answer(message, found[0] if found else nothing)

    def _answer(self, message: Message, found: Found) -> None:
        matches = found.matches[:_MOST_MATCHES]
        listed: List[Dict[str, Any]] = [{"text": match.text, "type": match.kind} for match in matches]
        self._send(
            {
                "t": "completion",
                "request": message["request"],
                "candidates": [match.text for match in matches],
                "cursor_start": found.start,
                "cursor_end": found.end,
                "matches": listed,
            }
        )


def _cursor(message: Message) -> int:
    code = str(message.get("code", ""))
    return max(0, min(int(message.get("cursor", len(code))), len(code)))
