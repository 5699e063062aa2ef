"""A running cluster as tests use it: this machine's own, or the user's with SPARKYARD_CLUSTER=existing."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.cluster import binaries, images, lifecycle
from support.cluster.place import Place, name_of
from support.cluster.telling import fail

PATIENCE_SECONDS = 180.0
TOOLS = "localhost/busybox:1"
# What the level `restricted` of Pod Security asks of a container.
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class RefusedError(Exception):
    """The API server's refusal, in its words."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster and the address of this machine to its pods; `place` where it is one of ours."""

    kubeconfig: Path
    host: str
    place: Place | None = None

    def kubectl(self, *arguments: str, standard_input: str | None = None) -> str:
        """What kubectl prints; what it complains of is raised."""
        done = subprocess.run(
            [str(binaries.program("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=standard_input, stdin=None if standard_input is not None else subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RefusedError(f"{done.stderr.strip()}\n{done.stdout.strip()}".strip())
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make or change objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", standard_input=json.dumps(listed))

    def get(self, kind: str, name: str = "", namespace: str = "default", **labels: str) -> dict[str, Any]:
        """An object, or the list of those with the labels."""
        selector = ["-l", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
        named = [name] if name else []
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, *named, "-n", namespace, *selector, "-o", "json"))
        return found

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object and wait until it is gone."""
        self.kubectl("delete", kind, name, "-n", namespace, "--ignore-not-found", "--wait", "--timeout=120s")

    @contextlib.contextmanager
    def namespace(self, **labels: str) -> Iterator[str]:
        """A namespace of the test's own."""
        name = f"test-{secrets.token_hex(4)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def run_pod(self, namespace: str, name: str, *command: str, ready: bool = True, **spec: Any) -> dict[str, Any]:
        """A pod of busybox's tools, running when it is given back; `labels` are the pod's, the rest is its spec's."""
        labels = spec.pop("labels", {"app": name})
        container = {"name": "main", "image": TOOLS, "command": list(command) or ["sleep", "infinity"]}
        container |= {"securityContext": RESTRICTED} | spec.pop("container", {})
        described = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
                "automountServiceAccountToken": False,
            }
            | spec,
        }
        self.apply(described)
        if not ready:
            return described
        return self.until(lambda: self.get("pod", name, namespace), lambda pod: pod["status"].get("phase") == "Running")

    def inside(self, namespace: str, pod: str, *command: str) -> str:
        """What a command in a pod prints; its failure is raised."""
        return self.kubectl("exec", "-n", namespace, pod, "--", *command)

    def until(
        self,
        look: Callable[[], dict[str, Any]],
        condition: Callable[[dict[str, Any]], object],
        seconds: float = PATIENCE_SECONDS,
    ) -> dict[str, Any]:
        """What is seen, as soon as the condition holds for it; a missing object is looked for again."""
        end = time.monotonic() + seconds
        seen: object = None
        while True:
            with contextlib.suppress(RefusedError):
                seen = found = look()
                if condition(found):
                    return found
            assert time.monotonic() < end, f"within {seconds:.0f} s it did not become true; last seen: {seen}"
            time.sleep(0.2)

    def load(self, image: str) -> str:
        """Have one of the project's images (`images.IMAGES`) in the cluster; its name for pods."""
        return self.load_image(images.IMAGES[image])

    def load_image(self, image: images.Image) -> str:
        """The same for any image that is built here."""
        if self.place is not None:
            images.load(self.place, image)
        return image.name


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """The cluster to test on: found up and left up, or started and stopped."""
    if os.environ.get("SPARKYARD_CLUSTER") == "existing":
        if not os.environ.get("KUBECONFIG"):
            fail("SPARKYARD_CLUSTER=existing needs KUBECONFIG, the file that says which cluster")
        yield Cluster(Path(os.environ["KUBECONFIG"]), os.environ.get("SPARKYARD_CLUSTER_HOST", ""))
        return
    place = Place(name_of())
    with shared(place):
        yield Cluster(place.kubeconfig, lifecycle.addresses_of(place).host, place)


@contextlib.contextmanager
def shared(place: Place) -> Iterator[None]:
    """A cluster that is up for all who use it at once; if it was up before the first of them, it is after the last."""
    place.folder.parent.mkdir(parents=True, exist_ok=True)
    ours = place.folder.parent / f"{place.name}.ours"
    with (place.folder.parent / f"{place.name}.users").open("w") as users:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The first of them: what a killed run has left is the same as what was up.
            ours.unlink(missing_ok=True)
            if not lifecycle.is_ready(place):
                ours.touch()
        fcntl.flock(users, fcntl.LOCK_SH)
        lifecycle.up(place)
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                # Whoever comes after this waits above until it is down, and starts it anew.
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if ours.exists():
                    lifecycle.down(place)
                    ours.unlink()


@contextlib.contextmanager
def turn(place: Place, *, alone: bool) -> Iterator[None]:
    """A test's turn on a cluster that others use too, or its turn alone: for one that takes the cluster's node away."""
    folder = place.folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{place.name}.turn").open("w") as turn, (folder / f"{place.name}.next").open("w") as next_:
        fcntl.flock(next_, fcntl.LOCK_EX)  # who waits to be alone is not passed by
        fcntl.flock(turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(next_, fcntl.LOCK_UN)
        yield
