"""A pod's log, brought into the session's own: every line once, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sparkyard_gateway.backends import cluster as cluster_module
from sparkyard_gateway.backends import pod_log
from sparkyard_gateway.backends.cluster import ClusterAway, ClusterRefused
from sparkyard_gateway.backends.driver_log import CUT, HEAD, DriverLog
from sparkyard_gateway.backends.pod_log import PodLog, after
from support.waiting import until_async as until


def line(number: int, second: int = 0) -> bytes:
    return f"2026-01-01T00:00:{second:02}.{number:03}Z line {number}".encode()


@pytest.mark.parametrize(
    ("last", "lines", "fresh"),
    [
        ("", [b"2026-01-01T00:00:00.5Z a"], [b"a"]),
        ("2026-01-01T00:00:00.500000000", [b"2026-01-01T00:00:00.5Z a", b"2026-01-01T00:00:00.50001Z b"], [b"b"]),
        ("2026-01-01T00:00:00.500000000", [b"2026-01-01T00:00:01Z c"], [b"c"]),
        ("", [b"2026-01-01T00:00:00.5Z ", b"2026-01-01T00:00:00.6Z"], [b"", b""]),
        ("", [b"2026-01-01T00:00:00Z a 2026-01-01T00:00:00Z b"], [b"a 2026-01-01T00:00:00Z b"]),
        ("2026-01-01T00:00:00.500000000", [b"failed to open the log file"], [b"failed to open the log file"]),
        ("", [b"2026-01-01T00:00:00Z a", b"unable to retrieve container logs for containerd://21407d7ca6"], [b"a"]),
    ],
)
def test_lines_that_are_later(last, lines, fresh):
    assert after(last, lines)[0] == fresh


class BreakingStream:
    """A log that breaks off after every few lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.every = 3
        self.error: Exception | None = ClusterAway("reset")
        self.asked: list[str | None] = []

    async def log(self, *_where: str, follow: bool) -> AsyncIterator[bytes]:
        since = _where[3]
        self.asked.append(since)
        later = [each for each in self.lines if since is None or each[:19] >= since[:19].encode()]
        for number, each in enumerate(later):
            if self.error is not None and follow and number == self.every:
                raise self.error
            yield each
        if follow:
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pod_log, "FIRST_PAUSE", 0.01)


def kept(folder) -> list[str]:
    return [each for each in DriverLog(folder).page(0, -1)[2] if each not in HEAD]


async def test_every_line_once_whatever_breaks(tmp_path):
    stream = BreakingStream()
    stream.lines = [line(number, second=number // 2) for number in range(40)]
    reader = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    reader.begin()
    await until(lambda: len(kept(tmp_path)) == 40)
    assert kept(tmp_path) == [f"line {number}" for number in range(40)]
    await reader.stop()


async def test_the_next_gateway_goes_on_where_this_one_stopped(tmp_path):
    stream = BreakingStream()
    stream.error = None
    stream.lines = [line(number, second=number) for number in range(3)]
    first = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    first.begin()
    await until(lambda: len(kept(tmp_path)) == 3)
    await first.stop()

    stream.lines += [line(number, second=number) for number in range(3, 6)]
    second = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    await second.finish(60)
    assert kept(tmp_path) == [f"line {number}" for number in range(6)]
    assert stream.asked[:2] == [None, "2026-01-01T00:00:02Z"]


async def test_whoever_is_told_the_end_finds_the_log_complete(tmp_path):
    stream = BreakingStream()
    stream.error = None
    reader = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    reader.begin()
    await until(lambda: stream.asked)
    stream.lines = [line(1)]  # written while the stream had nothing more to say
    await reader.finish(1)
    assert kept(tmp_path) in ([], ["line 1"])
    again = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    await again.finish(60)
    assert kept(tmp_path) == ["line 1"]


async def test_a_pod_that_is_gone_ends_the_reading(tmp_path):
    stream = BreakingStream()
    stream.lines = [line(1), line(2)]
    stream.every, stream.error = 1, ClusterRefused(404, "pods not found")
    reader = PodLog(stream, "spark", "pod", tmp_path)  # type: ignore[arg-type]
    reader.begin()
    await until(lambda: kept(tmp_path) == ["line 1"])
    await reader.finish(60)


class PiecesOfALog:
    """An answer of the API server that comes in these pieces."""

    status = 200

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces, b""]
        self.content = self

    async def readany(self) -> bytes:
        return self._pieces.pop(0)

    def close(self) -> None:
        """Nothing is open."""


async def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(cluster_module, "LONGEST_LINE", 10)
    there = cluster_module.Cluster()

    async def send(*_asked: object) -> PiecesOfALog:
        return PiecesOfALog(b"short\n", b"x" * 8, *[b"y" * 8] * 100, b"end\nnext ", b"line\n")

    monkeypatch.setattr(there, "_send", send)
    lines = [each async for each in there.log("spark", "pod", "driver", None, follow=True)]
    assert [lines[0], lines[-1]] == [b"short", b"next line"]
    assert len(lines) == 3
    assert lines[1].startswith(b"x" * 8 + b"yy")
    assert len(lines[1]) < 10 + len(CUT) + 8
