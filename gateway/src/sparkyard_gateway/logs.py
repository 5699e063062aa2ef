"""The gateway's own log: one JSON object a line.

Words of every line:
    session   the session it is about; then
    user      is that session's owner, whoever wrote the line and wherever
    by        who asked, where that is somebody else; without a session, `user` is who asked
    request   the number of the request in whose course it was written, as the answer's X-Request-Id says it

Tokens, code and settings never reach it: nothing logs headers, bodies or what drivers say, exceptions are told by their
types and frames alone, and what looks like a token is struck out as a last guard.
"""

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

_SECRET_KEYS = frozenset({"token", "authorization", "cookie", "password", "secret"})
_SECRET_TEXT = re.compile(r"(?i)\b(token|bearer)\s+[\w.~+/=-]{8,}")

Event = MutableMapping[str, Any]
OwnerOf = Callable[[int], str | None]


class Owners:
    """Whose session a line is about. Told by the gateway once it knows its sessions."""

    def __init__(self) -> None:
        self.of: OwnerOf = lambda _number: None

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        """Name the owner, and beside them who asked."""
        number = event.get("session")
        owner = self.of(number) if isinstance(number, int) else None
        if owner is not None:
            asked = structlog.contextvars.get_contextvars().get("user")
            if asked is not None and asked != owner:
                event["by"] = asked
            event["user"] = owner
        return event


def strike_out(_logger: Any, _method: str, event: Event) -> Event:
    """Replace what must not be kept."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _SECRET_TEXT.sub(r"\1 ***", value)
    return event


def tell_exceptions(_logger: Any, _method: str, event: Event) -> Event:
    """An exception as its types and frames: a message may hold what a user sent. The system's own words are kept."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given is True else None
    if isinstance(given, tuple):
        error = given[1]
    if error is not None:
        event["exception"] = "\n".join(_told(error))
    return event


def _told(error: BaseException) -> list[str]:
    lines: list[str] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [*_told(cause), "which led to"]
    kind = type(error)
    words = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    lines.append(f"{kind.__module__}.{kind.__qualname__}{words}")
    return lines + _frames(error.__traceback__)


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


def _foreign(_logger: Any, _method: str, event: Event) -> Event:
    """A library's line: where it tells of an exception, its text may be that exception's."""
    if event.get("exc_info"):
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


class _Forgiving:
    """A stream on a disk that may be full, or closed by now: a line is lost then, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(level: str, form: str, owners: Owners | None = None) -> None:
    """Set the log up, once, for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        owners or Owners(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tell_exceptions,
        strike_out,
    ]
    last: Any = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
            foreign_pre_chain=[_foreign, *shared],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
