"""The three processes of one machine's Sparkyard: how each is started, and how each shows that it is ready."""

import http.client
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparkyard_catalog import Catalog
from sparkyard_hub.standalone.people import ADMIN_GROUP
from sparkyard_hub.standalone.ports import LOOPBACK, Ports
from sparkyard_hub.standalone.processes import Child
from sparkyard_hub.standalone.provider import CLIENT_ID, SERVER
from sparkyard_hub.standalone.state import SERVICE_TOKENS, Home, kept_secret

SCRIPTS = Path(sysconfig.get_path("scripts"))
HUB_CONFIGURATION = Path(__file__).parent.parent / "jupyterhub_config.py"
KEPT_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TMPDIR", "TZ", "USER")
"""What the processes see of the environment they were started from; what else is exported there is not theirs."""


@dataclass(frozen=True)
class Installation:
    """Everything that the processes have to know."""

    home: Home
    ports: Ports
    catalog_path: Path
    catalog: Catalog
    java: Path
    examples: Path | None
    supervisor: int
    """The process with which notebook servers end."""

    @property
    def address(self) -> str:
        """What people type."""
        return _address(self.ports.public)

    @property
    def gateway(self) -> str:
        """The gateway, as kernels reach it."""
        return _address(self.ports.gateway)

    @property
    def provider(self) -> str:
        """The OpenID provider."""
        return _address(self.ports.provider)


@dataclass(frozen=True)
class Part:
    """A process and the addresses that answer once it is ready, with the status of each answer."""

    title: str
    child: Child
    ready: Mapping[str, frozenset[int]]
    seconds: float

    def is_ready(self) -> bool:
        """Whether all of its addresses answer as they should."""
        return all(status_of(address) in wanted for address, wanted in self.ready.items())


def parts_of(it: Installation) -> tuple[Part, ...]:
    """Provider, gateway and hub, in the order in which they are waited for."""
    return (_provider(it), _gateway(it), _hub(it))


def _provider(it: Installation) -> Part:
    child = Child(
        "provider",
        [
            *(sys.executable, "-m", "sparkyard_hub.standalone.provider_server"),
            *("--home", str(it.home.path), "--port", str(it.ports.provider), "--address", it.address),
        ],
        it.home.logs / "provider.log",
        _environment({}),
        it.home.provider,
    )
    discovery = f"{it.provider}/oauth2/{SERVER}/.well-known/openid-configuration"
    return Part("OpenID provider", child, {discovery: frozenset({200})}, 60)


def _gateway(it: Installation) -> Part:
    kept_secret(it.home.hub / "gateway_token")
    settings = {
        "HOST": LOOPBACK,
        "PORT": str(it.ports.gateway),
        "BASE_PATH": "/services/gateway/",
        "HUB_API_URL": f"{_address(it.ports.hub)}/hub/api",
        "HUB_TOKEN_FILE": str(it.home.hub / "gateway_token"),
        "CATALOG": str(it.catalog_path),
        "STATE_DIR": str(it.home.gateway),
        "HOMES_DIR": str(it.home.users),
        # Drivers end with Sparkyard here; in production they outlive a gateway.
        "STOP_DRIVERS_ON_EXIT": "true",
    }
    environment = {f"SPARKYARD_GATEWAY_{name}": value for name, value in settings.items()}
    child = Child(
        "gateway",
        [str(SCRIPTS / "sparkyard-gateway")],
        it.home.logs / "gateway.log",
        _environment(environment | _java(it.java)),
        it.home.gateway,
    )
    # Without a token it knows nobody; that it says so shows that it is there.
    return Part("gateway", child, {f"{it.gateway}/sessions": frozenset({401})}, 60)


def _hub(it: Installation) -> Part:
    for name in ("gateway_token", "auth_state_key"):
        kept_secret(it.home.hub / name)
    for account in it.catalog.service_accounts:
        kept_secret(it.home.hub / SERVICE_TOKENS / account)
    settings: dict[str, object] = {
        "PUBLIC_URL": it.address,
        "CATALOG": it.catalog_path,
        "OKTA_URL": it.provider,
        "OKTA_SERVER": SERVER,
        "OKTA_CLIENT_ID": CLIENT_ID,
        "OKTA_CLIENT_SECRET_FILE": it.home.provider / "client_secret",
        "OKTA_NAME": "the demonstration provider",
        "ALLOWED_GROUPS": json.dumps(sorted(it.catalog.all_groups | {ADMIN_GROUP})),
        "ADMIN_GROUPS": json.dumps([ADMIN_GROUP]),
        "CONTACT": "whoever runs this demonstration",
        "AUTH_STATE_KEY_FILE": it.home.hub / "auth_state_key",
        "GATEWAY_URL": it.gateway,
        "GATEWAY_TOKEN_FILE": it.home.hub / "gateway_token",
        "SERVICE_TOKENS_DIR": it.home.hub / SERVICE_TOKENS,
        "HOMES_DIR": it.home.users,
        "LOGS_DIR": it.home.logs,
        "SUPERVISOR_PID": it.supervisor,
        "PROXY": "traefik",
        "STATE_DIR": it.home.hub,
        "HUB_PORT": it.ports.hub,
        "PROXY_API_PORT": it.ports.proxy_api,
    }
    if it.examples is not None:
        settings["EXAMPLES_DIR"] = it.examples
    environment = {f"SPARKYARD_HUB_{name}": str(value) for name, value in settings.items()}
    child = Child(
        "hub",
        [sys.executable, "-m", "jupyterhub", "--config", str(HUB_CONFIGURATION)],
        it.home.logs / "hub.log",
        _environment(environment),
        it.home.hub,
    )
    ready = {
        f"{it.address}/hub/health": frozenset({200}),
        f"{it.address}/services/gateway/sessions": frozenset({401}),
    }
    return Part("JupyterHub and Traefik", child, ready, 120)


def _environment(ours: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {"LANG": "C.UTF-8", "PATH": f"{SCRIPTS}:/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"} | kept | ours


def _java(java: Path) -> dict[str, str]:
    return {"JAVA_HOME": str(java.resolve().parent.parent)}


def _address(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def status_of(address: str, seconds: float = 2.0) -> int | None:
    """The status with which an address on this machine answers, or None where nobody does."""
    host, _, path = address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=seconds)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def log_folder(parts: Iterable[Part]) -> dict[str, str]:
    """Where each process writes."""
    return {part.child.name: str(part.child.log) for part in parts}
