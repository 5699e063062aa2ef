"""A thousand simulated drivers on two cores: each has a process of its own, as the backend wants it, but one event loop
speaks for all of them.

What the gateway starts is a *member*: it hands its bootstrap to the crowd's loop over a socket beside its program, and
becomes a ``sleep`` of half a megabyte. The loop is a process too, so that what it costs is not the gateway's.

    python -m load.crowd FOLDER      serves the members whose program lies in that folder, until SIGTERM
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.simulated_driver import SimulatedDriver
from support.waiting import until

MEMBER = """\
import json, os, socket, sys
with os.fdopen(int(sys.argv[2])) as file:
    bootstrap = json.load(file)
with socket.socket(socket.AF_UNIX) as crowd:
    crowd.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "crowd.sock"))
    crowd.sendall(json.dumps({"pid": os.getpid(), "bootstrap": bootstrap}).encode())
os.execv("/bin/sleep", ["sleep", "infinity"])
"""


class Member(SimulatedDriver):
    """One driver of the crowd, in the place of the process that the gateway started."""

    def __init__(self, pid: int, bootstrap: dict[str, Any]) -> None:
        super().__init__(bootstrap)
        self.pid = pid
        self.life: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """End its process and its part of the loop."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if self.life is not None:
            self.life.cancel()

    async def live(self) -> None:
        """Run until it leaves or is refused."""
        with contextlib.suppress(SystemExit):
            await self.run()


async def serve(folder: Path) -> None:
    """Speak for every member that comes."""
    members: set[Member] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = json.loads(await reader.read())
        writer.close()
        member = Member(told["pid"], told["bootstrap"])
        member.life = asyncio.create_task(member.live())
        members.add(member)
        member.life.add_done_callback(lambda _: members.discard(member))

    await asyncio.start_unix_server(join, folder / "crowd.sock", backlog=1024)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for member in list(members):
        member.leave()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Path]:
    """The program that the gateway is to start as a driver, while the crowd's loop runs."""
    program = folder / "member.py"
    program.write_text(MEMBER)
    tests = Path(__file__).parents[1]
    loop = subprocess.Popen(
        [sys.executable, "-m", "load.crowd", str(folder)], env={**os.environ, "PYTHONPATH": str(tests)}
    )
    try:
        until((folder / "crowd.sock").exists)
        yield program
    finally:
        loop.terminate()
        loop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
