"""Where things stand in the pods of a driver and its executors, and what an operator has settled about all of them."""

from dataclasses import dataclass

PROGRAM_FOLDER = "/opt/sparkyard"
"""From a ConfigMap: the driver program, and how an executor starts. Nothing of this need be in an image."""
SECRET_FOLDER = "/run/sparkyard"  # noqa: S105 - a path
"""From the Secret of the session or attempt, in the driver alone."""
SHARED_FOLDER = "/run/sparkyard-shared"
"""From the Secret that a driver shares with its executors."""
SCRATCH = "/var/sparkyard"
"""An empty folder of the pod's: home, working folder, Spark's local files."""

EVENTS = f"{SCRATCH}/events"
"""Where Spark writes its event log, which the driver carries to the gateway."""

BOOTSTRAP = f"{SECRET_FOLDER}/bootstrap.json"
EXECUTOR_TEMPLATE = f"{SECRET_FOLDER}/executor.json"
CA_FILE = f"{SECRET_FOLDER}/ca.pem"
AUTH_SECRET = f"{SHARED_FOLDER}/secret"

GATE = "sparkyard/begin"
"""The scheduling gate of a batch's driver: its pod stands there and runs nowhere until the gateway removes it."""

DRIVER_CONTAINER = "driver"
EXECUTOR_CONTAINER = "executor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an operator has settled, the same for all pods."""

    installation: str
    namespace: str
    """Of those whose team names none."""
    api_url: str = "https://kubernetes.default.svc"
    account: str = "spark"
    executor_account: str = "spark-executor"
    uid: int = 185
    scheduler: str | None = None
    """Which of the cluster's finds nodes; its own where there is none."""
    event_logs: bool = False
    """Whether drivers write event logs and carry them to the gateway."""
    ca: str | None = None
    """Certificates that drivers trust the gateway by."""
