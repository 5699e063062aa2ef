"""Where one cluster has its name, its folder and its addresses.

Several clusters run side by side: a clone's cluster is named by the clone's path, or by CLUSTER. Everything else
follows from the name, except the second number of its addresses, which is also tried against the machine's routes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

ROOT = Path(__file__).parents[3]
CLUSTERS = Path("/var/lib/sparkyard/clusters")  # short, as the names of sockets must be
# The second number of 10.N.0.0/16.
BLOCKS = range(128, 254)


def name_of(root: Path = ROOT, chosen: str | None = None) -> str:
    """The name of a clone's cluster, or the chosen one."""
    chosen = chosen if chosen is not None else os.environ.get("CLUSTER", "")
    if not chosen:
        return hashlib.sha256(str(root).encode()).hexdigest()[:8]
    if not re.fullmatch(r"[a-z0-9]{1,10}", chosen):
        message = f"CLUSTER={chosen}: a cluster's name is 1 to 10 small letters and digits"
        raise SystemExit(message)
    return chosen


@dataclasses.dataclass(frozen=True)
class Addresses:
    """The addresses of one cluster, all within 10.N.0.0/16."""

    block: int

    def _net(self, rest: str) -> str:
        return f"10.{self.block}.{rest}"

    @property
    def all(self) -> str:
        return self._net("0.0/16")

    @property
    def node(self) -> str:
        """The node, as everybody reaches it."""
        return self._net("0.1")

    @property
    def host(self) -> str:
        """This machine, as pods reach it: where a gateway under test listens."""
        return self._net("0.2")

    @property
    def pods(self) -> str:
        return self._net("4.0/22")

    @property
    def pods_gateway(self) -> str:
        return self._net("4.1")

    @property
    def services(self) -> str:
        return self._net("16.0/20")

    @property
    def dns(self) -> str:
        return self._net("16.10")


def free_block(name: str, taken: Iterable[str]) -> int:
    """The block to use: the name's own, or the next that no route of the machine overlaps."""
    routes = [IPv4Network(each, strict=False) for each in taken if each != "default"]
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(BLOCKS)
    for step in range(len(BLOCKS)):
        block = BLOCKS[(first + step) % len(BLOCKS)]
        if not any(IPv4Network(Addresses(block).all).overlaps(route) for route in routes):
            return block
    message = "every address range of 10.128.0.0 to 10.253.0.0 has a route on this machine: remove one and try again"
    raise SystemExit(message)


def routes_of_machine() -> list[str]:
    """The destinations that this machine has routes for."""
    shown = subprocess.run(["ip", "-json", "-4", "route", "show"], capture_output=True, check=True, text=True)
    return [route["dst"] for route in json.loads(shown.stdout or "[]")]


@dataclasses.dataclass(frozen=True)
class Place:
    """One cluster's name and files."""

    name: str

    @property
    def folder(self) -> Path:
        return CLUSTERS / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def link(self) -> str:
        """The host's end of the link to the cluster."""
        return f"sy-{self.name}"

    @property
    def cgroup(self) -> str:
        """The control group that all pods are in."""
        return f"sparkyard-cluster-{self.name}"

    def cgroups(self) -> list[Path]:
        """That group in every hierarchy that this machine has."""
        top = Path("/sys/fs/cgroup")
        hierarchies = [top] if (top / "cgroup.controllers").exists() else [p for p in top.iterdir() if p.is_dir()]
        return [each / self.cgroup for each in sorted(hierarchies) if not each.is_symlink()]
