"""What is under way for batches."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from sparkyard_gateway.live_batch import LiveBatch

log = structlog.get_logger(__name__)


class BatchTasks:
    """Tasks, each for a batch."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], LiveBatch] = {}

    def spawn(self, batch: LiveBatch, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do it beside all else."""
        task = asyncio.create_task(coroutine, name=f"{name}-{batch.id}")
        self._tasks[task] = batch
        task.add_done_callback(self._done)
        return task

    def let_go(self) -> None:
        """End what is under way. A process that is just being made is seen to when it has been."""
        for task, batch in list(self._tasks.items()):
            if not batch.launching:
                task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("task_failed", task=task.get_name(), exc_info=task.exception())
