"""Figures and their table: medians, percentiles, resident memory, and what each is held against."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, against which limit. Ratios carry no unit."""

    what: str
    value: float
    unit: str
    limit: float
    detail: str = ""

    @property
    def share(self) -> str:
        """How much of the limit it uses; nothing where the limit is nothing."""
        return f"{self.value / self.limit:.0%}" if self.limit else ""

    @property
    def held(self) -> bool:
        """Whether the figure is within its limit."""
        return self.value <= self.limit


def print_table(figures: list[Figure]) -> None:
    """The figures, each with the share of its limit that it uses."""
    width = max((len(figure.what) for figure in figures), default=0)
    print(f"\n{'':{width}}  {'measured':>12}  {'limit':>12}  {'of limit':>8}")
    for figure in figures:
        measured, limit = (f"{number:.2f} {figure.unit}".strip() for number in (figure.value, figure.limit))
        verdict = "" if figure.held else "  OVER"
        print(f"{figure.what:{width}}  {measured:>12}  {limit:>12}  {figure.share:>8}{verdict}")
        if figure.detail:
            print(f"{'':{width}}    {figure.detail}")


def timed(run: Callable[[], object], times: int, *, warm_up: int = 0) -> list[float]:
    """Seconds of each of several runs, after some that do not count."""
    for _ in range(warm_up):
        run()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(seconds: list[float], *, scale: float = 1000, unit: str = "ms") -> str:
    """Minimum, median, percentiles and maximum, in words."""
    ordered = sorted(value * scale for value in seconds)
    return (
        f"{len(ordered)} runs: min {ordered[0]:.1f}, median {statistics.median(ordered):.1f}, "
        f"p95 {percentile(ordered, 95):.1f}, p99 {percentile(ordered, 99):.1f}, max {ordered[-1]:.1f} {unit}"
    )


def resident_mib(pid: int) -> float:
    """Resident memory of one process in MiB, shared libraries included."""
    return psutil.Process(pid).memory_info().rss / 2**20
