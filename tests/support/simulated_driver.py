"""A driver without Spark that speaks the real protocol, for tests of the gateway: it starts in a fraction of a second.

It evaluates Python in a thread, journals in memory, replays after a reconnect and never runs a statement twice, as the
real one does. What its Spark does is told by the app name ("never-ready", "fails") and the code it is sent.
"""

import asyncio
import contextlib
import io
import json
import os
import secrets
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

HERE: dict[str, Any] = {}


class SimulatedDriver:
    """One session's driver."""

    def __init__(self, bootstrap: dict[str, Any]) -> None:
        self.bootstrap = bootstrap
        self.pid = os.getpid()
        self.journal: list[dict[str, Any]] = []  # what was not acknowledged; the rest is forgotten, as by the real one
        self.done: dict[int, dict[str, Any]] = {}
        self.sequence = 0
        self.known: dict[int, asyncio.Task[None]] = {}
        self.queue = asyncio.Lock()
        self.outbox: asyncio.Queue[str] = asyncio.Queue()
        self.acked = 0
        self.socket: Any = None
        self.addresses: list[str] = []
        self.learn(bootstrap.get("gateways", []))
        self.term = 0

    def drop(self) -> None:
        """Lose the line, as a network does: SIGUSR1 has it happen."""
        if self.socket is not None:
            self.socket.transport.abort()

    def forget(self, acked: int) -> None:
        self.acked = max(self.acked, acked)
        self.journal = [each for each in self.journal if each["seq"] > self.acked]

    def learn(self, bases: list[str]) -> None:
        path = urlsplit(self.bootstrap["url"]).path
        self.addresses = list(dict.fromkeys([*(base + path for base in bases), self.bootstrap["url"]]))

    def say(self, **message: Any) -> None:
        self.outbox.put_nowait(json.dumps(message))

    def durable(self, **message: Any) -> None:
        self.sequence += 1
        message["seq"] = self.sequence
        self.journal.append(message)
        if "work_dir" in self.bootstrap:
            # Where the disk fails it goes on without, as the real one does.
            path = Path(self.bootstrap["work_dir"], "journal.jsonl")
            with contextlib.suppress(OSError), path.open("a") as journal:
                journal.write(json.dumps(message) + "\n")
        if message["t"] == "done":
            self.done[message["statement"]] = message
        self.say(**message)

    def leave(self) -> None:
        """End at once."""
        os._exit(0)

    async def run(self) -> None:
        starting = asyncio.create_task(self.start())
        while True:
            headers = {
                "Authorization": f"Bearer {self.bootstrap['token']}",
                "Sparkyard-Epoch": str(self.bootstrap["epoch"]),
                "Sparkyard-Term": str(self.term),
            }
            self.addresses.append(self.addresses.pop(0))
            try:
                line = connect(self.addresses[-1], additional_headers=headers, compression=None)
                line.process_redirect = lambda error: error  # as the real driver, it goes there by itself
                async with line as socket:
                    await self.talk(socket)
            except InvalidStatus as refused:
                answer = refused.response
                if answer.status_code == 307:
                    self.addresses.insert(0, answer.headers["Location"])
                    continue
                if answer.status_code != 503:
                    sys.exit(3)
            except (OSError, ConnectionClosed, InvalidMessage, TimeoutError, EOFError):
                pass
            await asyncio.sleep(0.05)
            if starting.done() and starting.exception():
                raise starting.exception()  # type: ignore[misc]

    async def start(self) -> None:
        name = self.bootstrap["app_name"]
        if name == "never-ready":
            return
        await asyncio.sleep(float(os.environ.get("SIMULATED_START", "0.05")))
        if name == "fails":
            self.durable(
                t="failed", reason="Spark could not start: the moon is full.", ename="E", evalue="v", traceback=[]
            )
            await asyncio.sleep(0.2)
            os._exit(1)
        self.durable(
            t="ready", app_id="local-1", spark_ui=None, spark_version="3.5.9", python_version="3.11.2", startup_ms={}
        )

    async def talk(self, socket: Any) -> None:
        last = max(self.done, default=-1)
        hello = {"t": "hello", "session": self.bootstrap["session"], "epoch": self.bootstrap["epoch"]}
        await socket.send(json.dumps({**hello, "pid": self.pid, "acked": self.acked, "last_done": last}))
        welcome = json.loads(await socket.recv())
        assert welcome["t"] == "welcome"
        if welcome["term"] < self.term:
            return  # a gateway that was frozen, and does not know yet that it owns the session no more
        self.term = welcome["term"]
        self.learn(welcome["gateways"])
        self.outbox = asyncio.Queue()
        self.forget(welcome["acked"])
        for message in self.journal:
            self.say(**message)

        async def send() -> None:
            while True:
                await socket.send(await self.outbox.get())

        self.socket = socket
        sender = asyncio.create_task(send())
        try:
            async for text in socket:
                message = json.loads(text)
                if message["t"] == "gateways":
                    self.learn(message["urls"])
                else:
                    self.hear(message)
        finally:
            sender.cancel()

    def hear(self, message: dict[str, Any]) -> None:  # noqa: C901  a table of messages
        kind = message["t"]
        if kind == "execute":
            number = message["statement"]
            if number in self.known:
                if number in self.done:
                    self.say(**self.done[number])
                return
            self.known[number] = asyncio.create_task(self.execute(number, message["code"]))
        elif kind == "cancel":
            task = self.known.get(message["statement"])
            if task is not None:
                task.cancel()
        elif kind == "complete":
            self.say(t="completion", request=message["request"], candidates=["spark"], cursor_start=0, cursor_end=2)
        elif kind == "fetch":
            self.fetch(message)
        elif kind == "ack":
            self.forget(message["seq"])
        elif kind == "taken":
            os.environ["USER"] = message["owner"]
        elif kind == "shutdown" and self.bootstrap["app_name"] != "deaf":
            self.leave()

    def fetch(self, message: dict[str, Any]) -> None:
        # Of every statement it keeps "kept of N" as text; and it answers what it was not asked, as a hostile one may.
        text = f"kept of {message['statement']}"
        piece = text[message["from"] : message["from"] + message["size"]]
        answer = {"from": message["from"], "next": message["from"] + len(piece), "total": len(text), "text": piece}
        self.say(t="piece", request="somebody else's", found=True, **answer)
        self.say(t="piece", request=message["request"], found=message["type"] == "text/plain", **answer)

    async def execute(self, number: int, code: str) -> None:
        async with self.queue:
            self.durable(t="begin", statement=number, at=int(time.time() * 1000))
            status, output = await self.outcome(number, code)
            self.durable(
                t="done", statement=number, at=int(time.time() * 1000), status=status, output=output, truncated=None
            )

    async def outcome(self, number: int, code: str) -> tuple[str, dict[str, Any] | None]:
        output: dict[str, Any] = {"status": "ok", "execution_count": number, "data": {"text/plain": ""}}
        try:
            if code.startswith("sleep "):
                await asyncio.sleep(float(code.split()[1]))
                output["data"]["text/plain"] = "slept"
            elif code.startswith("stream "):
                offset = 0
                for piece in code.split()[1:]:
                    self.say(t="stream", statement=number, offset=offset, text=piece + "\n")
                    self.say(
                        t="progress", statement=number, fraction=0.5, stages=[{"id": 1, "name": piece, "tasks": 2}]
                    )
                    offset += len(piece) + 1
                    await asyncio.sleep(0.15)
                output["data"]["text/plain"] = "\n".join(code.split()[1:])
            elif code.startswith("nonsense"):
                self.say(t="nonsense")
                await asyncio.sleep(0.3)
            else:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    result = eval(code, HERE)
                text = printed.getvalue() + ("" if result is None else repr(result))
                output["data"]["text/plain"] = text.rstrip()
        except asyncio.CancelledError:
            return "cancelled", {
                **output,
                "status": "error",
                "ename": "KeyboardInterrupt",
                "evalue": "",
                "traceback": [],
            }
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            kind = type(error).__name__
            return "error", {
                "status": "error",
                "execution_count": number,
                "ename": kind,
                "evalue": str(error),
                "traceback": [],
            }
        return "ok", output


