"""Whose Spark UI is looked at: a session's or a batch's, as far as that matters for showing it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sparkyard_gateway.backends.base import Backend, BatchBackend, Listening
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.ui_keys import batch_server_name, server_name

BATCHES = "batches/"
"""What stands before a batch's id below /spark-ui/; a session's has nothing there."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One application with its owner; `area` and `id` are its address below /spark-ui/."""

    area: str
    id: int
    owner: str
    backend: str
    active: bool
    spark_ui: str | None
    """Where its UI listens, by its own word."""
    app_id: str | None
    spec: dict[str, Any]
    certified: str
    """The name in the certificate that its UI shows."""
    listens: Callable[[str, int], Awaitable[bool]]
    """Whether something of its own listens at this host and port."""


def of_session(session: LiveSession, backend: Backend) -> Subject:
    """A session's."""

    async def listens(host: str, port: int) -> bool:
        return await backend.listens(session.id, session.handle, host, port)

    return Subject(
        area="",
        id=session.id,
        owner=session.owner,
        backend=session.backend,
        active=session.state.active,
        spark_ui=session.spark_ui,
        app_id=session.app_id,
        spec=session.spec,
        certified=server_name(session.id),
        listens=listens,
    )


def of_batch(batch: LiveBatch, backend: BatchBackend) -> Subject:
    """A batch's; where its backend cannot tell whose a port is, no page is shown while it runs."""

    async def listens(host: str, port: int) -> bool:
        return isinstance(backend, Listening) and await backend.listens(batch.attempt, batch.handle, host, port)

    return Subject(
        area=BATCHES,
        id=batch.id,
        owner=batch.owner,
        backend=batch.backend,
        active=not batch.state.ended,
        spark_ui=batch.spark_ui,
        app_id=batch.app_id,
        spec=batch.spec,
        certified=batch_server_name(batch.attempt),
        listens=listens,
    )
