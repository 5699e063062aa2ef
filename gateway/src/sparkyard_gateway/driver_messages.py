"""What drivers and the gateway say to each other: the wire protocol, version 1.

A driver runs its user's code, so what it says is checked like any stranger's request: a message that is not exactly
one of these ends the connection. Durable messages carry `seq`, counted by the driver; it keeps each until the gateway
has written its effect down and said `ack`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

Count = Annotated[int, Field(ge=0, le=2**53)]
Line = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What the database keeps in a column of this length: one value that it refuses would fail everybody's commit."""
Prose = Annotated[str, AfterValidator(lambda text: text.replace("\0", "\N{REPLACEMENT CHARACTER}"))]
"""PostgreSQL keeps no NUL in a text."""


class _Message(BaseModel):
    # A newer driver may say more than this gateway knows.
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Hello(_Message):
    """The first frame of every connection."""

    t: Literal["hello"]
    session: int
    epoch: int
    pid: Count
    python: Annotated[str, Field(max_length=4096)] = ""
    acked: Count = 0
    last_done: int = -1


class Ready(_Message):
    """Spark is up."""

    t: Literal["ready"]
    seq: Count
    app_id: Line
    spark_ui: Line | None = None
    spark_version: Line
    python_version: Line
    startup_ms: Annotated[dict[Annotated[str, Field(max_length=64)], float], Field(max_length=64)] = {}


class Failed(_Message):
    """Spark could not start."""

    t: Literal["failed"]
    seq: Count
    reason: Prose
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = []


class Begin(_Message):
    """A statement runs."""

    t: Literal["begin"]
    seq: Count
    statement: Count
    at: Count


class Done(_Message):
    """A statement has its outcome."""

    t: Literal["done"]
    seq: Count
    statement: Count
    at: Count
    status: Literal["ok", "error", "cancelled"]
    output: dict[str, Any] | None
    truncated: Prose | None = None


class Printed(_Message):
    """A piece of what a statement prints."""

    t: Literal["stream"]
    statement: Count
    offset: Count
    text: str


class StageSeen(_Message):
    """How far one of Spark's stages is."""

    id: Count
    name: str = ""
    tasks: Count = 0
    done: Count = 0
    running: Count = 0
    failed: Count = 0


class Progress(_Message):
    """How far a statement is."""

    t: Literal["progress"]
    statement: Count
    fraction: Annotated[float, Field(ge=0, le=1)]
    stages: list[StageSeen] = []


class Completion(_Message):
    """The answer to `complete`."""

    t: Literal["completion"]
    request: str
    candidates: list[str]
    cursor_start: Count = 0
    cursor_end: Count = 0
    matches: list[dict[str, Any]] = []


class Piece(_Message):
    """The answer to `fetch`: a part of an output that an answer could not hold; places count bytes."""

    t: Literal["piece"]
    request: str
    found: bool
    from_: Count = Field(alias="from")
    next: Count
    total: Count
    text: str


class Pong(_Message):
    """The answer to `ping`."""

    t: Literal["pong"]


FromDriver = Annotated[
    Hello | Ready | Failed | Begin | Done | Printed | Progress | Completion | Piece | Pong, Field(discriminator="t")
]
FROM_DRIVER: TypeAdapter[FromDriver] = TypeAdapter(FromDriver)
