"""What a place where drivers run must offer, whichever it is.

A backend starts, finds again and ends drivers, and it alone says that one is dead: a driver that is silent, or whose
connection broke, may be well and only far. Statements never pass through a backend; the driver dials out to the
gateway for them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Handle = dict[str, Any]
"""How a backend finds a driver again after a restart of the gateway; JSON, kept in the session's row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOrder:
    """A driver to start, as the policy has decided it."""

    session_id: int
    epoch: int
    owner: str
    url: str
    gateways: tuple[str, ...] = ()
    token: str = field(repr=False)
    kind: str
    app_name: str
    conf: Mapping[str, str]
    cores: int
    python: Path | None = None
    spark_home: Path | None = None
    heartbeat_seconds: int = 10
    orphan_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class Ended:
    """A driver is gone: why, as one sentence for its owner, and whether it went as asked (exit code 0)."""

    reason: str
    clean: bool


WhenEnded = Callable[[int, Ended], None]
"""Called once in the event loop when a session's driver is gone for good."""


class BackendError(Exception):
    """A driver could not be started; the message is a sentence for its owner."""


class Backend(Protocol):
    """A place where drivers run. Every method may be called again after a crash half-way."""

    name: str

    async def start(self, order: DriverOrder) -> Handle:
        """Start a driver and watch it. Raises BackendError. The caller writes the handle down at once."""

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Find a driver of an earlier gateway and watch it; None where it is gone.

        Without a handle the gateway died between start and writing it down: the backend looks by the session's id.
        """

    async def stop(self, session_id: int, handle: Handle | None, grace_seconds: float) -> None:
        """End a driver, kindly, then by force, and return when nothing of it runs or can come back."""

    async def let_go(self, session_id: int) -> None:
        """Another gateway watches this driver now: look away, and harm nothing of it."""

    async def discard(self, handle: Handle) -> None:
        """End a driver that was started for nothing, and nothing beside it: another may live in the same place."""

    async def listens(self, session_id: int, handle: Handle | None, host: str, port: int) -> bool:
        """Whether that port is one that this session's driver listens on, and not somebody else's."""

    async def log_page(self, session_id: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """Lines of the driver's log: (index of the first, count of all, lines). A negative `first` is the tail,
        a negative `size` all."""

    def log_tail(self, session_id: int, lines: int) -> list[str]:
        """The last lines, quickly: called for each answer about a session."""

    async def forget(self, session_id: int, *, keep_log: bool) -> None:
        """Remove what the driver left behind."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process runs as."""

    uid: int
    gid: int
    name: str
