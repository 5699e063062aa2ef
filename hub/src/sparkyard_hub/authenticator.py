"""Signing in at Okta: OAuthenticator's generic class, with the four things it leaves to the operator.

- Groups are looked at each time they are fetched anew, not at sign-in alone: OAuthenticator's refresh brings new
  groups but never asks whether they still let the person in.
- Signing out ends the provider's session too (Okta wants the id token for that), and then shows a page that says
  so instead of signing straight in again.
- A refused person reads which groups would do and whom to ask.
- A provider that does not answer for a while does not throw everybody out.
"""

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.base import BaseHandler
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLogoutHandler
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError, StaticFileHandler
from traitlets import Integer, Unicode

AuthModel = dict[str, Any]

STATIC = Path(__file__).parent / "static"
STATIC_PATH = "sparkyard"
"""Our own style sheets and scripts are at ``/hub/sparkyard/``."""


class NotAllowed(HTTPError):  # noqa: N818  (it is what happened, not what went wrong)
    """A person whom the provider knows, and who is in none of the groups that may sign in."""

    def __init__(self, person: str, groups: list[str], allowed: list[str], contact: str, sign_out_url: str) -> None:
        super().__init__(403, "%s is in none of the groups that may sign in", person, reason="Not in a group")
        self.person = person
        self.groups = groups
        self.allowed_groups = allowed
        self.contact = contact
        self.sign_out_url = sign_out_url
        """Where the provider's session ends, so that somebody else may sign in. For the person's own page only."""
        self.jupyterhub_message = (
            f"{person} is in none of the groups that may use Sparkyard ({', '.join(allowed)}); ask {contact}."
        )


class CallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]
    """Where the provider sends people back to; a refused one is shown why."""

    async def get(self) -> None:
        """Sign the person in, or show why not."""
        try:
            await super().get()
        except NotAllowed as refusal:
            # Answered here, because tornado would log the address with the provider's code in it.
            self.log.warning("Not signed in: %s is in %s", refusal.person, refusal.groups or "no group")
            self.set_status(403)
            self.finish(await self.render_template("refused.html", refusal=refusal))


class LogoutHandler(OAuthLogoutHandler):  # type: ignore[misc]
    """Ends the provider's session after the hub's."""

    async def handle_logout(self) -> None:
        """Keep what the provider wants to see, before the person is forgotten."""
        await super().handle_logout()
        user = self.current_user
        state = await user.get_auth_state() if user else None
        self._id_token = (state or {}).get("id_token")

    async def render_logout_page(self) -> None:
        """Go on to the provider, which sends the browser back to `LoggedOutHandler`."""
        self.redirect(self.authenticator.provider_logout_url(self._id_token))


class LoggedOutHandler(BaseHandler):  # type: ignore[misc]
    """The page on which a person ends who signed out: it waits for them to sign in again."""

    async def get(self) -> None:
        """Show it."""
        self.finish(await self.render_template("logged-out.html", sign_in_url=self.settings["login_url"]))


class OktaAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """Signs people in at Okta, or at a provider that serves Okta's paths."""

    callback_handler = CallbackHandler
    logout_handler = LogoutHandler

    end_session_url = Unicode(config=True, help="Where the provider ends a session.")
    after_logout_url = Unicode(config=True, help="Where the provider sends people after that.")
    contact = Unicode(config=True, help="Whom a refused person is told to ask.")
    username_domain = Unicode(config=True, help="A domain to leave out of user names.")
    outage_seconds = Integer(3600, config=True, help="How long sessions hold while the provider does not answer.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._refreshes: dict[str, asyncio.Task[AuthModel | bool]] = {}
        self._confirmed: dict[str, float] = {}
        self._started = time.monotonic()

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """OAuthenticator's pages and ours."""
        return [
            *super().get_handlers(app),
            (r"/logged-out", LoggedOutHandler),
            (rf"/{STATIC_PATH}/(.*)", StaticFileHandler, {"path": str(STATIC)}),
        ]

    def normalize_username(self, username: str) -> str:
        """Lower case, and without the organisation's own domain."""
        name: str = super().normalize_username(username)
        return name.removesuffix(f"@{self.username_domain.lower()}") if self.username_domain else name

    def provider_logout_url(self, id_token: str | None) -> str:
        """Where to send a browser to end the provider's session; without an id token, the page after that."""
        if not id_token:
            return self.after_logout_url
        hints = {
            "id_token_hint": id_token,
            "client_id": self.client_id,
            "post_logout_redirect_uri": self.after_logout_url,
        }
        return f"{self.end_session_url}?{urlencode(hints)}"

    async def check_allowed(self, username: str, auth_model: AuthModel | None) -> bool:
        """True, or `NotAllowed`, from which the page of refusal is made."""
        if await super().check_allowed(username, auth_model):
            return True
        model = auth_model or {}
        raise NotAllowed(
            username,
            sorted(model.get("groups") or []),
            sorted(self.allowed_groups | self.admin_groups),
            self.contact,
            self.provider_logout_url((model.get("auth_state") or {}).get("id_token")),
        )

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> AuthModel | bool:
        """Fetch a person's groups anew; raises `NotAllowed` where these let them in no more.

        Requests come in parallel, and a provider takes a refresh token once: those that meet share one refresh.
        """
        del kwargs
        running = self._refreshes.get(user.name)
        if running is None:
            running = asyncio.create_task(self._refresh(user, handler))
            self._refreshes[user.name] = running
            running.add_done_callback(lambda _: self._refreshes.pop(user.name, None))
        return await asyncio.shield(running)

    async def _refresh(self, user: Any, handler: Any) -> AuthModel | bool:
        try:
            model: AuthModel | bool = await super().refresh_user(user, handler)
        except (HTTPClientError, OSError) as error:
            silent = time.monotonic() - self._confirmed.get(user.name, self._started)
            if silent > self.outage_seconds:
                raise
            self.log.warning("The provider does not answer (%s): %s keeps the groups of before", error, user.name)
            return True
        self._confirmed[user.name] = time.monotonic()
        if not isinstance(model, dict):
            return model
        await self._keep_id_token(user, model)
        try:
            await self.check_allowed(user.name, model)
        except NotAllowed:
            self.log.warning("%s is in no group that may sign in any more", user.name)
            user.sync_groups(model.get("groups") or [])
            # So that the next request asks again, instead of trusting the last answer until it is old.
            user._auth_refreshed = None  # noqa: SLF001
            raise
        return model

    async def _keep_id_token(self, user: Any, model: AuthModel) -> None:
        # A refreshed token comes without an id token from some providers; signing out needs the one of the sign-in.
        state = model["auth_state"]
        if not state.get("id_token"):
            state["id_token"] = ((await user.get_auth_state()) or {}).get("id_token")
