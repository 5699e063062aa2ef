"""Browsers log in to the gateway's pages through JupyterHub: OAuth's code flow with PKCE, and a cookie of ours after.

The cookie serves pages only, never the API. It is HttpOnly, SameSite=Lax and limited to the path of the pages it was
asked for (the Spark UIs, or the gateway's own), so that each kind logs in for itself; it holds the
hub's token for this login, sealed, and the hub is asked about that token like about any other, so that a logout or a
revocation there ends it here.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx
import structlog

from sparkyard_gateway.auth import Caller, Identities
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import Forbidden, HubUnreachable, Unauthenticated
from sparkyard_gateway.sealing import Seal

LOGIN_COOKIE = "sparkyard-gateway-login"
STATE_COOKIE = "sparkyard-gateway-login-state"
STATE_SECONDS = 600

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set."""

    name: str
    value: str
    path: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Step:
    """Where the browser goes next, with a cookie."""

    location: str
    cookie: Cookie


class BrowserLogin:
    """Knows who a browser's user is, or where to send it to find out."""

    def __init__(self, settings: Settings, hub: httpx.AsyncClient, identities: Identities, secret: str) -> None:
        self._hub = hub
        self._identities = identities
        self._secret = secret
        self._client_id = settings.hub_client_id
        self._authorize_path = f"{settings.hub_public_path}api/oauth2/authorize"
        self._token_url = f"{settings.hub_api_url}/oauth2/token"
        self._areas = (f"{settings.prefix}/ui/", f"{settings.prefix}/spark-ui/")
        self._callback = f"{settings.prefix}/oauth_callback"
        self._seconds = settings.browser_session_seconds
        self._logins = Seal(secret, "browser-login")
        self._states = Seal(secret, "browser-login-state")

    def token(self, cookie: str | None) -> str | None:
        """The hub's token that a login got; None where the cookie is none of ours."""
        content = self._logins.open(cookie)
        return None if content is None else str(content["token"])

    async def caller(self, cookie: str | None) -> Caller | None:
        """Who the cookie is of; None where nobody, or no longer. Raises HubUnreachable and Forbidden."""
        token = self.token(cookie)
        if token is None:
            return None
        try:
            return await self._identities.caller(token)
        except Unauthenticated:
            return None

    def begin(self, wanted: str) -> Step:
        """Send the browser to the hub, to come back to `wanted`, a path of ours."""
        state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode(
            {
                "client_id": self._client_id,
                "redirect_uri": self._callback,
                "response_type": "code",
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        sealed = self._states.seal(STATE_SECONDS, state=state, verifier=verifier, wanted=wanted)
        cookie = Cookie(STATE_COOKIE, sealed, self._callback, STATE_SECONDS)
        return Step(f"{self._authorize_path}?{query}", cookie)

    async def finish(self, state: str | None, code: str | None, cookie: str | None) -> Step:
        """The browser is back from the hub. Raises Forbidden where it did not set out from here."""
        begun = self._states.open(cookie)
        if begun is None or not state or not code or not secrets.compare_digest(begun["state"], state):
            raise Forbidden("This login was not begun in this browser, or too long ago. Open the page again.")
        form = {
            "client_id": self._client_id,
            "client_secret": self._secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": begun["verifier"],
        }
        try:
            answer = await self._hub.post(self._token_url, data=form)
        except httpx.HTTPError as error:
            raise HubUnreachable("JupyterHub does not answer, so the login cannot be completed. Try again.") from error
        if answer.status_code != 200:
            log.warning("login_refused_by_hub", status=answer.status_code)
            raise Forbidden("JupyterHub did not confirm this login. Open the page again.")
        token = answer.json()["access_token"]
        wanted = str(begun["wanted"])
        area = next((each for each in self._areas if wanted.startswith(each)), None)
        if area is None:
            area = wanted = self._areas[0]
        sealed = self._logins.seal(self._seconds, token=token)
        return Step(wanted, Cookie(LOGIN_COOKIE, sealed, area, self._seconds))
