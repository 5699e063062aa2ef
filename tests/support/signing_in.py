"""A person at the provider's login page, without a browser: real HTTP, real forms, real cookies."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx

CSRF_FIELD = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class SignInFailed(Exception):  # noqa: N818  (what happened)
    """The provider did not let the person in; the page says why."""


def fill_in(client: httpx.Client, page: httpx.Response, **fields: str) -> httpx.Response:
    """Send the form of a page back to it, following redirects on the provider alone."""
    found = CSRF_FIELD.search(page.text)
    assert found, f"no form at {page.url}: {page.text[:500]}"
    # Behind TLS the provider asks for what every browser sends.
    headers = {"Referer": str(page.url)}
    answer = client.post(
        str(page.url), data={**fields, "csrf_token": found[1]}, headers=headers, follow_redirects=False
    )
    return follow(client, answer)


def follow(client: httpx.Client, answer: httpx.Response, stop_before: str = "/hub/oauth_callback") -> httpx.Response:
    """Follow redirects, but not the one that leads to the given path."""
    for _ in range(20):
        if not answer.is_redirect:
            return answer
        target = answer.url.join(answer.headers["location"])
        if target.path == stop_before:
            return answer
        answer = client.get(str(target), follow_redirects=False)
    raise AssertionError(f"too many redirects at {answer.url}")


def identify(client: httpx.Client, login_page: httpx.Response, name: str, password: str) -> httpx.Response:
    """Give name and password; the answer is the redirect back to the application. Raises SignInFailed."""
    password_page = fill_in(client, login_page, login=name)
    answer = fill_in(client, password_page, password=password)
    if not answer.is_redirect:
        raise SignInFailed(answer.text)
    return answer


@dataclass
class Application:
    """A client of the provider's, as the hub is one."""

    root: str
    """The authorization server's address, such as http://127.0.0.1:8001/oauth2/default."""
    client_id: str
    secret: str
    redirect_uri: str

    def __post_init__(self) -> None:
        self.verifier = secrets.token_urlsafe(32)
        self.browser = httpx.Client(timeout=30)

    def ask(self, **changed: str) -> httpx.Response:
        """Go to the provider's authorize page as a browser would."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid profile email groups offline_access",
            "state": "a-state",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        } | changed
        return follow(self.browser, self.browser.get(f"{self.root}/v1/authorize", params=query))

    def sign_in(self, name: str, password: str) -> str:
        """The code for a person who gives this password. Raises SignInFailed."""
        return self.code_of(identify(self.browser, self.ask(), name, password))

    def code_of(self, answer: httpx.Response) -> str:
        assert answer.is_redirect, answer.text
        target = urlsplit(answer.headers["location"])
        assert answer.headers["location"].startswith(self.redirect_uri)
        query = parse_qs(target.query)
        assert query["state"] == ["a-state"]
        return query["code"][0]

    def redeem(self, code: str, **changed: str) -> httpx.Response:
        """Exchange a code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        } | changed
        return self.browser.post(f"{self.root}/v1/token", data=form, auth=(self.client_id, self.secret))
