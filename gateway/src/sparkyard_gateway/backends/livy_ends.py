"""What an upstream Livy says of a person's batch, in our words: what it waits for, its application, how it ended.

Pure functions. Livy tells no exit code; a gateway of ours does, and a log may.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sparkyard_gateway.backends import last_words
from sparkyard_gateway.backends.base import Application, AttemptEnd

PHASES = {
    "not_started": "The upstream Livy has not submitted the batch yet.",
    "starting": "The upstream Livy has submitted the batch; the cluster has not started it yet.",
    "recovering": "The upstream Livy was started anew and looks for the batch.",
}
"""What a batch in such a state waits for; in any other that is no end it runs."""
ENDS = {"success": "success", "dead": "dead", "killed": "killed", "error": "error"}
NOT_IN_YOUR_NAME = (
    "The upstream Livy would not run the batch in your name, so it was not started: "
    "an operator must turn on livy.impersonation.enabled there, or livy_impersonate off here."
)
FORGOTTEN = (
    "The upstream Livy no longer knows the batch: somebody deleted it there, or that Livy was started anew without its "
    "memory. How it ended, or whether it still runs on the cluster, cannot be known here; it was not started again."
)
LONGEST = 600
LONGEST_ADDRESS = 255


def is_duplicate(sentence: str) -> bool:
    """Whether a refusal says that the name is taken."""
    return "duplicate session name" in sentence.lower()


def application(found: Mapping[str, Any]) -> Application | None:
    """The Spark application that it names."""
    number = found.get("appId")
    if not isinstance(number, str) or not 0 < len(number) <= LONGEST_ADDRESS:
        return None
    return Application(number, _address((found.get("appInfo") or {}).get("sparkUiUrl")))


def _address(text: object) -> str | None:
    if not isinstance(text, str) or len(text) > LONGEST_ADDRESS:
        return None
    try:
        return text if urlsplit(text).scheme in {"http", "https"} else None
    except ValueError:
        return None


def end_of(found: Mapping[str, Any], lines: Sequence[str]) -> AttemptEnd | None:
    """How it ended; None where it has not."""
    told = ENDS.get(str(found.get("state")))
    if told is None:
        return None
    if told == "success":
        return AttemptEnd(0)
    code, said = found.get("exitCode"), found.get("stateReason")
    if not isinstance(code, int) or isinstance(code, bool):
        code = last_words.exit_code(lines) if told == "dead" else None
    return AttemptEnd(code or None, told=told, said=str(said)[:LONGEST] if said else None)
