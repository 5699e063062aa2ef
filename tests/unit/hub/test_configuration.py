"""``configure(c)`` with real traitlets: the classes that JupyterHub will make are made here from what it set."""

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from jupyterhub.roles import get_default_roles
from jupyterhub.scopes import _check_scopes_exist, define_custom_scopes
from jupyterhub_traefik_proxy.fileprovider import TraefikFileProviderProxy
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from sparkyard_hub.access import CUSTOM_SCOPES, EXTRA_USER_SCOPES, OVERSEE, SERVER_TOKEN_SCOPES, gateway_service
from sparkyard_hub.authenticator import OktaAuthenticator
from sparkyard_hub.configuration import USERNAME_PATTERN, configure
from sparkyard_spawner import CatalogSpawnerMixin, LocalSpawner

CLASSES = {
    "JupyterHub": JupyterHub,
    "OktaAuthenticator": OktaAuthenticator,
    "CryptKeeper": CryptKeeper,
    "Spawner": LocalSpawner,
    "LocalSpawner": LocalSpawner,
    "CatalogSpawnerMixin": CatalogSpawnerMixin,
    "TraefikFileProviderProxy": TraefikFileProviderProxy,
}


@pytest.fixture
def c(settings) -> Config:
    config = Config()
    configure(config, settings())
    return config


def plain(value: object) -> object:
    """What a value adds to a default, where it adds to one."""
    return value.to_dict() if isinstance(value, LazyConfigValue) else value


def test_everything_that_is_set_is_something_that_can_be_set(c):
    for section, values in c.items():
        known = CLASSES[section].class_traits(config=True)
        assert set(values) <= set(known), f"{section} has no such settings"


def test_the_authenticator_is_set_up_for_okta(c, settings):
    made = OktaAuthenticator(config=c)
    okta = settings().okta
    assert (made.authorize_url, made.token_url, made.userdata_url) == (okta.authorize, okta.token, okta.userinfo)
    assert made.scope == ["openid", "profile", "email", "groups", "offline_access"]
    assert made.client_secret == "ab" * 32
    assert made.enable_pkce
    assert made.basic_auth
    assert made.manage_groups
    assert made.auth_state_groups_key == "oauth_user.groups"
    assert made.allowed_groups == {"data-science"}
    assert made.admin_groups == {"sparkyard-admins"}
    assert made.enable_auth_state
    assert made.refresh_pre_spawn
    assert made.auth_refresh_strict
    assert made.auth_refresh_age == 300
    assert not made.allow_all
    assert not made.allow_existing_users


def test_between_okta_and_the_demonstration_only_addresses_and_the_client_differ(settings):
    demonstration, production = Config(), Config()
    configure(demonstration, settings())
    configure(production, settings(okta_url="https://example.okta.com", okta_client_id="0oa1"))
    changed = {
        (section, name)
        for section in demonstration
        for name in demonstration[section]
        if plain(demonstration[section][name]) != plain(production[section][name])
    }
    proxy = {name for section, name in changed if section == "TraefikFileProviderProxy"}
    assert proxy == {"traefik_api_password", "traefik_api_hashed_password"}  # new at each start
    assert changed - {("TraefikFileProviderProxy", name) for name in proxy} == {
        ("OktaAuthenticator", name)
        for name in ("authorize_url", "token_url", "userdata_url", "end_session_url", "client_id")
    }


def test_a_deployment_keeps_its_own_database_cookies_and_proxy(settings):
    config = Config()
    configure(config, settings(proxy="deployment", state_dir=None))
    assert not {"db_url", "cookie_secret_file", "bind_url", "hub_bind_url"} & set(config.JupyterHub)
    # What zero-to-jupyterhub runs, which gets lost routes again; another proxy stays what it is.
    assert config.JupyterHub.proxy_class == "sparkyard_hub.lost_routes.RememberedProxy"
    config.JupyterHub.proxy_class = "theirs"
    configure(config, settings(proxy="deployment", state_dir=None))
    assert config.JupyterHub.proxy_class == "theirs"


def test_what_the_deployment_set_before_stays(settings):
    config = Config()
    config.JupyterHub.services = [{"name": "cull"}]
    config.JupyterHub.template_vars = {"announcement": "hello"}
    config.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    config.JupyterHub.template_paths = ["/etc/theirs"]
    configure(config, settings())
    hub = JupyterHub(config=config)
    assert [service["name"] for service in hub.services] == ["cull", "gateway"]
    assert hub.template_vars == {"announcement": "hello", "contact": "the help desk"}
    assert hub.tornado_settings["slow_spawn_timeout"] == 0
    assert hub.tornado_settings["headers"]["X-Content-Type-Options"] == "nosniff"
    assert hub.template_paths[1] == "/etc/theirs"


