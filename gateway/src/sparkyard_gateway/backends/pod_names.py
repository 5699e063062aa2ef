"""What the pods of a session or a batch are called and labelled: by these they are found again, and their cost told.

Names and labels go to whoever may list pods, so nothing secret is in them. A user's name can be anything that the
identity provider lets it be, and the value of a label cannot: `label_value` makes one of the other, two of two.
"""

import hashlib
import re
from collections.abc import Mapping

from sparkyard_gateway.backends.base import BatchOrder, DriverOrder, SparkOrder

INSTALLATION = "sparkyard/installation"
SESSION = "sparkyard/session"
EPOCH = "sparkyard/epoch"
ATTEMPT = "sparkyard/attempt"
"""At a batch. A pod has this one, or the two of a session; the admission policy for executors sees to that."""
ROLE = "sparkyard/role"
USER = "sparkyard/user"
TEAM = "sparkyard/team"
PROFILE = "sparkyard/profile"
HISTORY = "sparkyard/history"
"""At a pod that shows the history of what has ended: the gateway that it is of."""
DRIVER, EXECUTOR, HISTORIAN = "driver", "executor", "history"
SPARKS_OWN = "spark-app-selector"
"""The label by which Spark says on each executor of which application it is."""

_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LONGEST_START = 21


def label_value(text: str) -> str:
    """A label's value for any text: the text itself where it is one, else its beginning and a hash of all of it.

    The very value that KubeSpawner makes for notebook pods, so that a person's cost is one sum.
    """
    if _VALUE.fullmatch(text) and "--" not in text:
        return text
    start = re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-")[:_LONGEST_START].rstrip("-")
    if not start[:1].isalpha():
        start = f"x-{start[: _LONGEST_START - 2]}" if start else "x"
    return f"{start}---{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def pod_name(installation: str, session_id: int, epoch: int) -> str:
    """A driver's pod; its Secret has the same name."""
    return f"sparkyard-{installation}-{session_id}-{epoch}"


def executors_secret(pod: str) -> str:
    """What a driver's executors share with it, and with nobody else. The admission policy knows this name too."""
    return f"{pod}-executors"


def attempt_pod(installation: str, attempt: int, mark: str) -> str:
    """A batch's driver; its Secret has the same name. `mark` tells one preparation of an attempt from another."""
    return f"sparkyard-{installation}-attempt-{attempt}-{mark}"


def pod_of(installation: str, order: SparkOrder) -> str:
    """What the driver's pod of an order is called."""
    if isinstance(order, DriverOrder):
        return pod_name(installation, order.session_id, order.epoch)
    assert isinstance(order, BatchOrder)
    return attempt_pod(installation, order.attempt, order.mark)


def whose(order: SparkOrder) -> dict[str, str]:
    """The labels that tell which session or attempt a pod of an order belongs to."""
    if isinstance(order, DriverOrder):
        return {SESSION: str(order.session_id), EPOCH: str(order.epoch)}
    return {ATTEMPT: str(order.number)}


def labels(installation: str, belongs: Mapping[str, str], role: str, costs: Mapping[str, str | None]) -> dict[str, str]:
    """The labels of a pod; `costs` are user, team and profile by their labels."""
    return {
        "app.kubernetes.io/managed-by": "sparkyard",
        INSTALLATION: installation,
        **belongs,
        ROLE: role,
        **{key: label_value(value) for key, value in costs.items() if value},
    }


def of_sessions(installation: str) -> str:
    """The selector of all that an installation's gateways started for sessions."""
    return f"{INSTALLATION}={installation},{SESSION}"


def of_attempts(installation: str) -> str:
    """The selector of all that an installation's gateways started for batches."""
    return f"{INSTALLATION}={installation},{ATTEMPT}"


def of_attempt(installation: str, attempt: int) -> str:
    """The selector of the pods of an attempt at a batch."""
    return f"{INSTALLATION}={installation},{ATTEMPT}={attempt}"


def history_pod(installation: str, mark: str) -> str:
    """A pod that shows what has ended; its Secret has the same name."""
    return f"sparkyard-{installation}-history-{mark}"


def of_histories(installation: str) -> str:
    """The selector of all pods that show what has ended, whichever gateway's."""
    return f"{INSTALLATION}={installation},{ROLE}={HISTORIAN}"


def of_session(installation: str, session_id: int, role: str | None = None) -> str:
    """The selector of a session's pods."""
    selector = f"{INSTALLATION}={installation},{SESSION}={session_id}"
    return selector if role is None else f"{selector},{ROLE}={role}"
