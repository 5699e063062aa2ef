"""HTTP towards the gateway: what is retried, what never is, and how long anything may take.

- A GET is retried over a dropped connection and over 502, 503 and 504: it changes nothing.
- A POST is sent once. If its answer is lost it may have been carried out, so we say that and stop. Only a
  connection that was refused, over which nothing was sent, is tried again. Each POST carries an Idempotency-Key.
- Every request has a connect and a read timeout.
- Messages never show a request's headers, and no exception of requests or urllib3, nor an interrupt
  within them, gets out as it is: their frames hold the headers.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import NewConnectionError

from sparkyard_sparkmagic.errors import (
    AnswerLostError,
    GatewayError,
    GatewayUnreachableError,
    Interrupted,
    UnknownSessionError,
)

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
GET_PATIENCE = 20.0
CONNECT_PATIENCE = 10.0
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
PASSING = frozenset({502, 503, 504})


class Transport:
    """Sends JSON to one base address; usable from several threads."""

    def __init__(self, base_url: str, auth: AuthBase) -> None:
        self._base = base_url.rstrip("/")
        self._auth = auth
        self._local = threading.local()

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        read: float = READ_SECONDS,
        patience: float = GET_PATIENCE,
        on_retry: Callable[[str], None] | None = None,
    ) -> Any:
        """GET, tried again for `patience` seconds while the connection fails; `on_retry` hears why it waits."""
        deadline = time.monotonic() + patience
        attempt = 0
        while True:
            try:
                response = self._send("GET", path, params=params, timeout=(min(CONNECT_SECONDS, read), read))
            except requests.RequestException as error:
                problem: Exception = GatewayUnreachableError(f"{_why(error)} (GET {path}, {attempt + 1} attempts)")
            else:
                if response.status_code not in PASSING:
                    return _answer(response, (200,))
                problem = _refusal(response)
            if time.monotonic() >= deadline:
                raise problem from None
            if on_retry is not None:
                on_retry(str(problem))
            time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        read: float = READ_SECONDS,
    ) -> Any:
        """POST, once."""
        headers = {"Idempotency-Key": key} if key else None
        deadline = time.monotonic() + CONNECT_PATIENCE
        attempt = 0
        while True:
            try:
                response = self._send(
                    "POST", path, params=params, data=json.dumps(body).encode(), headers=headers,
                    timeout=(CONNECT_SECONDS, read),
                )  # fmt: skip
            except requests.RequestException as error:
                if not _never_sent(error):
                    raise AnswerLostError(
                        f"the gateway's answer to POST {path} was lost ({_why(error)}). It may have been carried "
                        "out, so it was not sent again"
                    ) from None
                problem = GatewayUnreachableError(f"{_why(error)} (POST {path}; nothing was sent)")
            else:
                return _answer(response, (200, 201))
            if time.monotonic() >= deadline:
                raise problem from None
            time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    def delete(self, path: str, *, seconds: float = READ_SECONDS, connect: float = CONNECT_SECONDS) -> None:
        """DELETE, answered within `seconds`; what is gone already counts as done."""
        try:
            response = self._send("DELETE", path, timeout=(connect, seconds))
        except requests.RequestException as error:
            raise GatewayUnreachableError(f"{_why(error)} (DELETE {path})") from None
        if response.status_code not in (200, 204, 404):
            raise _refusal(response) from None

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            # A redirect would be a login page, or another host that should not get the token.
            return self._http.request(method, self._base + path, auth=self._auth, allow_redirects=False, **options)
        except KeyboardInterrupt:
            raise Interrupted("the request to the gateway was interrupted") from None

    @property
    def _http(self) -> requests.Session:
        # A requests.Session is not safe to share between threads, and one per thread keeps its connection alive.
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # No proxy and no .netrc from the environment may come between a kernel and its gateway.
            session.trust_env = False
            session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
            session.headers.update(
                {"Content-Type": "application/json", "Accept": "application/json", "X-Requested-By": "sparkyard"}
            )
            self._local.session = session
        return session


def _answer(response: requests.Response, accepted: tuple[int, ...]) -> Any:
    if response.status_code not in accepted:
        raise _refusal(response) from None
    try:
        return response.json()
    except ValueError:
        raise GatewayError("the gateway's answer is not JSON: is its address right?", response.status_code) from None


def _refusal(response: requests.Response) -> GatewayError:
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = None
    details = body if isinstance(body, dict) else {}
    said = str(details.get("msg") or (body if isinstance(body, str) else "")).strip()
    if status == 401:
        said = (
            "the gateway does not accept this server's hub token (401); stop and start your server "
            "from the hub's control panel to get a new one"
        )
    elif status == 403:
        said = f"you may not use the gateway (403){': ' + said if said else ''}; an admin can grant its scope"
    elif status in PASSING and not said:
        said = f"the gateway is not available just now ({status})"
    kind = UnknownSessionError if status == 404 else GatewayError
    return kind(said or f"the gateway answered {status}", status, details)


def _why(error: requests.RequestException) -> str:
    # Never str(error): it may quote what was sent.
    if isinstance(error, requests.ConnectTimeout):
        return "the gateway could not be reached in time"
    if isinstance(error, requests.Timeout):
        return "the gateway did not answer in time"
    if _never_sent(error):
        return "the gateway is not running or not reachable"
    return "the connection to the gateway broke"


def _never_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectionError) and isinstance(reason, NewConnectionError)
