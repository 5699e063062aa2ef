"""How long a batch waits for a place to run."""

import asyncio

import pytest

from sparkyard_gateway.batch_patience import give_up_late, too_late
from sparkyard_gateway.live_batch import LiveBatch
from sparkyard_gateway.states import BatchState
from support.waiting import until_async as until


def batch(backend: str = "kubernetes") -> LiveBatch:
    return LiveBatch(
        id=1, attempt=2, owner="ann", team=None, name=None, profile="small", backend=backend, request={}, spec={},
        created_at=0, handle={"uid": "u"}, phase="Waiting for a node that can take the driver: 0/1 nodes.",
    )  # fmt: skip


async def test_one_that_does_not_run_in_time_ends_with_what_it_waited_for():
    ended: list[tuple[LiveBatch, str]] = []
    waits = batch()
    await give_up_late(waits, 0.01, lambda *args: ended.append(args))
    said = "The batch did not start within 0.01 s. Waiting for a node that can take the driver: 0/1 nodes."
    assert ended == [(waits, said)]
    assert waits.late
    assert too_late(300.0, None) == "The batch did not start within 300 s. It is not known what it waited for."


@pytest.mark.parametrize("what", ["runs", "ends", "is prepared anew", "moves", "is in a queue"])
async def test_others_are_left_alone(what):
    ended: list[tuple[LiveBatch, str]] = []
    waits = batch("livy" if what == "is in a queue" else "kubernetes")
    if what == "moves":
        waits.moved = True
    seconds = 0.01 if what in ("moves", "is in a queue") else 60.0
    task = asyncio.create_task(give_up_late(waits, seconds, lambda *args: ended.append(args)))
    await asyncio.sleep(0)
    if what == "runs":
        waits.state = BatchState.RUNNING
    elif what == "ends":
        waits.ending = True
    elif what == "is prepared anew":
        waits.handle = {"uid": "another"}
    waits.changed.fire()
    await until(task.done)
    assert (ended, waits.late) == ([], False)
