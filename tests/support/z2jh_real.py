"""zero-to-jupyterhub's own chart in place of the stand-in, for whoever has it.

SPARKYARD_Z2JH names it: a chart's folder, as its repository has it or unpacked, or a package (.tgz). What the
repository leaves to a release is done here to a copy: a version, and the schema of values as JSON, so that `helm`
judges our values by it. docs/cluster.md says more.

Its images are not fetched: hub and proxy are those of the stand-in, its scheduler is the cluster's own program in an
image, and what only sleeps is busybox.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.cluster import archives, binaries, proxy
from support.cluster.place import Place
from support.cluster.settings import PAUSE_IMAGE
from support.cluster.telling import Step, fail

VARIABLE = "SPARKYARD_Z2JH"
VERSION = "4.4.0"
"""What a chart without a version of its own is taken for: what ours depends on."""
SCHEDULER_IMAGE = f"localhost/kube-scheduler:{binaries.KUBERNETES}"
_UNSET = "set-by-chartpress"


def chart(folder: Path) -> Path | None:
    """A copy of it that `helm` can work with, in a new folder below; None where none is named."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    source, copy = Path(named), folder / "zero-to-jupyterhub"
    if source.is_file():
        with tarfile.open(source) as package:
            package.extractall(copy, filter="data")
        copy = copy / "jupyterhub"
    elif source.is_dir():
        shutil.copytree(source, copy)
    if not (copy / "templates").is_dir():
        fail(
            f"{VARIABLE} is {named}, which is no chart of zero-to-jupyterhub: name its folder `jupyterhub` or its .tgz"
        )
    _as_released(copy)
    return copy


def _as_released(folder: Path) -> None:
    yaml = YAML(typ="safe", pure=True)
    about = yaml.load((folder / "Chart.yaml").read_text())
    if str(about["version"]).endswith(_UNSET):
        (folder / "Chart.yaml").write_text(json.dumps(about | {"version": VERSION}))
    schema = folder / "values.schema.json"
    if not schema.exists():
        schema.write_text(json.dumps(yaml.load((folder / "values.schema.yaml").read_text())))


def values() -> dict[str, Any]:
    """What of its values is not as in production here: images that can be made, and small sizes."""
    little = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
    scheduler, pause = _named(SCHEDULER_IMAGE), _named(PAUSE_IMAGE)
    return {
        "proxy": {"chp": {"image": _named(proxy.IMAGE)}},
        "scheduling": {
            "userScheduler": {"image": scheduler, "replicas": 1, "resources": little},
            "userPlaceholder": {"image": pause},
        },
    }


def _named(image: str) -> dict[str, str]:
    name, _, tag = image.rpartition(":")
    return {"name": name, "tag": tag}


def rights(namespace: str) -> dict[str, Any]:
    """What its scheduler may beside: it gives what its own, older image asks for, and this one watches more."""
    rbac = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}.user-scheduler"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "system:kube-scheduler"},
        "subjects": [{"kind": "ServiceAccount", "name": "user-scheduler", "namespace": namespace}],
    }


def load(place: Place) -> None:
    """Have the images in the cluster that its values name beside ours."""
    proxy.load(place)
    load_scheduler(place)


def load_scheduler(place: Place) -> None:
    """Have Kubernetes' scheduler in the cluster as an image, where zero-to-jupyterhub looks for it."""
    program = binaries.program("kube-scheduler")
    mark = place.folder / "containerd" / "loaded-kube-scheduler"
    made = hashlib.sha256(str(program).encode()).hexdigest()
    if mark.exists() and mark.read_text() == made:
        return
    with Step(f"loading {SCHEDULER_IMAGE} into the cluster {place.name}"):
        archive = place.folder / "kube-scheduler.tar"
        content = archives.layer({"usr/local/bin/kube-scheduler": (program.read_bytes(), 0o755)}, {}, {"tmp": 0o1777})
        archives.write(archive, SCHEDULER_IMAGE, content, {"Entrypoint": ["/usr/local/bin/kube-scheduler"]})
        archives.load(place, archive)
        archive.unlink()
    mark.write_text(made)
