"""Asks the Spark UIs of batches' pods which application they show.

Other pods reach their ports as well, so such a UI answers this gateway alone, and shows the certificate that its
attempt was given (`ui_keys`).
"""

import asyncio

import httpx

from sparkyard_gateway.backends.base import Application
from sparkyard_gateway.backends.pod_conf import SECURE_UI_PORT
from sparkyard_gateway.backends.spark_application import application_at
from sparkyard_gateway.ui_keys import UiKeys, batch_server_name


class PodUis:
    """One client for all of them, made when the first is asked."""

    def __init__(self, keys: UiKeys) -> None:
        self._keys = keys
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()

    async def application(self, attempt: int, address: str) -> Application | None:
        """The application of the attempt whose pod has this address; None as long as there is none."""
        if self._client is None:
            context = await asyncio.to_thread(self._keys.context)
            self._client = httpx.AsyncClient(timeout=3.0, follow_redirects=False, trust_env=False, verify=context)
        host = f"[{address}]" if ":" in address else address
        return await application_at(self._client, f"https://{host}:{SECURE_UI_PORT}", batch_server_name(attempt))
