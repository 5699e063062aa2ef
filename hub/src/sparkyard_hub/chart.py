"""The hub's configuration where the zero-to-jupyterhub chart runs it.

The chart's own values reach its hub, and of an umbrella chart's only those under ``custom``. So everything that
Sparkyard wants to know is in ``custom.sparkyard``, and what the chart has to hold of our code is one line of
``hub.extraConfig``::

    from z2jh import get_config; from sparkyard_hub.chart import configure; configure(c, get_config)

``get_config`` comes as an argument because its module exists in the chart's hub alone.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from pydantic import ValidationError
from traitlets.config import Config

from sparkyard_hub import configuration
from sparkyard_hub.settings import HubSettings

KEY: Final = "custom.sparkyard"


class GetConfig(Protocol):
    """The chart's way to its values: a dotted key, and what to return where nothing is there."""

    def __call__(self, key: str, default: object = None) -> object:
        """The value under a key."""


def configure(c: Config, get_config: GetConfig) -> None:
    """Configure the hub from the chart's values. Raises ValueError with a sentence where they won't do."""
    configuration.configure(c, settings_of(get_config))


def _culling(get_config: GetConfig) -> dict[str, object]:
    """The limits by which the chart's own culler stops servers; it is the one to hold them to these."""
    cull = get_config("cull", {})
    if not isinstance(cull, Mapping) or not cull.get("enabled"):
        return {}
    return {"idle_timeout_seconds": cull.get("timeout") or 3600, "max_age_seconds": cull.get("maxAge") or 0}


def settings_of(get_config: GetConfig) -> HubSettings:
    """The settings in the chart's values; servers are pods unless they say otherwise."""
    custom = get_config(KEY, {})
    if not isinstance(custom, Mapping) or not custom:
        raise ValueError(
            f"the chart's values hold no mapping jupyterhub.{KEY}; see docs/helm.md for what belongs there"
        )
    try:
        return HubSettings.from_chart({"spawner": "kubernetes", **_culling(get_config), **custom})
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc'])) or KEY}: {one['msg']}" for one in error.errors())
        raise ValueError(f"jupyterhub.{KEY} in the chart's values: {found}") from None
