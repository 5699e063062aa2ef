"""The image of the proxy that zero-to-jupyterhub puts before its hub: configurable-http-proxy on this machine's Node.

Its archive is made without a builder, as busybox's is: Node with the libraries that it loads, and the packages of
tests/cluster/proxy, which npm checks by the hashes of their lock.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.cluster import archives, machine
from support.cluster.binaries import alone_on_machine, cache
from support.cluster.place import ROOT, Place
from support.cluster.telling import Step, fail

SOURCE = ROOT / "tests/cluster/proxy"
IMAGE = "localhost/configurable-http-proxy:5.3.0"
PACKAGES = {"node": "nodejs", "npm": "npm"}
UID = 65534
COMMAND = "usr/local/bin/configurable-http-proxy"
"""As its own image has it on the PATH: zero-to-jupyterhub starts it by its name."""


def built() -> Path:
    """The image's archive, made once for every clone of the machine."""
    machine.install({f"/usr/bin/{name}": package for name, package in PACKAGES.items() if not shutil.which(name)})
    node = Path(node_program())
    digest = hashlib.sha256(f"{node} {node.stat().st_size} {platform.machine()}".encode())
    for name in ("package.json", "package-lock.json"):
        digest.update((SOURCE / name).read_bytes())
    digest.update(Path(__file__).read_bytes())
    archive = cache() / "images" / f"proxy-{digest.hexdigest()[:16]}.tar"
    if not archive.exists():
        with alone_on_machine(cache() / "images" / "proxy.lock"):
            if not archive.exists():
                with Step(f"making the image {IMAGE} (once)"):
                    _make(archive, node)
    return archive


def node_program() -> str:
    """Node, at the same place here and in the image."""
    return str(Path(shutil.which("node") or "").resolve())


def load(place: Place) -> None:
    """Have it in the cluster."""
    archive = built()
    mark = place.folder / "containerd" / "loaded-proxy"
    if not mark.exists() or mark.read_text() != archive.name:
        archives.load(place, archive)
        mark.write_text(archive.name)


def _make(archive: Path, node: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="proxy-") as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(f"npm could not fetch the proxy's packages:\n{done.stderr.strip()[-1500:]}")
        files = {
            f"srv/{path.relative_to(folder)}": (path.read_bytes(), 0o644)
            for path in sorted(Path(folder, "node_modules").rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
        files |= {str(path).lstrip("/"): (path.read_bytes(), 0o755) for path in (node, *_libraries(node))}
        script = f'#!{node}\nrequire("/srv/node_modules/configurable-http-proxy/bin/configurable-http-proxy");\n'
        files[COMMAND] = (script.encode(), 0o755)
        scratch = archive.with_suffix(".part")
        archives.write(
            scratch, IMAGE, archives.layer(files, {}, {"tmp": 0o1777}),
            {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": [f"/{COMMAND}"], "User": str(UID)},
        )  # fmt: skip
        scratch.rename(archive)


def _libraries(program: Path) -> list[Path]:
    """What the loader puts beside a program, the loader with it; none where it is static."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [Path(found) for found in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", said, re.MULTILINE)]
