"""``configure(c)``: JupyterHub's whole configuration as one function of the settings.

Production calls it from z2jh's extra configuration, one machine from ``jupyterhub_config.py``; between the two only
the settings differ. Where the deployment decides (database, cookie secret, proxy), nothing is set here; to its lists
and mappings (services, template variables) ours are added.
"""

from pathlib import Path
from typing import Final

from traitlets.config import Config

from sparkyard_hub import proxies
from sparkyard_hub.access import CUSTOM_SCOPES, EXTRA_USER_SCOPES, GATEWAY, SERVER_TOKEN_SCOPES, gateway_service
from sparkyard_hub.authenticator import OktaAuthenticator
from sparkyard_hub.culling import Limits, configure_culling
from sparkyard_hub.profile_page import render_form
from sparkyard_hub.secret import secret_of
from sparkyard_hub.service_accounts import configure_service_accounts
from sparkyard_hub.settings import HubSettings
from sparkyard_spawner import configure_kubernetes, configure_local, configure_spawner

TEMPLATES = Path(__file__).parent / "templates"

HEADERS: Final = {
    # JupyterHub itself sends frame-ancestors 'none', and a stricter policy for its API.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

USERNAME_PATTERN: Final = r"[a-z0-9][a-z0-9._@+-]{0,63}\Z"
"""`re.match` leaves the end open, so the pattern closes it. Names become folders and labels."""


def configure(c: Config, settings: HubSettings | None = None) -> None:
    """Set all of JupyterHub that Sparkyard has an opinion on; the settings come from the environment if not given."""
    settings = settings or HubSettings()
    _sign_on(c, settings)
    _access(c, settings)
    _servers(c, settings)
    _pages(c, settings)
    if settings.state_dir is not None:
        _state(c, settings.state_dir)
    if settings.proxy == "traefik":
        proxies.on_this_machine(c, settings)
    elif settings.proxy == "traefik-redis":
        proxies.in_replicas(c, settings)
    elif "proxy_class" not in c.JupyterHub:
        c.JupyterHub.proxy_class = "sparkyard_hub.lost_routes.RememberedProxy"


def _sign_on(c: Config, settings: HubSettings) -> None:
    c.JupyterHub.authenticator_class = OktaAuthenticator
    okta = c.OktaAuthenticator
    okta.login_service = settings.okta_name
    okta.client_id = settings.okta_client_id
    okta.client_secret = secret_of(settings.okta_client_secret_file)
    okta.authorize_url = settings.okta.authorize
    okta.token_url = settings.okta.token
    okta.userdata_url = settings.okta.userinfo
    okta.end_session_url = settings.okta.logout
    okta.after_logout_url = settings.after_logout_url
    okta.oauth_callback_url = settings.callback_url
    okta.scope = list(settings.okta_scopes)
    okta.enable_pkce = True
    okta.basic_auth = True
    if settings.okta_ca_file is not None:
        # libcurl's wheel brings authorities of its own and looks at no others: not the image's, not SSL_CERT_FILE.
        okta.http_request_kwargs = {"ca_certs": str(settings.okta_ca_file)}

    okta.username_claim = settings.username_claim
    okta.username_pattern = USERNAME_PATTERN
    okta.username_domain = settings.username_domain or ""
    okta.manage_groups = True
    okta.auth_state_groups_key = f"oauth_user.{settings.okta_groups_claim}"
    okta.allow_all = False
    okta.allow_existing_users = False
    okta.allowed_groups = set(settings.allowed_groups)
    okta.admin_groups = set(settings.admin_groups)
    okta.contact = settings.contact

    okta.enable_auth_state = True
    if settings.auth_state_key_file is not None:
        c.CryptKeeper.keys = [secret_of(settings.auth_state_key_file)]
    okta.auth_refresh_age = settings.auth_refresh_seconds
    okta.refresh_pre_spawn = True
    # Without it a token goes on working after its owner was dropped at the provider.
    okta.auth_refresh_strict = True
    okta.outage_seconds = settings.provider_outage_seconds
    okta.auto_login = True
    okta.auto_login_oauth2_authorize = True


def _access(c: Config, settings: HubSettings) -> None:
    c.JupyterHub.custom_scopes.update(CUSTOM_SCOPES)
    c.JupyterHub.extra_user_scopes = list(EXTRA_USER_SCOPES)
    c.Spawner.server_token_scopes = list(SERVER_TOKEN_SCOPES)
    c.JupyterHub.services.append(gateway_service(settings.gateway_url, secret_of(settings.gateway_token_file)))
    if settings.service_tokens_dir is not None:
        homes = settings.homes_dir if settings.spawner == "local" else None
        configure_service_accounts(c, settings.catalog, settings.service_tokens_dir, homes)
    c.JupyterHub.token_expires_in_max_seconds = 365 * 24 * 3600


def _servers(c: Config, settings: HubSettings) -> None:
    configure_spawner(
        c,
        catalog=settings.catalog.absolute(),
        gateway_url=settings.gateway_url,
        gateway_public_path=f"/services/{GATEWAY}",
        options_form=render_form,
        contact=settings.contact,
    )
    if settings.spawner == "local":
        assert settings.homes_dir is not None  # HubSettings saw to both
        assert settings.logs_dir is not None
        configure_local(
            c,
            users=settings.homes_dir,
            logs=settings.logs_dir,
            examples=settings.examples_dir,
            supervisor_pid=settings.supervisor_pid,
        )
    elif settings.spawner == "kubernetes":
        configure_kubernetes(
            c,
            home_path=settings.home_path,
            home_size=settings.home_size,
            home_storage_class=settings.home_storage_class,
            uid=settings.notebook_uid,
            gid=settings.notebook_gid,
            room_seconds=settings.room_seconds,
        )
    else:
        c.JupyterHub.spawner_class = settings.spawner
    limits = Limits(settings.idle_timeout_seconds, settings.max_age_seconds, settings.idle_warning_seconds)
    configure_culling(c, limits, by_hub=settings.culler == "hub")
    c.JupyterHub.allow_named_servers = False
    # With hundreds of servers, the defaults keep the hub busy with who was active when, and slow to come back.
    c.JupyterHub.last_activity_interval = 300
    c.JupyterHub.activity_resolution = 600
    c.JupyterHub.init_spawners_timeout = 1


def _pages(c: Config, settings: HubSettings) -> None:
    c.JupyterHub.template_paths.insert(0, str(TEMPLATES))
    c.JupyterHub.template_vars.update({"contact": settings.contact})
    c.JupyterHub.tornado_settings.update({"headers": dict(HEADERS)})
    c.JupyterHub.public_url = f"{settings.public_url}/"


def _state(c: Config, folder: Path) -> None:
    c.JupyterHub.db_url = f"sqlite:///{folder.absolute() / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret_file = str(folder.absolute() / "cookie_secret")
