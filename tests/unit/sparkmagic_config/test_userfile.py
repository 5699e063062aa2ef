"""~/sparkyard.toml."""

from pathlib import Path

import pytest

from sparkyard_sparkmagic import userfile
from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.request import DRIVER_IMAGE


def written(folder: Path, text: str) -> Path:
    path = folder / "sparkyard.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_is_no_layer(tmp_path: Path) -> None:
    assert userfile.read(tmp_path / "sparkyard.toml") == {}


def test_keys_images_and_settings(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'executorMemory = "4g"\nnumExecutors = 3\ndriver_image = "reg/mine:1"\n'
        '[conf]\n"spark.sql.shuffle.partitions" = 64\nspark.sql.ansi.enabled = true\n',
    )
    assert userfile.read(path) == {
        "executorMemory": "4g",
        "numExecutors": 3,
        "conf": {"spark.sql.shuffle.partitions": "64", "spark.sql.ansi.enabled": "true", DRIVER_IMAGE: "reg/mine:1"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('\nexecutorMemory = "4g"\nnumExecutor = 3\n', "~/sparkyard.toml, line 3: numExecutor: is not known; did you"),
        ("# mine\ndriverCores = '2'\n", "line 2: driverCores: must be a whole number"),
        ('[conf]\n"spark.x" = [1]\n', "line 2: conf.spark.x: must be a text"),
        ('driverMemory = "2g\n', "is not TOML"),
        ("numExecutors 3\n", "at line 1"),
        ('proxyUser = "root"\n', "takes it from your login"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        userfile.read(written(tmp_path, text))
    assert says in str(error.value)


def test_a_huge_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger than 64 KiB"):
        userfile.read(written(tmp_path, "#" * 70_000))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        userfile.read(tmp_path / "folder")
