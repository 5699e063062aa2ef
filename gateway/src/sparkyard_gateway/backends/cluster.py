"""A Kubernetes cluster as the gateway uses it: a handful of requests, each answered, refused, or not heard.

The one module that imports a Kubernetes client, and only once a cluster is really asked: the client's models take
seconds to load. Objects are plain JSON here, as `pod_manifests` makes them and the API server answers them; of a
thousand pods nobody needs a thousand model instances.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sparkyard_gateway.backends.driver_log import CUT

Object = dict[str, Any]

REQUEST_SECONDS = 30.0
WATCH_SECONDS = 300
"""After which the API server ends a watch, so that one whose connection silently died is begun anew."""
SILENCE_SECONDS = 45.0
LONGEST_LINE = 1024 * 1024
CONNECTIONS = 4000
"""One for each driver whose log is read, and a few more."""
_CONTENT = {"PATCH": "application/strategic-merge-patch+json"}
IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ClusterAway(Exception):  # noqa: N818 - reads as what happened
    """The API server gave no answer, or none that says anything about what was asked."""


class ClusterRefused(Exception):  # noqa: N818 - reads as what happened
    """The API server understood, and said no. `sentence` is its own message."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status}: {sentence}")
        self.status = status
        self.sentence = sentence


class Cluster:
    """The requests."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._connecting = asyncio.Lock()
        self._client: Any = None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    # Requests

    async def create(self, namespace: str, kind: str, body: Object) -> Object:
        """Make an object."""
        return await self._json("POST", _path(namespace, kind), body=body)

    async def find(self, namespace: str, kind: str, name: str) -> Object | None:
        """The object of that name."""
        try:
            return await self._json("GET", _path(namespace, kind, name))
        except ClusterRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def all(self, namespace: str, kind: str, *, api: str = "", **query: str) -> Object:
        """A list, with its `metadata.resourceVersion`; `api` is a group and version where it is not the core's."""
        return await self._json("GET", _path(namespace, kind, api=api), query)

    async def merge(self, namespace: str, kind: str, name: str, merged: Object) -> Object:
        """Merge this into an object, lists by their own rules. With a uid in it: into that very object, or
        ClusterRefused (404, 409)."""
        return await self._json("PATCH", _path(namespace, kind, name), body=merged)

    async def delete_as_seen(self, namespace: str, kind: str, seen: Object) -> None:
        """End an object if nothing about it has changed since it was read. Raises ClusterRefused (404, 409) where
        something has."""
        metadata = seen["metadata"]
        conditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"gracePeriodSeconds": 0, "preconditions": conditions}
        await self._json("DELETE", _path(namespace, kind, metadata["name"]), body=body)

    async def delete(self, namespace: str, kind: str, name: str, *, uid: str, grace_seconds: int) -> None:
        """End that very object; nothing where it is gone, or another has its name."""
        body = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}}
        try:
            await self._json("DELETE", _path(namespace, kind, name), body=body)
        except ClusterRefused as refused:
            if refused.status not in (404, 409):
                raise

    async def delete_all(self, namespace: str, kind: str, selector: str, grace_seconds: int) -> None:
        """End all that have these labels."""
        query = {"labelSelector": selector}
        await self._json("DELETE", _path(namespace, kind), query, {"gracePeriodSeconds": grace_seconds})

    # Streams

    async def watch(
        self, namespace: str, kind: str, selector: Mapping[str, str], version: str
    ) -> AsyncIterator[Object]:
        """What changes after a list's version, until the stream ends. A 410 as event or refusal: list anew.

        `selector` is that of the list.
        """
        query = {
            **selector,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async for line in self._lines(_path(namespace, kind), query, WATCH_SECONDS + SILENCE_SECONDS):
            event: Object = json.loads(line)
            if event["type"] == "ERROR":
                raise ClusterRefused(int(event["object"].get("code", 500)), _sentence(event["object"]))
            yield event

    async def log(
        self, namespace: str, pod: str, container: str, since: str | None, *, follow: bool
    ) -> AsyncIterator[bytes]:
        """Lines of a container's log without their ends, each after its time and a space.

        Of a line that is too long only its beginning comes: whoever writes one without an end must not fill the memory.
        """
        query = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if since is not None:
            query["sinceTime"] = since
        async for line in self._lines(f"{_path(namespace, 'pods', pod)}/log", query, None, LONGEST_LINE):
            yield line

    async def _lines(
        self, path: str, query: Mapping[str, str], silence: float | None, longest: int | None = None
    ) -> AsyncIterator[bytes]:
        answer = await self._send("GET", path, query, None, (REQUEST_SECONDS, silence))
        try:
            if answer.status >= 300:
                raise await _refusal(answer)
            rest = b""
            while piece := await _read(answer):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield line
                if longest is not None and len(rest) > longest:
                    # What follows up to its end is added and cut again.
                    rest = rest[:longest] + CUT
            if rest:
                yield rest
        finally:
            answer.close()

    # The client

    async def _json(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None
    ) -> Object:
        answer = await self._send(method, path, query, body, REQUEST_SECONDS)
        try:
            if answer.status >= 300:
                raise await _refusal(answer)
            found: Object = json.loads(await _whole(answer))
        except ValueError as error:
            raise ClusterAway("its answer was cut off") from error
        finally:
            answer.release()
        return found

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Object | None, patience: Any
    ) -> Any:
        client = await self._connected()
        try:
            return await client.call_api(
                path, method, query_params=list((query or {}).items()), body=body,
                header_params={"Accept": "application/json", "Content-Type": _CONTENT.get(method, "application/json")},
                auth_settings=["BearerToken"], _preload_content=False, _request_timeout=patience,
            )  # fmt: skip
        except (OSError, TimeoutError) as error:
            raise ClusterAway(str(error) or type(error).__name__) from error
        except _client_error() as error:
            raise ClusterAway(str(error) or type(error).__name__) from error

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Any:
        # Seconds of work on the first use, and there may be others to answer meanwhile.
        client, config = await asyncio.to_thread(_client_library)
        settings = client.Configuration()
        try:
            if (named := _kubeconfig(self._kubeconfig)) is None:
                config.load_incluster_config(client_configuration=settings)
            else:
                await config.load_kube_config(named, client_configuration=settings, persist_config=False)
        except (config.ConfigException, OSError) as error:
            raise ClusterAway(f"there is no way to it: {error}") from error
        settings.connection_pool_maxsize = CONNECTIONS
        return client.ApiClient(settings)


