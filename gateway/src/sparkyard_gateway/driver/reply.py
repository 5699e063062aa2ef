"""What an interpreter answers for one statement, in the shape of Livy's `output`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional


@dataclass
class Reply:
    """Data by MIME type, or an exception. Text printed before an exception is kept in `data` beside it."""

    data: Dict[str, Any] = field(default_factory=dict)
    error: Optional[Dict[str, Any]] = None
    truncated: List[str] = field(default_factory=list)
    echo: str = ""
    """Which part of the text is the last value's, where `data` has a richer form of that value too."""

    @property
    def failed(self) -> bool:
        """Whether this is an exception."""
        return self.error is not None

    def as_output(self, statement: int) -> Dict[str, Any]:
        """Livy's object; its count of executions is the statement's number."""
        if self.error is None:
            answer = {"status": "ok", "execution_count": statement, "data": self.data}
            # Livy's clients have it in the text; a notebook shows the richer form instead, and not both.
            return {**answer, "echo": self.echo} if self.echo and len(self.data) > 1 else answer
        output = {"status": "error", "execution_count": statement, **self.error}
        if self.data.get("text/plain"):
            output["data"] = self.data
        return output


def failure(ename: str, evalue: str, traceback: Optional[List[str]] = None) -> Reply:
    """An error that is no exception of a cell."""
    return Reply(error={"ename": ename, "evalue": evalue, "traceback": traceback or []})
