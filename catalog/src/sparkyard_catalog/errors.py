"""What can go wrong: a catalog file that is refused, and a wish that the catalog does not grant.

CatalogError   the file: every problem found, each with its line, column and key
Refused        a person's choice: one sentence for them, and the parts of it for a program
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a catalog file. Lines and columns count from 1; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class CatalogError(Exception):
    """A catalog file is refused; `problems` says everything that is wrong with it, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Refused(Exception):  # noqa: N818  a decision, not an error of the program
    """The catalog does not grant what was asked for.

    `message` is one sentence for the person who asked; `key` is the setting as they wrote it, `profile` the profile
    it was judged by (None where none could be chosen) and `allowed` a phrase that says what would be granted.
    """

    def __init__(self, key: str, profile: str | None, message: str, allowed: str) -> None:
        super().__init__(message)
        self.key = key
        self.profile = profile
        self.message = message
        self.allowed = allowed
