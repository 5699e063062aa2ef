"""The driver runs in users' images: what its files may use."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.driver_peer import DRIVER

MODULES = sorted(DRIVER.glob("*.py"))
OURS = {path.stem for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_is_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_pyspark_and_its_own_folder(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"pyspark", "py4j"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name.partition(".")[0] in allowed for alias in node.names), ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.module is None or node.module in OURS, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            assert str(node.module).partition(".")[0] in allowed, ast.unparse(node)


def test_what_is_no_python_is_found_in_a_zip_file_too(tmp_path: Path) -> None:
    archive = tmp_path / "driver.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in DRIVER.glob("*.*"):
            zipped.write(path, path.name)
    code = (
        "import sys, types; package = types.ModuleType('driver'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['driver'] = package; from driver.scala_repl import shell_source; "
        "from driver.resources import read; print(shell_source() + read('r_shell.R').decode(), end='')"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(archive)], capture_output=True, text=True, check=True)
    assert ran.stdout == (DRIVER / "scala_shell.scala").read_text() + (DRIVER / "r_shell.R").read_text()


def test_pyspark_is_imported_only_while_the_jvm_starts() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert "pyspark" not in ast.unparse(node), path
