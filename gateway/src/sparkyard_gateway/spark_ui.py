"""The Spark UI of a session, seen through the gateway by its owner and nobody else.

A Spark UI shows what its user's code made it show, scripts included, and it is served from the hub's own host. So its
pages run in a sandbox without an origin: their scripts can read no cookie, call no API of the hub, and act for nobody.
Such a page's own requests carry no cookies either; they are told apart by a *pass* in their path, which the owner's
browser gets when it arrives with its login:

    /spark-ui/12/stages/            the login is checked, and the browser sent on to
    /spark-ui/12/~PASS/stages/      which is proxied

A pass is sealed. It names the session, is bound to the browser (its user agent and address) and good for an hour; it
holds the token of the login, about which the hub is asked as about any other, so that who may look, and as what, is
decided anew with each request. A page that is *opened* (rather than fetched by another) needs the login as well, so
that a copied address is worth nothing in another browser. And the login alone opens nothing to a script: a notebook's
page, which shares this host, could else read with its reader's login what its own code must not.

When the session has ended, the same address leads to its page of Spark's history server.
"""

import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx

from sparkyard_gateway.auth import Caller, Identities
from sparkyard_gateway.backends.base import Backend
from sparkyard_gateway.errors import Forbidden, NoHistory, SessionNotFound, Unauthenticated
from sparkyard_gateway.history import History, path_of
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.records import Records
from sparkyard_gateway.sealing import Seal
from sparkyard_gateway.ui_keys import UiKeys, server_name

PASS_SECONDS = 3600
CHECK_SECONDS = 5.0
"""How long it is believed that a port is the session's driver's."""

POLICY = "; ".join(  # noqa: FLY002 - one directive a line
    [
        "sandbox allow-scripts allow-forms allow-downloads",
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)

# Spark's scripts keep which tables are folded in localStorage, which a page without an origin may not even touch.
STORAGE = (
    b"<script>(()=>{const make=()=>{const kept=new Map();return new Proxy({getItem:k=>kept.get(String(k))??null,"
    b"setItem:(k,v)=>{kept.set(String(k),String(v))},removeItem:k=>{kept.delete(String(k))},clear:()=>kept.clear()},"
    b"{get:(t,k)=>k in t?t[k]:kept.get(k),set:(t,k,v)=>{kept.set(k,String(v));return true}})};"
    b"for(const name of['localStorage','sessionStorage'])Object.defineProperty(window,name,{value:make()})})()</script>"
)

_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_REQUEST_HEADERS = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since")
_ANSWER_HEADERS = ("content-type", "content-disposition", "etag", "last-modified", "cache-control", "expires")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the Spark UI's, fit to be passed on; exactly one of `content` and `stream` is set."""

    status: int
    headers: Mapping[str, str]
    content: bytes | None = None
    stream: AsyncIterator[bytes] | None = None


class SparkUi:
    """Passes and proxying."""

    def __init__(
        self,
        records: Records,
        identities: Identities,
        backends: Mapping[str, Backend],
        history: History,
        secret: str,
        keys: UiKeys,
    ) -> None:
        self._records = records
        self._identities = identities
        self._backends = backends
        self._history = history
        self._passes = Seal(secret, "spark-ui-pass")
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(30.0, connect=3.0),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            follow_redirects=False,
            trust_env=False,
            # Where drivers share a network with other users' code, they let only this gateway look (`ui_keys`).
            verify=keys.context(),
        )
        self._checked: dict[int, tuple[float, str]] = {}

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    # Passes

    def issue(self, session: LiveSession, token: str, browser: str) -> str:
        """A pass for the browser of who logged in with this token."""
        return self._passes.seal(PASS_SECONDS, session=session.id, token=token, browser=_digest(browser))

    async def admit(self, text: str, reference: str, browser: str) -> tuple[LiveSession, Caller] | None:
        """The session and user of a pass; None where it is not one for this session and browser.

        Raises SessionNotFound where the user may not see the session any more, and HubUnreachable.
        """
        content = self._passes.open(text)
        if content is None or str(content["session"]) != reference or content["browser"] != _digest(browser):
            return None
        try:
            caller = await self._identities.caller(str(content["token"]))
        except (Unauthenticated, Forbidden):
            return None
        return await self._records.find(caller, reference), caller

    # Proxying

    async def fetch(self, session: LiveSession, base: str, path: str, query: str, headers: Mapping[str, str]) -> Page:
        """Get a page from the session's Spark UI; `base` is the path that its links shall begin with."""
        if session.state.active:
            upstream = await self._upstream(session)
            extensions = {"sni_hostname": server_name(session.id)}
            return await self._passed_on(self._client, upstream, base, path, query, headers, extensions)
        if not self._history.kept(session):
            raise NoHistory
        own = path_of(session.app_id or "", path)
        if own is None:
            return Page(302, {"location": f"{base}/history/{session.app_id}/{quote(path)}{query and '?'}{query}"}, b"")
        async with self._history.server_of(session) as server:
            return await self._passed_on(server.client, server.url, base, own, query, headers, {})

    async def _passed_on(
        self,
        client: httpx.AsyncClient,
        upstream: str,
        base: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        extensions: dict[str, str],
    ) -> Page:
        kept = {name: headers[name] for name in _REQUEST_HEADERS if name in headers}
        request = client.build_request(
            "GET",
            httpx.URL(f"{upstream}/{quote(path.lstrip('/'))}", query=query.encode() or None),
            headers={**kept, "X-Forwarded-Context": base, "Accept-Encoding": "identity"},
            extensions=extensions,
        )
        try:
            answer = await client.send(request, stream=True)
        except httpx.HTTPError:
            return Page(502, {"content-type": "text/plain"}, b"The Spark UI of this session does not answer.\n")
        passed = {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
        if "location" in answer.headers:
            passed["location"] = rebase(answer.headers["location"], upstream, base)
        if passed.get("content-type", "").startswith("text/html"):
            try:
                content = await answer.aread()
            except httpx.HTTPError:
                return Page(502, {"content-type": "text/plain"}, b"The Spark UI of this session broke off.\n")
            finally:
                await answer.aclose()
            return Page(answer.status_code, passed, _HEAD.sub(lambda found: found[0] + STORAGE, content, count=1))
        return Page(answer.status_code, passed, stream=_body(answer))

    async def _upstream(self, session: LiveSession) -> str:
        """Where the UI listens: what the driver said, if that is a port of the driver's own on this machine.

        A driver runs its user's code, which could name another user's port: so the backend is asked whose it is.
        """
        said = session.spark_ui
        if said is None or not session.state.active:
            raise SessionNotFound(str(session.id))
        known = self._checked.get(session.id)
        if known is not None and known[1] == said and known[0] > time.monotonic():
            return said
        parts = urlsplit(said)
        backend = self._backends[session.backend]
        if (
            parts.scheme not in {"http", "https"}
            or parts.port is None
            or not await backend.listens(session.id, session.handle, parts.hostname or "", parts.port)
        ):
            raise SessionNotFound(str(session.id))
        upstream = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        self._checked = {number: entry for number, entry in self._checked.items() if entry[0] > time.monotonic()}
        self._checked[session.id] = (time.monotonic() + CHECK_SECONDS, upstream)
        return upstream


def rebase(location: str, upstream: str, base: str) -> str:
    """A redirect of the Spark UI's, within the path it is seen at; anywhere else becomes its front page."""
    if location.startswith(upstream):
        location = location[len(upstream) :] or "/"
    if not location.startswith("/") or location.startswith("//") or "\\" in location:
        return f"{base}/"
    return location if location == base or location.startswith(f"{base}/") else base + location


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
