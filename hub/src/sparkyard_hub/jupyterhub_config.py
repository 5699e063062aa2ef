"""What ``jupyterhub --config`` loads on one machine; production calls the same `configure` from its chart."""

from traitlets.config import get_config

from sparkyard_hub.configuration import configure
from sparkyard_hub.settings import HubSettings
from sparkyard_hub.standalone.state import SHARED_UID_NOTE
from sparkyard_spawner import why_shared_uid

settings = HubSettings()  # from the environment
configure(get_config(), settings)
if settings.state_dir and settings.homes_dir:
    # For the launcher to tell: it should not take the seconds that it takes to import a spawner.
    (settings.state_dir / SHARED_UID_NOTE).write_text(why_shared_uid(settings.homes_dir) or "", encoding="utf-8")
