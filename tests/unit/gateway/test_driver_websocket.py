"""The WebSocket client against the real server of the `websockets` library."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from sparkyard_gateway.driver.websocket import Closed, ConnectionLost, HandshakeRefused, WebSocket, connect

Dial = Callable[..., WebSocket]


@contextmanager
def server(talk: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    with serve(talk, "127.0.0.1", 0, close_timeout=0.1, **options) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}/driver/v1/1?x=y"
        running.shutdown()


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connects, and hangs up after the test."""
    lines: list[WebSocket] = []

    def dial(url: str, headers: dict[str, str] | None = None) -> WebSocket:
        lines.append(connect(url, headers or {}))
        return lines[-1]

    yield dial
    for line in lines:
        line.abandon()


def echo(line: ServerConnection) -> None:
    for message in line:
        line.send(message)


def receive(line: WebSocket) -> str:
    text = None
    while text is None:
        text = line.receive(5)
    return text


@pytest.mark.parametrize("text", ["", "a", "é世\x00", "x" * 125, "x" * 126, "x" * 65535, "x" * 65536, "ü" * 3_000_000])
def test_text_of_every_length_comes_back(text: str, dial: Dial) -> None:
    with server(echo, max_size=None) as url:
        line = dial(url)
        line.send(text)
        assert receive(line) == text
        line.close()


def test_the_request_carries_path_query_and_headers(dial: Dial) -> None:
    seen = []

    def talk(line: ServerConnection) -> None:
        assert line.request is not None
        seen.append((line.request.path, line.request.headers["Authorization"]))

    with server(talk) as url:
        line = dial(url, {"Authorization": "Bearer hush"})
        with pytest.raises(Closed):
            line.receive(5)
    assert seen == [("/driver/v1/1?x=y", "Bearer hush")]


def test_a_message_in_fragments_with_a_ping_between_is_one_message(dial: Dial) -> None:
    def talk(line: ServerConnection) -> None:
        def parts() -> Iterator[str]:
            yield "one "
            line.ping()
            yield "two "
            yield "three"

        line.send(parts())
        echo(line)

    with server(talk) as url:
        line = dial(url)
        assert receive(line) == "one two three"


def test_a_ping_is_answered(dial: Dial) -> None:
    answered = threading.Event()

    def talk(line: ServerConnection) -> None:
        if line.ping().wait(5):
            answered.set()

    with server(talk) as url:
        line = dial(url)
        until_closed = iter(lambda: line.receive(5), "never")
        with pytest.raises(Closed):
            list(until_closed)
    assert answered.is_set()


def test_our_ping_brings_a_sign_of_life(dial: Dial) -> None:
    with server(echo) as url:
        line = dial(url)
        before = line.heard_at
        line.ping()
        assert line.receive(0.3) is None
        assert line.heard_at > before


def test_nothing_within_the_time_is_none(dial: Dial) -> None:
    with server(echo) as url:
        line = dial(url)
        assert line.receive(0.2) is None


def test_a_close_tells_its_code_and_reason(dial: Dial) -> None:
    with server(lambda line: line.close(4001, "taken over")) as url:
        line = dial(url)
        with pytest.raises(Closed, match="4001: taken over") as caught:
            line.receive(5)
    assert caught.value.code == 4001


def test_a_cut_line_is_lost(dial: Dial) -> None:
    with server(lambda line: line.socket.close()) as url:
        line = dial(url)
        with pytest.raises(ConnectionLost):
            line.receive(5)


def test_a_refusal_tells_its_status() -> None:
    with server(echo, process_request=lambda line, _request: line.respond(403, "no")) as url:
        with pytest.raises(HandshakeRefused) as caught:
            connect(url, {})
        assert caught.value.status == 403


def test_a_port_where_nobody_listens_is_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        connect(f"ws://127.0.0.1:{port}/", {})


@pytest.mark.parametrize("url", ["http://x/", "ws:///path", "nonsense"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConnectionLost, match="must begin with ws://"):
        connect(url, {})


def test_a_header_cannot_smuggle_another() -> None:
    with server(echo) as url, pytest.raises(ConnectionLost, match="line break"):
        connect(url, {"Authorization": "a\r\nX-Evil: b"})


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A server that is no WebSocket server, or a bad one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        line, _ = listener.accept()
        line.recv(65536)
        line.sendall(answer)
        time.sleep(0.5)
        line.close()

    threading.Thread(target=talk, daemon=True).start()
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"x" * 100_000,
        b"",
    ],
)
def test_what_is_no_websocket_server_is_not_taken_for_one(answer: bytes) -> None:
    with raw_server(answer) as url, pytest.raises(ConnectionLost):
        connect(url, {}, timeout=3)


@pytest.fixture
def pair() -> Iterator[tuple[WebSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield WebSocket(ours, max_message=1000), theirs


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x01x",  # binary
        b"\x80\x01x",  # a continuation of nothing
        b"\xc1\x01x",  # a reserved bit
        b"\x81\x81aaaax",  # masked by a server
        b"\x09\x01x",  # a ping in fragments
        b"\x81\x7e\x10\x00",  # longer than we take
        b"\x81\x02\xff\xfe",  # not UTF-8
        b"\x01\x01a\x81\x01b",  # a second message inside the first
    ],
)
def test_a_broken_frame_ends_the_connection(frame: bytes, pair: tuple[WebSocket, socket.socket]) -> None:
    line, theirs = pair
    theirs.sendall(frame)
    with pytest.raises(ConnectionLost):
        list(iter(lambda: line.receive(1), "never"))


def test_a_server_that_stops_in_a_message_does_not_hold_us_for_ever(pair: tuple[WebSocket, socket.socket]) -> None:
    line, theirs = pair
    theirs.sendall(b"\x81\x05ab")
    with pytest.raises(ConnectionLost, match="in the middle"):
        line.receive(0.2)


def test_many_threads_may_send_at_once(dial: Dial) -> None:
    with server(echo) as url:
        line = dial(url)

        def send(text: str) -> None:
            for _ in range(50):
                line.send(text)

        senders = [threading.Thread(target=send, args=(f"{n}" * 200,)) for n in range(4)]
        for sender in senders:
            sender.start()
        received = [receive(line) for _ in range(200)]
        assert sorted(set(received)) == [f"{n}" * 200 for n in range(4)]
