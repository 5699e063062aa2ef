"""Sparkmagic's own configuration and authenticator, in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from sparkyard_sparkmagic import configuration

CHECK = """
from sparkyard_sparkmagic import configuration
configuration.apply("http://gateway:8711", {"driverMemory": "2g"})
import sparkmagic.utils.configuration as conf
from sparkmagic.utils.sparklogger import SparkLog
from sparkmagic.utils.utils import Namespace, initialize_auth
from sparkmagic.livyclientlib.endpoint import Endpoint
SparkLog("x").error("to nowhere")
credentials = conf.base64_kernel_python_credentials()
auth = initialize_auth(Namespace(**{**credentials, "user": ""}))
import requests
signed = auth(requests.Request("GET", "http://gateway:8711/sessions").prepare())
assert signed.headers["Authorization"] == "token secret-of-the-test"
assert auth == initialize_auth(Namespace(**{**credentials, "user": ""})) and {Endpoint(auth.url, auth)}
assert auth.widgets == [] and "secret" not in repr(vars(auth))
assert conf.get_session_properties("python") == {"driverMemory": "2g", "kind": "pyspark"}
assert not conf.coerce_dataframe() and not conf.use_auto_viz() and conf.all_errors_are_fatal()
assert conf.custom_headers()["X-Requested-By"]
print("fine")
"""


@pytest.fixture
def locked_home() -> Iterator[Path]:
    """A home that nobody but root can write, at a place that everybody can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".sparkmagic").mkdir()
        (folder / ".sparkmagic" / "config.json").write_text("not even JSON")
        (folder / ".sparkmagic").chmod(0o555)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        (folder / ".sparkmagic").chmod(0o755)


def test_it_works_in_a_home_that_cannot_be_written_and_leaves_nothing(locked_home: Path) -> None:
    before = sorted(locked_home.rglob("*"))
    environ = {**os.environ, "HOME": str(locked_home), "JUPYTERHUB_API_TOKEN": "secret-of-the-test"}
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 and reachable_by_all() else {}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=environ, cwd="/", capture_output=True, text=True, check=False, **nobody
    )
    assert done.stdout == "fine\n", done.stderr
    assert "secret" not in done.stderr
    assert sorted(locked_home.rglob("*")) == before


def reachable_by_all() -> bool:
    """Whether others than root may use this interpreter and our code."""
    places = [Path(sys.executable), Path(configuration.__file__)]
    return all(folder.stat().st_mode & 0o001 for place in places for folder in place.resolve().parents)


def test_starting_a_kernel_does_not_import_sparkmagic_before_the_session_is_asked_for() -> None:
    code = "import sys, sparkyard_sparkmagic.kernels.launch; print({'sparkmagic', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("name", "title"), [("pyspark", "PySpark"), ("sql", "SQL")])
def test_the_kernelspecs_are_installed_with_logos(name: str, title: str) -> None:
    spec = KernelSpecManager(kernel_dirs=[str(Path(sys.prefix) / "share/jupyter/kernels")]).get_kernel_spec(name)
    assert spec.display_name == title
    assert spec.argv[1:3] == ["-m", f"sparkyard_sparkmagic.kernels.{name}"]
    assert {path.name for path in Path(spec.resource_dir).iterdir()} >= {"logo-svg.svg", "logo-64x64.png"}
