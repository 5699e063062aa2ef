"""The project's images, built for a test cluster from their own Dockerfiles, on a base of Debian's packages.

`make images` builds those that are named, or all, and loads them where the cluster is up. An image's name in the
builder's store is made of everything that decides its content, so an image that has not changed costs nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.cluster import archives, machine
from support.cluster.binaries import alone_on_machine, cache
from support.cluster.place import ROOT, Place
from support.cluster.telling import Step, fail, say

SUITE = "bookworm"
BASE = "localhost/sparkyard-base:12.2"  # the last number counts what is done to it here
# How this machine's clients find the registries: mounted while an image is built, and never part of it.
CLIENTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pip.conf",
    "/etc/uv",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
)


NOTEBOOK = ("sparkmagic_config", "spawner/src/sparkyard_spawner/jupyter")
STORE = "localhost/sparkyard-built/"  # how names in the builder's store begin
ENOUGH = 5 << 30  # bytes of free disk that the largest image is built in


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: its name in the cluster, its Dockerfile's folder, its lock and the folders of ours in it."""

    name: str
    folder: str
    packages: str
    ours: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        return self.packages

    def inputs(self) -> list[Path]:
        """Every file that decides what is in it."""
        files = [ROOT / "images" / "venv.sh", ROOT / "requirements/bootstrap.txt"]
        files.append(ROOT / f"requirements/images/{self.packages}.txt")
        for folder in (self.folder, *self.ours):
            files += (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return sorted(files)


IMAGES = {
    image.short: image
    for image in (
        Image("sparkyard/spark:3.5", "images/spark", "spark-3.5"),
        Image("sparkyard/spark:3.5-pandas-2.1", "images/spark", "spark-3.5-pandas-2.1"),
        Image("sparkyard/spark:4.1", "images/spark", "spark-4"),
        Image("sparkyard/notebook:0.1", "images/notebook", "notebook", NOTEBOOK),
        Image("sparkyard/notebook-science:0.1", "images/notebook", "notebook-science", NOTEBOOK),
        Image("sparkyard/hub:0.1", "images/hub", "hub", ("catalog", "spawner", "hub")),
        Image("sparkyard/gateway:0.1", "images/gateway", "gateway", ("catalog", "gateway")),
    )
}

# For the tests alone: what the chart takes from elsewhere, of this machine's package sources.
TRAEFIK = Image("localhost/sparkyard-traefik:1", "tests/cluster/traefik", "traefik")


def _buildah(*arguments: str) -> list[str]:
    # A store of its own: a cache like the others, which can be removed without harm to anybody's images.
    places = ["--root", str(cache() / "containers"), "--runroot", "/run/sparkyard-containers"]
    return ["nice", "buildah", *places, "--storage-driver", "overlay", *arguments]


def _run(command: Iterable[str], step: Step, what: str, log: Path, environment: dict[str, str] | None = None) -> None:
    """Run one long command; its output goes to the log, its last words to whoever waits where it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            while True:
                try:
                    code = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    words = log.read_text(errors="replace").splitlines()
                    step.goes_on(words[-1][:80] if words else "")
        except BaseException:
            os.killpg(process.pid, 15)
            process.wait()
            raise
    if code != 0:
        tail = "\n".join(f"  {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-12:])
        fail(f"{what} failed; its last words (all of them in {log}):\n{tail}")


def base() -> str:
    """A Debian from this machine's own package sources: the base of every image here. Gives its id."""
    present = subprocess.run(
        _buildah("images", "--quiet", "--no-trunc", BASE), capture_output=True, text=True, check=False
    ).stdout.split()
    if present:
        return present[0]
    with alone_on_machine(cache() / "images" / "base.lock"), Step("making a Debian to build images on (once)") as step:
        tree = cache() / "images" / "debian"
        shutil.rmtree(tree, ignore_errors=True)
        command = ["nice", "debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(tree), _mirror()]
        _run(command, step, "debootstrap", cache() / "images" / "debootstrap.log")
        for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / left, ignore_errors=True)
            (tree / left / "partial").mkdir(parents=True)
        # As the slim images of Debian have it: no archives of packages, no documentation.
        (tree / "etc/apt/apt.conf.d/clean").write_text(
            'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
        )
        excluded = [f"path-exclude=/usr/share/{each}/*\n" for each in ("doc", "info", "locale", "man")]
        (tree / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(excluded))
        for each in ("doc", "info", "locale", "man"):
            shutil.rmtree(tree / "usr/share" / each, ignore_errors=True)
        for section in range(1, 10):  # alternatives, Java's among them, insist on the folders
            (tree / f"usr/share/man/man{section}").mkdir(parents=True)
        subprocess.run(_buildah("rm", "sparkyard-base"), capture_output=True, check=False)
        for arguments in (
            ["from", "--name", "sparkyard-base", "scratch"],
            ["copy", "--quiet", "sparkyard-base", str(tree), "/"],
            ["config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sparkyard-base"],
            ["commit", "--quiet", "--rm", "sparkyard-base", BASE],
        ):
            _run(_buildah(*arguments), step, f"buildah {arguments[0]}", cache() / "images" / "base.log")
        shutil.rmtree(tree)
    return base()


def _mirror() -> str:
    """Where this machine gets its Debian packages from, by its own settings."""
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)"], capture_output=True, text=True, check=True
    )
    sites = [
        site for site, _, codename in (line.partition(" ") for line in shown.stdout.splitlines()) if codename == SUITE
    ]
    if not sites:
        fail(
            f"images are built on Debian {SUITE} here, and apt has no source for it: add one to /etc/apt/sources.list.d"
        )
    return sites[0]


