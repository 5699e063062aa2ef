"""A batch as the gateway holds it in memory while clients may see it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sparkyard_gateway.live import Signal
from sparkyard_gateway.states import BatchState
from sparkyard_gateway.store.batch_models import BatchRecord, NewBatch


@dataclass(slots=True)
class LiveBatch:
    """A batch with its last attempt.

    `launching` is set while a process is being made for it, `ending` once it was told to end, `task` ends it; `ended`
    is set when nothing of it runs any more, `late` when it was ended as it did not run in time. `moved` says that
    another gateway has it now.
    """

    id: int
    attempt: int
    owner: str
    team: str | None
    name: str | None
    profile: str
    backend: str
    request: dict[str, Any]
    spec: dict[str, Any]
    created_at: int
    state: BatchState = BatchState.STARTING
    reason: str | None = None
    app_id: str | None = None
    spark_ui: str | None = None
    handle: dict[str, Any] | None = None
    exit_code: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    phase: str | None = None
    removed: bool = False
    launching: bool = False
    ending: bool = False
    late: bool = False
    moved: bool = False
    restarts: int = 0
    task: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    changed: Signal = field(default_factory=Signal)

    @property
    def key(self) -> str:
        """By what others know it: no other batch has it, also where a database was put back."""
        return f"{self.id}-{self.created_at}"

    @classmethod
    def new(cls, number: int, attempt: int, new: NewBatch) -> "LiveBatch":
        """One that was just written down."""
        return cls(
            id=number,
            attempt=attempt,
            owner=new.owner,
            team=new.team,
            name=new.name,
            profile=new.profile,
            backend=new.backend,
            request=new.request,
            spec=new.spec,
            created_at=new.created_at,
        )

    @classmethod
    def of(cls, record: BatchRecord) -> "LiveBatch":
        """From its row."""
        attempt = record.attempt
        live = cls(
            id=record.id,
            attempt=attempt.id,
            owner=record.owner,
            team=record.team,
            name=record.name,
            profile=record.profile,
            backend=record.backend,
            request=record.request,
            spec=record.spec,
            created_at=record.created_at,
            state=BatchState(record.state),
            reason=record.reason,
            app_id=attempt.app_id,
            spark_ui=attempt.spark_ui,
            handle=attempt.handle,
            exit_code=attempt.exit_code,
            started_at=attempt.started_at,
            ended_at=record.ended_at,
            removed=record.removed_at is not None,
        )
        if record.ended_at is not None:
            live.ended.set()
        return live

    def end(self, state: BatchState, reason: str | None, code: int | None, now: int) -> None:
        """Nothing of it runs any more."""
        self.state, self.reason, self.exit_code, self.ended_at = state, reason, code, now
        self.phase = None
        self.ended.set()
        self.changed.fire()

    def say(self, phase: str | None) -> None:
        """What it is waiting for."""
        self.phase = phase
        self.changed.fire()
