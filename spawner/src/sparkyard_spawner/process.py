"""One notebook server's process as the hub sees it: started, found again after a restart, polled, stopped, heard.

What runs is the keeper (``keeper.py``), and below it the server. The keeper is known by pid *and* start time,
because a pid alone may belong to somebody else by the time a restarted hub looks.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparkyard_spawner import keeper

_LOG_LIMIT = 5_000_000
_TAIL_BYTES = 16_384


@dataclass
class ServerProcess:
    """A keeper that was started, by this hub or by one before it."""

    pid: int
    started_at: int
    handle: subprocess.Popen[bytes] | None = None

    @classmethod
    def launch(cls, plan: keeper.Plan, env: Mapping[str, str], log: Path) -> "ServerProcess":
        """Start a keeper with this plan; what the server writes goes to ``log``, which only we can read."""
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".old.log"))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            handle = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, json.dumps(plan)],
                env=dict(env),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C at the hub's terminal is the hub's business
            )
        finally:
            os.close(descriptor)
        # It can't have been reaped yet, so its start time can be read even if it has already ended.
        return cls(handle.pid, keeper.started_at(handle.pid) or 0, handle)

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> "ServerProcess | None":
        """The process a hub before us wrote down, or None if it wrote none."""
        pid, started = state.get("pid"), state.get("started_at")
        return cls(pid, started) if isinstance(pid, int) and isinstance(started, int) and pid > 0 else None

    def state(self) -> dict[str, int]:
        """What the next hub needs to find it again."""
        return {"pid": self.pid, "started_at": self.started_at}

    def poll(self) -> int | None:
        """None while it runs, else its exit status; 0 where it ended unobserved."""
        if self.handle is not None:
            return self.handle.poll()
        return None if keeper.started_at(self.pid) == self.started_at else 0

    async def stop(self, *, now: bool, seconds: float) -> bool:
        """End it and all it started: politely within ``seconds``, then for good; False if something is left."""
        if self.poll() is not None:
            return True
        if not now:
            os.kill(self.pid, signal.SIGTERM)
            if await self._gone(seconds):
                return True
        # The keeper must outlive what it keeps: it is what the orphans come to, and it ends when the last has.
        await asyncio.to_thread(keeper.end_descendants, self.pid)
        if await self._gone(2.0):
            return True
        os.kill(self.pid, signal.SIGKILL)
        return await self._gone(5.0)

    async def _gone(self, seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        while self.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True


def last_lines(log: Path, count: int, *, secrets: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The end of a server's log for its user, with the secrets we gave the server blotted out."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    for secret in filter(None, secrets):
        text = text.replace(secret, "[secret]")
    return tuple(text.splitlines()[-count:])
