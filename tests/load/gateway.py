"""The gateway's figures under many sessions, whose drivers are simulated but speak the real protocol (`load.crowd`).

- ``1+1`` over raw HTTP with 1, 10 and 100 sessions: alone one after the other; together each session runs a cell a
  second, as a hundred people do who press Shift-Enter all the time. The clients share the two cores with the gateway.
- 50 sessions asked for at once: none fails, and what waits says what for.
- 1,000 idle sessions: memory and CPU of the gateway; then it is killed and started again.
"""

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from load import crowd
from load.lean_client import LeanClient
from load.measure import Figure, percentile, resident_mib, spread
from support import hub_stand_in
from support.running_gateway import RunningGateway

PEOPLE = 100
IDLE_SECONDS = 30.0


def token_of(person: int) -> str:
    """The token of one of the people."""
    return f"token-of-person-{person % PEOPLE}"


@contextlib.contextmanager
def gateway_with_crowd(*options: str) -> Iterator[RunningGateway]:
    """A gateway in a folder of its own, whose drivers are simulated."""
    with tempfile.TemporaryDirectory() as name, hub_stand_in.running() as hub, crowd.running(Path(name)) as program:
        for person in range(PEOPLE):
            hub.admit(token_of(person), f"person-{person}", ("data-science",))
        gateway = RunningGateway(Path(name), hub.url, "--driver-program", str(program), *options)
        gateway.start()
        gateway.stop()
        gateway.start()  # one that finds its database up to date, as nearly all starts do
        try:
            yield gateway
        finally:
            gateway.kill()  # a thousand drivers would take long to end in order; the crowd ends its own


async def open_session(client: LeanClient) -> int:
    """A session that is idle; fails with its reason if it isn't in five minutes."""
    status, session = await client.ask("POST", "/sessions", {"kind": "pyspark", "profile": "small"})
    assert status == 201, session
    number: int = session["id"]
    async with asyncio.timeout(300):
        while session["state"] != "idle":
            assert session["state"] in ("not_started", "starting"), session
            _, session = await client.ask("GET", f"/sessions/{number}?wait=30&state={session['state']}")
    return number


async def waited(client: LeanClient, session: int) -> None:
    """``1+1``, the server waiting for the result."""
    _, statement = await client.ask("POST", f"/sessions/{session}/statements?wait=30", {"code": "1+1"})
    assert statement["output"]["data"]["text/plain"] == "2", statement


async def polled(client: LeanClient, session: int) -> None:
    """``1+1``, asked for every millisecond."""
    _, statement = await client.ask("POST", f"/sessions/{session}/statements", {"code": "1+1"})
    while statement["state"] != "available":
        await asyncio.sleep(0.001)
        _, statement = await client.ask("GET", f"/sessions/{session}/statements/{statement['id']}")
    assert statement["output"]["data"]["text/plain"] == "2", statement


