"""Up and down. Only processes that `up` started are ended, by their ids; what a crash or a reboot left is removed."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from support.cluster import archives, binaries, certificates, machine, manifests, node, settings
from support.cluster.place import ROOT, Addresses, Place, free_block, routes_of_machine
from support.cluster.telling import Step, fail, say

T = TypeVar("T")
PATIENCE_SECONDS = 300.0
# What stays in a cluster's folder when it goes down: images, which take long to load, and logs, which explain.
KEPT = ("containerd", "log")
# A program that ends this often while the cluster starts will not come up.
ENDS_ALLOWED = 4


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """One command at a time for one cluster."""
    place.folder.mkdir(parents=True, exist_ok=True)
    with (place.folder.parent / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def plan_of(place: Place) -> dict[str, Any]:
    """What the last `up` decided; empty where there was none."""
    try:
        found: dict[str, Any] = json.loads((place.folder / "plan.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def addresses_of(place: Place) -> Addresses:
    """The addresses of a cluster that is up."""
    return Addresses(plan_of(place)["block"])


def first_process(place: Place) -> psutil.Process | None:
    """The cluster's first process, if it runs: its id alone proves nothing after a reboot, so its start counts too."""
    try:
        written = json.loads((place.folder / "process.json").read_text())
        process = psutil.Process(written["pid"])
        same = abs(process.create_time() - written["started"]) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, json.JSONDecodeError, psutil.Error):
        return None
    return process if same else None


def process(place: Place, name: str) -> psutil.Process:
    """One of its programs, by the name it has in `settings.commands`; for tests that stop or kill one."""
    first = first_process(place)
    command = plan_of(place)["commands"][name]
    for child in first.children() if first else []:
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[: len(command)] == command:
                return child
    message = f"{name} of the cluster {place.name} does not run"
    raise LookupError(message)


def is_ready(place: Place) -> bool:
    """Whether it is up and answers."""
    plan = plan_of(place)
    return (
        bool(plan)
        and first_process(place) is not None
        and (place.folder / "ready").exists()
        and node.api_is_ready(plan)
    )


