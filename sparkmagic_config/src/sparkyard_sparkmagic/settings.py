"""What the notebook server's environment tells a kernel: where the gateway is and what this profile starts with.

Our spawner sets these variables; a kernel only reads them. The token is not among them on purpose: it is read for
each request (see `token`) and kept nowhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparkyard_sparkmagic.errors import ConfigurationError

GATEWAY_URL = "SPARKYARD_GATEWAY_URL"
PUBLIC_PATH = "SPARKYARD_GATEWAY_PUBLIC_PATH"
PROFILE = "SPARKYARD_PROFILE"
PROFILE_TITLE = "SPARKYARD_PROFILE_TITLE"
SESSION_DEFAULTS = "SPARKYARD_SESSION_DEFAULTS"
USER_FILE = "sparkyard.toml"


@dataclass(frozen=True)
class Settings:
    """A kernel's surroundings."""

    gateway_url: str
    public_path: str = "/services/gateway"
    profile: str | None = None
    profile_title: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    user_file: Path = Path(USER_FILE)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; raises ConfigurationError where a kernel can't work with it."""
        url = environ.get(GATEWAY_URL, "").strip().rstrip("/")
        if not url:
            raise ConfigurationError(
                f"{GATEWAY_URL} is not set: PySpark and SQL kernels run in a notebook server that the hub has "
                "started. The plain Python kernel works anywhere."
            )
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{GATEWAY_URL} must be an http or https address, not {url!r}.")
        home = environ.get("HOME") or "~"
        return cls(
            gateway_url=url,
            public_path="/" + environ.get(PUBLIC_PATH, cls.public_path).strip("/"),
            profile=environ.get(PROFILE) or None,
            profile_title=environ.get(PROFILE_TITLE) or environ.get(PROFILE) or None,
            defaults=_defaults(environ.get(SESSION_DEFAULTS, "")),
            user=environ.get("JUPYTERHUB_USER") or None,
            user_file=Path(home).expanduser() / USER_FILE,
        )


def _defaults(text: str) -> Mapping[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{SESSION_DEFAULTS} is not JSON ({error}): ask an admin.") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{SESSION_DEFAULTS} must be a JSON object: ask an admin.")
    return value
