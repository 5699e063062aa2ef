"""The Helm chart's files as data, and what `helm` renders of them, with a stand-in for zero-to-jupyterhub's chart.

That chart is a dependency which can't be fetched everywhere, and `helm` renders nothing while it is missing. The
stand-in has its name and version and no templates, so what is rendered is ours; where hub and proxy are to run,
the folder `z2jh` is another one, which has them.
"""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sparkyard"
Z2JH = Path(__file__).parent / "z2jh"
FIRST_INSTALL = ROOT / "examples" / "helm" / "first-install.yaml"
_STAND_IN = {"apiVersion": "v2", "name": "jupyterhub", "version": "4.4.0", "description": "Nothing"}


def read(path: Path) -> Any:
    """What a YAML file says."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def values() -> Any:
    """The chart's default values."""
    return read(CHART / "values.yaml")


def merged(base: Any, over: Any) -> Any:
    """Values over values, as Helm puts them together: mappings key by key, anything else as a whole."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    result = copy.deepcopy(base)
    for key, value in over.items():
        result[key] = merged(result.get(key), value)
        if value is None:
            result.pop(key)
    return result


def first_install() -> Any:
    """What a first install comes to."""
    return merged(values(), read(FIRST_INSTALL) | {"catalog": (ROOT / "catalog.yaml").read_text(encoding="utf-8")})


class Chart:
    """A copy of the chart that `helm` can work with."""

    def __init__(self, folder: Path, helm: Path, dependency: Path | None = None) -> None:
        self.folder = folder / "sparkyard"
        self.helm = helm
        shutil.copytree(CHART, self.folder)
        stand_in = self.folder / "charts" / "jupyterhub"
        if dependency is not None:
            shutil.copytree(dependency, stand_in)
            return
        stand_in.mkdir(parents=True)
        (stand_in / "Chart.yaml").write_text(json.dumps(_STAND_IN))

    def run(self, *arguments: str | Path, kubeconfig: Path | None = None, check: bool = True) -> str:
        """What `helm` writes; with `check=False` its complaints too."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder.parent)}
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(
            [str(self.helm), *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
        )
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout
        return done.stdout + done.stderr

    def values_file(self, changed: Any, *, base: Any = None) -> Path:
        """A file with a first install's values, and a test's changes to them."""
        path = self.folder.parent / "values.json"
        path.write_text(json.dumps(merged(first_install() if base is None else base, changed)))
        return path

    def render(self, namespace: str = "hub", **changed: Any) -> list[dict[str, Any]]:
        """The objects that the chart makes."""
        text = self.run(
            "template", "sparkyard", self.folder, "--namespace", namespace, "--kube-version", "1.34.4",
            "--values", self.values_file(changed),
        )  # fmt: skip
        return [found for found in YAML(typ="safe", pure=True).load_all(text) if found]

    def refusal(self, **changed: Any) -> str:
        """Why the chart does not render."""
        file = self.values_file(changed)
        return self.run("template", "sparkyard", self.folder, "--kube-version", "1.34.4", "--values", file, check=False)
