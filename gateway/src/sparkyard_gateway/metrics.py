"""What Prometheus may read."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_START_BUCKETS = (1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_BATCH_BUCKETS = (10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200)
_STATEMENT_BUCKETS = (0.002, 0.004, 0.008, 0.016, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)


class _States(Collector):
    """Counted when asked for, so that it never drifts from the truth."""

    def __init__(self, name: str, count: Callable[[], dict[str, int]]) -> None:
        self._name = name
        self._count = count

    def collect(self) -> list[GaugeMetricFamily]:
        title = f"{self._name.capitalize()} by state."
        family = GaugeMetricFamily(f"sparkyard_gateway_{self._name}", title, labels=["state"])
        for state, number in self._count().items():
            family.add_metric([state], number)
        return [family]


class Metrics:
    """The gateway's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "sparkyard_gateway_"
        self.created = Counter(f"{name}sessions_created", "Sessions asked for.", ["profile"], registry=self.registry)
        self.died = Counter(f"{name}sessions_died", "Sessions whose driver died.", ["profile"], registry=self.registry)
        self.start_seconds = Histogram(
            f"{name}session_start_seconds", "From POST to idle.", buckets=_START_BUCKETS, registry=self.registry
        )
        self.statements = Counter(f"{name}statements", "Statements by outcome.", ["status"], registry=self.registry)
        self.statement_seconds = Histogram(
            f"{name}statement_seconds", "From POST to outcome.", buckets=_STATEMENT_BUCKETS, registry=self.registry
        )
        self.batches_created = Counter(
            f"{name}batches_created", "Batches asked for.", ["profile"], registry=self.registry
        )
        self.batches_ended = Counter(
            f"{name}batches_ended", "Batches by outcome.", ["profile", "state"], registry=self.registry
        )
        self.batch_seconds = Histogram(
            f"{name}batch_seconds", "From its beginning to its end.", buckets=_BATCH_BUCKETS, registry=self.registry
        )
        self.refusals = Counter(f"{name}refusals", "Requests refused, by reason.", ["code"], registry=self.registry)
        self.drivers = Gauge(f"{name}drivers_connected", "Drivers on the line.", registry=self.registry)

    def count_states(self, count: Callable[[], dict[str, int]]) -> None:
        """Have the sessions counted by state at each reading."""
        self.registry.register(_States("sessions", count))

    def count_batch_states(self, count: Callable[[], dict[str, int]]) -> None:
        """Likewise the batches."""
        self.registry.register(_States("batches", count))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
