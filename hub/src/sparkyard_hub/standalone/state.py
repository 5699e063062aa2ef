"""The folder in which one machine's Sparkyard keeps what must outlive it, and the file that tells what runs.

``home``: ``.sparkyard`` in the project's root, or the environment's ``SPARKYARD_HOME``. Everything secret is a file
of mode 0600 in a folder of mode 0700; ``users/`` alone is open for passing through, because each user's notebook
server may run under a uid of its own.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = "SPARKYARD_HOME"
PRIVATE = 0o700
SECRET = 0o600
SHARED_UID_NOTE = "shared_uid"
"""Of the hub's folder: why all users' processes run under one uid; empty where each user has one."""
SERVICE_TOKENS = "service_tokens"
"""Of the hub's folder: the folder with a token for each service account of the catalog's."""


@dataclass(frozen=True)
class Home:
    """Where things are; `make` brings the folders into being."""

    path: Path

    @classmethod
    def find(cls) -> "Home":
        """The folder that the environment names, or ``.sparkyard`` in the working folder."""
        return cls(Path(os.environ.get(ENVIRONMENT) or ".sparkyard").absolute())

    @property
    def hub(self) -> Path:
        """The hub's database, secrets and proxy files."""
        return self.path / "hub"

    @property
    def gateway(self) -> Path:
        """The gateway's database and its sessions."""
        return self.path / "gateway"

    @property
    def provider(self) -> Path:
        """The provider's keys and passwords."""
        return self.path / "provider"

    @property
    def users(self) -> Path:
        """People's homes."""
        return self.path / "users"

    @property
    def logs(self) -> Path:
        """A log for each process."""
        return self.path / "logs"

    @property
    def record(self) -> Path:
        """What runs now; see `record`."""
        return self.path / "standalone.json"

    @property
    def lock(self) -> Path:
        """Held while something runs."""
        return self.path / "standalone.lock"

    def make(self) -> None:
        """Create what is missing and put right what is too open. Raises OSError where the disk says no."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.hub, self.gateway, self.provider, self.logs):
            folder.mkdir(exist_ok=True)
            folder.chmod(PRIVATE)
        (self.hub / SERVICE_TOKENS).mkdir(exist_ok=True)
        (self.hub / SERVICE_TOKENS).chmod(PRIVATE)
        self.users.mkdir(exist_ok=True)
        self.users.chmod(0o711)


def write_secretly(path: Path, text: str) -> None:
    """Replace a file by one that its owner alone may read: at no moment does half of it, or an open one, exist."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # mkstemp made it 0600
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def kept_secret(path: Path, size: int = 32) -> str:
    """The secret in a file, made at the first call and the same ever after."""
    if found := read_text(path):
        path.chmod(SECRET)
        return found
    made = secrets.token_hex(size)
    write_secretly(path, made + "\n")
    return made


def read_text(path: Path) -> str:
    """What the file holds, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def read_json(path: Path) -> dict[str, Any] | None:
    """What the file holds, or None where there is none or it is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write what `read_json` reads."""
    write_secretly(path, json.dumps(value, indent=2) + "\n")
