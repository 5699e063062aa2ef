"""The OpenID provider of one machine: canaille, serving Okta's paths to a handful of demonstration users.

Production signs in at Okta. Here the very same hub configuration talks to this provider, so it has Okta's addresses
(``/oauth2/<server>/v1/{authorize,token,userinfo,keys,logout,introspect,revoke}`` and the discovery document under
``/oauth2/<server>``), asks for the same client secret and PKCE, and issues the same claims. All of that is
canaille's own code; this module gives it paths, one client and its users.
"""

import base64
import datetime
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkyard_hub.standalone.people import DemonstrationUser
from sparkyard_hub.standalone.state import kept_secret, read_json, write_json

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SERVER = "default"
"""The authorization server's name in the paths: Okta's own default is called so."""

CLIENT_ID = "sparkyard"
TOKENS_LAST = 7 * 24 * 3600

MARK = Path(__file__).parent.parent / "static" / "mark.svg"

OKTA_NAMES = {"oidc.endpoints.jwks": "keys", "oidc.endpoints.end_session": "logout"}
"""Canaille's endpoints whose last word differs from Okta's."""


@dataclass(frozen=True)
class Client:
    """Who may send people here to sign in: the hub."""

    client_id: str
    secret: str
    address: str
    """The hub's public address, without a trailing slash."""

    @property
    def callback(self) -> str:
        """Where people go who signed in."""
        return f"{self.address}/hub/oauth_callback"

    @property
    def after_logout(self) -> str:
        """Where people go who signed out."""
        return f"{self.address}/hub/logged-out"


@dataclass(frozen=True)
class Keys:
    """What the provider signs with."""

    cookies: str
    jwks: tuple[dict[str, str], ...]


def kept_keys(folder: Path) -> Keys:
    """The signing keys of the folder, made at the first start: a sign-in outlives a restart."""
    from joserfc.jwk import RSAKey  # noqa: PLC0415  (only the provider's process needs it)

    path = folder / "jwks.json"
    known = read_json(path)
    if known is None:
        known = {"keys": [RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)]}
        write_json(path, known)
    return Keys(kept_secret(folder / "cookie_secret"), tuple(known["keys"]))


def make_provider(
    keys: Keys, client: Client, users: Sequence[DemonstrationUser], database: Path, *, server: str = SERVER
) -> Wsgi:
    """The provider as a WSGI application. One for each process: canaille keeps its database in a class."""
    import canaille  # noqa: PLC0415  (takes two seconds that the launcher need not spend)
    import canaille.oidc.endpoints.oauth as endpoints  # noqa: PLC0415
    import canaille.oidc.provider as grants  # noqa: PLC0415
    from flask import Request  # noqa: PLC0415
    from werkzeug.middleware.dispatcher import DispatcherMiddleware  # noqa: PLC0415
    from werkzeug.utils import redirect  # noqa: PLC0415

    class IssuerRequest(Request):
        """Canaille's issuer is the root of its address; Okta's has no slash at its end."""

        @property
        def url_root(self) -> str:
            return super().url_root.rstrip("/")

    endpoints.bp.url_prefix = "/v1"
    app = canaille.create_app(config=_configuration(keys, database))
    app.request_class = IssuerRequest
    _rename_endpoints(app)
    # Canaille's access tokens tell who and when to the second, so two sign-ins within one would get the same token,
    # which its database refuses. Authlib's are random.
    app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = True
    grants.authorization.register_token_generator(
        "default", grants.authorization.create_bearer_token_generator(app.config)
    )
    # Canaille tries this method after a wrong secret, and knows it only where its host name is configured.
    grants.authorization.register_client_auth_method(grants.JWTClientAuth.CLIENT_AUTH_METHOD, grants.JWTClientAuth())
    with app.app_context():
        _fill(client, users)
    mounted: Wsgi = DispatcherMiddleware(redirect(client.address), {f"/oauth2/{server}": app})
    return mounted


