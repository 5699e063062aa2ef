"""What travels over HTTP: Livy's bodies, and our additions to them. One model for the server and for clients.

Livy's own fields keep Livy's names, order and emptiness (every key is present, null, 0 or [] when unset). Additions
stand after them; Livy's clients ignore them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic.alias_generators import to_camel

from sparkyard_gateway.states import KIND_ALIASES, BatchState, Kind, SessionState, StatementState


def _scalar(value: object) -> object:
    """A string, or a bare number or truth value as Livy's JSON reader turns it into one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value


def _kind(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("requirement failed: Kind should be a string.")  # noqa: TRY004 - pydantic wants ValueError
    kind = KIND_ALIASES.get(value) or next((each for each in Kind if each.value == value), None)
    if kind is None:
        raise ValueError(f"Invalid kind: {value}")
    return kind


def _whole(value: object) -> object:
    """A whole number, or its digits, as Livy's JSON reader takes them; never a truth value."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


KindField = Annotated[Kind, BeforeValidator(_kind)]
Text = Annotated[StrictStr, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Whole = Annotated[
    StrictInt,
    BeforeValidator(_whole),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}),
]
Position = Annotated[
    StrictInt,
    Field(ge=0),
    BeforeValidator(_whole),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}),
]
Words = list[StrictStr]


class Wire(BaseModel):
    """What travels, its keys in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Request(Wire):
    model_config = ConfigDict(extra="forbid", populate_by_name=False, hide_input_in_errors=True)


class SparkRequest(_Request):
    """What the requests for sessions and batches have in common."""

    proxy_user: Text | None = Field(None, description="The caller, or nobody: a session or batch is its caller's.")
    jars: Words | None = None
    py_files: Words | None = None
    files: Words | None = None
    archives: Words | None = None
    driver_memory: Text | None = None
    driver_cores: StrictInt | None = None
    executor_memory: Text | None = None
    executor_cores: StrictInt | None = None
    num_executors: StrictInt | None = None
    queue: Text | None = None
    name: Text | None = None
    conf: dict[StrictStr, Text] | None = None
    profile: StrictStr | None = Field(None, description="Addition: the catalog's profile. Default: the person's own.")


class SessionRequest(SparkRequest):
    """The body of POST /sessions."""

    kind: KindField = Kind.SHARED
    heartbeat_timeout_in_second: Whole | None = None
    ttl: Text | None = None
    idle_timeout: Text | None = None
    warm: StrictBool | None = Field(
        None, description="Addition: false starts a driver of the session's own, where a warm one could be had."
    )


class AppInfo(Wire):
    """Where more is to be seen."""

    driver_log_url: str | None = None
    spark_ui_url: str | None = None
    executor_log_urls: dict[str, str] | None = None


class SessionAnswer(Wire):
    """A session: Livy's 23 fields, then ours."""

    id: int
    name: str | None
    app_id: str | None
    owner: str
    proxy_user: str
    state: SessionState
    kind: Kind
    app_info: AppInfo
    log: list[str]
    ttl: str | None
    idle_timeout: str | None
    driver_memory: str | None
    driver_cores: int
    executor_memory: str | None
    executor_cores: int
    conf: dict[str, str]
    archives: list[str]
    files: list[str]
    heartbeat_timeout_in_second: int
    jars: list[str]
    num_executors: int
    py_files: list[str]
    queue: str | None
    profile: str = Field(description="Addition: the catalog's profile.")
    driver_image: str | None = Field(description="Addition: the image the driver runs in, or that stands for it.")
    executor_image: str | None = Field(description="Addition: likewise of the executors.")
    notice: str | None = Field(description="Addition: what of the granted images this machine cannot give.")
    spark_version: str | None = Field(description="Addition: what the running driver says.")
    spark_ui_path: str | None = Field(description="Addition: the Spark UI's path behind the hub's login.")
    state_reason: str | None = Field(description="Addition: one sentence about why it waits, or why it ended.")
    phase: str | None = Field(description="Addition: what a starting session is doing.")
    created: int = Field(description="Addition: when it was asked for, ms.")


class SessionsAnswer(Wire):
    """A page of sessions."""

    from_: int = Field(alias="from")
    total: int
    sessions: list[SessionAnswer]


class StateAnswer(Wire):
    """A session's state alone."""

    id: int
    state: SessionState


class BatchRequest(SparkRequest):
    """The body of POST /batches."""

    file: StrictStr | None = Field(None, description="What to run: the address of a Python file or a jar. Required.")
    class_name: StrictStr | None = None
    args: list[Text] | None = None


class BatchAnswer(Wire):
    """A batch: Livy's 9 fields, then ours."""

    id: int
    name: str | None
    owner: str
    proxy_user: str
    state: BatchState
    app_id: str | None
    app_info: AppInfo
    log: list[str]
    profile: str = Field(description="Addition: the catalog's profile.")
    driver_image: str | None = Field(description="Addition: the image the driver runs in, or that stands for it.")
    executor_image: str | None = Field(description="Addition: likewise of the executors.")
    notice: str | None = Field(description="Addition: what of the granted images this machine cannot give.")
    state_reason: str | None = Field(description="Addition: one sentence about why it ended.")
    phase: str | None = Field(description="Addition: what a starting batch is waiting for.")
    exit_code: int | None = Field(description="Addition: the exit code; negative for a signal, null where unknown.")
    created: int = Field(description="Addition: when it was asked for, ms.")
    started: int | None = Field(description="Addition: when it began to run, ms.")
    ended: int | None = Field(description="Addition: when it was over, ms.")


class BatchesAnswer(Wire):
    """A page of batches, under the key that Livy gives them."""

    from_: int = Field(alias="from")
    total: int
    sessions: list[BatchAnswer]


class BatchStateAnswer(Wire):
    """A batch's state alone."""

    id: int
    state: BatchState


class LogAnswer(Wire):
    """A page of a driver's log."""

    id: int
    from_: int = Field(alias="from")
    total: int
    log: list[str]


class LogMatches(LogAnswer):
    """The lines of a driver's log that hold a text; `total` counts these, `from` is the first of them."""

    numbers: list[int] = Field(description="Where each stands in the log, as `from` counts without a search.")


class CauseAnswer(Wire):
    """One exception of a chain."""

    language: Literal["python", "java"]
    name: str
    message: str
    line: int = Field(description="The line it stands in, as the log's `from` counts.")
    where: str | None = Field(description="The place that raised it, of the person's own code if any is.")


class FailureAnswer(Wire):
    """The last exception of a text."""

    causes: list[CauseAnswer] = Field(description="Root cause first.")
    from_: int = Field(alias="from", description="The first line of its text.")
    to: int
    lines: list[str]


class ExceptionAnswer(Wire):
    """The exception in a log or of a statement, if there is one."""

    exception: FailureAnswer | None


class EventAnswer(Wire):
    """Something that happened to a session."""

    at: int
    event: str
    detail: dict[str, Any]


class RecordAnswer(SessionAnswer):
    """What is kept of a session, shown or not."""

    ended: int | None = Field(description="When its driver was gone for good, ms.")
    shown: bool = Field(description="Whether Livy's routes still know it.")
    statements: int = Field(description="How many statements it has had.")
    events: list[EventAnswer]
    exception: FailureAnswer | None = Field(description="The last exception in its log.")


class RecordsAnswer(Wire):
    """Sessions that Livy's routes no longer know, the latest first."""

    records: list[SessionAnswer]


class Message(Wire):
    """A word about what was done, or an error."""

    msg: str


class Refusal(Message):
    """An error of the policy: which setting, under which profile, and what would be allowed."""

    key: str | None = None
    profile: str | None = None
    allowed: Any = None


class StatementRequest(_Request):
    """The body of POST /sessions/{id}/statements."""

    code: Text
    kind: KindField | None = None
    msg_type: StrictStr | None = Field(None, alias="msg_type", description="Known to Livy, of no effect.")


class Stage(Wire):
    """How far a stage of Spark's is."""

    id: int
    name: str = ""
    tasks: int = 0
    done: int = 0
    running: int = 0
    failed: int = 0


class Stream(Wire):
    """A piece of what a statement has printed so far; offsets count characters."""

    from_: int = Field(alias="from")
    next: int
    text: str


class StatementAnswer(Wire):
    """A statement: Livy's fields, then ours."""

    id: int
    code: str
    state: StatementState
    output: dict[str, Any] | None
    progress: float
    started: int
    completed: int
    kind: Kind = Field(description="Addition: what the code is in.")
    version: int = Field(description="Addition: grows with each change; `seen` of a wait compares it.")
    truncated: str | None = Field(description="Addition: a sentence where the output was cut.")
    stream: Stream = Field(description="Addition: what was printed, from the offset asked for with `since`.")
    stages: list[Stage] = Field(description="Addition: the stages it runs now.")


class StatementsAnswer(Wire):
    """A page of statements."""

    total_statements: int = Field(alias="total_statements")
    statements: list[StatementAnswer]
    truncated: str | None = Field(description="Addition: a sentence where the page ends sooner than was asked.")


class OutputAnswer(Wire):
    """A piece of an output that was too long for its statement's answer. Addition; places count bytes of UTF-8."""

    id: int
    type: str
    from_: int = Field(alias="from")
    next: int = Field(description="Where the next piece begins; `total` at the end.")
    total: int
    text: str


class CompletionRequest(_Request):
    """The body of POST /sessions/{id}/completion."""

    code: Text
    kind: KindField | None = None
    cursor: Position | None = None


class CompletionAnswer(Wire):
    """What could stand at the cursor."""

    candidates: list[str]
    cursor_start: int = Field(description="Addition: what a candidate replaces begins here.")
    cursor_end: int = Field(description="Addition: and ends here.")
    matches: list[dict[str, Any]] = Field(default_factory=list, description="Addition: candidates with their types.")


class VersionAnswer(Wire):
    """Which Livy this is like, and what it is."""

    url: str
    branch: str
    revision: str
    version: str
    date: str
    user: str
    gateway: str


class HealthAnswer(Wire):
    """Whether the gateway can do its work, part by part."""

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, str]