def _kubeconfig(named: Path | None) -> str | None:
    """The file that says how to reach the cluster; None in a pod of it."""
    if named is None and IN_A_POD.exists():
        return None
    # KUBECONFIG may name several, with colons between.
    return str(named or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _client_library() -> tuple[Any, Any]:
    from kubernetes_asyncio import client, config  # noqa: PLC0415 - see the module's docstring

    return client, config


def _client_error() -> type[Exception]:
    from aiohttp import ClientError  # noqa: PLC0415 - the client's own

    return ClientError


async def _read(answer: Any) -> bytes:
    try:
        piece: bytes = await answer.content.readany()
    except (OSError, TimeoutError, _client_error()) as error:
        raise ClusterAway(str(error) or type(error).__name__) from error
    return piece


async def _whole(answer: Any) -> bytes:
    try:
        body: bytes = await answer.read()
    except (OSError, TimeoutError, _client_error()) as error:
        raise ClusterAway(str(error) or type(error).__name__) from error
    return body


async def _refusal(answer: Any) -> Exception:
    """A server that is not well says nothing about the question: ask again later."""
    text = (await _whole(answer)).decode("utf-8", "replace")
    sentence = text[:500]
    with contextlib.suppress(ValueError):
        sentence = _sentence(json.loads(text))
    if answer.status >= 500 or answer.status in (401, 429):
        return ClusterAway(f"{answer.status}: {sentence}")
    return ClusterRefused(answer.status, sentence)


def _sentence(status: Any) -> str:
    return str(status.get("message") or status.get("reason") or status) if isinstance(status, dict) else str(status)


def _path(namespace: str, kind: str, name: str | None = None, *, api: str = "") -> str:
    path = f"{f'/apis/{api}' if api else '/api/v1'}/namespaces/{quote(namespace, safe='')}/{kind}"
    return path if name is None else f"{path}/{quote(name, safe='')}"