def kubectl(place: Place, *arguments: str, standard_input: str | None = None, check: bool = True) -> str:
    """What kubectl prints."""
    done = subprocess.run(
        [str(binaries.program("kubectl")), "--kubeconfig", str(place.kubeconfig), *arguments],
        input=standard_input, stdin=None if standard_input is not None else subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check and done.returncode != 0:
        message = f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        raise RuntimeError(message)
    return done.stdout


def up(place: Place) -> None:
    """Start the cluster, or find it started."""
    machine.require()
    machine.install(machine.PACKAGES)
    folders = {source.name: binaries.built(source) for source in binaries.CLUSTER}
    with alone(place):
        if is_ready(place):
            say(f"{place.name} is up already")
            return
        remove_remains(place)
        with Step(f"starting the cluster {place.name}") as step:
            try:
                _start(place, folders, step)
            except BaseException:
                # Its log stays; half a cluster does not.
                remove_remains(place, keep_logs=True)
                raise


def down(place: Place) -> None:
    """Stop it and remove all that it left but its images and logs."""
    if not place.folder.exists():
        say(f"{place.name} is not up")
        return
    with alone(place):
        was_up = first_process(place) is not None
        remove_remains(place, keep_logs=True)
        say(f"{place.name} is down" if was_up else f"{place.name} was not up; nothing of it is left")


def forget(place: Place) -> None:
    """Down, and its images and logs too."""
    down(place)
    shutil.rmtree(place.folder, ignore_errors=True)
    for what in ("lock", "users", "turn", "next"):
        (place.folder.parent / f"{place.name}.{what}").unlink(missing_ok=True)


# Starting --------------------------------------------------------------------------------------------------------
def _start(place: Place, folders: dict[str, Path], step: Step) -> None:
    addresses = Addresses(free_block(place.name, routes_of_machine()))
    plan = _write_files(place, addresses, folders)
    place.logs.mkdir(exist_ok=True)
    with (place.logs / "node.log").open("wb") as log:
        outer = subprocess.Popen(
            [
                "unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc",
                "--propagation", "private",
                sys.executable, "-m", "support.cluster.node", str(place.folder / "plan.json"),
            ],
            cwd=plan["tests"], env={**os.environ, "PYTHONPATH": plan["tests"]},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    first = _wait(place, step, "its first process", lambda: _child_of(outer.pid), outer)
    written = {"pid": first.pid, "started": first.create_time()}
    (place.folder / "process.json").write_text(json.dumps(written))
    _link(place, addresses, first.pid)
    _wait(place, step, "containerd", lambda: _answers(archives.images, place), outer)
    present = archives.images(place)
    archives.remove_containers(place)
    for image, make in (
        (settings.PAUSE_IMAGE, archives.busybox),
        (settings.COREDNS_IMAGE, lambda path: archives.coredns(path, folders["coredns"] / "coredns")),
    ):
        if image not in present:
            archives.load(place, make(place.folder / "image.tar"))
            (place.folder / "image.tar").unlink()
    _wait(place, step, "the API server", lambda: node.api_is_ready(plan), outer)
    kubectl(place, "apply", "--server-side", "-f", "-", standard_input=json.dumps(manifests.everything(addresses)))
    _wait(place, step, "the node and its DNS", lambda: _dns_is_ready(place), outer)
    (place.folder / "ready").touch()
    outer.returncode = 0  # it outlives this command, and is known by its first process from now on


def _write_files(place: Place, addresses: Addresses, folders: dict[str, Path]) -> dict[str, Any]:
    folder = place.folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    first_service = addresses.services.split("/")[0].removesuffix(".0") + ".1"
    authority = certificates.write(folder, [addresses.node, "127.0.0.1", first_service])
    tokens = {user: secrets.token_urlsafe(24) for user in settings.USERS}
    _private(folder / "tokens.csv", settings.token_file(tokens))
    encoded = base64.b64encode(authority).decode()
    for user, token in tokens.items():
        path = place.kubeconfig if user == "admin" else folder / f"{user}.kubeconfig"
        _private(path, settings.kubeconfig(addresses.node, encoded, token))
    (folder / "kubelet.json").write_text(json.dumps(settings.kubelet(addresses, folder)))
    (folder / "scheduler.json").write_text(json.dumps(settings.scheduler(folder)))
    (folder / "containerd.toml").write_text(settings.containerd(folder))
    (folder / "resolv.conf").write_text("")  # no name outside the cluster resolves: nothing leaves this machine
    (folder / "cni").mkdir()
    (folder / "cni/10-pods.conflist").write_text(json.dumps(settings.pod_network(addresses)))
    programs = settings.Programs(folders["etcd"] / "etcd", folders["kubernetes"], Path(sys.executable))
    plan = {
        "folder": str(folder),
        "tests": str(ROOT / "tests"),
        "block": addresses.block,
        "node": addresses.node,
        "services": addresses.services,
        "authority": str(folder / "certificates/authority.crt"),
        "commands": settings.commands(place, addresses, programs),
    }
    (folder / "plan.json").write_text(json.dumps(plan, indent=1))
    for cgroup in place.cgroups():
        with contextlib.suppress(
            OSError
        ):  # a hierarchy that takes no groups of ours is not one that the kubelet asks for
            cgroup.mkdir(exist_ok=True)
    return plan


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _child_of(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        return children[0] if children else None
    return None


def _link(place: Place, addresses: Addresses, pid: int) -> None:
    """Join the cluster's network namespace to this machine's."""
    for arguments in (
        ["link", "add", place.link, "type", "veth", "peer", "name", "uplink", "netns", str(pid)],
        ["address", "add", f"{addresses.host}/30", "dev", place.link],
        ["link", "set", place.link, "up"],
        ["route", "add", addresses.all, "via", addresses.node],
    ):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(f"the cluster's network could not be joined to this machine: ip {' '.join(arguments)}: {done.stderr}")


def _answers(question: Callable[[Place], object], place: Place) -> bool:
    try:
        question(place)
    except subprocess.CalledProcessError:
        return False
    return True


def _dns_is_ready(place: Place) -> bool:
    asked = ["get", "deployment", "coredns", "-n", "kube-system", "-o", "jsonpath={.status.readyReplicas}"]
    return kubectl(place, *asked, check=False).strip() == "1"


def _wait(place: Place, step: Step, what: str, condition: Callable[[], T], outer: subprocess.Popen[bytes]) -> T:
    """What the condition gives; ends with a sentence where it never comes true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        step.goes_on(f"(waiting for {what})")
        ended = place.folder / "ended"
        names = [line.split()[0] for line in ended.read_text().splitlines()] if ended.exists() else []
        for name in set(names):
            if names.count(name) >= ENDS_ALLOWED:
                fail(f"{name} ends again and again; its last words:\n{_tail(place, name)}")
        if outer.poll() is not None:
            fail(f"the cluster's first process ended; its last words:\n{_tail(place, 'node')}")
        if time.monotonic() > end:
            fail(f"{what} did not come up within {PATIENCE_SECONDS:.0f} s; the logs are in {place.logs}")
        time.sleep(0.1)
    return found


def _tail(place: Place, name: str) -> str:
    lines = (place.logs / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
    return "\n".join(f"  {line[:400]}" for line in lines)


# Removing ----------------------------------------------------------------------------------------------------------
def remove_remains(place: Place, *, keep_logs: bool = False) -> None:
    """End the cluster's processes and remove everything but its images."""
    first = first_process(place)
    if first is not None:
        # The kernel ends everything in its process namespace with it; mounts and links of its namespaces go too.
        with contextlib.suppress(psutil.NoSuchProcess):
            outer = first.parent()
            first.send_signal(signal.SIGKILL)
            psutil.wait_procs(
                [each for each in (first, outer) if each is not None and each.pid != os.getpid()], timeout=60
            )
    _empty_cgroups(place)
    subprocess.run(["ip", "link", "delete", place.link], capture_output=True, check=False)
    for path in place.folder.iterdir() if place.folder.is_dir() else []:
        if path.name in KEPT and (keep_logs or path.name != "log"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _empty_cgroups(place: Place) -> None:
    """Remove its control groups; a process still in one is the cluster's, and is ended."""
    end = time.monotonic() + 60
    while groups := [each for each in place.cgroups() if each.is_dir()]:
        for top in groups:
            for folder in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
                _remove_cgroup(folder)
            _remove_cgroup(top)
        if time.monotonic() > end:
            fail(f"processes that cannot be ended hold control groups of {place.name}: {', '.join(map(str, groups))}")
        time.sleep(0.05)


def _remove_cgroup(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
        folder.rmdir()
