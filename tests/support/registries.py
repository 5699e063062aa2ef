"""A registry of images that serves the node of a test cluster alone: files, in the layout that registries answer by.

A registry that is only read from needs no program of its own; busybox's web server does, as it can be told each file's
type. The node fetches without TLS from its own address only, so that is where it listens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.cluster import archives
from support.cluster.using import Cluster

PORT = 5998
IMAGES = (("tools", 1), ("lab", 1), ("lab", 2), ("spark", 1))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Registry:
    """Where it is, and what its images are called."""

    address: str

    def image(self, name: str, version: int) -> str:
        # The end of the name says the file's type to the web server.
        return f"{self.address}/{name}:{version}.json"


@contextlib.contextmanager
def on_node(cluster: Cluster, folder: Path) -> Iterator[Registry]:
    """Serve them for a while; what the node has fetched is removed from it."""
    assert cluster.place is not None, "the registry's files are on this machine, which must be the node"
    found = Registry(f"localhost:{PORT}")
    (folder / "v2").mkdir()
    (folder / "v2" / "index.html").write_text("")
    for name, version in IMAGES:
        _write(folder, name, version)
    (folder / "httpd.conf").write_text(f".json:{MANIFEST}\n")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    try:
        with _reachable(folder), cluster.namespace() as open_to_all:
            cluster.run_pod(
                open_to_all, "registry", "busybox", "httpd", "-f", "-p", f"127.0.0.1:{PORT}", "-h", "/registry",
                "-c", "/registry/httpd.conf", hostNetwork=True,
                container={"volumeMounts": [{"name": "files", "mountPath": "/registry", "readOnly": True}]},
                volumes=[{"name": "files", "hostPath": {"path": str(folder)}}],
            )  # fmt: skip
            yield found
    finally:
        fetched = [name for name in archives.images(cluster.place) if name.startswith(f"{found.address}/")]
        if fetched:
            archives.remove(cluster.place, fetched)


@contextlib.contextmanager
def _reachable(folder: Path) -> Iterator[None]:
    """pytest closes its folders to everybody else, and the server is nobody."""
    above = [path for path in folder.parents if path.stat().st_mode & 0o777 == 0o700]
    for path in above:
        path.chmod(0o711)
    try:
        yield
    finally:
        for path in above:
            path.chmod(0o700)


def _write(folder: Path, name: str, version: int) -> None:
    """An image with a shell in it, and content of its own."""
    program = Path("/usr/bin/busybox").read_bytes()
    layer = archives.layer(
        {"bin/busybox": (program, 0o755), "about": (f"{name} {version}".encode(), 0o644)},
        {"bin/sh": "busybox", "bin/true": "busybox"},
        {"bin": 0o755},
    )
    blobs = folder / "v2" / name / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": archives.ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", json.dumps(config).encode()),
        "layers": [_blob(blobs, "application/vnd.oci.image.layer.v1.tar", layer)],
    }
    manifests = folder / "v2" / name / "manifests"
    manifests.mkdir(exist_ok=True)
    text = json.dumps(manifest)
    (manifests / f"{version}.json").write_text(text)
    # Once its digest is known it is asked for by that, and then its type is known too.
    (manifests / f"sha256:{hashlib.sha256(text.encode()).hexdigest()}").write_text(text)


def _blob(folder: Path, media_type: str, content: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (folder / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
