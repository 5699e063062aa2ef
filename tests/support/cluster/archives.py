"""Image archives: small ones made without a builder, and loading any archive into a cluster.

Busybox is both the sandbox of every pod and what the tests run; CoreDNS is one static program.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.cluster.place import Place
from support.cluster.settings import COREDNS_IMAGE, PAUSE_IMAGE
from support.cluster.telling import fail

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def layer(files: Mapping[str, tuple[bytes, int]], links: Mapping[str, str], folders: Mapping[str, int]) -> bytes:
    """A layer as a tar file: files with their modes, symbolic links, folders with theirs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in folders.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, (data, mode) in files.items():
            _add(archive, name, data, mode)
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def write(path: Path, image: str, content: bytes, config: dict[str, Any]) -> Path:
    """An archive as `docker save` writes it."""
    described = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(described).hexdigest()}.json"
    with tarfile.open(path, "w") as archive:
        _add(archive, name, described)
        _add(archive, "layer.tar", content)
        _add(
            archive,
            "manifest.json",
            json.dumps([{"Config": name, "RepoTags": [image], "Layers": ["layer.tar"]}]).encode(),
        )
    return path


def busybox(path: Path) -> Path:
    """The sandbox image, with every tool of busybox."""
    program = Path("/usr/bin/busybox")
    tools = subprocess.run([program, "--list"], capture_output=True, check=True, text=True).stdout.split()
    content = layer(
        {
            "bin/busybox": (program.read_bytes(), 0o755),
            "etc/passwd": (b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644),
            "etc/group": (b"root:x:0:\nnogroup:x:65534:\n", 0o644),
        },
        {f"bin/{tool}": "busybox" for tool in tools if tool != "busybox"},
        {"bin": 0o755, "etc": 0o755, "tmp": 0o1777},
    )
    return write(path, PAUSE_IMAGE, content, {"Env": ["PATH=/bin"], "Cmd": ["sleep", "infinity"]})


def coredns(path: Path, program: Path) -> Path:
    """CoreDNS, as its own image has it."""
    content = layer({"coredns": (program.read_bytes(), 0o755)}, {}, {})
    return write(path, COREDNS_IMAGE, content, {"Entrypoint": ["/coredns"]})


def load(place: Place, archive: Path) -> None:
    """Load an archive (docker's or OCI's) into the cluster, where its image's name is then known."""
    done = subprocess.run(
        ["ctr", "--address", str(place.containerd_socket), "--namespace", "k8s.io", "images", "import", str(archive)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        fail(
            f"{archive} could not be loaded into the cluster {place.name}: {done.stderr.strip() or done.stdout.strip()}"
        )


def images(place: Place) -> dict[str, str]:
    """The images that the cluster has: the digest by the name."""
    done = subprocess.run(
        ["ctr", "--address", str(place.containerd_socket), "--namespace", "k8s.io", "images", "list"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    return {words[0]: words[2] for words in lines}


def remove_replaced(place: Place, further_names: str) -> None:
    """Remove the images whose name another one has now: the kubelet's own collection is off. Names that begin with
    `further_names` count for nothing."""
    present = images(place)
    named = {digest for name, digest in present.items() if not name.startswith(("sha256:", further_names))}
    left = [name for name, digest in present.items() if name.startswith(further_names) or digest not in named]
    if left:
        remove(place, left)


def remove(place: Place, names: list[str]) -> None:
    """Remove images by their names."""
    ctr = ["ctr", "--address", str(place.containerd_socket), "--namespace", "k8s.io"]
    subprocess.run([*ctr, "images", "remove", "--sync", *names], capture_output=True, check=False)


def remove_containers(place: Place) -> None:
    """Forget the containers of an earlier run of this cluster: their processes ended with it, its images stay."""
    containerd = ["ctr", "--address", str(place.containerd_socket), "--namespace", "k8s.io", "containers"]
    left = subprocess.run([*containerd, "list", "--quiet"], capture_output=True, text=True, check=True).stdout.split()
    if left:
        subprocess.run([*containerd, "delete", *left], capture_output=True, check=True)
