"""A batch's log, kept by us: an upstream Livy shows its last few hundred lines only, and forgets them with the batch.

Livy's log has sections, each a ring of the newest lines: standard output (where the driver's own lines are, too),
standard error, and YARN's diagnostics. Each look at it is laid over what is kept already. Where lines went by between
two looks, that is said in their place.
"""

import os
from pathlib import Path

from sparkyard_gateway.backends.driver_log import DriverLog

LONGEST_SECTION = 5_000
LONGEST_LINE = 2_000
MISSED = "[... lines that the upstream Livy no longer had are missing here ...]"
_MARKS = ("stdout: ", "\nstderr: ", "\nYARN Diagnostics: ")

Sections = tuple[list[str], list[str], list[str]]


class UpstreamLog:
    """One session's log: in memory while its batch is watched, and in the file that `DriverLog` reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = DriverLog(folder).path
        self._kept: Sections = self._recall()

    def take(self, lines: list[str], *, whole: bool = True) -> None:
        """Lay the upstream's lines over what is kept, and write the file anew if there was news. Blocks on the disk.

        Where they are not the whole of what it has, they begin somewhere within it.
        """
        kept, seen, news = self._kept, split(lines, whole=whole), False
        merged = []
        for old, new in zip(kept, seen, strict=True):
            joined = lay_over(old, new)[-LONGEST_SECTION:]
            news = news or joined != old
            merged.append(joined)
        self._kept = (merged[0], merged[1], merged[2])
        if news:
            self._write()

    @property
    def lines(self) -> list[str]:
        """All that is kept."""
        return join(self._kept)

    def _recall(self) -> Sections:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return [], [], []
        found: Sections = ([], [], [])
        section = 0
        for line in text.split("\n")[:-1]:
            if section < 2 and line in {mark.lstrip("\n") for mark in _MARKS[section + 1 :]}:
                section = next(n for n in range(section + 1, 3) if _MARKS[n].lstrip("\n") == line)
            else:
                found[section].append(line)
        return found

    def _write(self) -> None:
        self._folder.mkdir(mode=0o711, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.writelines(f"{line}\n" for line in self.lines)
        unfinished.replace(self._path)


def split(lines: list[str], *, whole: bool = True) -> Sections:
    """The sections of a log as Livy answers it, from its beginning or from somewhere within."""
    found: Sections = ([], [], [])
    section = 0 if whole else max(0, next((n for n in (1, 2) if _MARKS[n] in lines), 2) - 1)
    for line in lines:
        later = next((n for n in range(section, 3) if line == _MARKS[n]), None)
        if later is not None:
            section = later
        else:
            found[section].extend(part[:LONGEST_LINE] for part in line.split("\n"))
    return found


def join(sections: Sections) -> list[str]:
    """One list, with a mark before each section after the first that has something to say."""
    lines = list(sections[0])
    for mark, section in zip(_MARKS[1:], sections[1:], strict=True):
        if section:
            lines += [mark.lstrip("\n"), *section]
    return lines


def lay_over(old: list[str], new: list[str]) -> list[str]:
    """Continue `old` by what of `new` is later: `new` begins somewhere within `old`, or after a gap."""
    if not old or not new:
        return old or new
    most = min(len(old), len(new))
    for shared in range(most, 0, -1):
        if old[-shared:] == new[:shared]:
            return old + new[shared:]
    return [*old, MISSED, *new]
