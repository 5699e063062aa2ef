"""Secrets come by file: none is in an environment, an argument list or a chart."""

from pathlib import Path


def secret_of(path: Path) -> str:
    """The secret in a file. Raises ValueError with a sentence where there is none."""
    try:
        found = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read the secret in {path}: {error.strerror}") from None
    if not found:
        raise ValueError(f"{path} should hold a secret and is empty")
    return found
