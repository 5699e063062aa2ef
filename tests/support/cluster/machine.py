"""Whether this machine allows a cluster: said in sentences, and tried rather than guessed where that is cheap."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.cluster.telling import Step, fail

# Debian's package, by a file of it that the cluster needs.
PACKAGES = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/sbin/nft": "nftables",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/bin/busybox": "busybox-static",
    "/usr/bin/unshare": "util-linux",
    "/usr/bin/mount": "mount",
}
IMAGE_PACKAGES = {"/usr/bin/buildah": "buildah", "/usr/sbin/debootstrap": "debootstrap"}
CONTROLLERS = ("cpu", "memory", "pids")


def obstacles() -> list[str]:
    """Why no cluster can run here, a sentence each; empty where one can."""
    if platform.system() != "Linux":
        return [f"a cluster needs Linux, and this is {platform.system()}"]
    if os.geteuid() != 0:
        return ["a cluster needs root: for network namespaces, overlay mounts and control groups"]
    return [*_namespaces(), *_overlay(), *_control_groups()]


def _namespaces() -> list[str]:
    # Everything at once, as the cluster does it: a kernel or a container that forbids any of it says so here.
    unshare = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--mount-proc", "--propagation", "private"]
    links = "ip link add sy-try type veth peer name sy-tried && ip link add sy-try2 type bridge"
    tried = subprocess.run(
        [*unshare, "sh", "-c", f"{links} && echo 1 >/proc/sys/net/ipv4/ip_forward"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode == 0 or shutil.which("ip") is None:
        return []
    return [f"a cluster needs network, mount and process namespaces with links of their own: {tried.stderr.strip()}"]


def _overlay() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="sparkyard-overlay-", dir=_existing(Path("/var/lib/sparkyard"))) as scratch:
        for name in ("lower", "upper", "work", "merged"):
            (Path(scratch) / name).mkdir()
        options = ",".join(f"{name}dir={scratch}/{name}" for name in ("lower", "upper", "work"))
        tried = subprocess.run(
            ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{scratch}/merged"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [] if tried.returncode == 0 else [f"a cluster needs overlay mounts: {tried.stderr.strip()}"]


def _existing(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _control_groups() -> list[str]:
    top = Path("/sys/fs/cgroup")
    unified = top / "cgroup.controllers"
    present = set(unified.read_text().split()) if unified.exists() else {each.name for each in top.glob("*")}
    missing = [each for each in CONTROLLERS if each not in present]
    if missing:
        return [f"a cluster needs control groups at {top}, and finds none for {', '.join(missing)}"]
    if not os.access(top / ("" if unified.exists() else "memory"), os.W_OK):
        return [f"a cluster needs control groups that it may write, and {top} is read-only"]
    return []


def require() -> None:
    """End with all reasons where no cluster can run."""
    found = obstacles()
    if found:
        fail(
            "no cluster can run on this machine:\n  - " + "\n  - ".join(found)
            + "\nTo use a cluster of your own, set SPARKYARD_CLUSTER=existing and KUBECONFIG"
        )  # fmt: skip


def install(packages: dict[str, str]) -> None:
    """Install those of Debian's packages whose file is missing."""
    missing = sorted({name for path, name in packages.items() if not Path(path).exists()})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        fail(f"a cluster needs {', '.join(missing)}, and there is no apt-get to install them: install them by hand")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with Step(f"installing {' '.join(missing)}"):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments],
                env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode != 0:
                lines = (done.stdout + done.stderr).splitlines()[-8:]
                fail(f"apt-get {' '.join(arguments)} failed:\n  " + "\n  ".join(lines))