async def seconds_of(run: Awaitable[None]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    await run
    return time.perf_counter() - began


Run = Callable[[LeanClient, int], Awaitable[None]]


async def together(clients: list[LeanClient], sessions: list[int], run: Run, cells: int, pause: float) -> list[float]:
    """What each cell takes when every session runs so many, one each `pause` seconds (0: back to back)."""

    async def one(place: int) -> list[float]:
        await asyncio.sleep(pause * place / len(clients))  # they don't press the key at the same moment
        found = []
        for _ in range(cells):
            found.append(await seconds_of(run(clients[place], sessions[place])))
            await asyncio.sleep(max(0.0, pause - found[-1]))
        return found

    each = await asyncio.gather(*(one(place) for place in range(len(clients))))
    return [seconds for found in each for seconds in found]


async def latencies(port: int) -> list[Figure]:
    """``1+1`` with 1, 10 and 100 sessions."""
    clients = [LeanClient(port, token_of(person)) for person in range(100)]
    sessions = await asyncio.gather(*(open_session(client) for client in clients))
    figures = []
    for name, run, limit in (("polled", polled, 5.0), ("waited for", waited, 3.0)):
        await together(clients[:1], sessions[:1], run, 100, 0)
        alone = await together(clients[:1], sessions[:1], run, 500, 0)
        figures.append(
            Figure(f"1+1 {name}, 1 session, median", statistics.median(alone) * 1000, "ms", limit, spread(alone))
        )
    for count, cells in ((10, 30), (100, 20)):
        found = await together(clients[:count], sessions[:count], waited, cells, 1.0)
        what = f"1+1 waited for, {count} sessions with a cell a second each, p99"
        figures.append(Figure(what, percentile(found, 99) * 1000, "ms", 100, spread(found)))
    began = time.perf_counter()
    crowded = await together(clients, sessions, waited, 20, 0)
    rate = len(crowded) / (time.perf_counter() - began)
    print(f"  100 sessions back to back: {rate:.0f} statements a second, {spread(crowded)}", flush=True)
    for client in clients:
        client.close()
    return figures


async def rush(port: int, count: int) -> Figure:
    """So many sessions asked for at once: how many do not become idle, or wait without saying what for."""
    clients = [LeanClient(port, token_of(person)) for person in range(count)]
    unexplained = 0

    async def one(client: LeanClient) -> float:
        nonlocal unexplained
        began = time.perf_counter()
        status, session = await client.ask("POST", "/sessions", {"kind": "pyspark", "profile": "small"})
        while status in (200, 201) and session["state"] in ("not_started", "starting"):
            status, session = await client.ask("GET", f"/sessions/{session['id']}?wait=1&state={session['state']}")
            unexplained += session["state"] in ("not_started", "starting") and not session["phase"]
        assert status in (200, 201), session
        if session["state"] != "idle":
            print(f"  {session['state']}: {session.get('stateReason')}", flush=True)
            unexplained += 1
        return time.perf_counter() - began

    seconds = await asyncio.gather(*(one(client) for client in clients))
    for client in clients:
        client.close()
    detail = f"idle after {spread(list(seconds), scale=1, unit='s')}"
    return Figure(f"{count} sessions asked for at once, failed or waiting without a reason", unexplained, "", 0, detail)


async def fill(port: int, count: int) -> None:
    """So many idle sessions."""
    clients = [LeanClient(port, token_of(person)) for person in range(PEOPLE)]
    for turn in range(count // PEOPLE):
        await asyncio.gather(*(open_session(client) for client in clients))
        print(f"  {(turn + 1) * PEOPLE} sessions", flush=True)
    for client in clients:
        client.close()


async def first_answer(port: int) -> Any:
    """What a gateway that starts says of somebody's sessions, as soon as it listens."""
    while True:
        client = LeanClient(port, token_of(0))
        try:
            status, answer = await client.ask("GET", "/sessions?size=1")
        except OSError:
            await asyncio.sleep(0.01)
            continue
        finally:
            client.close()
        assert status == 200, answer
        return answer


def idle_and_again(gateway: RunningGateway, count: int) -> list[Figure]:
    """Memory and CPU with so many idle sessions, and the time to the first answer after a kill -9."""
    assert gateway.process is not None
    asyncio.run(fill(gateway.port, count))
    time.sleep(5)
    process = psutil.Process(gateway.process.pid)
    began, before = time.perf_counter(), process.cpu_times()
    time.sleep(IDLE_SECONDS)
    after, passed = process.cpu_times(), time.perf_counter() - began
    share = (after.user + after.system - before.user - before.system) / passed * 100
    memory = resident_mib(process.pid)
    gateway.kill()
    began = time.perf_counter()
    gateway.launch()
    answer = asyncio.run(first_answer(gateway.port))
    seconds = time.perf_counter() - began
    assert answer["total"] == count // PEOPLE, answer
    return [
        Figure(f"gateway's memory, {count} idle sessions", memory, "MiB", 150),
        Figure(f"gateway's CPU, {count} idle sessions", share, "% of a core", 5),
        Figure(f"kill -9 with {count} sessions, to the first answer", seconds, "s", 3),
    ]


def figures() -> list[Figure]:
    """All of the above."""
    print("1+1 with 1, 10 and 100 sessions:", flush=True)
    with gateway_with_crowd("--concurrent-starts", "16") as gateway:
        found = asyncio.run(latencies(gateway.port))
    print("50 sessions at once:", flush=True)
    with gateway_with_crowd() as gateway:
        found.append(asyncio.run(rush(gateway.port, 50)))
    print("1,000 idle sessions:", flush=True)
    with gateway_with_crowd("--concurrent-starts", "16") as gateway:
        found.extend(idle_and_again(gateway, 1000))
    return found
