"""What becomes of a session's executors, and what its driver waits for, written into its driver's log, where whoever
looks for the reason looks first.

An executor's reason and its last lines come with the watch's event, as the kubelet puts the log's end into the pod's
status; its whole log is beside it (`executor_logs`).
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog

from sparkyard_gateway.backends.driver_log import DriverLog
from sparkyard_gateway.backends.pod_reasons import executor_end, executor_waits

Object = dict[str, Any]

MOST_LINES = 40
MOST_NOTES = 200
"""Of one session: an executor that fails at once is tried again for ever."""

log = structlog.get_logger(__name__)


class ExecutorNotes:
    """One for all sessions."""

    def __init__(self, sessions_dir: Path) -> None:
        self._dir = sessions_dir
        self._told: dict[int, set[tuple[str, str]]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._notes: list[tuple[int, str]] = []

    def seen(self, session_id: int, pod: Object, *, gone: bool) -> None:
        """An executor's pod has changed."""
        uid = pod["metadata"]["uid"]
        end = executor_end(pod, gone=gone)
        if end is not None:
            self._tell(session_id, uid, "end", end.reason, *end.lines[-MOST_LINES:])
        elif not gone and (waits := executor_waits(pod)) is not None:
            self._tell(session_id, uid, "waits", waits)

    def driver_waits(self, session_id: int, why: str) -> None:
        """What its driver waits for, and may wait for in vain."""
        self._tell(session_id, why, "driver", why, who="DRIVER")

    def forget(self, session_id: int) -> None:
        """The session is over."""
        self._told.pop(session_id, None)

    def _tell(self, session_id: int, uid: str, what: str, sentence: str, *lines: str, who: str = "EXECUTOR") -> None:
        told = self._told.setdefault(session_id, set())
        if (uid, what) in told or len(told) >= MOST_NOTES:
            return
        told.add((uid, what))
        stamp = time.strftime("%y/%m/%d %H:%M:%S", time.gmtime())
        text = "\n".join([f"{stamp} {who} {sentence}", *(f"    | {line}" for line in lines)])
        self._notes.append((session_id, text))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="executor-notes")

    async def _write(self) -> None:
        while self._notes:
            session_id, text = self._notes.pop(0)
            try:
                await asyncio.to_thread(self._note, session_id, text)
            except OSError as error:
                log.warning("log_not_kept", session=session_id, error=error.strerror)

    def _note(self, session_id: int, text: str) -> None:
        folder = self._dir / str(session_id)
        folder.mkdir(mode=0o711, exist_ok=True)
        DriverLog(folder).note(text)
