"""What the Sessions page tells: one document a session, small enough to be looked at anew each second.

Texts of users (names, code, reasons) stand in it as they are: the page puts them where nothing is markup.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.backends.base import Backend, Handle
from sparkyard_gateway.failures import failure_of_output
from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.rendering import output_of
from sparkyard_gateway.sessions import Sessions
from sparkyard_gateway.states import StatementState

MEASURED_SECONDS = 3.0
STEP_BYTES = 4 * 1024 * 1024
"""Memory is told in such steps: a document that changes each second is sent each second."""
CODE_SHOWN = 200
CODE_TOLD = 4000
STAGES_TOLD = 20


@runtime_checkable
class Measures(Protocol):
    """A backend that can say how much memory its drivers hold."""

    async def memory(self, handles: Mapping[int, Handle | None]) -> dict[int, int]:
        """Bytes by session, of those that live."""


@runtime_checkable
class Limits(Protocol):
    """A backend that can say how much memory a driver may hold with all that is its own."""

    def memory_limit(self, session_id: int) -> int | None:
        """Bytes; None where that is not known."""


class Overview:
    """Documents of sessions for those who look."""

    def __init__(self, sessions: Sessions, backends: Mapping[str, Backend], prefix: str) -> None:
        self._sessions = sessions
        self._backends = backends
        self._prefix = prefix
        self._held: dict[int, int] = {}
        self._measured = 0.0
        self._measuring = asyncio.Lock()

    async def measure(self) -> None:
        """See how much memory drivers hold, once in a while for all who look."""
        loop = asyncio.get_running_loop()
        async with self._measuring:
            if self._measured and loop.time() - self._measured < MEASURED_SECONDS:
                return
            held: dict[int, int] = {}
            for name, backend in self._backends.items():
                if isinstance(backend, Measures):
                    handles = {
                        each.id: each.handle
                        for each in self._sessions.live.values()
                        if each.backend == name and not each.ended.is_set()
                    }
                    held.update(await backend.memory(handles))
            self._held, self._measured = held, loop.time()

    def rows(self, caller: Caller) -> dict[int, dict[str, Any]]:
        """The sessions that the caller may see."""
        return {each.id: self.row(caller, each) for each in self._sessions.visible(caller)}

    def row(self, caller: Caller, session: LiveSession) -> dict[str, Any]:
        """One session."""
        current = session.current
        held = self._held.get(session.id) if not session.ended.is_set() else None
        return {
            "id": session.id,
            "name": session.name,
            "owner": session.owner,
            "mine": session.owner == caller.name,
            "team": session.team,
            "state": session.state,
            "phase": session.phase,
            "reason": session.reason,
            "kind": session.kind,
            "profile": session.spec.get("profile_title") or session.profile,
            "driverImage": session.spec.get("driver_image"),
            "executorImage": session.spec.get("executor_image"),
            "spark": session.spark_version,
            "notice": session.spec.get("notice"),
            "created": session.created_at,
            "ended": session.ended_at,
            "memory": None if held is None else -(-held // STEP_BYTES) * STEP_BYTES,
            "memoryLimit": self._limit(session),
            "statement": None if current is None else _running(current),
            "waiting": sum(not each.state.final for each in session.statements.values() if each is not current),
            "statements": session.next_statement,
            "ui": f"{self._prefix}/spark-ui/{session.id}/" if session.shows_spark else None,
            "mayStop": session.state.active,
        }

    def _limit(self, session: LiveSession) -> int | None:
        backend = self._backends[session.backend]
        if session.ended.is_set() or not isinstance(backend, Limits):
            return None
        return backend.memory_limit(session.id)


def _running(statement: LiveStatement) -> dict[str, Any]:
    waits = statement.state is StatementState.WAITING
    return {
        "id": statement.id,
        "code": statement.code[:CODE_SHOWN],
        "state": statement.state,
        "progress": None if waits else round(statement.progress, 3),
        "stages": [dict(each) for each in statement.stages[-STAGES_TOLD:]],
        "started": statement.started_at,
    }


def statement_documents(statements: Iterable[LiveStatement]) -> list[dict[str, Any]]:
    """Statements with how each ended; of their outputs the exception alone is told."""
    return [_statement(each) for each in statements]


def _statement(statement: LiveStatement) -> dict[str, Any]:
    output = output_of(statement)
    failure = None if output is None else failure_of_output(output)
    return {
        "id": statement.id,
        "kind": statement.kind,
        "code": statement.code[:CODE_TOLD],
        "cut": len(statement.code) > CODE_TOLD,
        "state": statement.state,
        "failed": output is not None,
        "progress": round(statement.progress, 3),
        "created": statement.created_at,
        "started": statement.started_at,
        "completed": statement.completed_at,
        "causes": [] if failure is None else [each.words for each in failure.causes],
        "where": None if failure is None else failure.root.where,
    }
