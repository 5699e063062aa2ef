"""What the gateway bears from those who talk slowly, too much, or nonsense, and that it goes on serving the others."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sparkyard_gateway.drivers import LARGEST_OUTBOX, Line
from support.running_gateway import RunningGateway

from .conftest import StartGateway, client, new_session, run
from .test_sessions import until

HEAD = b"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: token token-of-alice\r\n"


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> RunningGateway:
    return start_gateway(
        "--head-seconds", "3", "--body-seconds", "3", "--reader-seconds", "3", "--max-page-chars", "1000",
        "--max-driver-message-bytes", "1000000",
    )  # fmt: skip


def dial(gateway: RunningGateway) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    made.settimeout(60)
    return made


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    received = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def events(gateway: RunningGateway) -> list[dict[str, object]]:
    """What it has logged so far: whole lines, each of which may come after the answer that it tells of."""
    return [json.loads(line) for line in gateway.log.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]


def metric(client, name: str) -> float:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_one_who_says_nothing_is_hung_up_on(gateway):
    with dial(gateway) as silent:
        assert rest(silent) == b""


def test_a_head_that_never_ends_is_hung_up_on(gateway, as_alice):
    with dial(gateway) as slow:
        slow.sendall(HEAD)
        assert rest(slow) == b""
    assert as_alice.get("/sessions").status_code == 200


def test_a_head_that_is_too_large_is_refused(gateway):
    with dial(gateway) as talker:
        try:
            talker.sendall(HEAD + b"X-Long: " + b"x" * 1_000_000)
        except OSError:
            pass
        else:
            assert rest(talker).startswith(b"HTTP/1.1 431 ")


def test_a_body_that_never_ends_is_a_408(gateway):
    with dial(gateway) as slow:
        slow.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = rest(slow)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 3 s" in answer


def test_a_stranger_is_refused_before_a_body_is_read(gateway):
    with dial(gateway) as stranger:
        stranger.sendall(b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert stranger.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_one_who_does_not_read_is_given_up_and_one_who_reads_slowly_is_not(gateway, start_gateway):
    roomy = start_gateway("--reader-seconds", "3")
    with client(roomy, "token-of-alice") as alice:
        session = new_session(alice)
        run(alice, session, "'x' * 30_000_000")
        ask = f"GET /sessions/{session}/statements/0 HTTP/1.1\r\nHost: x\r\n".encode()
        ask += b"Authorization: token token-of-alice\r\n\r\n"
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.connect(("127.0.0.1", roomy.port))
        slow = dial(roomy)
        with deaf, slow:
            deaf.sendall(ask)
            slow.sendall(ask)
            received = 0
            while received < 30_000_000:
                received += len(slow.recv(3_000_000))
                time.sleep(0.3)
            until(lambda: metric(alice, "sparkyard_gateway_http_requests_in_flight") == 1, 60)
            deaf.settimeout(60)
            assert len(rest(deaf)) < 30_000_000
        assert alice.get("/sessions").status_code == 200


def test_a_page_that_would_be_too_large_ends_sooner_and_says_so(as_alice):
    session = new_session(as_alice)
    for letter in "abcd":
        run(as_alice, session, f"'{letter}' * 400")

    def page(query: str) -> tuple[list[int], bool]:
        answer = as_alice.get(f"/sessions/{session}/statements{query}").json()
        assert answer["total_statements"] == 4
        assert answer["truncated"] is None or "1,000 characters" in answer["truncated"]
        return [each["id"] for each in answer["statements"]], answer["truncated"] is not None

    assert page("") == ([0, 1], True)
    assert page("?from=2") == ([2, 3], False)
    assert page("?order=desc") == ([3, 2], True)
    assert page("?size=1") == ([0], False)
    big = run(as_alice, session, "'e' * 5000")["id"]
    assert [each["id"] for each in as_alice.get(f"/sessions/{session}/statements?from={big}").json()["statements"]] == [
        big
    ]
    as_alice.delete(f"/sessions/{session}")


# Drivers: their users' code can take their place on the line.

HELLO = {"t": "hello", "epoch": 1, "pid": 1}


@pytest.fixture
def impostor(gateway, as_alice):
    """A session, and how to take its driver's place."""
    session = new_session(as_alice)
    token = run(as_alice, session, "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")

    def take_place(hello=None):
        line = connect(
            f"ws://127.0.0.1:{gateway.port}/driver/v1/{session}",
            additional_headers={"Authorization": f"Bearer {token}", "Sparkyard-Epoch": "1"},
            legacy=True,
            compression=None, max_size=None, open_timeout=60,
        )  # fmt: skip
        line.send(json.dumps({**HELLO, "session": session} if hello is None else hello))
        return line

    yield session, take_place
    as_alice.delete(f"/sessions/{session}")


def hung_up_on(line) -> bool:
    try:
        while True:
            line.recv(timeout=60)
    except ConnectionClosed:
        return True


NONSENSE = [
    "", "{", "null", "[]", '"hello"', '{"t": "nosuch"}', '{"t": "done"}', '{"t": "ready", "seq": -1}',
    '{"t": "begin", "seq": 1e400, "statement": 0, "at": 0}', '{"t": "progress", "statement": 0, "fraction": 7}',
    '{"t": "ready", "seq": 9, "app_id": "' + "x" * 5000 + '", "spark_version": "", "python_version": ""}',
    '{"t": "done", "seq": 9, "statement": 0, "at": 1, "status": "odd", "output": null}', "[" * 50_000,
    b"\x00\xff", b'{"t": "pong"}', '{"t": "stream", "statement": 0, "offset": 0, "text": "' + "x" * 2_000_000 + '"}',
]  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda each: str(each)[:30])
def test_a_driver_that_talks_nonsense_is_hung_up_on_and_its_session_goes_on(as_alice, impostor, nonsense):
    session, take_place = impostor
    with take_place() as line:
        line.recv(timeout=60)
        with contextlib.suppress(ConnectionClosed):  # too long a message is refused before all of it is sent
            line.send(nonsense)
        assert hung_up_on(line)
    assert run(as_alice, session, "40 + 2")["output"]["data"]["text/plain"] == "42"


