"""The states of sessions and statements, in Livy's words, and the kinds of code."""

from enum import StrEnum


class SessionState(StrEnum):
    """Livy's session states that this gateway uses; ``recovering`` is never among them: old clients raise on it."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    SHUTTING_DOWN = "shutting_down"
    ERROR = "error"
    DEAD = "dead"
    KILLED = "killed"
    SUCCESS = "success"

    @property
    def active(self) -> bool:
        """Whether statements may be sent, now or when the driver is up."""
        return self in _ACTIVE

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self in _ENDED


_ACTIVE = frozenset({SessionState.STARTING, SessionState.IDLE, SessionState.BUSY})
_ENDED = frozenset({SessionState.ERROR, SessionState.DEAD, SessionState.KILLED, SessionState.SUCCESS})


class BatchState(StrEnum):
    """Livy's batch states.

    Of the four that are final, `dead` has failed by itself, `killed` was ended by a signal or on request, and `error`
    could not be started, or nobody can say how it ended.
    """

    STARTING = "starting"
    RUNNING = "running"
    SUCCESS = "success"
    DEAD = "dead"
    KILLED = "killed"
    ERROR = "error"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (BatchState.STARTING, BatchState.RUNNING)


class StatementState(StrEnum):
    """A failed statement is ``available`` too: its output says ``error``."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    AVAILABLE = "available"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the statement has its output for good."""
        return self in _FINAL


_FINAL = frozenset({StatementState.AVAILABLE, StatementState.CANCELLED})


class Kind(StrEnum):
    """What language a session or a statement is in."""

    SPARK = "spark"
    PYSPARK = "pyspark"
    SPARKR = "sparkr"
    SQL = "sql"
    SHARED = "shared"


KIND_ALIASES = {"scala": Kind.SPARK, "python": Kind.PYSPARK, "pyspark3": Kind.PYSPARK, "r": Kind.SPARKR}
