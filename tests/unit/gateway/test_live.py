"""Waiting without polling, and what was printed."""

import asyncio

import pytest

from sparkyard_gateway.live import LiveSession, LiveStatement, Printed, Signal
from sparkyard_gateway.rendering import statement_json
from sparkyard_gateway.states import Kind, SessionState, StatementState
from sparkyard_gateway.wire import StatementAnswer


async def test_all_who_wait_wake_when_it_becomes_true():
    signal, value = Signal(), [0]
    waiting = [asyncio.create_task(signal.wait_until(lambda: value[0] == 2, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    for value[0] in (1, 2):
        signal.fire()
        await asyncio.sleep(0.01)
        assert [each.done() for each in waiting] == [value[0] == 2] * 3


async def test_a_wait_ends_with_its_time_and_leaves_nothing():
    signal = Signal()
    await signal.wait_until(lambda: False, 0.05)
    signal.fire()
    assert signal._waiting == []


async def test_a_closed_signal_holds_nobody():
    signal = Signal()
    waiting = asyncio.create_task(signal.wait_until(lambda: False, 60))
    await asyncio.sleep(0)
    signal.close()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(signal.wait_until(lambda: False, 60), 1)


async def test_a_waiter_who_leaves_does_not_disturb_the_others():
    signal = Signal()
    leaving = asyncio.create_task(signal.wait_until(lambda: False, 60))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    signal.fire()


@pytest.mark.parametrize(
    ("pieces", "offset", "expected"),
    [
        ([(0, "one"), (3, "two")], 0, (0, "onetwo")),
        ([(0, "one"), (3, "two")], 4, (4, "wo")),
        ([(0, "one"), (0, "one"), (3, "two")], 0, (0, "onetwo")),  # said again after a reconnect
        ([(0, "one"), (1, "netwo")], 0, (0, "onetwo")),  # overlapping
        ([(0, "one"), (9, "late")], 0, (9, "late")),  # a gap while no gateway listened
        ([(0, "one")], 99, (3, "")),
        ([], 5, (0, "")),
        ([(0, "ß🎉x")], 1, (1, "🎉x")),  # characters, not bytes
    ],
)
def test_printed(pieces, offset, expected):
    printed = Printed(1000)
    for at, text in pieces:
        printed.add(at, text)
    assert printed.since(offset) == expected


def test_printed_keeps_its_end_and_says_from_where():
    printed = Printed(10)
    for number in range(100):
        printed.add(number * 4, f"{number:03}\n")
    assert printed.end == 400
    begin, text = printed.since(0)
    assert begin + len(text) == 400
    assert text.endswith("098\n099\n")
    assert 10 <= len(text) <= 20


def test_a_statement_is_rendered_as_its_model_says():
    statement = LiveStatement(id=3, kind=Kind.PYSPARK, code='print("ü\\n")', created_at=1)
    assert StatementAnswer.model_validate_json(statement_json(statement)).output is None
    statement.state = StatementState.AVAILABLE
    statement.output = '{"status":"ok","execution_count":3,"data":{"text/plain":"ü"}}'
    statement.printed = Printed(100)
    statement.printed.add(0, "ü\n")
    statement.stages = [{"id": 1, "name": "count", "tasks": 2, "done": 1, "running": 1, "failed": 0}]
    answer = StatementAnswer.model_validate_json(statement_json(statement, since=0))
    assert answer.output == {"status": "ok", "execution_count": 3, "data": {"text/plain": "ü"}}
    assert (answer.code, answer.stream.next, answer.stream.text) == ('print("ü\\n")', 2, "ü\n")
    assert answer.stages[0].done == 1


@pytest.mark.parametrize(
    ("backend", "state", "address", "shown"),
    [
        ("local", SessionState.IDLE, "http://127.0.0.1:4040", True),
        ("local", SessionState.DEAD, "http://127.0.0.1:4040", True),
        ("local", SessionState.STARTING, None, False),
        ("kubernetes", SessionState.BUSY, "http://10.0.0.1:4040", True),
        ("kubernetes", SessionState.DEAD, "http://10.0.0.1:4040", True),
        ("livy", SessionState.DEAD, "http://10.0.0.1:4040", False),
    ],
)
async def test_a_spark_ui_is_offered_where_there_is_something_to_see(backend, state, address, shown):
    session = LiveSession(
        id=1, owner="ann", team=None, name=None, kind=Kind.PYSPARK, profile="small", backend=backend, request={},
        spec={}, token_hash="", created_at=0, state=state, spark_ui=address,
    )  # fmt: skip
    assert session.shows_spark is shown
