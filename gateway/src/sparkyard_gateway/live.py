"""Sessions and statements as the gateway holds them in memory while they matter.

Every question about a live session is answered from here, never by SQL; whoever waits for a change sleeps on a
`Signal`, so that a result reaches its reader in the moment it arrives and nobody polls.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sparkyard_gateway.states import Kind, SessionState, StatementState
from sparkyard_gateway.store.models import NewSession, SessionRecord, StatementRecord
from sparkyard_gateway.times import now_ms, steady_ms


class Signal:
    """Wakes all who wait for the next change."""

    __slots__ = ("_closed", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    def close(self) -> None:
        """Let all go, and hold nobody any more: the gateway is stopping."""
        self._closed = True
        self.fire()

    def fire(self) -> None:
        """Wake them."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            finish(each)

    async def wait_until(self, satisfied: Callable[[], bool], seconds: float) -> None:
        """Return as soon as `satisfied()` after some change, or when the time is up."""
        if seconds <= 0 or satisfied():
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (self._closed or satisfied()):
            left = end - loop.time()
            if left <= 0:
                return
            woken: asyncio.Future[None] = loop.create_future()
            self._waiting.append(woken)
            timer = loop.call_later(left, finish, woken)
            try:
                await woken
            finally:
                timer.cancel()


def finish(future: asyncio.Future[None]) -> None:
    """Wake whoever waits for it, once."""
    if not future.done():
        future.set_result(None)


class Printed:
    """What a statement has printed so far, by characters; only the last `limit` are kept."""

    __slots__ = ("_limit", "_start", "_text", "end")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._text = ""
        self._start = 0
        self.end = 0

    def add(self, offset: int, text: str) -> bool:
        """Take a piece that stands at `offset`; one that was seen before is dropped. Returns whether it was news."""
        if offset > self.end:
            # Printed while no gateway listened, and not repeated: the final output has it.
            self._text, self._start = "", offset
        elif offset < self.end:
            text = text[self.end - offset :]
            if not text:
                return False
        self.end = max(self.end, offset) + len(text)
        self._text += text
        if len(self._text) > 2 * self._limit:
            self._text = self._text[-self._limit :]
            self._start = self.end - len(self._text)
        return True

    def forget(self) -> None:
        """Keep only how much there was."""
        self._text, self._start = "", self.end

    def since(self, offset: int) -> tuple[int, str]:
        """What was printed from `offset` on, and where that piece begins (later, where the start was dropped)."""
        begin = min(max(offset, self._start), self.end)
        return begin, self._text[begin - self._start :]


@dataclass(slots=True)
class LiveStatement:
    """One piece of code and what has become of it.

    `sent`: its driver may have it. `held`: it is not to be sent, as its cancelling is just being written down, by so
    many.
    """

    id: int
    kind: Kind
    code: str
    created_at: int
    idempotency_key: str | None = None
    state: StatementState = StatementState.WAITING
    output: str | None = None
    progress: float = 0.0
    started_at: int = 0
    completed_at: int = 0
    truncated: str | None = None
    version: int = 0
    stages: list[Mapping[str, Any]] = field(default_factory=list)
    printed: Printed | None = None
    changed: Signal = field(default_factory=Signal)
    sent: bool = False
    held: int = 0

    def touch(self) -> None:
        """Something about it has changed."""
        self.version += 1
        self.changed.fire()

    def record(self, session_id: int) -> StatementRecord:
        """Its row."""
        return StatementRecord(
            session_id=session_id,
            id=self.id,
            kind=self.kind,
            code=self.code,
            state=self.state,
            created_at=self.created_at,
            output=self.output,
            progress=self.progress,
            truncated=self.truncated,
            idempotency_key=self.idempotency_key,
            started_at=self.started_at,
            completed_at=self.completed_at,
        )

    @classmethod
    def of(cls, record: StatementRecord) -> "LiveStatement":
        """From its row."""
        return cls(
            id=record.id,
            kind=Kind(record.kind),
            code=record.code,
            created_at=record.created_at,
            idempotency_key=record.idempotency_key,
            state=StatementState(record.state),
            output=record.output,
            progress=record.progress,
            started_at=record.started_at,
            completed_at=record.completed_at,
            truncated=record.truncated,
        )


class DriverLine(Protocol):
    """The connection to a session's driver, as the services see it."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; lost silently where the connection has just gone: the driver will call again."""

    def close(self) -> None:
        """Hang up."""


