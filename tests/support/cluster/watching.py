"""The cluster's one process of our own: keeps nftables at what the policies say, and folders at what claims ask for.

Pods' addresses are read from the network plugin's own records, which are there before a pod's first program runs,
because the API server learns an address only seconds later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_asyncio
from kubernetes_asyncio import client, config, watch

from support.cluster import volumes
from support.cluster.lifecycle import addresses_of
from support.cluster.place import Addresses, Place
from support.cluster.policies import Rules, pod_of, ruleset

# Written when a pod's network stands, removed when it goes.
RECORDS = Path("/var/lib/cni/results")
LOOK_SECONDS = 0.05
log = logging.getLogger("watching")


class Mirror:
    """The objects of one kind, as the API server has them, by namespace and name."""

    def __init__(self, kind: str, listing: Callable[..., Any]) -> None:
        self._kind = kind
        self._listing = listing
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.filled = False
        self.changes = 0

    async def follow(self) -> None:
        """For ever: list, then follow what changes; list again when the line breaks."""
        while True:
            try:
                await self._once()
            except (TimeoutError, kubernetes_asyncio.client.ApiException, OSError) as problem:
                log.warning("%s: %s", self._kind, problem)
            await asyncio.sleep(0.5)

    async def _once(self) -> None:
        serialize = client.ApiClient().sanitize_for_serialization
        listed = serialize(await self._listing())
        self.objects = {_key(each): each for each in listed["items"]}
        self.filled = True
        self.changes += 1
        async with watch.Watch() as changes:
            async for change in changes.stream(self._listing, resource_version=listed["metadata"]["resourceVersion"]):
                described = change["raw_object"]
                if change["type"] == "ERROR":
                    return
                if change["type"] == "DELETED":
                    self.objects.pop(_key(described), None)
                elif change["type"] in {"ADDED", "MODIFIED"}:
                    self.objects[_key(described)] = described
                self.changes += 1


def _key(described: dict[str, Any]) -> tuple[str, str]:
    return described["metadata"].get("namespace", ""), described["metadata"]["name"]


def addresses_by_pod(records: Path, seen: dict[str, tuple[tuple[str, str], str] | None]) -> dict[tuple[str, str], str]:
    """The address of every pod that has a network, from the plugin's records; `seen` remembers what was read."""
    present = {path.name: path for path in records.glob("pods-*-eth0")} if records.is_dir() else {}
    for name in set(seen) - set(present):
        del seen[name]
    for name, path in present.items():
        if name not in seen:
            found = _read_record(path)
            if found is not None:
                seen[name] = found
    return dict(found for found in seen.values() if found is not None)


def _read_record(path: Path) -> tuple[tuple[str, str], str] | None:
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # it went, or is being written
        return None
    arguments = dict(record.get("cniArgs") or [])
    addresses = [each["address"] for each in record["result"].get("ips") or []]
    key = (arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", ""))
    return (key, addresses[0].split("/")[0]) if addresses else None


class Enforcer:
    """Applies the table whenever it would differ."""

    def __init__(self, api: client.CoreV1Api, networking: client.NetworkingV1Api, addresses: Addresses) -> None:
        self._pods = Mirror("pods", api.list_pod_for_all_namespaces)
        self._namespaces = Mirror("namespaces", api.list_namespace)
        self._policies = Mirror("policies", networking.list_network_policy_for_all_namespaces)
        self.mirrors = [self._pods, self._namespaces, self._policies]
        self._network = addresses.pods
        self._seen: dict[str, tuple[tuple[str, str], str] | None] = {}
        self._applied = ""

    def _rules(self, by_pod: dict[tuple[str, str], str]) -> Rules:
        pods = [
            pod_of(self._pods.objects[key], address) for key, address in by_pod.items() if key in self._pods.objects
        ]
        return Rules(
            tuple(sorted(pods, key=lambda pod: pod.address)),
            {name: each["metadata"].get("labels") or {} for (_, name), each in self._namespaces.objects.items()},
            tuple(self._policies.objects.values()),
        )

    async def keep(self) -> None:
        """For ever."""
        before: object = None
        while True:
            by_pod = addresses_by_pod(RECORDS, self._seen)
            now = (by_pod, [mirror.changes for mirror in self.mirrors])
            if now != before and all(mirror.filled for mirror in self.mirrors):
                text = ruleset(self._rules(by_pod), self._network)
                if text != self._applied:
                    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
                    self._applied = text
                before = now
            await asyncio.sleep(LOOK_SECONDS)


async def keep_volumes(api: client.CoreV1Api, claims: Mirror, present: Mirror, folder: Path) -> None:
    """For ever: a folder and a volume for every claim that waits, neither for a claim that went."""
    folder.mkdir(exist_ok=True)
    before: object = None
    while True:
        now = (claims.changes, present.changes)
        if now != before and claims.filled and present.filled:
            for claim in list(claims.objects.values()):
                if volumes.wants_volume(claim) and ("", volumes.name_for(claim)) not in present.objects:
                    (folder / volumes.name_for(claim)).mkdir(exist_ok=True)
                    await _tolerating(409, api.create_persistent_volume(volumes.volume_for(claim, folder)))
            for volume in list(present.objects.values()):
                if volumes.is_left(volume):
                    volumes.remove_folder(volume)
                    await _tolerating(404, api.delete_persistent_volume(volume["metadata"]["name"]))
            before = now
        await asyncio.sleep(0.1)


async def _tolerating(status: int, call: Any) -> None:
    try:
        await call
    except client.ApiException as problem:
        if problem.status != status:
            raise


async def main() -> None:
    """Watch for ever; a failure ends the process, which is then started again."""
    place = Place(sys.argv[1])
    await config.load_kube_config(str(place.folder / "support.kubeconfig"))
    api = client.CoreV1Api()
    enforcer = Enforcer(api, client.NetworkingV1Api(), addresses_of(place))
    claims = Mirror("claims", api.list_persistent_volume_claim_for_all_namespaces)
    present = Mirror("volumes", api.list_persistent_volume)
    async with asyncio.TaskGroup() as tasks:
        for mirror in (*enforcer.mirrors, claims, present):
            tasks.create_task(mirror.follow())
        tasks.create_task(enforcer.keep())
        tasks.create_task(keep_volumes(api, claims, present, place.folder / "volumes"))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(main())
