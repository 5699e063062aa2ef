"""Everything that may go wrong on the notebook side, in one tree.

    SparkyardError                  shown as one sentence, never with our own frames
      ConfigurationError            the environment, ~/sparkyard.toml or %%configure is wrong
      MagicError                    a magic was used wrongly, or needs -f
      GatewayUnreachableError       no connection, or none in time
      GatewayError                  the gateway answered with an error
        UnknownSessionError         ... with 404
      AnswerLostError               a POST was sent and its answer never came: it may have been carried out
      SessionStartError             a session did not start
      SessionEndedError             a session that had started is gone
      StatementError                the user's own code failed on Spark; carries that error's name and traceback
    Interrupted (KeyboardInterrupt) the user interrupted the cell

IPython asks an exception for ``_render_traceback_`` before it formats one itself. All of ours answer with their
message alone: the frames below are ours, of no use to the reader, and in IPython's verbose mode they would show
local variables, among them request headers with the token.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class SparkyardError(Exception):
    """Base of all errors that a cell may end with; its message is a sentence for the notebook's reader."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ConfigurationError(SparkyardError):
    """What was configured cannot be used; the message says where, which key, and what would be right."""


class MagicError(SparkyardError):
    """A magic declines, and says what to do instead."""


class GatewayUnreachableError(SparkyardError):
    """No answer from the gateway; the request was not carried out, or only read."""


class GatewayError(SparkyardError):
    """The gateway answered with an error; `details` is its JSON body."""

    def __init__(self, message: str, status: int, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.details: Mapping[str, Any] = details or {}


class UnknownSessionError(GatewayError):
    """No such session, or not this person's."""


class AnswerLostError(SparkyardError):
    """A POST left and its answer never came. It is not sent again, because it may have been carried out."""


class SessionStartError(SparkyardError):
    """The session did not start; the next cell tries anew."""


class SessionEndedError(SparkyardError):
    """The session is gone, with everything defined in it; the next cell starts a new one."""


class StatementError(SparkyardError):
    """The user's code failed on Spark. The class is named after the remote error, so that the notebook shows it."""

    def __init__(self, message: str, traceback: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.traceback = tuple(traceback)

    @classmethod
    def named(cls, ename: str, evalue: str, traceback: Sequence[str] = ()) -> "StatementError":
        """An error whose type is called `ename`: Jupyter takes the name in its reply from the type."""
        kind: type[StatementError] = type(ename or "Error", (cls,), {"__module__": "spark"})
        return kind(evalue, traceback)

    def _render_traceback_(self) -> list[str]:
        last = f"{type(self).__name__}: {self}"
        # Livy ends a line of a Python traceback with a newline, and none of a Java one.
        text = "\n".join(line.rstrip("\n") for line in self.traceback)
        return [text] if str(self) in text else [*([text] if text else []), last]


class Interrupted(KeyboardInterrupt):
    """The user interrupted the cell; the message says what became of it."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


Interrupted.__name__ = "KeyboardInterrupt"  # what Jupyter shows, as for any interrupted cell