async def live(driver: SimulatedDriver) -> None:
    """Be this driver, until it ends."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, driver.drop)
    await driver.run()


def run_batch(descriptor: int) -> None:
    """A batch without Spark: become the Python that runs its file."""
    with os.fdopen(descriptor) as file:
        batch = json.load(file)
    print("the simulated batch begins", flush=True)
    os.execv(sys.executable, [sys.executable, "-u", batch["file"].removeprefix("file://"), *batch["args"]])


def claimed(told: dict[str, str]) -> dict[str, Any]:
    """The bootstrap of one that an upstream Livy runs."""
    token = secrets.token_urlsafe(32)
    body = json.dumps({"claim": told["claim"], "token": token}).encode()
    with urllib.request.urlopen(urllib.request.Request(told["claim-url"], body)) as answer:
        return {**json.load(answer), "token": token}


if __name__ == "__main__":
    if sys.argv[1] == "batch":
        run_batch(int(sys.argv[3]))
    if sys.argv[1].startswith("--claim-url="):
        read = claimed(dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:]))
    else:
        assert sys.argv[1] == "--bootstrap-fd"
        with os.fdopen(int(sys.argv[2])) as file:
            read = json.load(file)
    print("the simulated driver is up", flush=True)
    HERE.update(os=os, bootstrap=read, sys=sys, __builtins__=__builtins__)
    asyncio.run(live(SimulatedDriver(read)))
