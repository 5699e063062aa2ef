"""What the pods of a session are called and labelled: by these they are found again, and their cost is told apart.

Names and labels go to whoever may list pods, so nothing secret is in them. A user's name can be anything that the
identity provider lets it be, and the value of a label cannot: `label_value` makes one of the other, two of two.
"""

import hashlib
import re
from collections.abc import Mapping

INSTALLATION = "sparkyard/installation"
SESSION = "sparkyard/session"
EPOCH = "sparkyard/epoch"
ROLE = "sparkyard/role"
USER = "sparkyard/user"
TEAM = "sparkyard/team"
PROFILE = "sparkyard/profile"
DRIVER, EXECUTOR = "driver", "executor"

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


def labels(
    installation: str, session_id: int, epoch: int, role: str, costs: Mapping[str, str | None]
) -> dict[str, str]:
    """The labels of a pod; `costs` are user, team and profile by their labels."""
    return {
        "app.kubernetes.io/managed-by": "sparkyard",
        INSTALLATION: installation,
        SESSION: str(session_id),
        EPOCH: str(epoch),
        ROLE: role,
        **{key: label_value(value) for key, value in costs.items() if value},
    }


def of_installation(installation: str) -> str:
    """The selector of all that an installation's gateways started."""
    return f"{INSTALLATION}={installation}"


def of_session(installation: str, session_id: int, role: str | None = None) -> str:
    """The selector of a session's pods."""
    selector = f"{INSTALLATION}={installation},{SESSION}={session_id}"
    return selector if role is None else f"{selector},{ROLE}={role}"
