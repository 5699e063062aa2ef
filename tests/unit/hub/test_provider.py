"""The demonstration provider, asked as Okta would be: real HTTP, real forms."""

import base64
import json

import httpx
import pytest

from support.provider import HUB, PASSWORDS, RunningProvider
from support.signing_in import SignInFailed, identify


def claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def tokens_of(provider: RunningProvider, name: str) -> dict[str, str]:
    application = provider.application()
    answer = application.redeem(application.sign_in(name, PASSWORDS[name]))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_discovery_tells_oktas_paths_and_an_issuer_without_a_slash(provider):
    found = httpx.get(f"{provider.root}/.well-known/openid-configuration").json()
    assert found["issuer"] == provider.root
    assert {
        name: found[name].removeprefix(provider.root)
        for name in found
        if name.endswith("_endpoint") or name == "jwks_uri"
    } == {
        "authorization_endpoint": "/v1/authorize",
        "token_endpoint": "/v1/token",
        "userinfo_endpoint": "/v1/userinfo",
        "jwks_uri": "/v1/keys",
        "end_session_endpoint": "/v1/logout",
        "introspection_endpoint": "/v1/introspect",
        "revocation_endpoint": "/v1/revoke",
        "registration_endpoint": "/v1/register",
    }


def test_a_person_signs_in_and_the_hub_learns_name_and_groups(provider):
    tokens = tokens_of(provider, "ada")
    info = httpx.get(f"{provider.root}/v1/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    told = info.json()
    assert (told["preferred_username"], told["email"]) == ("ada", "ada@example.org")
    assert sorted(told["groups"]) == ["data-science", "sparkyard-admins"]
    assert claims(tokens["id_token"])["iss"] == provider.root
    assert set(tokens["scope"].split()) == {"openid", "profile", "email", "groups", "offline_access"}


def test_a_wrong_password_is_refused_on_the_page(provider):
    with pytest.raises(SignInFailed, match="Login failed"):
        provider.application().sign_in("dana", "wrong")


def test_an_unknown_name_is_refused_like_a_wrong_password(provider):
    with pytest.raises(SignInFailed, match="Login failed"):
        provider.application().sign_in("mallory", "wrong")


def test_there_is_no_consent_page(provider):
    application = provider.application()
    answer = identify(application.browser, application.ask(), "dana", PASSWORDS["dana"])
    assert answer.headers["location"].startswith(f"{HUB}/hub/oauth_callback?code=")


def test_a_code_without_its_verifier_is_worth_nothing(provider):
    application = provider.application()
    code = application.sign_in("dana", PASSWORDS["dana"])
    assert application.redeem(code, code_verifier="x" * 43).status_code == 400


def test_a_code_without_the_clients_secret_is_worth_nothing(provider):
    application = provider.application()
    code = application.sign_in("dana", PASSWORDS["dana"])
    application.secret = "guessed"
    answer = application.redeem(code)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_code_serves_once(provider):
    application = provider.application()
    code = application.sign_in("dana", PASSWORDS["dana"])
    first = application.redeem(code)
    assert first.status_code == 200, first.text
    assert application.redeem(code).status_code == 400


def test_another_redirect_address_is_refused(provider):
    page = provider.application().ask(redirect_uri="http://127.0.0.1:9/elsewhere")
    application = provider.application()
    answer = identify(application.browser, application.ask(), "dana", PASSWORDS["dana"])
    assert answer.is_redirect
    assert "code=" not in page.headers.get("location", "")


def test_a_refresh_token_gives_new_tokens_and_serves_once(provider):
    application = provider.application()
    tokens = application.redeem(application.sign_in("dana", PASSWORDS["dana"])).json()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    auth = (application.client_id, application.secret)
    fresh = httpx.post(f"{provider.root}/v1/token", data=form, auth=auth)
    assert fresh.status_code == 200
    assert fresh.json()["refresh_token"] != tokens["refresh_token"]
    assert httpx.post(f"{provider.root}/v1/token", data=form, auth=auth).status_code == 400


def test_logout_ends_the_session_and_comes_back(provider):
    application = provider.application()
    tokens = application.redeem(application.sign_in("dana", PASSWORDS["dana"])).json()
    assert application.ask().is_redirect, "a session holds: no password is asked for"

    logout = application.browser.get(
        f"{provider.root}/v1/logout",
        params={
            "id_token_hint": tokens["id_token"],
            "client_id": application.client_id,
            "post_logout_redirect_uri": f"{HUB}/hub/logged-out",
        },
    )
    assert logout.headers["location"] == f"{HUB}/hub/logged-out"
    assert "Login" in application.ask().text


def test_logout_does_not_lead_elsewhere(provider):
    application = provider.application()
    tokens = application.redeem(application.sign_in("dana", PASSWORDS["dana"])).json()
    logout = application.browser.get(
        f"{provider.root}/v1/logout",
        params={
            "id_token_hint": tokens["id_token"],
            "client_id": application.client_id,
            "post_logout_redirect_uri": "http://127.0.0.1:9/elsewhere",
        },
    )
    assert "elsewhere" not in logout.headers.get("location", "")


def test_a_revoked_token_tells_nothing_more(provider):
    application = provider.application()
    tokens = application.redeem(application.sign_in("dana", PASSWORDS["dana"])).json()
    auth = (application.client_id, application.secret)
    httpx.post(f"{provider.root}/v1/revoke", data={"token": tokens["access_token"]}, auth=auth).raise_for_status()
    info = httpx.get(f"{provider.root}/v1/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert info.status_code == 401


def test_a_guessed_code_is_worth_nothing_while_another_waits(provider):
    application = provider.application()
    application.sign_in("dana", PASSWORDS["dana"])
    assert application.redeem("guessed").status_code == 400


@pytest.mark.parametrize("path", ["admin/client/", "profile/dana", "profile/ada", "users", "groups", "groups/add"])
def test_nobody_administers_the_provider_not_even_an_admin_of_ours(provider, path):
    application = provider.application()
    application.sign_in("ada", PASSWORDS["ada"])
    assert application.browser.get(f"{provider.root}/{path}").status_code in (403, 404)


def test_nobody_registers_a_client(provider):
    answer = httpx.post(f"{provider.root}/v1/register", json={"redirect_uris": ["http://127.0.0.1:9/"]})
    assert answer.status_code in (400, 401)


def test_the_root_leads_back_to_the_hub(provider):
    assert httpx.get(provider.address).headers["location"] == HUB
