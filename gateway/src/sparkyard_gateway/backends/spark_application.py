"""Which application a Spark UI shows: its id, as Spark's own REST API says it.

The log is no source for it: what is logged depends on the image's settings and the user's. What answers is a process
of the user's, so nothing but a plausible id is taken from it.
"""

import asyncio
import json
import re
from typing import TypeGuard

import httpx

from sparkyard_gateway.backends.base import Application

LONGEST_ANSWER = 65536
SECONDS = 5.0
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)


async def application_at(client: httpx.AsyncClient, url: str, name: str | None = None) -> Application | None:
    """The application whose UI listens there; None where it does not answer, or with anything else.

    With a `name`, by TLS, and with no other certificate than one of this name.
    """
    extensions = {} if name is None else {"sni_hostname": name}
    asked = client.stream("GET", f"{url}/api/v1/applications", extensions=extensions)
    try:
        async with asyncio.timeout(SECONDS), asked as answer:
            text = bytearray()
            async for chunk in answer.aiter_bytes():
                text += chunk
                if len(text) > LONGEST_ANSWER:
                    return None
    except (httpx.HTTPError, TimeoutError):
        return None
    return application_in(bytes(text), url)


def application_in(text: bytes, url: str) -> Application | None:
    """The application that an answer of Spark's REST API names."""
    try:
        found = json.loads(text)[0]["id"]
    except (ValueError, LookupError, TypeError):
        return None
    return Application(found, url) if plausible(found) else None


def plausible(found: object) -> TypeGuard[str]:
    """Whether this may be an application's id."""
    return isinstance(found, str) and _ID.fullmatch(found) is not None
