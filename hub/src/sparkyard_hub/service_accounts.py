"""The catalog's service accounts as services of the hub: a pipeline shows who it is by a token that a file holds.

Read once, when the hub starts: a new account works after a restart of the hub. One that the catalog no longer has is
refused by the gateway at once, whatever the hub still knows.
"""

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from sparkyard_catalog import SERVICE_PREFIX, load
from sparkyard_hub.access import USE_GATEWAY
from sparkyard_hub.secret import secret_of
from sparkyard_spawner import make_home, why_shared_uid

ROLE: Final = "sparkyard-service-accounts"
SHORTEST_TOKEN: Final = 32

log = logging.getLogger(__name__)


def configure_service_accounts(c: Config, catalog: Path, tokens: Path, homes: Path | None) -> None:
    """Define a service for each account whose token is there. Raises ValueError where a token or a name won't do.

    `homes` is set on one machine: an account has a home there, whose owner its drivers run as.
    """
    accounts = [name for name in load(catalog).service_accounts if _has_token(tokens, name)]
    _check_names(accounts, [str(service.get("name")) for service in set_so_far(c.JupyterHub.services)])
    for name in accounts:
        token = secret_of(tokens / name)
        if len(token) < SHORTEST_TOKEN:
            raise ValueError(f"the token in {tokens / name} is too short; make one with: openssl rand -hex 32")
        c.JupyterHub.services.append({"name": name, "api_token": token, "display": False})
        if homes is not None:
            make_home(homes, f"{SERVICE_PREFIX}{name}", own_uids=why_shared_uid(homes) is None)
    if accounts:
        # Set, not appended: JupyterHub applies what was appended twice, and takes no role twice.
        role = {"name": ROLE, "services": accounts, "scopes": [USE_GATEWAY]}
        c.JupyterHub.load_roles = [*set_so_far(c.JupyterHub.load_roles), role]


def set_so_far(value: object) -> list[dict[str, object]]:
    """A list of the configuration as it stands, whether it was set or only added to."""
    # What was only appended so far is a value that is yet to be made; making it would end that, so a copy is made.
    made = copy.deepcopy(value).get_value([]) if isinstance(value, LazyConfigValue) else value
    return list(made) if isinstance(made, list) else []


def _has_token(tokens: Path, name: str) -> bool:
    found = (tokens / name).is_file()
    if not found:
        log.warning("The service account %s can't be used: there is no file %s with its token.", name, tokens / name)
    return found


def _check_names(accounts: Iterable[str], others: Iterable[str]) -> None:
    for name in sorted(set(accounts) & set(others)):
        raise ValueError(f"the hub has a service '{name}' already: call the service account in the catalog otherwise")
