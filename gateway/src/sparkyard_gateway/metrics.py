"""What Prometheus may read, and the one list of it: docs/operator.md shows `reference()`, and a test compares.

Labels are bounded: profiles come from the catalog, routes are templates, reasons are the names of errors. Nothing here
names a person, a session or a path.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "sparkyard_gateway_"

# One series for each label's value, not two: when it was first seen is of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]

_START_BUCKETS = (1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_BATCH_BUCKETS = (10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200)
_STATEMENT_BUCKETS = (0.002, 0.004, 0.008, 0.016, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)
_REQUEST_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Listed:
    """One metric, as the reference shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class _Reading(Collector):
    """Counted when asked for, so that it never drifts from the truth."""

    def __init__(self, name: str, text: str, label: str | None, count: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label] if self._label else [])
        for value, number in self._count().items():
            family.add_metric([value] if self._label else [], number)
        yield family


class Metrics:
    """The gateway's counters. Each is made by one of the methods at the end, which also list it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.listed: list[Listed] = []
        # Sessions
        self.created = self.counter("sessions_created", "Sessions asked for and granted.", "profile")
        self.starts = self.counter(
            "session_starts",
            "Starts that came to an end: `ready`, `failed`, `timed_out`, or `stopped` before it was ready.",
            "profile",
            "outcome",
        )
        self.start_seconds = self.histogram("session_start_seconds", "From POST to idle.", _START_BUCKETS)
        self.start_queue_seconds = self.histogram(
            "start_queue_seconds", "How long a session waited for its turn to start.", _START_BUCKETS
        )
        self.died = self.counter("sessions_died", "Sessions whose driver ended unasked.", "profile")
        # Warm drivers
        self.warm_hits = self.counter("warm_hits", "Sessions that were given a warm driver.", "profile")
        self.warm_misses = self.counter(
            "warm_misses",
            "Sessions of profiles with warm drivers that were given none: all were taken (`empty`), the session asked "
            "for other settings than they have (`other_settings`), or for a driver of its own (`declined`).",
            "profile",
            "reason",
        )
        self.warm_failures = self.counter("warm_failures", "Warm drivers that ended unasked.", "profile")
        # Batches
        self.batches_created = self.counter("batches_created", "Batches asked for and granted.", "profile")
        self.batches_ended = self.counter("batches_ended", "Batches by the state they ended in.", "profile", "state")
        self.batch_seconds = self.histogram("batch_seconds", "From its beginning to its end.", _BATCH_BUCKETS)
        # Statements
        self.statements = self.counter("statements", "Statements by outcome: `ok`, `error`, `cancelled`.", "status")
        self.statement_seconds = self.histogram("statement_seconds", "From POST to outcome.", _STATEMENT_BUCKETS)
        self.statement_wait_seconds = self.histogram(
            "statement_wait_seconds", "From POST until the driver began with it.", _STATEMENT_BUCKETS
        )
        # Requests
        self.requests = self.counter(
            "http_requests", "Requests answered; `route` is the route's template.", "method", "route", "status"
        )
        self.request_seconds = self.histogram(
            "http_request_seconds",
            "From request to the last byte handed over; without the requests that asked the server to wait.",
            _REQUEST_BUCKETS,
            "method",
            "route",
        )
        self.in_flight = self.gauge("http_requests_in_flight", "Requests that are being answered, waits included.")
        self.refusals = self.counter("refusals", "Requests refused, by reason: the code of the error.", "code")
        # Drivers
        self.drivers = self.gauge("drivers_connected", "Drivers on the line.")
        self.driver_refusals = self.counter("driver_refusals", "Connections of drivers that were refused.", "code")
        self.driver_faults = self.counter(
            "driver_faults",
            "Connections of drivers that were hung up on: `nonsense` that is no message, or `deaf` to what it is sent.",
            "reason",
        )
        self.gauge("info", "1, with the gateway's version.", "version").labels(
            importlib.metadata.version("sparkyard-gateway")
        ).set(1)
        ProcessCollector(registry=self.registry)

    # Making them: a part that has more to tell makes its own.

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A number that grows; Prometheus appends `_total` to its name."""
        self._list(f"{name}_total", "counter", labels, text)
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A number that is set."""
        self._list(name, "gauge", labels, text)
        return Gauge(PREFIX + name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Durations."""
        self._list(name, "histogram", labels, text)
        return Histogram(PREFIX + name, text, labels, buckets=buckets, registry=self.registry)

    def reading(self, name: str, text: str, label: str | None, count: Callable[[], Mapping[str, float]]) -> None:
        """A number that is counted at each reading: by `label`, or a single one under any key."""
        self._list(name, "gauge", (label,) if label else (), text)
        self.registry.register(_Reading(PREFIX + name, text, label, count))

    def _list(self, name: str, kind: str, labels: Sequence[str], text: str) -> None:
        self.listed.append(Listed(PREFIX + name, kind, tuple(labels), text))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    def reference(self) -> str:
        """Every metric as a table, for the documentation."""
        rows = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
        for each in self.listed:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.text} |")
        return "\n".join(rows) + "\n"
