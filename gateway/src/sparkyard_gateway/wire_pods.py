"""What travels over HTTP about the pods of a session or batch."""

from pydantic import Field

from sparkyard_gateway.backends.executors import Executor, Kept, State
from sparkyard_gateway.backends.pod_events import PodEvent
from sparkyard_gateway.wire import Wire


class ExecutorAnswer(Wire):
    """An executor. Times are milliseconds since the epoch."""

    uid: str = Field(description="Its pod's uid, by which its log is found.")
    number: str = Field(description="Spark's own number; its log is found by this too, the latest of that number.")
    pod: str
    state: State
    reason: str | None = Field(description="What it waits for, or why it ended.")
    node: str | None
    image: str | None
    memory: int | None = Field(description="How many bytes it may take.")
    created: int
    started: int | None
    ended: int | None
    log: Kept = Field(
        description="What is kept of its log: `growing` while it runs, then `whole`, or `part` where its end went with "
        "its node, `none` where it never ran, `dropped` where there are too many."
    )


class ExecutorsAnswer(Wire):
    """A page of a session's or batch's executors, the newest first."""

    id: int
    from_: int = Field(alias="from")
    total: int
    executors: list[ExecutorAnswer]


class PodEventAnswer(Wire):
    """What happened to a pod, as Kubernetes tells it. Times are milliseconds since the epoch."""

    first: int
    last: int
    count: int = Field(description="How often, from the first time to the last.")
    pod: str
    who: str = Field(description="`driver`, or `executor` and its number.")
    type: str = Field(description="`Normal` or `Warning`.")
    reason: str = Field(description="Kubernetes' own word for it.")
    message: str = Field(description="Kubernetes' own sentence.")
    words: str = Field(description="The same in plain words.")


class PodEventsAnswer(Wire):
    """What happened to the pods of a session or batch, in the order of the last times."""

    id: int
    events: list[PodEventAnswer]


def executor_answer(executor: Executor) -> ExecutorAnswer:
    """An executor as it travels."""
    return ExecutorAnswer(
        uid=executor.uid,
        number=executor.number,
        pod=executor.pod,
        state=executor.state,
        reason=executor.reason,
        node=executor.node,
        image=executor.image,
        memory=executor.memory,
        created=executor.created,
        started=executor.started,
        ended=executor.ended,
        log=executor.kept,
    )


def event_answer(event: PodEvent) -> PodEventAnswer:
    """An event as it travels."""
    return PodEventAnswer(
        first=event.first,
        last=event.last,
        count=event.count,
        pod=event.pod,
        who=event.who,
        type="Warning" if event.warning else "Normal",
        reason=event.reason,
        message=event.message,
        words=event.words,
    )
