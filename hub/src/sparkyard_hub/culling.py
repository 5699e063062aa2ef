"""Servers that nobody uses are stopped, and those who use them are told before.

Who stops them is `jupyterhub-idle-culler`: as a service of this hub, or, where a chart runs one, as that chart's. The
warning is the notebook server's own (`sparkyard_sparkmagic.idle`); the spawner tells it the limits.
"""

import sys
from dataclasses import dataclass
from typing import Any, Final

from traitlets.config import Config

from sparkyard_hub.service_accounts import set_so_far

NAME: Final = "sparkyard-culler"
_SCOPES: Final = ["list:users", "read:users:activity", "read:servers", "delete:servers"]


@dataclass(frozen=True)
class Limits:
    """Seconds without use and of life after which a server is stopped, 0 for never; and how long before it says so."""

    idle: int
    age: int
    warning: int

    @property
    def every(self) -> int:
        """How often is looked: often enough that a limit is held to within a tenth."""
        shortest = min(limit for limit in (self.idle, self.age) if limit)
        return max(1, min(600, shortest // 10))


def configure_culling(c: Config, limits: Limits, *, by_hub: bool) -> None:
    """Tell servers the limits, and where this hub is to hold them to these, do so."""
    c.CatalogSpawnerMixin.idle_seconds = limits.idle
    c.CatalogSpawnerMixin.max_age_seconds = limits.age
    c.CatalogSpawnerMixin.idle_warning_seconds = limits.warning
    if not by_hub or not (limits.idle or limits.age):
        return
    # A timeout is not to be left out: the culler has one of its own.
    idle = limits.idle or 10 * 365 * 24 * 3600
    command = [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={idle}", f"--cull-every={limits.every}"]
    service: dict[str, Any] = {"name": NAME, "command": [*command, f"--max-age={limits.age}", "--concurrency=5"]}
    c.JupyterHub.services.append(service)
    role = {"name": NAME, "services": [NAME], "scopes": _SCOPES}
    c.JupyterHub.load_roles = [*set_so_far(c.JupyterHub.load_roles), role]
