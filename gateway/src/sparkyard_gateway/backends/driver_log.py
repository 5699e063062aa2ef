"""A driver's output, in a file that outlives the gateway.

The driver writes into the file itself: a pipe through the gateway would break with the gateway. The file is opened
for appending, so that it can be cut while the driver writes: when it passes its limit its content moves to one older
file beside it, which takes the place of the one before.

Words:
    position   how many bytes the driver wrote before this one, ever: it stays the same when the file is cut
    number     how many kept lines stand before this one, as Livy counts them: it shrinks when an older part goes

A driver runs its user's code, which can write gigabytes, one endless line, or a hole of a petabyte. So nothing here
reads more than MOST_READ bytes or holds more than a piece of them.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

TAIL_BYTES = 8192
HEAD = ["stdout: ", "\nstderr: "]
"""How Livy's log begins; everything of ours follows the second mark, as both streams go to one file."""

MOST_READ = 128 * 1024 * 1024
PIECE = 1024 * 1024
LONGEST_LINE = 1024 * 1024
CUT = b" [the rest of this line is left out]"
TRIES = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands from a position on; `start` is later than asked for where the beginning is gone."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """The position after it."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class Matches:
    """The lines that hold a text: how many, and some of them with their numbers."""

    total: int
    numbers: list[int]
    lines: list[str]


class DriverLog:
    """One driver's log. Everything but `tail` blocks on the disk for as long as the log is large."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "driver.log"
        self.older = folder / "driver.log.1"
        self._start_file = folder / "driver.log.start"

    def open(self) -> int:
        """A descriptor for the driver to write to; only this process's user may open the file."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def rotate(self, limit: int) -> bool:
        """Move the content aside where it has passed the limit; of a flood only its end."""
        size = _size(self.path)
        if size <= limit:
            return False
        begin = max(0, size - MOST_READ)
        start = self._start() + _size(self.older) + begin
        unfinished = self.older.with_suffix(".2")
        with self.path.open("rb") as source, _private(unfinished) as copy:
            source.seek(begin)
            # What is written while we copy comes along, up to the moment of the cut; a flood is cut off.
            while (piece := source.read(PIECE)) and source.tell() < size + limit:
                copy.write(piece)
        unfinished.replace(self.older)
        with _private(self._start_file.with_suffix(".new")) as file:
            file.write(str(start).encode())
        self._start_file.with_suffix(".new").replace(self._start_file)
        os.truncate(self.path, 0)
        return True

    def age_seconds(self) -> float:
        """How long ago something was last written."""
        try:
            return time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def note(self, line: str) -> None:
        """Add a line of the gateway's."""
        descriptor = self.open()
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def tail(self, lines: int) -> list[str]:
        """The last lines, by one short read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return list(HEAD)
        found = text.splitlines()
        if size > TAIL_BYTES:
            return found[1:][-lines:]
        return [*HEAD, *found][-lines:]

    # By lines, as Livy counts

    def page(self, first: int, size: int) -> tuple[int, int, list[str]]:
        """(number of the first, count of all, lines). A negative `first` is the tail, a negative `size` all."""
        if first < 0 <= size:
            tail: deque[bytes] = deque(maxlen=size)
            total = 0
            for lines in self._batches():
                total += len(lines)
                tail.extend(lines[-size:] if size else ())
            return total - len(tail), total, [_text(line) for line in tail]
        first = max(0, first)
        wanted: list[bytes] = []
        total = 0
        for lines in self._batches():
            begin, end = first - total, len(lines) if size < 0 else first + size - total
            wanted += lines[max(0, begin) : max(0, end)]
            total += len(lines)
        return first, total, [_text(line) for line in wanted]

    def search(self, text: str, first: int, size: int) -> Matches:
        """The lines that hold `text`, whatever the case of its ASCII letters: `size` of them from the `first` on."""
        needle = text.encode().lower()
        number = total = 0
        numbers: list[int] = []
        found: list[str] = []
        for lines in self._batches():
            for offset, line in enumerate(lines):
                if needle in line.lower():
                    if first <= total < first + size:
                        numbers.append(number + offset)
                        found.append(_text(line))
                    total += 1
            number += len(lines)
        return Matches(total, numbers, found)

    def _batches(self) -> Iterator[list[bytes]]:
        """All kept lines, many at a time."""
        yield [each.encode() for each in HEAD]
        rest = b""
        for piece in self.pieces():
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            if len(rest) > LONGEST_LINE + len(CUT):
                # Only its beginning is held; what follows up to the next end of line is added and cut again.
                rest = rest[:LONGEST_LINE] + CUT
            yield lines
        if rest:
            yield [rest]

    # By positions

    def pieces(self, position: int = 0) -> Iterator[bytes]:
        """The bytes from a position on, piece by piece, as far as they were written at the beginning of the reading."""
        end = self.end()
        while position < end:
            piece = self.read(position, PIECE)
            if not piece.data:
                return
            yield piece.data
            position = piece.end

    def end(self) -> int:
        """The position that will be written next."""
        return self._start() + _size(self.older) + _size(self.path)

    def read(self, position: int, size: int) -> Piece:
        """At most `size` bytes from a position on."""
        for _ in range(TRIES):
            start = self._start()
            middle = start + _size(self.older)
            end = middle + _size(self.path)
            # A user can have made the file shorter than it was: then the reader goes on at its end.
            position = min(max(position, start, end - MOST_READ), end)
            older = position < middle
            data = _read(self.older if older else self.path, position - (start if older else middle), size)
            # Cut meanwhile: the offsets were those of other files.
            if self._start() == start:
                return Piece(position, data[: max(0, middle - position)] if older else data)
        return Piece(position, b"")

    def _start(self) -> int:
        """The position of the first byte that is kept."""
        try:
            return int(self._start_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return 0


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""


def _private(path: Path) -> BufferedWriter:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
