"""The command, run as an admin runs it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[Any], Path]
COMMAND = Path(sys.executable).with_name("sparkyard-catalog")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_check_says_that_a_file_is_fine(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    done = run("check", path)
    assert done.returncode == 0
    assert done.stdout == f"{path} is fine: 2 profiles, 3 images, 2 teams, 2 service accounts\n"
    assert done.stderr == ""


def test_check_names_every_problem_with_its_line(write: Write, example: dict[str, Any]) -> None:
    example["profiles"]["small"]["grups"] = example["profiles"]["small"].pop("groups")
    example["default_profile"] = "smal"
    path = write(example)
    done = run("check", path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{path}:8:2: default_profile: there is no profile 'smal'; did you mean 'small'?"
    assert any("profiles.small.grups: there is no such key here; did you mean 'groups'?" in line for line in lines)
    assert "2 problems; where it is in use, the last good one stays in force" in done.stderr


def test_check_for_programs(write: Write, example: dict[str, Any]) -> None:
    example["default_profile"] = "smal"
    path = write(example)
    done = run("check", path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "ok": False,
        "problems": [
            {
                "file": str(path),
                "line": 8,
                "column": 2,
                "key": "default_profile",
                "message": "there is no profile 'smal'; did you mean 'small'?",
            }
        ],
    }
    example["default_profile"] = "small"
    answer = json.loads(run("check", write(example), "--json").stdout)
    assert (answer["ok"], answer["profiles"]) == (True, 2)


def test_check_gives_advice_and_accepts(write: Write, example: dict[str, Any]) -> None:
    example["images"]["spare"] = {"kind": "notebook", "ref": "registry.example.com/notebook"}
    example["groups"]["kitchen"] = "Cooks"
    del example["default_profile"]
    done = run("check", write(example))
    assert done.returncode == 0
    assert "images.spare: no profile uses it (advice)" in done.stdout
    assert "may be another image tomorrow" in done.stdout
    assert "groups.kitchen: nothing below names it (advice)" in done.stdout
    assert "default_profile: there is none" in done.stdout


def test_check_local_looks_for_the_interpreters(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    done = run("check", "--local", path)
    assert done.returncode == 1
    assert f"images.old.local.python: there is no {path.parent}/environments/old/bin/python" in done.stdout
    assert "images.notebook: nothing stands for it on one machine" in done.stdout
    assert "images.spark" not in done.stdout


def test_check_of_no_file(tmp_path: Path) -> None:
    done = run("check", tmp_path / "nowhere.yaml")
    assert done.returncode == 1
    assert "there is no such file" in done.stdout
    assert "Traceback" not in done.stderr


def test_show_says_what_a_person_gets(write: Write, example: dict[str, Any]) -> None:
    done = run("show", write(example), "--user", "ada", "--groups", "data, leads")
    assert done.returncode == 0
    for words in (
        "ada in data, leads",
        "team              data; leads data",
        "profiles          small, large",
        "without a choice  small",
        "large: Large",
        "CPU 0.1 to 2, memory 256Mi to 1.5Gi",
        "driver            image spark, old, or an image of your own under registry.example.com/data/",
        "1 core (up to 4), memory 2g (1g to 8g) each",
        "2 executors (up to 20)",
        "spark.sql.shuffle.partitions  a whole number from 1 to 2000",
        "files from        s3a://bucket/libraries/",
        "sessions end      idle for 1h (up to 4h), or after 24h",
    ):
        assert words in done.stdout


def test_show_one_profile(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    done = run("show", path, "--user", "ada", "--groups", "data", "--profile", "small")
    assert done.returncode == 0
    assert "\nsmall: Small\n" in done.stdout
    assert "\nlarge: Large\n" not in done.stdout
    done = run("show", path, "--user", "ann", "--groups", "analysts", "--profile", "large")
    assert done.returncode == 1
    assert done.stderr == "Profile 'large' is not open to you; yours: small.\n"


def test_show_who_gets_nothing_and_who_gets_all(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    done = run("show", path, "--user", "bob")
    assert done.returncode == 0
    assert "bob in no group" in done.stdout
    assert "nothing can be started" in done.stdout
    assert "profiles          small, large" in run("show", path, "--user", "root", "--admin").stdout


def test_show_for_programs(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    answer = json.loads(run("show", path, "--user", "ada", "--groups", "data", "--json").stdout)
    assert answer["team"] == "data"
    assert answer["default_profile"] == "small"
    assert [profile["name"] for profile in answer["profiles"]] == ["small", "large"]
    assert answer["profiles"][1]["server"]["session_defaults"]["executorMemory"] == "4g"
    assert answer["profiles"][1]["grants"]["spark"]["executor"]["count"] == {"default": 2, "max": 20}


@pytest.mark.parametrize("arguments", [(), ("chek",), ("show", "catalog.yaml")])
def test_a_wrong_command_line_is_explained(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: sparkyard-catalog" in done.stderr
