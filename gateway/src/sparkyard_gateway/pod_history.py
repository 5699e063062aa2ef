"""What is kept of what ran in pods, and who shows it: the parts of it together."""

from dataclasses import dataclass

from sparkyard_gateway.backends.carried_logs import CarriedLogs
from sparkyard_gateway.backends.history_pods import HistoryPods
from sparkyard_gateway.event_intake import Carriages


@dataclass(frozen=True, slots=True)
class PodHistory:
    """Event logs that drivers carry here, the pods that show them, and how batches are told where to carry theirs."""

    logs: CarriedLogs
    pods: HistoryPods
    carriages: Carriages
