"""The images' Dockerfiles: linted, pinned by hashed locks, and never root."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster.images import IMAGES, Image
from support.cluster.place import ROOT

DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    said = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (said.stdout, said.returncode) == ("", 0)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_is_made_on_any_base_and_runs_as_an_ordinary_user(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    assert "ARG BASE=debian:12-slim" in lines
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} == {"${BASE}"} | (
        {"tools"} if "FROM tools AS ours" in lines else set()
    )
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    # A number, because a kubelet that is told runAsNonRoot cannot look up a name.
    assert users
    assert users[-1].isdigit()
    assert int(users[-1]) > 0


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.short)
def test_what_an_image_installs_is_locked_with_hashes(image: Image) -> None:
    lock = (ROOT / f"requirements/images/{image.packages}.txt").read_text()
    packages = re.findall(r"^[a-z0-9][^ ]*==\S+.*$", lock, re.MULTILINE)
    assert packages
    assert all(line.endswith("\\") for line in packages), "every version is followed by its hashes"


def test_the_spark_images_differ_in_spark_and_in_libraries() -> None:
    def version(image: str, package: str) -> str:
        lock = (ROOT / f"requirements/images/{image}.txt").read_text()
        found = re.search(rf"^{package}==(\d+\.\d+)", lock, re.MULTILINE)
        assert found is not None
        return found[1]

    assert [version(each, "pyspark") for each in ("spark-3.5", "spark-3.5-pandas-2.1", "spark-4")] == [
        "3.5",
        "3.5",
        "4.1",
    ]
    assert [version(each, "pandas") for each in ("spark-3.5", "spark-3.5-pandas-2.1")] == ["2.3", "2.1"]


def test_a_change_of_any_file_that_is_in_an_image_makes_another_image() -> None:
    inputs = {str(path.relative_to(ROOT)) for path in IMAGES["gateway"].inputs()}
    assert {
        "images/gateway/Dockerfile",
        "images/venv.sh",
        "requirements/images/gateway.txt",
        "gateway/src/sparkyard_gateway/app.py",
        "catalog/pyproject.toml",
    } <= inputs
    assert not any(path.startswith("hub/") for path in inputs)
