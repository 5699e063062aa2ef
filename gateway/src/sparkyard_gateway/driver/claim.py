"""How a driver far away gets its bootstrap: it claims it, once, from the gateway.

Whoever submits us through another server can give us arguments only, and those are read by others: by `ps`, in the
log of that server, in the cluster's own pages. So they hold no token but a *claim code* that works once, and briefly.
The token is made here and travels to the gateway, which keeps its hash: a gateway that dies while it answers gets the
same claim with the same token again and knows it; somebody else's token with this code is a theft, and ends the
session.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any, Dict, Iterator, Optional, Sequence

from .bootstrap import Bootstrap, BootstrapError, ClaimRefused, from_json
from .notes import note
from .resources import digest

_PATIENCE_SECONDS = 600.0
_REQUEST_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_LONGEST_ANSWER = 16 * 1024 * 1024


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A claim goes to the address it was meant for, or nowhere."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


def redeem(
    urls: Sequence[str], code: str, ca_file: str, work_dir: str, patience: float = _PATIENCE_SECONDS
) -> Bootstrap:
    """Claim the bootstrap at one of these addresses; waits for a gateway that is away. Raises BootstrapError."""
    token = secrets.token_urlsafe(32)
    body = json.dumps({"claim": code, "token": token, "driver": digest()}).encode("utf-8")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        _NoRedirect(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file or None)),
    )
    until, pause, complained = time.monotonic() + patience, _FIRST_PAUSE, ""
    for url in itertools.cycle(urls):
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  http or https: see main
        try:
            with opener.open(request, timeout=_REQUEST_SECONDS) as answer:
                text = answer.read(_LONGEST_ANSWER).decode("utf-8")
            return _complete(text, token, ca_file, work_dir)
        except urllib.error.HTTPError as error:
            said = _sentence(error)
            if error.code in (401, 403):
                raise ClaimRefused(f"the gateway refused this driver's claim: {said}") from None
            if error.code < 500 and error.code != 429:
                raise BootstrapError(f"{url} answered {error.code}: is it a gateway's address? {said}") from None
            trouble = f"the gateway answered {error.code}: {said}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            trouble = f"the gateway at {url} cannot be reached: {error or type(error).__name__}"
        if time.monotonic() > until:
            raise BootstrapError(f"no bootstrap within {patience:.0f} s; {trouble}")
        if trouble != complained:
            note(f"{trouble}; asking again")
            complained = trouble
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter, no secret
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise BootstrapError("there is no address to claim at")


@contextlib.contextmanager
def work_folder() -> Iterator[str]:
    """A private folder for the driver's journal and temporary files; gone with the driver.

    In a container of YARN's it stands in the container's own folder, which is the working folder and the user's.
    Elsewhere the working folder is the submitter's, where nothing of a session has any business: there we go into our
    own.
    """
    contained = "CONTAINER_ID" in os.environ
    folder = tempfile.mkdtemp(prefix="sparkyard-", dir=os.getcwd() if contained else None)
    if not contained:
        os.chdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _complete(text: str, token: str, ca_file: str, work_dir: str) -> Bootstrap:
    document: Optional[Dict[str, Any]] = None
    with contextlib.suppress(ValueError):
        document = json.loads(text)
    if not isinstance(document, dict):
        raise BootstrapError("the gateway's answer to the claim is no bootstrap")
    return from_json(json.dumps({**document, "token": token, "work_dir": work_dir, "ca_file": ca_file}))


def _sentence(error: urllib.error.HTTPError) -> str:
    """What the gateway says of a refusal; its errors are `{"msg": ...}`."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        return str(json.loads(error.read(4096).decode("utf-8"))["msg"])
    return str(error.reason)
