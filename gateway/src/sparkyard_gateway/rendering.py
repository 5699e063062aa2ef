"""Answers about sessions, batches and statements.

A statement's output stays the text the driver sent: it is put into the answer as it is, so that a large table is
never taken apart and put together again on its way. `StatementAnswer` says how the result looks.
"""

import json
from typing import Any

from sparkyard_gateway.live import LiveSession, LiveStatement
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.states import SessionState
from sparkyard_gateway.subjects import BATCHES
from sparkyard_gateway.wire import AppInfo, BatchAnswer, SessionAnswer

LOG_LINES = 10
"""How many lines of the log an answer about a session carries."""


LARGEST_ERROR = 1_000_000
"""Characters of an output that is taken apart for its exception."""


def output_of(statement: LiveStatement) -> dict[str, Any] | None:
    """A statement's output taken apart, where it is an error's; a large table is never."""
    if statement.output is None or len(statement.output) > LARGEST_ERROR:
        return None
    output = json.loads(statement.output)
    return output if isinstance(output, dict) and output.get("status") == "error" else None


def statement_json(statement: LiveStatement, since: int | None = None) -> str:
    """A `StatementAnswer`; `since` is the offset from which the caller wants what was printed, if at all."""
    begin, text = 0, ""
    if since is not None and statement.printed is not None:
        begin, text = statement.printed.since(since)
    head = _dump(
        {
            "id": statement.id,
            "code": statement.code,
            "state": statement.state,
        }
    )
    tail = _dump(
        {
            "progress": statement.progress,
            "started": statement.started_at,
            "completed": statement.completed_at,
            "kind": statement.kind,
            "version": statement.version,
            "truncated": statement.truncated,
            "stream": {"from": begin, "next": begin + len(text), "text": text},
            "stages": statement.stages,
        }
    )
    return f'{head[:-1]},"output":{statement.output or "null"},{tail[1:]}'


def statements_json(total: int, statements: list[LiveStatement], truncated: str | None) -> str:
    """A `StatementsAnswer`."""
    page = ",".join(map(statement_json, statements))
    return f'{{"total_statements":{total},"statements":[{page}],"truncated":{_dump(truncated)}}}'


def session_answer(session: LiveSession, log: list[str], prefix: str) -> SessionAnswer:
    """A session as its owner sees it. `prefix` is the public path of this gateway."""
    asked = session.request
    # After the end the address shows what the history server knows of it.
    path = f"{prefix}/spark-ui/{session.id}/" if session.shows_spark else None
    return SessionAnswer(
        id=session.id,
        name=session.name,
        app_id=session.app_id,
        owner=session.owner,
        proxy_user=session.owner,
        state=session.state,
        kind=session.kind,
        app_info=AppInfo(spark_ui_url=path),
        log=log,
        ttl=asked.get("ttl"),
        idle_timeout=asked.get("idleTimeout"),
        driver_memory=asked.get("driverMemory"),
        driver_cores=asked.get("driverCores") or 0,
        executor_memory=asked.get("executorMemory"),
        executor_cores=asked.get("executorCores") or 0,
        conf=asked.get("conf") or {},
        archives=asked.get("archives") or [],
        files=asked.get("files") or [],
        heartbeat_timeout_in_second=session.heartbeat_seconds,
        jars=asked.get("jars") or [],
        num_executors=asked.get("numExecutors") or 0,
        py_files=asked.get("pyFiles") or [],
        queue=asked.get("queue"),
        profile=session.profile,
        driver_image=session.spec.get("driver_image"),
        executor_image=session.spec.get("executor_image"),
        notice=session.spec.get("notice"),
        spark_version=session.spark_version,
        spark_ui_path=path,
        state_reason=session.reason,
        phase=session.phase if session.state is SessionState.STARTING else None,
        created=session.created_at,
    )


def batch_answer(batch: LiveBatch, log: list[str], prefix: str) -> BatchAnswer:
    """A batch as its owner sees it. `prefix` is the public path of this gateway."""
    ui = batch.spark_ui
    # Of one that was over before its UI could be asked there may be an event log all the same.
    told = ui is not None or (batch.backend == "kubernetes" and batch.app_id is not None and batch.state.ended)
    if told and batch.backend in ("local", "kubernetes"):
        ui = f"{prefix}/spark-ui/{BATCHES}{batch.id}/"
    return BatchAnswer(
        id=batch.id,
        name=batch.name,
        owner=batch.owner,
        proxy_user=batch.owner,
        state=batch.state,
        app_id=batch.app_id,
        app_info=AppInfo(spark_ui_url=ui),
        log=log,
        profile=batch.profile,
        driver_image=batch.spec.get("driver_image"),
        executor_image=batch.spec.get("executor_image"),
        notice=batch.spec.get("notice"),
        state_reason=batch.reason,
        phase=batch.phase,
        exit_code=batch.exit_code,
        created=batch.created_at,
        started=batch.started_at,
        ended=batch.ended_at,
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
