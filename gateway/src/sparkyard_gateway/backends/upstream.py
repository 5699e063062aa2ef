"""An upstream Apache Livy, as far as we need it: its batches.

Three things can come of a request, and they must not be confused: an answer; a refusal, which is final; and silence,
which says nothing about a driver. A request that changes something and gets no answer may have been carried out all
the same.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import structlog

from sparkyard_gateway.authorities import authorities_for

PAGE = 500
"""How many batches are asked for at a time; Livy cuts what is too many for it."""
MOST_LINES = 5_000
LONGEST_SENTENCE = 500

_WALLS = frozenset({401, 403, 407, 408, 429})
"""Client errors that say something about who asks or how often, and nothing about a batch."""

Batch = dict[str, Any]

log = structlog.get_logger(__name__)


class UpstreamAway(Exception):  # noqa: N818 - reads as what happened
    """The upstream gives no usable answer: it is down, busy, or behind a wall. Says nothing about its batches.

    `sent` is whether it may have got the request all the same.
    """

    def __init__(self, said: str, *, sent: bool = True) -> None:
        super().__init__(said)
        self.sent = sent


class UpstreamRefused(Exception):  # noqa: N818 - likewise
    """The upstream answers that it won't; the message is its own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class UpstreamLivy:
    """A client of /batches."""

    def __init__(
        self,
        url: str | None,
        *,
        timeout_seconds: float = 30.0,
        authorization_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._known = url is not None
        self._authorization_file = authorization_file
        self._client = httpx.AsyncClient(
            base_url=(url or "").rstrip("/"),
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 5.0)),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
            # What guards Livy against a browser's forged request, and is asked for where that guard is on.
            headers={"X-Requested-By": "sparkyard", "Accept": "application/json"},
            verify=authorities_for(url or "", ca_file),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def submit(self, body: Batch, key: str | None = None) -> Batch:
        """Start a batch. Raises UpstreamRefused, or UpstreamAway: then it may have been started.

        With the same key an upstream that knows such keys starts one batch only.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        made = await self._ask("POST", "/batches", headers, json=body)
        if made is None or not isinstance(made.get("id"), int):
            raise UpstreamAway("the answer to POST /batches names no batch")
        return made

    async def find(self, reference: int | str) -> Batch | None:
        """The batch of this number or name; None where there is none. Raises UpstreamAway or UpstreamRefused."""
        return await self._ask("GET", f"/batches/{quote(str(reference), safe='')}")

    async def all(self) -> AsyncIterator[Batch]:
        """Every batch the upstream knows."""
        first = 0
        while True:
            page = await self._ask("GET", "/batches", params={"from": first, "size": PAGE}) or {}
            found = page.get("sessions") or []
            for each in found:
                yield each
            first += len(found)
            if not found or first >= int(page.get("total") or 0):
                return

    async def log(self, number: int) -> tuple[list[str], bool]:
        """The last lines that the upstream still has of a batch, and whether these are all."""
        page = await self._ask("GET", f"/batches/{number}/log", params={"from": -1, "size": MOST_LINES}) or {}
        return [str(line) for line in page.get("log") or []], not page.get("from")

    async def delete(self, number: int) -> None:
        """End a batch; one that is gone already is no error."""
        await self._ask("DELETE", f"/batches/{number}")

    async def _ask(
        self, method: str, path: str, more_headers: dict[str, str] | None = None, **more: Any
    ) -> Batch | None:
        if not self._known:
            raise UpstreamAway("livy_url is not set, and there are sessions whose drivers run there")
        headers = dict(more_headers or {})
        try:
            if self._authorization_file is not None:
                # Read each time: the file is renewed where what it holds expires.
                headers["Authorization"] = self._authorization_file.read_text(encoding="utf-8").strip()
            answer = await self._client.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            raise UpstreamAway(f"{method} {path}: {type(error).__name__} {error}".strip(), sent=sent) from error
        except OSError as error:
            said = f"{self._authorization_file} cannot be read: {error.strerror}"
            raise UpstreamAway(said, sent=False) from error
        return _read(answer, f"{method} {path}")


def _read(answer: httpx.Response, asked: str) -> Batch | None:
    """What an answer says; None for 404. Raises UpstreamRefused where the request itself is at fault."""
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    if answer.is_success:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
        raise UpstreamAway(f"{asked}: the answer is no JSON object; is this a Livy?")
    # 403 is what Livy says of a proxyUser that it does not grant; to other questions it comes from a wall before it.
    refused = asked.startswith("POST ") and answer.status_code == httpx.codes.FORBIDDEN
    if refused or (answer.is_client_error and answer.status_code not in _WALLS):
        raise UpstreamRefused(answer.status_code, _sentence(answer))
    raise UpstreamAway(f"{asked}: {answer.status_code} {_sentence(answer)}")


def _sentence(answer: httpx.Response) -> str:
    """What Livy says of an error: `{"msg": ...}`, or a JSON string; a page of HTML says nothing."""
    try:
        said = answer.json()
    except ValueError:
        return answer.reason_phrase
    sentence = said.get("msg") if isinstance(said, dict) else said
    return str(sentence or answer.reason_phrase)[:LONGEST_SENTENCE]
