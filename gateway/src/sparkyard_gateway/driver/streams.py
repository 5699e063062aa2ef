"""What a statement prints: caught, limited, and sent while it runs.

`sys.stdout` and `sys.stderr` are taps. A tap knows whose output it carries: what the main thread writes, and what
threads write that were born in the running statement, is the statement's; everything else (threads left over from
earlier statements, output between statements, forked children) goes to the driver's log and never into another
person's cell. File descriptors 1 and 2 stay what they are, so child processes write to the log.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
import time
import weakref
from typing import Any, Callable, Iterable, List, Optional

from .interrupts import Interrupts
from .spill import Spill, Transcript

_FIRST_SECONDS, _NEXT_SECONDS = 0.005, 0.05


class Pile:
    """Text that grows up to a limit; beyond it the beginning and the end are kept and the middle is counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head: List[str] = []
        self._head_room = limit
        self._tail: List[str] = []
        self._tail_size = 0
        self.total = 0

    def add(self, text: str) -> None:
        """Append; costs time in proportion to the text alone."""
        self.total += len(text)
        if self._head_room >= len(text):
            self._head.append(text)
            self._head_room -= len(text)
            return
        if self._head_room:
            self._head.append(text[: self._head_room])
            text = text[self._head_room :]
            self._head_room = 0
        self._tail.append(text)
        self._tail_size += len(text)
        if self._tail_size > 2 * self._limit:
            kept = "".join(self._tail)[-self._limit // 2 :]
            self._tail, self._tail_size = [kept], len(kept)

    @property
    def cut(self) -> bool:
        """Whether something had to go."""
        return self.total > self._limit

    def text(self) -> str:
        """All of it, or the first and the last half of what the limit allows."""
        whole = "".join(self._head)
        if not self.cut:
            return whole
        half = self._limit // 2
        end = (whole[half:] + "".join(self._tail))[-half:]
        missing = self.total - 2 * half
        return f"{whole[:half]}\n[... {missing:,} characters left out ...]\n{end}"


class StatementOutput:
    """Both streams of one statement, and what is still to be streamed."""

    def __init__(self, statement: int, limit: int, spill: Optional[Spill] = None) -> None:
        self.whole = Transcript(spill, statement, limit)
        self.statement = statement
        self.limit = limit
        self.stdout = Pile(limit)
        self.stderr = Pile(limit)
        self.lock = threading.RLock()  # the garbage collector may run a __del__ that prints while we add text
        self.open = True
        self.verbatim = False  # white space at the end is kept: so does Livy in Scala
        self.streamed = 0  # characters sent so far: the offset of the next chunk
        self._pending: List[str] = []
        self._accepted = 0

    def write(self, text: str, pile: Pile, *, streamed: bool = True) -> bool:
        """Take text in; says whether it was still time to. What is not `streamed` comes with the answer only."""
        with self.lock:
            if not self.open:
                return False
            pile.add(text)
            self.whole.add(text)
            room = self.limit - self._accepted
            if room > 0 and streamed:
                self._accepted += len(text)
                self._pending.append(text if len(text) <= room else text[:room] + _stream_notice(self.limit))
            return True

    def take_pending(self) -> str:
        """What has not been streamed yet."""
        with self.lock:
            text = "".join(self._pending)
            self._pending.clear()
            return text

    def give_back(self, text: str) -> None:
        """It could not be sent: it comes first the next time."""
        with self.lock:
            self._pending.insert(0, text)

    def text(self) -> str:
        """Livy's order: all of stdout, then all of stderr, in Python without the white space at the end."""
        text = self.stdout.text() + self.stderr.text()
        return text if self.verbatim else text.rstrip()

    def truncated(self) -> Optional[str]:
        """A sentence that says what was left out, if anything was."""
        parts = [
            f"{pile.total:,} characters to {name}"
            for name, pile in (("stdout", self.stdout), ("stderr", self.stderr))
            if pile.cut
        ]
        if not parts:
            return None
        cut = f"The statement printed {' and '.join(parts)}; the first and the last {self.limit // 2:,} are here."
        where = self.whole.sentence()
        return f"{cut} {where}" if where else cut


def _stream_notice(limit: int) -> str:
    return f"\n[more than {limit:,} characters: the rest is not shown while the statement runs]\n"


class Streams:
    """Routes every write, and sends the running statement's output in chunks from a thread of its own."""

    def __init__(
        self,
        interrupts: Interrupts,
        limit: int,
        send: Callable[[int, int, str], bool],
        spill: Optional[Spill] = None,
    ) -> None:
        self._spill = spill
        self._interrupts = interrupts
        self._limit = limit
        self._send = send
        self._current: Optional[StatementOutput] = None
        self._main = threading.main_thread()
        self._elders: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._wake = threading.Event()
        self._sending = threading.Lock()
        self._forked = False
        self.stdout = Tap(self, 1)
        self.stderr = Tap(self, 2)
        threading.Thread(target=self._stream, name="sparkyard-stream", daemon=True).start()

    def begin(self, statement: int) -> StatementOutput:
        """Catch from here on what belongs to this statement, whatever the last one did to `sys`."""
        self._elders = weakref.WeakSet(threading.enumerate())
        output = StatementOutput(statement, self._limit, self._spill)
        sys.stdout, sys.stderr = self.stdout, self.stderr
        sys.stdin = io.StringIO()
        self._current = output
        return output

    def end(self, output: StatementOutput) -> None:
        """Close the statement's output; if some of it was streamed, stream the rest so that it is whole."""
        with output.lock:
            output.open = False
            output.whole.close()
        self._current = None
        if output.streamed:
            self._flush(output)

    def write(self, text: str, descriptor: int, *, quietly: bool = False, streamed: bool = True) -> None:
        """Called by the taps. `quietly` does not wake the streaming thread: a mere echo is about to be answered."""
        output = self._current
        thread = threading.current_thread()
        if output is not None and not self._forked and (thread is self._main or thread not in self._elders):
            pile = output.stdout if descriptor == 1 else output.stderr
            if thread is self._main:
                with self._interrupts.shielded():
                    taken = output.write(text, pile, streamed=streamed)
            else:
                taken = output.write(text, pile, streamed=streamed)
            if taken:
                if not quietly and not self._wake.is_set():
                    self._wake.set()
                return
        _write_descriptor(descriptor, text)

    def in_child(self) -> None:
        """In a process forked by a user's cell: what it prints goes to the log, without any of our locks."""
        self._forked = True

    def _stream(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_FIRST_SECONDS)  # most statements are over by then, and their answer has all of it
            while self._wake.is_set():
                self._wake.clear()
                output = self._current
                if output is not None and not self._flush(output):
                    self._wake.set()  # no gateway at the moment
                time.sleep(_NEXT_SECONDS)

    def _flush(self, output: StatementOutput) -> bool:
        with self._sending:
            text = output.take_pending()
            if not text:
                return True
            if self._send(output.statement, output.streamed, text):
                output.streamed += len(text)
                return True
            output.give_back(text)
            return False


class Tap(io.TextIOBase):
    """A stand-in for sys.stdout or sys.stderr."""

    def __init__(self, streams: Streams, descriptor: int) -> None:
        super().__init__()
        self._streams = streams
        self._descriptor = descriptor
        self._bytes = _ByteTap(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    name = property(lambda self: "<stdout>" if self._descriptor == 1 else "<stderr>")
    mode = "w"

    @property
    def buffer(self) -> _ByteTap:
        """For those who write bytes."""
        return self._bytes

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """No: nobody should send colours and cursor movements."""
        return False

    def fileno(self) -> int:
        """The descriptor of the driver's log, so that a child process given this stream writes there."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Take text in."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._streams.write(text, self._descriptor)
        return len(text)

    def echo(self, text: str, *, streamed: bool = True) -> None:
        """Take in the value of a last expression; not `streamed` if the answer has a richer form to show."""
        self._streams.write(text, self._descriptor, quietly=True, streamed=streamed)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Take in several."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """A cell that closes its stdout does so for itself only: the next one prints again."""

    def reconfigure(self, **_options: Any) -> None:
        """Accepted and ignored, as our output has one encoding and no buffer."""


class _ByteTap(io.RawIOBase):
    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._tap = tap
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        blob = bytes(data)
        self._tap.write(self._decoder.decode(blob))
        return len(blob)

    def fileno(self) -> int:
        return self._tap.fileno()

    def close(self) -> None:
        pass


def _write_descriptor(descriptor: int, text: str) -> None:
    blob = text.encode("utf-8", "backslashreplace")
    try:
        while blob:
            blob = blob[os.write(descriptor, blob) :]
    except OSError:
        pass  # a cell may have closed it; there is nobody left to tell
