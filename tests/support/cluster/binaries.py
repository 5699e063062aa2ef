"""The cluster's programs, built from the Go module proxy into a cache that every clone of the machine shares.

Each folder of tests/cluster/binaries is a Go module that pins versions and hashes. A build's place in the cache is
named by everything that decides what it builds, so a change builds anew and nothing stale is ever used.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import platform
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cluster.place import ROOT
from support.cluster.telling import Step, fail

SOURCES = ROOT / "tests/cluster/binaries"
KUBERNETES = "1.34.4"
_VERSION = "k8s.io/component-base/version"


@dataclasses.dataclass(frozen=True)
class Source:
    """One Go module and the programs built from it."""

    name: str
    packages: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    about: str = "half a minute"

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(self.name if package == "." else package.rsplit("/", 1)[1] for package in self.packages)

    @property
    def flags(self) -> list[str]:
        set_variables = "".join(f" -X {name}={value}" for name, value in self.variables)
        return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w{set_variables}"]


ETCD = Source("etcd", (".",))
COREDNS = Source("coredns", (".",), about="a minute")
KUBERNETES_PROGRAMS = Source(
    "kubernetes",
    tuple(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet", "kubectl")
    ),
    (
        (f"{_VERSION}.gitVersion", f"v{KUBERNETES}"),
        (f"{_VERSION}.gitMajor", KUBERNETES.split(".", maxsplit=1)[0]),
        (f"{_VERSION}.gitMinor", KUBERNETES.split(".")[1]),
    ),
    about="7 minutes on two cores",
)
HELM = Source("helm", ("helm.sh/helm/v3/cmd/helm",), about="2 minutes")
KWOK = Source("kwok", ("sigs.k8s.io/kwok/cmd/kwok",), about="2 minutes")
METRICS_SERVER = Source("metrics-server", ("sigs.k8s.io/metrics-server/cmd/metrics-server",), about="2 minutes")
# What a running cluster needs; the others are built when somebody asks for them.
CLUSTER = (ETCD, COREDNS, KUBERNETES_PROGRAMS)
ALL = {source.name: source for source in (*CLUSTER, HELM, KWOK, METRICS_SERVER)}


def cache() -> Path:
    """The folder of things built once for every clone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkyard"


def _environment() -> dict[str, str]:
    # Without cgo: no compiler for C is needed, and the programs run in any image.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


def go_version() -> str:
    """The Go that would build, as it tells itself; ends with a sentence where there is none."""
    if shutil.which("go") is None:
        fail(
            "Kubernetes is built from source here, which needs Go 1.24 or later, and there is no `go` on the PATH:"
            " install it and run the same command again"
        )
    told = subprocess.run(["go", "version"], capture_output=True, text=True, check=True, cwd=SOURCES / "etcd").stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < (1, 24):
        fail(f"Kubernetes is built from source here, which needs Go 1.24 or later; this is {told.strip()}")
    return told.strip()


def key(source: Source, go: str) -> str:
    """What decides the build, as a short hash."""
    digest = hashlib.sha256(f"{go} {platform.machine()} {source.packages} {source.flags}".encode())
    for path in sorted((SOURCES / source.name).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def alone_on_machine(lock: Path) -> Iterator[None]:
    """One build at a time on this machine: the second one finds what the first one built."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with Step("waiting for another clone's build of the same"):
                fcntl.flock(held, fcntl.LOCK_EX)
        yield


def built(source: Source) -> Path:
    """The folder that holds the source's programs; builds them where the cache has none."""
    folder = cache() / "binaries" / f"{source.name}-{key(source, go_version())}"
    if not folder.is_dir():
        with alone_on_machine(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _build(source, folder)
    return folder


def _build(source: Source, folder: Path) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < 8 << 30:
        fail(f"building {source.name} needs 8 GB of free disk at {folder.parent}; {free >> 20} MB are free")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{source.name}-") as scratch:
        into = Path(scratch) / "programs"
        into.mkdir()
        with Step(f"building {', '.join(source.programs)} (once; {source.about} cold)") as step:
            tail = _run_build(source, into, step)
        missing = [program for program in source.programs if not (into / program).is_file()]
        if missing:
            fail(
                f"building {source.name} failed; Go's last words:\n  " + "\n  ".join(tail)
                + "\nThe modules come from the Go module proxy as `go env GOPROXY` names it. What is built so far is"
                " kept: the same command goes on from here"
            )  # fmt: skip
        into.rename(folder)


def _run_build(source: Source, into: Path, step: Step) -> list[str]:
    command = ["nice", "go", "build", "-v", *source.flags, "-o", f"{into}/", *source.packages]
    process = subprocess.Popen(
        command, cwd=SOURCES / source.name, env=_environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stderr or ():
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    compiled = 0
    tail: list[str] = []
    try:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                step.goes_on(f"({compiled} packages compiled)")
                continue
            if line is None:
                break
            compiled += not line.startswith(("go: ", "#"))
            tail = [*tail[-14:], line]
            step.goes_on(f"({compiled} packages compiled)")
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return tail


def program(name: str) -> Path:
    """The path of one program, built if need be."""
    for source in ALL.values():
        if name in source.programs:
            return built(source) / name
    message = f"no module of {SOURCES} builds a program named {name}"
    raise LookupError(message)
