"""``make bench``: the figures of the main job, each measured in one run against the peer or the limit named.

- A session from POST to idle, against a bare ``SparkSession.builder.getOrCreate()`` in a fresh Python, taken in turn.
- A session that takes a warm driver: `load.warm`.
- ``1+1`` through raw HTTP, polled and waited for, and through our kernel in a notebook's place.
- The gateway's memory with 1 and with 10 idle sessions.
- The gateway under many sessions: `load.gateway`.
- Pods, where this machine can run a cluster: `load.pods`.

Everything is real (the standalone hub, its tokens, the gateway, Spark), but the drivers of the last part. Exits 1 where
a limit does not hold.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

import httpx
from jupyter_client.manager import KernelManager

from load import gateway as gateway_load
from load import pods, warm
from load.measure import Figure, print_table, resident_mib, spread, timed
from support.hub_session import HubSession
from support.standalone import Standalone, running

BARE = """
import time
began = time.perf_counter()
from pyspark.sql import SparkSession
SparkSession.builder.master("local[1]").config("spark.driver.memory", "1g").getOrCreate()
print(time.perf_counter() - began)
"""


class Gateway:
    """Raw Livy requests over one connection."""

    def __init__(self, address: str, token: str) -> None:
        self.http = httpx.Client(base_url=address, headers={"Authorization": f"token {token}"}, timeout=300)

    def open_session(self) -> int:
        """A session that is idle."""
        answer = self.http.post("/sessions", json={"kind": "pyspark", "profile": "small"})
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["id"]
        self.wait_idle(number)
        return number

    def wait_idle(self, number: int) -> None:
        """Return when the session is idle; fails with its reason if it dies."""
        state = "starting"
        while state != "idle":
            session = self.http.get(f"/sessions/{number}", params={"wait": 30, "state": state}).json()
            state = session["state"]
            assert state in ("starting", "not_started", "idle"), session

    def close_session(self, number: int) -> None:
        """End a session."""
        self.http.delete(f"/sessions/{number}").raise_for_status()

    def polled(self, number: int) -> None:
        """``1+1``, asked for again and again as Livy's clients do, every millisecond."""
        statement = self.http.post(f"/sessions/{number}/statements", json={"code": "1+1"}).json()
        while statement["state"] != "available":
            time.sleep(0.001)
            statement = self.http.get(f"/sessions/{number}/statements/{statement['id']}").json()
        assert statement["output"]["data"]["text/plain"] == "2", statement

    def waited(self, number: int) -> None:
        """``1+1`` with the server waiting for the result."""
        url = f"/sessions/{number}/statements"
        statement = self.http.post(url, params={"wait": 10}, json={"code": "1+1"}).json()
        assert statement["output"]["data"]["text/plain"] == "2", statement


def bare_ready() -> float:
    """Seconds from starting a fresh Python until its ``getOrCreate`` has returned."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - began


def session_start(gateway: Gateway, times: int) -> tuple[Figure, float]:
    """POST to idle against a bare start, in turn, as the ratio of the medians; and the median of ours in seconds."""
    ours, bare = [], []
    for turn in range(times + 1):
        bare_seconds = bare_ready()
        began = time.perf_counter()
        number = gateway.open_session()
        our_seconds = time.perf_counter() - began
        gateway.close_session(number)
        time.sleep(1)  # the driver's JVM ends beside
        if turn:  # the first of each warms the disk's cache
            ours.append(our_seconds)
            bare.append(bare_seconds)
        print(f"  session {our_seconds:.2f} s, bare {bare_seconds:.2f} s", flush=True)
    detail = f"ours {spread(ours, scale=1, unit='s')}; bare {spread(bare, scale=1, unit='s')}"
    ratio = statistics.median(ours) / statistics.median(bare)
    return Figure("session, POST to idle / bare Spark start", ratio, "x", 1.25, detail), statistics.median(ours)


def kernel(stack: Standalone, token: str, times: int, start_seconds: float) -> list[Figure]:
    """Our PySpark kernel: ``1+1`` in a cell, from the request to the kernel being idle again; then what a restart and a
    ``%%configure -f`` take until the first cell's result, besides the `start_seconds` of a session.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG")},
            "HOME": home,
            "SPARKYARD_GATEWAY_URL": stack.gateway,
            "SPARKYARD_PROFILE": "small",
            "JUPYTERHUB_API_TOKEN": token,
            "JUPYTERHUB_USER": "dana",
        }
        manager = KernelManager(kernel_name="pyspark")
        manager.start_kernel(env=environment, cwd=home)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=120)

            def cell(code: str = "1+1") -> None:
                reply = client.execute_interactive(code, timeout=300, output_hook=lambda message: None)
                assert reply["content"]["status"] == "ok", reply["content"]

            def restart() -> None:
                manager.restart_kernel()
                client.wait_for_ready(timeout=120)
                cell()

            def configure() -> None:
                cell('%%configure -f\n{"conf": {"spark.sql.shuffle.partitions": "9"}}')
                cell()

            cells = timed(cell, times, warm_up=10)
            restarts, configures = timed(restart, 3), timed(configure, 3)
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
    besides = {"restart": restarts, "%%configure -f": configures}
    return [
        Figure("1+1 in a notebook cell, median", statistics.median(cells) * 1000, "ms", 40, spread(cells)),
        *(
            Figure(
                f"{what} to the first result, besides a session's start",
                max(0.0, statistics.median(seconds) - start_seconds),
                "s",
                3,
                spread(seconds, scale=1, unit="s"),
            )
            for what, seconds in besides.items()
        ),
    ]


def main() -> int:
    """Measure, print, and judge."""
    figures: list[Figure] = []
    # Not the first start, which has the database to make: nearly all find it up to date.
    with running(before=1) as stack:
        user = stack.user("dana")
        with HubSession(stack.address, user.name, user.password) as person:
            person.start_server()  # a person's drivers run as the owner of their home, which the server makes
            token = person.token()
        gateway = Gateway(stack.gateway, token)
        print("a session's start against a bare one:", flush=True)
        figure, start_seconds = session_start(gateway, 5)
        figures.append(figure)

        print("sessions that take a warm driver:", flush=True)
        figures.extend(warm.taken(stack, token))

        print("1+1 over raw HTTP:", flush=True)
        number = gateway.open_session()
        memory_1 = resident_mib(stack.gateway_pid)
        polled = timed(lambda: gateway.polled(number), 500, warm_up=50)
        waited = timed(lambda: gateway.waited(number), 500, warm_up=50)
        figures.append(Figure("1+1 by HTTP, polled, median", statistics.median(polled) * 1000, "ms", 8, spread(polled)))
        figures.append(
            Figure("1+1 by HTTP, server-side wait, median", statistics.median(waited) * 1000, "ms", 8, spread(waited))
        )

        print("1+1 in a cell of our kernel:", flush=True)
        figures.extend(kernel(stack, token, 200, start_seconds))

        print("memory with 10 idle sessions:", flush=True)
        for _ in range(9):
            gateway.open_session()
        memory_10 = resident_mib(stack.gateway_pid)
        figures.append(Figure("gateway's memory, 1 idle session", memory_1, "MiB", 120))
        figures.append(Figure("gateway's memory, each further session", (memory_10 - memory_1) / 9, "MiB", 2))
    figures.extend(gateway_load.figures())
    figures.extend(pods.figures())
    print_table(figures)
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