@pytest.mark.parametrize("hello", [{"t": "hello"}, {**HELLO, "session": 999_999}, {"t": "pong"}, [], {}])
def test_one_that_does_not_say_hello_is_hung_up_on(as_alice, impostor, hello):
    session, take_place = impostor
    with take_place(hello) as line:
        assert hung_up_on(line)
    assert run(as_alice, session, "1")["output"]["data"]["text/plain"] == "1"


def test_a_driver_tells_of_its_own_session_alone_and_within_bounds(as_alice, impostor):
    session, take_place = impostor
    driver = int(run(as_alice, session, "os.getpid()")["output"]["data"]["text/plain"])
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 30"}).json()["id"]
    until(lambda: as_alice.get(f"/sessions/{session}/statements/{number}").json()["state"] == "running")
    os.kill(driver, signal.SIGSTOP)  # or it would take its place back at once
    stages = [{"id": each, "name": "n" * 9000} for each in range(5000)][:100] + [{"id": each} for each in range(3000)]
    with take_place() as line:
        line.recv(timeout=60)
        line.send(json.dumps({"t": "progress", "statement": number, "fraction": 0.5, "stages": stages[100:]}))
        line.send(json.dumps({"t": "progress", "statement": 12345, "fraction": 0.5}))
        line.send(json.dumps({"t": "stream", "statement": 12345, "offset": 0, "text": "x"}))
        until(lambda: as_alice.get(f"/sessions/{session}/statements/{number}").json()["stages"])
        assert len(as_alice.get(f"/sessions/{session}/statements/{number}").json()["stages"]) == 200
        line.send(json.dumps({"t": "progress", "statement": number, "fraction": 0.5, "stages": stages[:10]}))
        until(lambda: len(as_alice.get(f"/sessions/{session}/statements/{number}").json()["stages"]) == 10)
        shown = as_alice.get(f"/sessions/{session}/statements/{number}").json()["stages"]
        assert {len(each["name"]) for each in shown} == {500}
        done = {"t": "done", "statement": number, "at": 1, "status": "ok", "output": {}, "truncated": "t" * 9000}
        line.send(json.dumps({**done, "seq": 1000}))
        answer = until(
            lambda: (s := as_alice.get(f"/sessions/{session}/statements/{number}").json())["output"] is not None and s
        )
        assert len(answer["truncated"]) == 4000


def test_a_driver_that_floods_does_not_keep_others_from_their_work(as_alice, as_bob):
    flooding, others = new_session(as_alice), new_session(as_bob)
    say = "[[d.say(t='pong') for _ in range(50_000)] for d in __import__('gc').get_objects()"
    flood = f"{say} if type(d).__name__ == 'SimulatedDriver'] and None"
    as_alice.post(f"/sessions/{flooding}/statements", json={"code": flood})
    for number in range(5):
        assert run(as_bob, others, f"{number}")["output"]["data"]["text/plain"] == str(number)
    assert run(as_alice, flooding, "40 + 2")["output"]["data"]["text/plain"] == "42"
    as_alice.delete(f"/sessions/{flooding}")
    as_bob.delete(f"/sessions/{others}")


def test_a_driver_that_does_not_read_is_hung_up_on_and_loses_nothing(gateway, as_alice):
    session = new_session(as_alice)
    work = Path(run(as_alice, session, "os.getcwd()")["output"]["data"]["text/plain"].strip("'"))
    # It neither reads nor answers while this runs.
    naps = "[__import__('time').sleep(0.05) for _ in iter(lambda: os.path.exists('go'), True)]"
    block = f"open('began', 'w') and {naps} and 'went'"
    number = as_alice.post(f"/sessions/{session}/statements", json={"code": block}).json()["id"]
    until((work / "began").exists)
    as_alice.post(f"/sessions/{session}/completion", json={"code": "x" * 15_000_000, "kind": "pyspark"})
    until(
        lambda: any(each["event"] == "driver_disconnected" and each["session"] == session for each in events(gateway)),
        60,
    )
    assert as_alice.get(f"/sessions/{session}").json()["state"] == "busy"
    (work / "go").touch()
    done = as_alice.get(f"/sessions/{session}/statements/{number}?wait=30").json()
    assert done["output"]["data"]["text/plain"] == "'went'"
    assert run(as_alice, session, "40 + 2")["output"]["data"]["text/plain"] == "42"
    as_alice.delete(f"/sessions/{session}")


class FramesNobodyReads:
    """A connection whose other side has stopped reading."""

    async def send(self, text: str) -> None:
        await asyncio.Event().wait()

    async def receive(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError("it never says anything")


async def test_what_waits_for_a_deaf_driver_is_bounded():
    line = Line(FramesNobodyReads())
    sending = asyncio.create_task(line.send_all())
    for _ in range(5):
        line.send({"t": "complete", "code": "x" * (LARGEST_OUTBOX // 4)})
        await asyncio.sleep(0)
    assert line.deaf
    assert line.closed
    line.send({"t": "more"})
    assert not line.waiting
    sending.cancel()
