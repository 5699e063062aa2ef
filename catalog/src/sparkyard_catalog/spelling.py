"""Words of others in sentences of ours: the nearest known word to an unknown one, and texts made fit to be shown."""

from collections.abc import Collection
from difflib import get_close_matches


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them where they are few."""
    if close := get_close_matches(word[:100], known, n=1, cutoff=0.6):
        return f"did you mean '{close[0]}'?"
    return f"known: {listed(sorted(known))}" if known else "none is defined"


def listed(words: Collection[str], most: int = 12) -> str:
    """The words, and how many more there are."""
    shown = list(words)[:most]
    return ", ".join(shown) + (f" and {len(words) - most} more" if len(words) > most else "")


def brief(value: object) -> str:
    """A value from a request as a sentence may show it: on one line, and not long."""
    text = value if isinstance(value, str) else repr(value)
    clean = "".join(character if character.isprintable() else "?" for character in text[:101])
    return clean if len(clean) <= 100 else clean[:97] + "..."