def built(image: Image) -> str:
    """The image's name in the builder's store, built where the store has none of this content."""
    machine.install(machine.IMAGE_PACKAGES)
    digest = hashlib.sha256(f"{base()} {image} {platform.machine()}".encode())
    for path in image.inputs():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    name = f"{STORE}{image.short}:{digest.hexdigest()[:16]}"
    if not _has(name):
        with alone_on_machine(cache() / "images" / f"{image.short}.lock"):
            if not _has(name):
                _build(image, name)
    return name


def _has(name: str) -> bool:
    return (
        subprocess.run(_buildah("inspect", "--type", "image", name), capture_output=True, check=False).returncode == 0
    )


def _build(image: Image, name: str) -> None:
    if shutil.disk_usage(cache()).free < ENOUGH:
        # What no image of now is made of: the steps of earlier contents.
        subprocess.run(_buildah("rmi", "--prune"), capture_output=True, check=False)
    if (free := shutil.disk_usage(cache()).free) < ENOUGH:
        fail(f"building images needs {ENOUGH >> 30} GB of free disk at {cache()}, and {free >> 30} GB are free")
    with Step(f"building the image {image.name}") as step:
        mounts = [argument for path in CLIENTS if Path(path).exists() for argument in ("--volume", f"{path}:{path}:ro")]
        _run(
            _buildah(
                "build", "--layers", "--force-rm", "--isolation", "chroot", "--network", "host", *mounts,
                "--build-arg", f"BASE={BASE}", "--build-arg", f"PACKAGES={image.packages}",
                "--file", f"{image.folder}/Dockerfile", "--tag", name, ".",
            ),
            step, f"building {image.name}", cache() / "images" / f"{image.short}.log",
        )  # fmt: skip


def load(place: Place, image: Image) -> None:
    """Have the image in the cluster, as its files are now."""
    name = built(image)
    mark = place.folder / "containerd" / f"loaded-{image.short}"
    with alone_on_machine(mark.with_suffix(".lock")):
        if not mark.exists() or mark.read_text() != name:
            _load(place, image, name)
            mark.write_text(name)


def _load(place: Place, image: Image, name: str) -> None:
    with Step(f"loading {image.name} into the cluster {place.name}") as step:
        archive = place.folder / f"{image.short}.tar"
        archive.unlink(missing_ok=True)
        log = cache() / "images" / f"{image.short}.push.log"
        _run(
            _buildah("push", "--quiet", name, f"docker-archive:{archive}:{image.name}"), step, f"writing {archive}", log
        )
        archives.load(place, archive)
        archive.unlink()
        archives.remove_replaced(place, STORE)


def build_and_load(place: Place, names: Iterable[str], *, is_up: bool) -> None:
    """What `make images` does."""
    for name in names:
        if name not in IMAGES:
            fail(f"there is no image {name}; there are {', '.join(IMAGES)}")
        if is_up:
            load(place, IMAGES[name])
        else:
            say(f"{IMAGES[name].name} is built as {built(IMAGES[name])}")