def test_the_hub_that_is_made_of_it(c):
    hub = JupyterHub(config=c)
    assert hub.authenticator_class is OktaAuthenticator
    assert hub.spawner_class is LocalSpawner
    assert hub.proxy_class is TraefikFileProviderProxy
    assert [service["name"] for service in hub.services] == ["gateway"]
    assert hub.extra_user_scopes == {"access:services!service=gateway", "custom:sparkyard:oversee"}
    assert set(hub.custom_scopes) == {"custom:sparkyard:oversee"}
    assert LocalSpawner(config=c).server_token_scopes == list(SERVER_TOKEN_SCOPES)


def test_the_proxy_listens_on_the_loopback_interface_alone(c):
    assert c.JupyterHub.bind_url == "http://127.0.0.1:8000/"
    assert c.JupyterHub.hub_bind_url == "http://127.0.0.1:8003"
    assert c.TraefikFileProviderProxy.traefik_api_url == "http://127.0.0.1:8004"


def test_the_proxys_password_is_new_each_time(settings):
    first, second = Config(), Config()
    configure(first, settings())
    configure(second, settings())
    assert len(first.TraefikFileProviderProxy.traefik_api_password) >= 32
    assert first.TraefikFileProviderProxy.traefik_api_password != second.TraefikFileProviderProxy.traefik_api_password


def test_scopes_exist_and_say_no_more_than_is_needed():
    define_custom_scopes(CUSTOM_SCOPES)
    _check_scopes_exist([*EXTRA_USER_SCOPES, *SERVER_TOKEN_SCOPES])
    assert EXTRA_USER_SCOPES == ("access:services!service=gateway", OVERSEE)
    # Code in a lead's notebook must not wield a lead's power.
    assert OVERSEE not in SERVER_TOKEN_SCOPES
    server = next(role for role in get_default_roles() if role["name"] == "server")
    assert set(server["scopes"]) < set(SERVER_TOKEN_SCOPES)
    beyond = set(SERVER_TOKEN_SCOPES) - set(server["scopes"])
    assert beyond == {
        *("access:services!service=gateway", "read:users:name!user", "read:users:groups!user"),
        "read:servers!server",  # of itself alone: since when it runs, and when it was last used
    }


def test_the_gateway_is_a_service_of_the_hub():
    service = gateway_service("http://127.0.0.1:8002", "t" * 32)
    assert service["name"] == "gateway"
    assert service["oauth_client_id"] == "service-gateway"
    assert service["oauth_redirect_uri"] == "/services/gateway/oauth_callback"


@pytest.mark.parametrize("name", ["dana", "dana.reyes@example.com", "d-1_2+x"])
def test_names_that_may_be(c, name):
    assert OktaAuthenticator(config=c).validate_username(name)


@pytest.mark.parametrize("name", ["", ".dana", "dana/..", "dana\n", "dana reyes", "d" * 65, "Dana", "dana%2f"])
def test_names_that_may_not_be(c, name):
    assert USERNAME_PATTERN.endswith(r"\Z")
    assert not OktaAuthenticator(config=c).validate_username(name)


def test_a_missing_secret_is_a_sentence(settings, tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the secret in .*/nowhere: No such file"):
        configure(Config(), settings(okta_client_secret_file=tmp_path / "nowhere"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="empty should hold a secret and is empty"):
        configure(Config(), settings(okta_client_secret_file=tmp_path / "empty"))


def test_the_hub_stops_unused_servers_itself_where_it_is_told_to(settings):
    config = Config()
    configure(config, settings(culler="hub", idle_timeout_seconds=7200, max_age_seconds=86400))
    hub = JupyterHub(config=config)
    culler = next(service for service in hub.services if service["name"] == "sparkyard-culler")
    assert culler["command"][1:] == [
        *("-m", "jupyterhub_idle_culler", "--timeout=7200", "--cull-every=600", "--max-age=86400", "--concurrency=5")
    ]
    role = next(role for role in hub.load_roles if role["name"] == "sparkyard-culler")
    assert set(role["scopes"]) == {"list:users", "read:users:activity", "read:servers", "delete:servers"}
    assert "admin" not in culler


def test_no_server_is_stopped_unless_somebody_says_after_how_long(settings):
    config = Config()
    configure(config, settings(culler="hub"))
    assert [service["name"] for service in JupyterHub(config=config).services] == ["gateway"]
