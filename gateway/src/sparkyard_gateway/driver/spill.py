"""Outputs beyond what an answer may hold: kept whole in the session's own folder, and given out in pieces.

All of a session's kept outputs together are bounded: the oldest goes first, and one that fills the bound alone is cut.
They end with the session.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO, List, Optional, Tuple

from .notes import note

TEXT = "text/plain"
LARGEST_PIECE = 1024 * 1024
_BUFFERED = 256 * 1024  # characters: a file is not opened for each print
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]")

Key = Tuple[int, str]


@dataclass(frozen=True)
class Piece:
    """A part of a kept output; places count bytes of UTF-8, and lie between characters."""

    start: int
    end: int
    total: int
    text: str


class Spill:
    """The kept outputs of a session. Safe for all threads."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._sizes: OrderedDict[Key, int] = OrderedDict()
        self._lock = threading.Lock()

    def append(self, statement: int, mime: str, text: str) -> bool:
        """Add to what is kept of an output; says whether there was room and a disk that takes it."""
        blob = text.encode("utf-8", "backslashreplace")
        with self._lock:
            key = (statement, mime)
            size = self._sizes.get(key, 0)
            if size + len(blob) > self._limit:
                return False
            while sum(self._sizes.values()) + len(blob) > self._limit:
                self._drop(next(each for each in self._sizes if each != key))
            try:
                with self._open(key) as stream:
                    stream.write(blob)
            except OSError as error:
                note(f"an output of statement {statement} cannot be kept: {error}")
                return False
            self._sizes[key] = size + len(blob)
            return True

    def keep(self, statement: int, mime: str, value: Any) -> bool:
        """Keep a whole value, as text or as JSON; says whether it is kept."""
        if (statement, mime) in self._sizes:
            return True
        return self.append(statement, mime, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    def piece(self, statement: int, mime: str, start: int, size: int) -> Optional[Piece]:
        """Up to so many bytes from a place on, or None where nothing is kept."""
        with self._lock:
            total = self._sizes.get((statement, mime))
            if total is None:
                return None
            start = min(max(0, start), total)
            try:
                with open(self._path((statement, mime)), "rb") as stream:
                    stream.seek(start)
                    blob = stream.read(min(max(0, size), LARGEST_PIECE))
            except OSError as error:
                note(f"a kept output of statement {statement} cannot be read: {error}")
                return None
        before = 0
        while before < min(3, len(blob)) and start and blob[before] & 0xC0 == 0x80:
            before += 1  # asked for from within a character: that one belongs to the piece before
        text = blob[before:].decode("utf-8", "ignore")
        begin = start + before
        return Piece(begin, begin + len(text.encode("utf-8")), total, text)

    def _open(self, key: Key) -> BinaryIO:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        return os.fdopen(os.open(self._path(key), flags, 0o600), "ab")

    def _path(self, key: Key) -> str:
        statement, mime = key
        return os.path.join(self._folder, f"{statement}-{_UNSAFE.sub('_', mime)[:80]}")

    def _drop(self, key: Key) -> None:
        del self._sizes[key]
        with contextlib.suppress(OSError):
            os.unlink(self._path(key))


class Transcript:
    """All that a statement prints, in the order of printing; on disk as soon as it is more than an answer holds."""

    def __init__(self, spill: Optional[Spill], statement: int, limit: int) -> None:
        self._spill = spill
        self._statement = statement
        self._limit = limit
        self._held: List[str] = []
        self._size = 0
        self.kept = False
        self.cut = False

    def add(self, text: str) -> None:
        """Take text in."""
        if self._spill is None or self.cut:
            return
        self._held.append(text)
        self._size += len(text)
        if self._size > (_BUFFERED if self.kept else self._limit):
            self._write()

    def close(self) -> None:
        """The statement is over: what is kept must be whole."""
        if self.kept and not self.cut:
            self._write()
        self._held = []

    def _write(self) -> None:
        assert self._spill is not None
        written = self._spill.append(self._statement, TEXT, "".join(self._held))
        self._held, self._size = [], 0
        self.kept = self.kept or written
        self.cut = not written

    def sentence(self) -> Optional[str]:
        """Where it can be had, if it is kept."""
        if not self.kept:
            return None
        what = "Its beginning, as much as a session keeps," if self.cut else "All of it"
        return f"{what} is kept while the session lives: {place(self._statement, TEXT)}."


def place(statement: int, mime: str) -> str:
    """How the gateway's clients get a kept output."""
    return f"GET .../statements/{statement}/output" + ("" if mime == TEXT else f"?type={mime}")
