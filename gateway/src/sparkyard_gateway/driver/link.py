"""The line to the gateway: dial, say hello, replay, keep alive, dial again.

A lost line is never the end of the driver: it goes on working and dials with a growing, jittered pause. Only after
`orphan_seconds` without a gateway does it give up, so that no forgotten driver holds a cluster's memory for ever.

There may be several gateways, of which one owns the session at a time; each change of owner has a higher *term*. The
driver knows where they are, tries them in turn, goes where one of them sends it, and has no ear for an owner of a
lower term than it has heard: that one was frozen, and does not know yet that it is the owner no more.
"""

from __future__ import annotations

import json
import os
import platform
import random
import threading
import time
from typing import Callable, List, Optional
from urllib.parse import urlsplit

from .bootstrap import Bootstrap
from .journal import Journal, Message, encode
from .notes import note
from .websocket import ConnectionLost, HandshakeRefused, WebSocket, connect

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STABLE_SECONDS = 5.0
_MOST_REDIRECTS = 4
_LONGEST_SILENCE = 2.0  # after which the reader looks whether a cell has closed its descriptor under it


class Link:
    """Sends messages in order and hands those of the gateway to `on_message`, on the link's own thread."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        journal: Journal,
        on_message: Callable[[Message], None],
        on_orphaned: Callable[[], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._journal = journal
        self._on_message = on_message
        self._on_orphaned = on_orphaned
        self._addresses: List[str] = [bootstrap.url]  # the first is the one to dial
        self._learn(list(bootstrap.gateways))
        self._term = 0
        self._socket: Optional[WebSocket] = None  # set only once the gateway has been replayed what it lacks
        self._order = threading.RLock()  # numbering and sending are one step, or messages would overtake
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sparkyard-link", daemon=True)
        self._welcomed_at: Optional[float] = None
        self.connected_at: Optional[float] = None

    @property
    def addresses(self) -> List[str]:
        """Where gateways are, the one on the line first."""
        return list(self._addresses)

    def start(self) -> None:
        """Begin to dial."""
        self._thread.start()

    def send_durable(self, message: Message) -> None:
        """Journal the message, and send it now or when there is a line again."""
        with self._order:
            _, text = self._journal.append(message)
            self._send_text(text)

    def send(self, message: Message) -> bool:
        """Send a message that may be lost; says whether there was a line."""
        return self._send_text(encode(message))

    def send_again(self, statement: int) -> bool:
        """Repeat the `done` of a statement that the gateway asked for twice."""
        text = self._journal.done_text(statement)
        return text is not None and self._send_text(text)

    def close(self, wait_seconds: float) -> None:
        """Let the gateway acknowledge what it can within the time, then hang up."""
        self._journal.wait_acknowledged(wait_seconds)
        self._closed.set()
        line = self._socket
        if line is not None:
            line.close()

    def abandon_in_child(self) -> None:
        """In a process forked by a user's cell: forget the line without closing it for the parent."""
        self._closed.set()
        self._socket = None

    def _send_text(self, text: str) -> bool:
        with self._order:
            line = self._socket
            if line is None:
                return False
            try:
                line.send(text)
            except ConnectionLost as error:
                note(str(error))
                self._socket = None
                line.abandon()
                return False
            return True

    def _run(self) -> None:
        pause, lost_at, last_complaint = _FIRST_PAUSE, time.monotonic(), ""
        while not self._closed.is_set():
            self._welcomed_at = None
            try:
                self._serve(self._dial())
            except ConnectionLost as error:
                if self._closed.is_set():
                    return
                if self._welcomed_at is not None:
                    lost_at = time.monotonic()
                    if lost_at - self._welcomed_at > _STABLE_SECONDS:
                        pause = _FIRST_PAUSE
                if str(error) != last_complaint:
                    note(f"{error}; dialling again")
                    last_complaint = str(error)
            with self._order:
                self._socket = None
            if self._welcomed_at is None:
                self._addresses.append(self._addresses.pop(0))
            if time.monotonic() - lost_at > self._bootstrap.orphan_seconds:
                note(f"no gateway for {self._bootstrap.orphan_seconds:.0f} s: this driver ends")
                self._on_orphaned()
                return
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter, no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _dial(self) -> WebSocket:
        headers = {
            "Authorization": f"Bearer {self._bootstrap.token}",
            "Sparkyard-Epoch": str(self._bootstrap.epoch),
            "Sparkyard-Term": str(self._term),
        }
        url = self._addresses[0]
        for _ in range(_MOST_REDIRECTS):
            try:
                line = connect(url, headers, ca_file=self._bootstrap.ca_file)
            except HandshakeRefused as error:
                if error.location and not (url.startswith("wss:") and not error.location.startswith("wss:")):
                    url = error.location
                    continue
                if error.status in (401, 403):
                    raise ConnectionLost(f"{error} (is this session's token still valid?)") from None
                raise
            self._prefer(url)
            return line
        raise ConnectionLost("the gateways send this driver from one to the other")

    def _prefer(self, url: str) -> None:
        self._addresses = [url] + [each for each in self._addresses if each != url]

    def _learn(self, bases: object) -> None:
        """Take note of where gateways are; the one on the line stays the first, the one of the start stays known."""
        if not isinstance(bases, list) or not all(isinstance(each, str) for each in bases):
            return
        path = urlsplit(self._bootstrap.url).path
        told = [each.rstrip("/") + path for each in bases]
        current = self._addresses[0]
        self._addresses = list(dict.fromkeys([current, *told, self._bootstrap.url]))

    def _serve(self, line: WebSocket) -> None:
        bootstrap, journal = self._bootstrap, self._journal
        hello = {
            "t": "hello", "session": bootstrap.session, "epoch": bootstrap.epoch, "pid": os.getpid(),
            "python": platform.python_version(), "acked": journal.acked, "last_done": journal.last_done,
        }  # fmt: skip
        try:
            line.send(encode(hello))
            pinged_at = time.monotonic()
            while not self._closed.is_set():
                text = line.receive(timeout=min(bootstrap.heartbeat_seconds, _LONGEST_SILENCE))
                if text is not None:
                    self._understand(line, text)
                    continue
                now = time.monotonic()
                if pinged_at - line.heard_at > 2 * bootstrap.heartbeat_seconds:
                    raise ConnectionLost(f"the gateway was silent for {now - line.heard_at:.0f} s")
                if now - max(pinged_at, line.heard_at) >= bootstrap.heartbeat_seconds:
                    line.ping()
                    pinged_at = now
        finally:
            line.abandon()

    def _understand(self, line: WebSocket, text: str) -> None:
        try:
            message = json.loads(text)
            kind = message["t"]
        except (ValueError, KeyError, TypeError):
            note("the gateway sent something that is no message; it was ignored")
            return
        if kind == "ack":
            self._journal.ack(int(message["seq"]))
        elif kind == "welcome":
            term = int(message.get("term", self._term))
            if term < self._term:
                raise ConnectionLost("a gateway that owns this session no more answered")
            self._term = term
            self._learn(message.get("gateways"))
            self._welcome(line, int(message.get("acked", 0)))
        elif kind == "gateways":
            self._learn(message.get("urls"))
        elif kind == "ping":
            self.send({"t": "pong"})
        else:
            try:
                self._on_message(message)
            except (KeyError, TypeError, ValueError) as error:
                note(f"a message of kind {kind} from the gateway cannot be understood: {type(error).__name__} {error}")

    def _welcome(self, line: WebSocket, acked: int) -> None:
        with self._order:
            self._journal.ack(acked)
            for _, text in self._journal.waiting():
                line.send(text)
            self._socket = line
            self._welcomed_at = time.monotonic()
            self.connected_at = self.connected_at or self._welcomed_at
