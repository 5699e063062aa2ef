"""What a driver did, on disk before anyone is told: the ground for "nothing lost, nothing twice".

One JSON line per durable message, appended with a single write. No fsync: the page cache outlives the death of this
process and of the gateway, and a machine that loses its page cache has lost the session as well; an fsync would cost
every statement milliseconds. The lines are also what the gateway can still read of a driver that died before it
could send them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from typing import Any, Dict, List, Optional, Tuple

from .notes import note

Message = Dict[str, Any]


def encode(message: Message) -> str:
    """JSON in one line; lone surrogates, which no UTF-8 can carry, become the escapes Python shows for them."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_encodable(message), ensure_ascii=False, separators=(",", ":"))
    return text


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value


class Journal:
    """Numbers, keeps and finds durable messages. Safe for all threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.acked = 0
        self.last_done = -1
        self.begun: Dict[int, bool] = {}  # statement -> is it done?
        self._seq = 0
        self._waiting: List[Tuple[int, str]] = []
        self._places: Dict[int, Tuple[int, int]] = {}  # statement -> offset and length of its `done` in the file
        self._lock = threading.Lock()
        self._acknowledged = threading.Condition(self._lock)
        self._recall()
        self._descriptor = self._open()
        self._broken = False

    def append(self, message: Message) -> Tuple[int, str]:
        """Number the message, write it down and return its number and text; it waits here until acknowledged."""
        with self._lock:
            self._seq += 1
            message["seq"] = self._seq
            text = encode(message)
            offset, length = self._write(text)
            self._note_message(message, offset, length)
            self._waiting.append((self._seq, text))
            return self._seq, text

    def ack(self, seq: int) -> None:
        """Forget what the gateway has stored: all up to this number."""
        with self._lock:
            self.acked = max(self.acked, min(seq, self._seq))
            self._waiting = [entry for entry in self._waiting if entry[0] > self.acked]
            self._acknowledged.notify_all()

    def waiting(self) -> List[Tuple[int, str]]:
        """The messages that were not acknowledged, oldest first."""
        with self._lock:
            return list(self._waiting)

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait until the gateway has all; False when the time is over first."""
        with self._lock:
            return self._acknowledged.wait_for(lambda: not self._waiting, timeout)

    def done_text(self, statement: int) -> Optional[str]:
        """The `done` of a statement again, also long after it was acknowledged."""
        with self._lock:
            if statement not in self._places:
                return None
            offset, length = self._places[statement]
        try:
            with open(self.path, "rb") as stream:
                stream.seek(offset)
                return stream.read(length).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            note(f"the journal {self.path} cannot be read: {error}")
            return None

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _write(self, text: str) -> Tuple[int, int]:
        line = (text + "\n").encode("utf-8")
        for attempt in (1, 2):
            try:
                offset = os.fstat(self._descriptor).st_size
                written = os.write(self._descriptor, line)
                if written == len(line):
                    self._broken = False
                    return offset, len(line) - 1
                os.ftruncate(self._descriptor, offset)
                error: OSError = OSError("the disk took only a part of the line")
            except OSError as failure:
                error = failure
            if attempt == 2 or error.errno != errno.EBADF:
                if not self._broken:  # a full disk stays full until someone makes room
                    note(f"the journal {self.path} cannot be written ({error}): results are kept in memory only")
                self._broken = True
                break
            with contextlib.suppress(OSError):
                self._descriptor = self._open()  # a cell closed every descriptor it could find
        return -1, 0

    def _recall(self) -> None:
        """Take up an earlier journal: a driver that was restarted in its place must not run its statements again."""
        if not os.path.exists(self.path):
            return
        offset = 0
        with open(self.path, "rb") as stream:
            for line in stream:
                length = len(line)
                try:
                    message = json.loads(line.decode("utf-8"))
                except ValueError:
                    break  # the last line of a process that was killed while writing
                self._seq = message["seq"]
                self._note_message(message, offset, length - 1)
                self._waiting.append((self._seq, line.decode("utf-8").rstrip("\n")))
                offset += length
        if offset < os.path.getsize(self.path):
            with open(self.path, "r+b") as stream:
                stream.truncate(offset)

    def _note_message(self, message: Message, offset: int, length: int) -> None:
        kind, statement = message.get("t"), int(message.get("statement", -1))
        if kind == "begin":
            self.begun[statement] = False
        elif kind == "done":
            self.begun[statement] = True
            self.last_done = max(self.last_done, statement)
            if offset >= 0:
                self._places[statement] = (offset, length)
