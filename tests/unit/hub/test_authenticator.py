"""Signing in and being refreshed, by the real authenticator against the real provider."""

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets.config import Config

from sparkyard_hub.authenticator import NotAllowed, OktaAuthenticator
from sparkyard_hub.configuration import configure
from support.provider import HUB, PASSWORDS


class Callback:
    """The part of a hub's request that the authenticator asks: the provider's code, the cookie with the verifier."""

    def __init__(self, code: str, verifier: str) -> None:
        self._code = code
        self._cookie = base64.urlsafe_b64encode(json.dumps({"code_verifier": verifier}).encode()).decode()

    def get_argument(self, name: str) -> str:
        return {"code": self._code}[name]

    def get_state_cookie(self) -> str:
        return self._cookie


class SignedIn:
    """A hub's user, as far as a refresh needs one."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.name = model["name"]
        self.auth_state = model["auth_state"]
        self.groups: list[str] = model["groups"]

    async def get_auth_state(self) -> dict[str, Any]:
        return dict(self.auth_state)

    def sync_groups(self, groups: list[str]) -> None:
        self.groups = list(groups)


class ProviderAway(OktaAuthenticator):
    """Its provider does not answer."""

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        raise HTTPClientError(599, "Connection refused")


class GroupsChanged(OktaAuthenticator):
    """Its provider tells other groups than at the sign-in."""

    groups_now: tuple[str, ...] = ()

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        return await super().token_to_user(token_info) | {"groups": list(self.groups_now)}


@pytest.fixture
def authenticator(provider, settings):
    def make(kind: type[OktaAuthenticator] = OktaAuthenticator, **changed: Any) -> OktaAuthenticator:
        config = Config()
        configure(config, settings(okta_url=provider.address, okta_client_id=provider.client.client_id, **changed))
        made = kind(config=config)
        made.client_secret = provider.client.secret
        return made

    return make


@pytest.fixture
def arrival(provider):
    """A person who signed in at the provider and comes back to the hub."""

    def make(name: str) -> Callback:
        application = provider.application()
        return Callback(application.sign_in(name, PASSWORDS[name]), application.verifier)

    return make


async def test_a_person_in_an_allowed_group_is_let_in(authenticator, arrival):
    model = await authenticator().get_authenticated_user(arrival("dana"), None)
    assert (model["name"], model["admin"], model["groups"]) == ("dana", False, ["data-science"])
    assert model["auth_state"]["refresh_token"]
    assert model["auth_state"]["id_token"]


async def test_a_person_in_an_admin_group_is_an_admin(authenticator, arrival):
    model = await authenticator(allowed_groups={"elsewhere"}).get_authenticated_user(arrival("ada"), None)
    assert model["admin"] is True


async def test_a_person_in_no_group_reads_which_would_do_and_whom_to_ask(authenticator, arrival, provider):
    with pytest.raises(NotAllowed) as refusal:
        await authenticator().get_authenticated_user(arrival("noor"), None)
    refused = refusal.value
    assert refused.status_code == 403
    assert (refused.person, refused.groups) == ("noor", [])
    assert refused.allowed_groups == ["data-science", "sparkyard-admins"]
    assert refused.jupyterhub_message == (
        "noor is in none of the groups that may use Sparkyard (data-science, sparkyard-admins); ask the help desk."
    )
    assert refused.sign_out_url.startswith(f"{provider.root}/v1/logout?id_token_hint=")


async def test_a_code_with_another_browsers_verifier_is_refused(authenticator, provider):
    application = provider.application()
    code = application.sign_in("dana", PASSWORDS["dana"])
    with pytest.raises(HTTPClientError) as refusal:
        await authenticator().get_authenticated_user(Callback(code, "x" * 43), None)
    assert refusal.value.code == 400


async def test_a_refresh_brings_new_groups(authenticator, arrival):
    changed = authenticator(GroupsChanged)
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    changed.groups_now = ("data-science", "analysts")
    model = await changed.refresh_user(user)
    assert model["groups"] == ["analysts", "data-science"]


async def test_a_refresh_takes_adminship_away(authenticator, arrival):
    changed = authenticator(GroupsChanged)
    user = SignedIn(await authenticator().get_authenticated_user(arrival("ada"), None))
    changed.groups_now = ("data-science",)
    assert (await changed.refresh_user(user))["admin"] is False


async def test_a_person_dropped_from_all_groups_is_refused_at_the_next_refresh(authenticator, arrival):
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    with pytest.raises(HTTPError) as refusal:
        await authenticator(GroupsChanged).refresh_user(user)
    assert refusal.value.status_code == 403
    assert user.groups == [], "and the hub knows the groups of now"


async def test_an_expired_access_token_is_renewed_and_signing_out_still_works(authenticator, arrival, provider):
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    auth = (provider.client.client_id, provider.client.secret)
    before = dict(user.auth_state)
    httpx.post(f"{provider.root}/v1/revoke", data={"token": "nothing"}, auth=auth)
    user.auth_state = before | {"token_response": before["token_response"] | {"access_token": "expired"}}
    model = await authenticator().refresh_user(user)
    assert model["auth_state"]["access_token"] not in (before["access_token"], "expired")
    assert model["auth_state"]["id_token"] == before["id_token"]


async def test_requests_that_meet_share_one_refresh(authenticator, arrival):
    """A refresh token serves once: two refreshes with it would sign the person out."""
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    user.auth_state = user.auth_state | {
        "token_response": user.auth_state["token_response"] | {"access_token": "expired"}
    }
    made = authenticator()
    models = await asyncio.gather(*(made.refresh_user(user) for _ in range(5)))
    assert len({model["auth_state"]["access_token"] for model in models}) == 1


async def test_a_person_whose_tokens_are_dead_signs_in_again(authenticator, arrival):
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    user.auth_state = user.auth_state | {
        "refresh_token": "dead",
        "token_response": user.auth_state["token_response"] | {"access_token": "expired"},
    }
    assert await authenticator().refresh_user(user) is False


async def test_while_the_provider_is_away_people_keep_their_groups(authenticator, arrival):
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    assert await authenticator(ProviderAway).refresh_user(user) is True


async def test_but_not_for_ever(authenticator, arrival):
    user = SignedIn(await authenticator().get_authenticated_user(arrival("dana"), None))
    with pytest.raises(HTTPClientError):
        await authenticator(ProviderAway, provider_outage_seconds=0).refresh_user(user)


def test_logging_out_leads_over_the_provider_and_back(authenticator, provider):
    address = urlsplit(authenticator().provider_logout_url("the.id.token"))
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{provider.root}/v1/logout"
    assert parse_qs(address.query) == {
        "id_token_hint": ["the.id.token"],
        "client_id": ["sparkyard"],
        "post_logout_redirect_uri": [f"{HUB}/hub/logged-out"],
    }


def test_without_an_id_token_logging_out_is_the_hubs_alone(authenticator):
    assert authenticator().provider_logout_url(None) == f"{HUB}/hub/logged-out"


@pytest.mark.parametrize(
    ("claimed", "domain", "name"),
    [
        ("Dana.Reyes@Example.com", None, "dana.reyes@example.com"),
        ("Dana.Reyes@Example.com", "example.com", "dana.reyes"),
        ("dana@example.com.evil.org", "example.com", "dana@example.com.evil.org"),
        ("dana@sub.example.com", "example.com", "dana@sub.example.com"),
    ],
)
def test_names_are_lower_case_and_lose_only_the_domain_they_should(authenticator, claimed, domain, name):
    assert authenticator(username_domain=domain).normalize_username(claimed) == name


def test_our_pages_are_among_the_handlers(authenticator):
    paths = [handler[0] for handler in authenticator().get_handlers(SimpleNamespace())]
    assert {"/oauth_callback", "/logout", "/logged-out", "/sparkyard/(.*)"} <= set(paths)