@dataclass(slots=True)
class LiveSession:
    """A session that clients may see.

    `line` is the connection to its driver while there is one; `applied` the number of the driver's last durable
    message whose effect is in memory (the database follows, and only then the driver is told to forget it);
    `acked` the last one of which the database has it all; `waiting` how many requests wait on it, which keeps its
    heartbeat going; `launching` is set while its driver's process is being made, `late` when it took too long to
    start, and `task` ends it. `moved` says that another gateway has it now. `born_at`, `heard_at` (by a client),
    `used_at` and `gone_at` are the steady clock's: all
    that has to do with how long it lasts.
    """

    id: int
    owner: str
    team: str | None
    name: str | None
    kind: Kind
    profile: str
    backend: str
    request: dict[str, Any]
    spec: dict[str, Any]
    token_hash: str
    created_at: int
    born_at: int = field(default_factory=steady_ms)
    heard_at: int = field(default_factory=steady_ms)
    used_at: int = field(default_factory=steady_ms)
    gone_at: int = 0
    state: SessionState = SessionState.STARTING
    reason: str | None = None
    phase: str | None = None
    app_id: str | None = None
    spark_ui: str | None = None
    spark_version: str | None = None
    python_version: str | None = None
    handle: dict[str, Any] | None = None
    term: int = 1
    epoch: int = 1
    applied: int = 0
    acked: int = 0
    waiting: int = 0
    ready_at: int | None = None
    ended_at: int | None = None
    removed: bool = False
    line: DriverLine | None = None
    next_statement: int = 0
    statements: "OrderedDict[int, LiveStatement]" = field(default_factory=OrderedDict)
    keys: dict[str, int] = field(default_factory=dict)
    changed: Signal = field(default_factory=Signal)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    moved: bool = False
    launching: bool = False
    late: bool = False
    task: "asyncio.Task[None] | None" = None

    @property
    def idle_timeout_seconds(self) -> float:
        """After how long without a statement it ends; 0 for never."""
        return float(self.spec.get("idle_timeout_seconds") or 0)

    @property
    def lifetime_seconds(self) -> float:
        """After how long it ends in any case; 0 for never."""
        return float(self.spec.get("lifetime_seconds") or 0)

    @property
    def heartbeat_seconds(self) -> int:
        """After how long without a request it ends; 0 for never."""
        return int(self.request.get("heartbeatTimeoutInSecond") or 0)

    @property
    def shows_spark(self) -> bool:
        """Whether its Spark UI has something to show: after the end only where drivers write event logs."""
        return self.spark_ui is not None and (self.backend in {"local", "kubernetes"} or not self.state.ended)

    @classmethod
    def begun(cls, number: int, new: NewSession) -> "LiveSession":
        """One that has just been written down."""
        return cls(
            id=number,
            owner=new.owner,
            team=new.team,
            name=new.name,
            kind=Kind(new.kind),
            profile=new.profile,
            backend=new.backend,
            request=new.request,
            spec=new.spec,
            token_hash=new.token_hash,
            created_at=new.created_at,
        )

    @classmethod
    def of(cls, record: SessionRecord) -> "LiveSession":
        """From its row, at a gateway's start: what nobody could use or ask about meanwhile counts as just used."""
        live = cls(
            id=record.id,
            owner=record.owner,
            team=record.team,
            name=record.name,
            kind=Kind(record.kind),
            profile=record.profile,
            backend=record.backend,
            request=record.request,
            spec=record.spec,
            token_hash=record.token_hash,
            created_at=record.created_at,
            born_at=_steady(record.created_at),
            gone_at=_steady(record.ended_at) if record.ended_at is not None else 0,
            state=SessionState(record.state),
            reason=record.reason,
            app_id=record.app_id,
            spark_ui=record.spark_ui,
            spark_version=record.spark_version,
            python_version=record.python_version,
            handle=record.handle,
            term=record.term,
            epoch=record.epoch,
            applied=record.acked,
            acked=record.acked,
            ready_at=record.ready_at,
            ended_at=record.ended_at,
        )
        if record.ended_at is not None:
            live.ended.set()
        return live

    @property
    def current(self) -> LiveStatement | None:
        """The first statement that is not done: the one the driver has, or would have."""
        return next((each for each in self.statements.values() if not each.state.final), None)

    def knows_token(self, token: str) -> bool:
        """Whether this is the token its driver was given."""
        return hmac.compare_digest(token_hash(token), self.token_hash)


def _steady(at: int) -> int:
    """A point of the wall clock on the steady one; not in the future, should the clock have been set back meanwhile."""
    return steady_ms() - max(0, now_ms() - at)


def token_hash(token: str) -> str:
    """What the database keeps of a driver's token."""
    return hashlib.sha256(token.encode()).hexdigest()
