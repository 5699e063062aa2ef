"""The link against a real WebSocket server that is sometimes rude."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway.driver import link as link_module
from sparkyard_gateway.driver.bootstrap import Bootstrap
from sparkyard_gateway.driver.journal import Journal
from sparkyard_gateway.driver.link import Link
from support.driver_peer import TOKEN, DriverPeer
from support.waiting import until

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture
def peer() -> Iterator[DriverPeer]:
    playing = DriverPeer()
    yield playing
    playing.close()


class Linked:
    """A link and what it heard."""

    def __init__(self, peer: DriverPeer, folder: Path, **bootstrap: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.orphaned = threading.Event()
        self.journal = Journal(str(folder / "journal.jsonl"))
        told = {
            "session": 12,
            "url": peer.url,
            "token": TOKEN,
            "work_dir": str(folder),
            "heartbeat_seconds": 0.3,
            **bootstrap,
        }
        self.link = Link(Bootstrap(**told), self.journal, self.heard.append, self.orphaned.set)
        self.link.start()


@pytest.fixture
def linked(peer: DriverPeer, tmp_path: Path) -> Iterator[Linked]:
    both = Linked(peer, tmp_path)
    yield both
    both.link.close(0)


def test_it_says_hello_with_its_token_and_epoch(peer: DriverPeer, linked: Linked) -> None:
    hello = peer.wait_for(lambda m: m["t"] == "hello")
    assert (hello["session"], hello["epoch"], hello["last_done"], hello["acked"]) == (12, 1, -1, 0)
    assert peer.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert peer.headers[0]["Sparkyard-Epoch"] == "1"


def test_durable_messages_wait_for_a_gateway_and_arrive_in_order(peer: DriverPeer, tmp_path: Path) -> None:
    peer.refuse = True
    both = Linked(peer, tmp_path)
    for number in range(5):
        both.link.send_durable({"t": "begin", "statement": number})
    peer.refuse = False
    peer.wait_for(lambda m: m.get("statement") == 4)
    assert [m["seq"] for m in peer.of("begin")] == [1, 2, 3, 4, 5]
    both.link.close(0)


def test_what_was_not_acknowledged_is_sent_again_after_a_cut(peer: DriverPeer, linked: Linked) -> None:
    peer.acknowledge = False
    linked.link.send_durable({"t": "done", "statement": 0})
    peer.wait_for(lambda m: m["t"] == "done")
    peer.drop()
    until(lambda: len(peer.of("hello")) == 2)
    until(lambda: len(peer.of("done", 0)) == 2)
    assert {m["seq"] for m in peer.of("done")} == {1}


def test_what_was_acknowledged_is_not_sent_again(peer: DriverPeer, linked: Linked) -> None:
    linked.link.send_durable({"t": "done", "statement": 0})
    until(lambda: not linked.journal.waiting())
    peer.drop()
    until(lambda: len(peer.of("hello")) == 2)
    linked.link.send_durable({"t": "done", "statement": 1})
    peer.wait_for(lambda m: m.get("statement") == 1)
    assert len(peer.of("done", 0)) == 1
    assert peer.of("hello")[1]["last_done"] == 0


def test_messages_of_the_gateway_are_handed_on_and_pings_answered(peer: DriverPeer, linked: Linked) -> None:
    peer.send({"t": "ping"})
    peer.wait_for(lambda m: m["t"] == "pong")
    peer.send({"t": "execute", "statement": 3, "code": "1"})
    until(lambda: linked.heard)
    assert linked.heard == [{"t": "execute", "statement": 3, "code": "1"}]


def test_nonsense_of_the_gateway_is_survived(peer: DriverPeer, linked: Linked) -> None:
    peer.send({"no": "t"})
    peer.send({"t": "execute", "statement": 1, "code": "1"})
    until(lambda: linked.heard)
    assert len(peer.of("hello")) == 1


def test_an_idle_line_is_kept_by_pings(peer: DriverPeer, linked: Linked) -> None:
    peer.wait_for(lambda m: m["t"] == "hello")
    time.sleep(2)
    assert len(peer.of("hello")) == 1


def test_a_gateway_that_went_silent_is_dialled_again(tmp_path: Path) -> None:
    """A machine that lost its power sends no goodbye: pings are all there is to notice it by."""
    listener = socket.create_server(("127.0.0.1", 0))
    peer = DriverPeer()
    dialled = []

    def next_line() -> Any:
        try:
            return listener.accept()
        except OSError:  # the test is over
            return None

    def shake_hands_and_fall_silent() -> None:
        for line, _ in iter(next_line, None):
            dialled.append(line)
            request = line.recv(65536).split(b"\r\n")
            key = next(field for field in request if field.lower().startswith(b"sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1(key.partition(b": ")[2] + GUID).digest())
            head = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            line.sendall(head + accept + b"\r\n\r\n")

    threading.Thread(target=shake_hands_and_fall_silent, daemon=True).start()
    both = Linked(peer, tmp_path, url=f"ws://127.0.0.1:{listener.getsockname()[1]}/")
    until(lambda: len(dialled) >= 2)
    both.link.close(0)
    peer.close()
    for line in (*dialled, listener):
        line.close()


def test_no_gateway_for_too_long_makes_an_orphan(tmp_path: Path, peer: DriverPeer) -> None:
    peer.refuse = True
    both = Linked(peer, tmp_path, orphan_seconds=0.5)
    assert both.orphaned.wait(10)


def test_a_gateway_that_hangs_up_at_once_does_not_keep_an_orphan_alive(tmp_path: Path) -> None:
    class HangsUpAfterHello(DriverPeer):
        def _talk(self, line: Any) -> None:
            line.recv()
            line.close(4004, "unknown session")

    peer = HangsUpAfterHello()
    both = Linked(peer, tmp_path, orphan_seconds=0.5)
    assert both.orphaned.wait(10)
    peer.close()


def test_closing_waits_for_the_acknowledgement(peer: DriverPeer, linked: Linked) -> None:
    peer.wait_for(lambda m: m["t"] == "hello")
    until(lambda: linked.link.connected_at)
    linked.link.send_durable({"t": "done", "statement": 0})
    linked.link.close(5)
    assert linked.journal.waiting() == []


# Several gateways


@pytest.fixture
def other() -> Iterator[DriverPeer]:
    playing = DriverPeer()
    yield playing
    playing.close()


def base(peer: DriverPeer) -> str:
    return peer.url.partition("/driver/")[0]


def test_it_goes_where_a_gateway_sends_it_with_its_token(peer: DriverPeer, other: DriverPeer, tmp_path: Path) -> None:
    peer.send_to = other.url
    both = Linked(peer, tmp_path)
    other.wait_for(lambda m: m["t"] == "hello")
    assert other.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert peer.of("hello") == []
    both.link.close(0)


def test_two_that_send_it_to_each_other_do_not_keep_it_going_for_ever(
    peer: DriverPeer, other: DriverPeer, tmp_path: Path
) -> None:
    peer.send_to, other.send_to = other.url, peer.url
    both = Linked(peer, tmp_path, orphan_seconds=0.5)
    assert both.orphaned.wait(20)


def test_it_is_not_sent_from_a_guarded_line_to_an_open_one(peer: DriverPeer, tmp_path: Path) -> None:
    both = Linked(peer, tmp_path)
    both.link.close(0)
    both.link._addresses = ["wss://gateway/driver/v1/12"]

    def refuse(url: str, *_: Any, **__: Any) -> None:
        raise link_module.HandshakeRefused(307, "307", peer.url)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link_module, "connect", refuse)
        with pytest.raises(link_module.HandshakeRefused):
            both.link._dial()


def test_a_gateway_that_died_is_replaced_by_one_it_has_been_told_of(
    peer: DriverPeer, other: DriverPeer, linked: Linked
) -> None:
    peer.wait_for(lambda m: m["t"] == "hello")
    peer.send({"t": "gateways", "urls": [base(peer), base(other)]})
    until(lambda: other.url in linked.link._addresses)
    peer.close()
    other.wait_for(lambda m: m["t"] == "hello")
    linked.link.send_durable({"t": "done", "statement": 0})
    other.wait_for(lambda m: m["t"] == "done")


def test_it_knows_the_others_from_its_birth(peer: DriverPeer, other: DriverPeer, tmp_path: Path) -> None:
    peer.close()
    both = Linked(peer, tmp_path, gateways=[base(peer), base(other)])
    other.wait_for(lambda m: m["t"] == "hello")
    both.link.close(0)


def test_it_has_no_ear_for_an_owner_of_an_earlier_term(peer: DriverPeer, other: DriverPeer, tmp_path: Path) -> None:
    """One that was frozen, and does not know yet that another has taken over."""
    peer.welcome, other.welcome = {"term": 3}, {"term": 2}
    both = Linked(peer, tmp_path, gateways=[base(peer), base(other)])
    until(lambda: both.link._term == 3)
    peer.send_to = other.url
    peer.drop()
    until(lambda: other.of("hello"))
    peer.send_to = ""
    until(lambda: len(peer.of("hello")) == 2)
    assert (peer.headers[-1]["Sparkyard-Term"], both.link._term) == ("3", 3)
    both.link.send_durable({"t": "done", "statement": 0})
    peer.wait_for(lambda m: m["t"] == "done")
    assert other.of("done") == []
    both.link.close(0)
