"""The Spark UI of a session or batch, seen through the gateway by its owner and nobody else.

A Spark UI shows what its user's code made it show, scripts included, and it is served from the hub's own host. So its
pages run in a sandbox without an origin: their scripts can read no cookie, call no API of the hub, and act for nobody.
Such a page's own requests carry no cookies either; they are told apart by a *pass* in their path, which the owner's
browser gets when it arrives with its login:

    /spark-ui/12/stages/            the login is checked, and the browser sent on to
    /spark-ui/12/~PASS/stages/      which is proxied
    /spark-ui/batches/12/...        likewise of a batch, whose numbers are others

A pass is sealed. It names the session or batch, is bound to the browser (its user agent and address) and good for an
hour; it holds the token of the login, about which the hub is asked as about any other, so that who may look, and as
what, is decided anew with each request. A page that is *opened* (rather than fetched by another) needs the login as
well, so that a copied address is worth nothing in another browser. And the login alone opens nothing to a script: a
notebook's page, which shares this host, could else read with its reader's login what its own code must not.

When it has ended, the same address leads to its page of Spark's history server.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx

from sparkyard_gateway.auth import Caller, Identities
from sparkyard_gateway.backends.base import Backend, BatchBackend
from sparkyard_gateway.batch_records import BatchRecords
from sparkyard_gateway.errors import Forbidden, NoHistory, SessionNotFound, Unauthenticated
from sparkyard_gateway.history import History, path_of
from sparkyard_gateway.openings import Openings
from sparkyard_gateway.records import Records
from sparkyard_gateway.sealing import Seal
from sparkyard_gateway.subjects import BATCHES, Subject, of_batch, of_session
from sparkyard_gateway.ui_keys import UiKeys

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
        *,
        records: Records,
        batches: BatchRecords,
        identities: Identities,
        backends: Mapping[str, Backend],
        batch_backends: Mapping[str, BatchBackend],
        history: History,
        secret: str,
        keys: UiKeys,
    ) -> None:
        self._records = records
        self._batches = batches
        self._batch_backends = batch_backends
        self._identities = identities
        self._backends = backends
        self._history = history
        self._openings = Openings(history.open)
        self._passes = Seal(secret, "spark-ui-pass")
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(30.0, connect=3.0),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            follow_redirects=False,
            trust_env=False,
            # Where drivers share a network with other users' code, they let only this gateway look (`ui_keys`).
            verify=keys.context(),
        )
        self._checked: dict[tuple[str, int], tuple[float, str]] = {}

    async def close(self) -> None:
        """Let go of connections."""
        await self._openings.close()
        await self._client.aclose()

    async def find(self, caller: Caller, area: str, reference: str) -> Subject:
        """The session, or in its area the batch, of this id or name, if the caller may see it.

        Raises SessionNotFound.
        """
        if area == BATCHES:
            batch = await self._batches.find(caller, reference)
            return of_batch(batch, self._batch_backends[batch.backend])
        session = await self._records.find(caller, reference)
        return of_session(session, self._backends[session.backend])

    async def kept(self, subject: Subject) -> int | None:
        """How much of its history there is here; None where it is no matter of event logs that were carried."""
        if subject.active or subject.backend != "kubernetes":
            return None
        return await asyncio.to_thread(self._history.kept, subject)

    # Passes

    def issue(self, subject: Subject, token: str, browser: str) -> str:
        """A pass for the browser of who logged in with this token."""
        content = {"area": subject.area, "id": subject.id, "token": token, "browser": _digest(browser)}
        return self._passes.seal(PASS_SECONDS, **content)

    async def admit(self, text: str, area: str, reference: str, browser: str) -> tuple[Subject, Caller] | None:
        """Whose page a pass is for, and whose pass; None where it is not one for this address and browser.

        Raises SessionNotFound where the user may not see it any more, and HubUnreachable.
        """
        content = self._passes.open(text)
        if content is None or content.get("area") != area or content["browser"] != _digest(browser):
            return None
        if str(content["id"]) != reference:
            return None
        try:
            caller = await self._identities.caller(str(content["token"]))
        except (Unauthenticated, Forbidden):
            return None
        return await self.find(caller, area, reference), caller

    # Proxying

    async def fetch(
        self,
        subject: Subject,
        base: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        patience: float | None = None,
    ) -> Page:
        """Get a page from its Spark UI; `base` is the path that its links shall begin with.

        Raises NoHistory, Unavailable, and HistoryStarts where a history server takes longer than `patience` in seconds.
        """
        if subject.active:
            upstream = await self._upstream(subject)
            extensions = {"sni_hostname": subject.certified}
            return await self._passed_on(self._client, upstream, base, path, query, headers, extensions)
        if not await asyncio.to_thread(self._history.kept, subject):
            raise NoHistory
        own = path_of(subject.app_id or "", path)
        if own is None:
            return Page(302, {"location": f"{base}/history/{subject.app_id}/{quote(path)}{query and '?'}{query}"}, b"")
        page = await self._of_history(subject, base, own, query, headers, patience)
        # One that was there a moment ago may be gone, with its node say: then another is started.
        return page if page.status != 502 else await self._of_history(subject, base, own, query, headers, patience)

    async def _of_history(
        self, subject: Subject, base: str, path: str, query: str, headers: Mapping[str, str], patience: float | None
    ) -> Page:
        if patience is not None:
            await self._openings.wait(subject, patience)
        async with self._history.server_of(subject) as server:
            page = await self._passed_on(server.client, server.url, base, path, query, headers, server.extensions)
            if page.status == 502:
                self._history.doubt(server)
            return page

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

    async def _upstream(self, subject: Subject) -> str:
        """Where the UI listens: what the driver said, if that is a port of the driver's own on this machine.

        A driver runs its user's code, which could name another user's port: so the backend is asked whose it is.
        """
        said = subject.spark_ui
        if said is None or not subject.active:
            raise SessionNotFound(str(subject.id))
        place = subject.area, subject.id
        known = self._checked.get(place)
        if known is not None and known[1] == said and known[0] > time.monotonic():
            return said
        parts = urlsplit(said)
        if (
            parts.scheme not in {"http", "https"}
            or parts.port is None
            or not await subject.listens(parts.hostname or "", parts.port)
        ):
            raise SessionNotFound(str(subject.id))
        upstream = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        self._checked = {each: entry for each, entry in self._checked.items() if entry[0] > time.monotonic()}
        self._checked[place] = (time.monotonic() + CHECK_SECONDS, upstream)
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
