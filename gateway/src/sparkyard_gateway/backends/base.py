"""What a place where drivers run must offer, whichever it is.

A backend starts, finds again and ends drivers, and it alone says that one is dead: a driver that is silent, or whose
connection broke, may be well and only far. Statements never pass through a backend; the driver dials out to the
gateway for them.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Handle = dict[str, Any]
"""How a backend finds a driver again after a restart of the gateway; JSON, kept in the session's row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkOrder:
    """What is the same for a driver and a batch: a Spark application to start, as the policy has decided it."""

    owner: str
    app_name: str
    conf: Mapping[str, str]
    cores: int
    python: Path | None = None
    spark_home: Path | None = None
    pods: Mapping[str, Any] = field(default_factory=dict)
    """What the catalog says of its pods, as the session's row keeps it: JSON."""

    @property
    def number(self) -> int:
        """What the backend knows it by."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOrder(SparkOrder):
    """A session's driver; `token` may also be the code to claim its bootstrap with."""

    session_id: int
    epoch: int
    url: str
    gateways: tuple[str, ...] = ()
    token: str = field(repr=False)
    kind: str
    heartbeat_seconds: int = 10
    orphan_seconds: int = 3600

    @property
    def number(self) -> int:
        """The session's id."""
        return self.session_id


@dataclass(frozen=True, slots=True)
class Carriage:
    """Where a batch's driver sends its event log, where nothing of that would stay else."""

    urls: tuple[str, ...]
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder(SparkOrder):
    """One attempt at a batch: a file with what it is given."""

    attempt: int
    batch: int = 0
    key: str = ""
    """What stays the same of the batch, and is no other's, however often it is prepared until it has begun."""
    file: str
    class_name: str | None = None
    args: tuple[str, ...] = ()
    grace_seconds: float = 5.0
    mark: str = field(default_factory=lambda: secrets.token_hex(3))
    """Tells this preparation of the attempt from any other: one that never began may be prepared again."""

    @property
    def number(self) -> int:
        """The attempt's id: each has a folder and a log of its own."""
        return self.attempt


@dataclass(frozen=True, slots=True)
class Ended:
    """A driver is gone: why, as one sentence for its owner, and whether it went as asked (exit code 0).

    `explained` where the reason holds already what the log's last lines have to say; `decisive` where it is the cause,
    and the driver's own last words could only tell its effect.
    """

    reason: str
    clean: bool
    explained: bool = False
    decisive: bool = False


WhenEnded = Callable[[int, Ended], None]
"""Called once in the event loop when a session's driver is gone for good."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An attempt at a batch is over. `code` is its exit code, negative for a signal, None where nobody saw it;
    `began` whether any of it ever ran (where not, it may be started again, unless there is a verdict), `asked` whether
    it was told to end, `verdict` why the backend ended it or cannot run it; `told` the final state where the place that
    it ran at tells that and perhaps no code, `said` what it says of why."""

    code: int | None
    began: bool = True
    asked: bool = False
    verdict: str | None = None
    told: str | None = None
    said: str | None = None


WhenAttemptEnded = Callable[[int, AttemptEnd], None]
"""Called once in the event loop when nothing of an attempt runs any more."""


@dataclass(frozen=True, slots=True)
class Application:
    """The Spark application that a batch has started, as it says itself."""

    id: str
    ui: str | None = None


class BackendError(Exception):
    """A driver could not be started; the message is a sentence for its owner."""


class BackendAway(BackendError):  # noqa: N818 - reads as what happened
    """The place where drivers run gives no answer for now, which says nothing about them: ask again later."""


class Backend(Protocol):
    """A place where drivers run. Every method may be called again after a crash half-way."""

    name: str

    async def start(self, order: DriverOrder) -> Handle:
        """Start a driver and watch it. Raises BackendError. The caller writes the handle down at once."""

    async def adopt(self, session_id: int, handle: Handle | None) -> Handle | None:
        """Find a driver of an earlier gateway and watch it; None where it is gone.

        Without a handle the gateway died between start and writing it down: the backend looks by the session's id.
        Raises BackendAway where it cannot look.
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


class BatchBackend(Protocol):
    """A place where batches run, an attempt at a time. Every method may be called again after a crash half-way.

    An attempt runs at most once. So it is prepared first, and runs nothing; its handle is written down; and only then
    it begins. One that was prepared by a gateway that died before that never runs.
    """

    name: str

    async def prepare(self, order: BatchOrder) -> Handle:
        """Make ready and watch it; nothing of the user's runs yet. Raises BackendError."""

    async def begin(self, attempt: int) -> None:
        """Its handle is written down: run it."""

    async def adopt(self, attempt: int, handle: Handle | None) -> Handle | None:
        """Find an attempt of an earlier gateway and watch it; None where it is gone: `end_of` says how."""

    async def withhold(self, attempt: int) -> bool:
        """See to it that an attempt never begins, whoever tells it to; False where it has begun already."""

    async def let_go(self, attempt: int) -> None:
        """Another gateway watches this attempt now: look away, and do not begin it."""

    async def abandon(self, attempt: int, handle: Handle) -> None:
        """End an attempt that was prepared for nothing, and nothing beside it."""

    async def end_of(self, attempt: int) -> AttemptEnd:
        """How an attempt ended that is gone."""

    async def application(self, attempt: int, handle: Handle) -> Application | None:
        """Its Spark application, as soon as there is one."""

    async def stop(self, attempt: int, handle: Handle | None, grace_seconds: float) -> None:
        """End all of it, kindly, then by force, and return when nothing of it runs or can come back."""

    async def log_page(self, attempt: int, first: int, size: int) -> tuple[int, int, list[str]]:
        """As of a driver."""

    def log_tail(self, attempt: int, lines: int) -> list[str]:
        """As of a driver."""

    def tidy(self, limit: int, retention_seconds: float, running: frozenset[int]) -> None:
        """Keep logs in bounds, and remove what ended attempts left. Blocks on the disk."""

    async def forget(self, attempt: int, *, keep_log: bool) -> None:
        """Remove what the attempt left behind."""

    async def close(self) -> None:
        """Let go of connections, and of what was prepared and has not begun; what runs goes on."""


@runtime_checkable
class Listening(Protocol):
    """A backend that can tell whose a port is, for drivers or for attempts at batches."""

    async def listens(self, number: int, handle: Handle | None, host: str, port: int) -> bool:
        """As of a driver."""


@runtime_checkable
class Queues(Protocol):
    """A backend for batches where what has begun may still wait, and which tells `BatchNews.waits` so."""

    def queues(self) -> bool:
        """Whether it does."""


@runtime_checkable
class Checked(Protocol):
    """A backend that can tell, before anybody asks for a driver, whether it could start one."""

    async def problem(self) -> str | None:
        """What keeps it from starting drivers, as a sentence for the operator; None where nothing does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process runs as."""

    uid: int
    gid: int
    name: str
