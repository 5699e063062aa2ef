"""Histories on their way: opened once for all who wait, whoever of them goes away."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sparkyard_gateway.errors import HistoryStarts, NoHistory
from sparkyard_gateway.openings import MOST_KEPT, Openings


def subject(number: int = 1, area: str = "") -> Any:
    return SimpleNamespace(area=area, id=number)


class Servers:
    """What opens a history when it is let, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.up = asyncio.Event()
        self.error: Exception | None = None

    async def open(self, subject: Any) -> None:
        self.asked.append((subject.area, subject.id))
        await self.up.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def servers():
    return Servers()


@pytest.fixture
async def openings(servers):
    made = Openings(servers.open)
    yield made
    await made.close()


async def test_who_asks_again_waits_for_the_same_start(servers, openings):
    for _ in range(3):
        with pytest.raises(HistoryStarts):
            await openings.wait(subject(), 0)
    waiting = asyncio.create_task(openings.wait(subject(), None))
    await asyncio.sleep(0)
    servers.up.set()
    await waiting
    assert servers.asked == [("", 1)]


async def test_it_goes_on_when_who_asked_is_gone(servers, openings):
    gone = asyncio.create_task(openings.wait(subject(), None))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    servers.up.set()
    await openings.wait(subject(), 10)
    assert servers.asked == [("", 1)]


async def test_a_sessions_number_is_not_a_batchs(servers, openings):
    for area in ("", "batches/"):
        with pytest.raises(HistoryStarts):
            await openings.wait(subject(area=area), 0)
    assert servers.asked == [("", 1), ("batches/", 1)]


async def test_a_failure_is_told_to_who_asks_next_and_then_it_is_tried_again(servers, openings):
    servers.error = NoHistory()
    with pytest.raises(HistoryStarts):
        await openings.wait(subject(), 0)
    servers.up.set()
    await asyncio.sleep(0.01)
    assert servers.asked == [("", 1)]
    with pytest.raises(NoHistory):
        await openings.wait(subject(), 0)
    servers.error = None
    await openings.wait(subject(), 10)
    assert servers.asked == [("", 1), ("", 1)]


async def test_what_nobody_came_back_for_is_not_kept_for_ever(servers, openings):
    servers.error = NoHistory()
    for number in range(MOST_KEPT):
        with pytest.raises(HistoryStarts):
            await openings.wait(subject(number), 0)
    servers.up.set()
    await asyncio.sleep(0.01)
    with pytest.raises(NoHistory):
        await openings.wait(subject(MOST_KEPT), 10)
    assert not openings._tasks


async def test_closing_gives_up_what_is_not_open(servers, openings):
    waiting = asyncio.create_task(openings.wait(subject(), None))
    await asyncio.sleep(0)
    await openings.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