def _configuration(keys: Keys, database: Path) -> dict[str, Any]:
    may_sign_in = {"PERMISSIONS": ["use_oidc"], "READ": ["user_name", "groups"], "WRITE": []}
    return {
        "SECRET_KEY": keys.cookies,
        # Loopback has no TLS: the one thing in which this provider is laxer than one that others can reach.
        "PREFERRED_URL_SCHEME": "http",
        "SESSION_COOKIE_NAME": "sparkyard_provider",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        # Canaille's refresh tokens last as long as the access tokens beside them.
        "OAUTH2_TOKEN_EXPIRES_IN": {"authorization_code": TOKENS_LAST, "refresh_token": TOKENS_LAST},
        "CANAILLE": {
            # Canaille's store in memory answers a query for a code *or* its client: any code would do.
            "DATABASE": "sql",
            "NAME": "Sparkyard demonstration",
            "LOGO": _mark(),
            "FAVICON": _mark(),
            "JAVASCRIPT": False,
            "HTMX": False,
            "SMTP": None,
            "ENABLE_REGISTRATION": False,
            "ENABLE_PASSWORD_RECOVERY": False,
            "CAPTCHA_ENABLED": False,
            # Canaille's own rules would let a user make groups, and one named `admin` administer everything.
            "ACL": {"EVERYONE": may_sign_in},
        },
        "CANAILLE_SQL": {"DATABASE_URI": f"sqlite:///{database.absolute()}"},
        "CANAILLE_OIDC": {
            "TRUSTED_DOMAINS": ["127.0.0.1"],
            "ACTIVE_JWKS": list(keys.jwks),
            "REQUIRE_NONCE": False,  # as Okta, whose code flow asks for none
            "USERINFO_MAPPING": {"PREFERRED_USERNAME": "{{ user.user_name }}"},
        },
        "CANAILLE_SCIM": {"ENABLE_SERVER": False},
    }


def _mark() -> str:
    """Our mark as an address that needs no server: canaille's content policy allows no other's images."""
    return f"data:image/svg+xml;base64,{base64.b64encode(MARK.read_bytes()).decode()}"


def _rename_endpoints(app: Any) -> None:
    """Serve the endpoints under Okta's names too, and have the discovery document tell these."""
    for rule in list(app.url_map.iter_rules()):
        if new := OKTA_NAMES.get(rule.endpoint):
            rule.alias = True  # so that url_for() prefers the other
            path = f"{rule.rule.rpartition('/')[0]}/{new}"
            methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
            app.add_url_rule(path, endpoint=rule.endpoint, methods=methods)


def _fill(client: Client, users: Sequence[DemonstrationUser]) -> None:
    """Make the database's users, groups and client what is asked for; tokens of people who stay are kept."""
    from canaille.app import models  # noqa: PLC0415
    from canaille.backends import Backend  # noqa: PLC0415

    backend = Backend.instance
    rows = {user.name: _save_user(user, backend.get(models.User, user_name=user.name)) for user in users}
    for row in backend.query(models.User):
        if row.user_name not in rows:
            backend.delete(row)
    _save_groups({group: [rows[user.name] for user in users if group in user.groups] for group in groups_of(users)})
    for kind in (models.Token, models.AuthorizationCode):
        for issued in backend.query(kind):
            if issued.is_expired():
                backend.delete(issued)
    _save_client(client, backend.get(models.Client, client_id=client.client_id))


def groups_of(users: Sequence[DemonstrationUser]) -> frozenset[str]:
    """Every group that somebody is in."""
    return frozenset(group for user in users for group in user.groups)


def _save_groups(members: dict[str, list[Any]]) -> None:
    from canaille.app import models  # noqa: PLC0415
    from canaille.backends import Backend  # noqa: PLC0415

    for row in Backend.instance.query(models.Group):
        if row.display_name not in members:
            Backend.instance.delete(row)
    for name, people in members.items():
        row = Backend.instance.get(models.Group, display_name=name) or models.Group(display_name=name)
        row.members = people
        Backend.instance.save(row)


def _save_user(user: DemonstrationUser, row: Any) -> Any:
    from canaille.app import models  # noqa: PLC0415
    from canaille.backends import Backend  # noqa: PLC0415

    given, _, family = user.full_name.partition(" ")
    row = row or models.User(user_name=user.name)
    row.formatted_name = user.full_name
    row.given_name = given
    row.family_name = family or given
    row.emails = [user.email]
    if not row.has_password() or row.password != user.password:  # the row's side of it is a hash
        row.password = user.password
    Backend.instance.save(row)
    return row


def _save_client(client: Client, row: Any) -> None:
    from canaille.app import models  # noqa: PLC0415
    from canaille.backends import Backend  # noqa: PLC0415

    row = row or models.Client(client_id=client.client_id, client_id_issued_at=datetime.datetime.now(datetime.UTC))
    row.client_secret = client.secret
    row.client_name = "Sparkyard"
    row.client_uri = client.address  # on a trusted host, below: nobody is asked for consent
    row.redirect_uris = [client.callback]
    row.post_logout_redirect_uris = [client.after_logout]
    row.grant_types = ["authorization_code", "refresh_token"]
    row.response_types = ["code"]
    row.scope = ["openid", "profile", "email", "groups", "offline_access"]
    row.token_endpoint_auth_method = "client_secret_basic"  # noqa: S105  (a method's name)
    Backend.instance.save(row)
    row.audience = [row]
    Backend.instance.save(row)


def random_client(address: str) -> Client:
    """A client with a fresh secret, for tests."""
    return Client(CLIENT_ID, secrets.token_hex(32), address.rstrip("/"))
