"""What an image of one's own lacks: looked at in unpacked roots, and by the script inside of one."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparkyard_gateway import image_check, image_command
from sparkyard_gateway.image_check import LACKS, OK, Facts, Root, Wanted, configuration, judge, look

CHECK = Path(image_check.__file__)
ENVIRONMENT = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "SPARK_HOME": "/opt/spark"}
PACKAGES = "opt/venv/lib/python3.11/site-packages"
JARS = ("spark-core_2.12-3.5.9.jar", "spark-kubernetes_2.12-3.5.9.jar", "spark-repl_2.12-3.5.9.jar")


def program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image like ours: a virtual environment whose pyspark is Spark, Debian's Python and Java, a user."""
    made = tmp_path / "root"
    for name in ("usr/bin/python3.11", "usr/bin/sh", "usr/bin/bash", "usr/lib/jvm/java-17/bin/java"):
        program(made / name)
    (made / "usr/lib/jvm/java-17/release").write_text('IMPLEMENTOR="Debian"\nJAVA_VERSION="17.0.15"\n')
    (made / "etc/alternatives").mkdir(parents=True)
    (made / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nspark:x:185:0::/home/spark:/bin/sh\n")
    (made / "etc/alternatives/java").symlink_to("/usr/lib/jvm/java-17/bin/java")
    (made / "usr/bin/java").symlink_to("/etc/alternatives/java")
    (made / "usr/bin/python3").symlink_to("python3.11")
    (made / "bin").symlink_to("usr/bin")
    (made / "opt/venv/bin").mkdir(parents=True)
    (made / "opt/venv/bin/python3").symlink_to("/usr/bin/python3")
    (made / "opt/venv/pyvenv.cfg").write_text("include-system-site-packages = false\nversion = 3.11.2\n")
    for name in ("pyspark/jars", "py4j", "pandas", "pyarrow"):
        (made / PACKAGES / name).mkdir(parents=True)
    for jar in JARS:
        (made / PACKAGES / "pyspark/jars" / jar).touch()
    program(made / PACKAGES / "pyspark/bin/spark-submit")
    (made / "opt/spark").symlink_to(f"/{PACKAGES}/pyspark")
    for folder in (made, *(path for path in made.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)
    return made


def lacking(root: Path, wanted: Wanted, environment: dict[str, str] = ENVIRONMENT, user: int = 185) -> dict[str, str]:
    verdicts = judge(look(Root(str(root)), environment, user), wanted)
    return {each.about: each.text for each in verdicts if each.kind == LACKS}


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_an_image_like_ours_has_all(root: Path, role: str) -> None:
    assert lacking(root, Wanted(role, "3.5", "3.11")) == {}
    facts = look(Root(str(root)), ENVIRONMENT, 185)
    assert (facts.spark_version, facts.java_version, facts.python_version) == ("3.5.9", 17, "3.11")
    assert facts.pyspark == f"/{PACKAGES}/pyspark"


def test_without_spark_home_that_of_pyspark_is_spark(root: Path) -> None:
    assert lacking(root, Wanted("driver", "3.5"), {"PATH": ENVIRONMENT["PATH"]}) == {}


def gone(*names: str) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        for name in names:
            (root / name).rename(root.parent / name.replace("/", "-"))

    return remove


def shut(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).chmod(0o700)


@pytest.mark.parametrize(
    ("change", "wanted", "about", "says"),
    [
        (gone("opt/spark"), Wanted(), "Spark", "/opt/spark/jars has no spark-core_*.jar"),
        (gone(f"{PACKAGES}/pyspark/jars/{JARS[1]}"), Wanted(), "Spark on Kubernetes", "no spark-kubernetes_*.jar"),
        (lambda _: None, Wanted(spark="4.1"), "Spark", "has Spark 3.5.9, and 4.1 is wanted"),
        (lambda _: None, Wanted(spark="3"), "", ""),
        (lambda _: None, Wanted(python="3.12"), "Python", "is Python 3.11, and 3.12 is wanted"),
        (lambda _: None, Wanted(python="3.1"), "Python", "is Python 3.11, and 3.1 is wanted"),
        (gone("usr/bin/java"), Wanted("executor"), "Java", "no java on the PATH"),
        (gone("opt/venv/bin/python3", "usr/bin/python3"), Wanted("executor"), "Python", "no python3 on the PATH"),
        (gone(f"{PACKAGES}/py4j"), Wanted(), "pyspark", "can't import py4j"),
        (gone(f"{PACKAGES}/py4j"), Wanted("executor"), "", ""),
        (gone("usr/bin/bash"), Wanted(), "bash", "Spark's own scripts are written in it"),
        (gone("usr/bin/bash"), Wanted("executor"), "", ""),
        (gone("usr/bin/sh"), Wanted("executor"), "shell", "no sh on the PATH"),
        (gone(f"{PACKAGES}/pyspark/bin/spark-submit"), Wanted(), "spark-submit", "no /opt/spark/bin/spark-submit"),
        (shut("opt/venv"), Wanted(), "Spark's files", "/opt/venv can't be read by others"),
        (shut("usr/lib/jvm/java-17/bin"), Wanted("executor"), "Java's files", "/usr/lib/jvm/java-17/bin can't be read"),
    ],
)
def test_what_is_missing_is_named(
    root: Path, change: Callable[[Path], None], wanted: Wanted, about: str, says: str
) -> None:
    change(root)
    found = lacking(root, wanted)
    assert says in found.get(about, "")
    assert bool(found) is bool(about)


@pytest.mark.parametrize(
    ("change", "about", "says"),
    [
        ({"java_version": 8}, "Java", "Spark 4.1.0 is made for 17, 21"),
        ({"java_version": 0}, "", ""),
        ({"java_version": 25}, "", ""),  # a later Java may do
        ({"python_version": "3.7"}, "Python", "needs 3.8 or later"),
        ({"python_version": ""}, "", ""),
        ({"user": 0}, "user", "the image runs as root"),
        ({"user": None}, "", ""),
        ({"spark_home": "", "spark_version": ""}, "Spark", "SPARK_HOME is not set"),
        ({"ours": ["sparkyard_gateway"]}, "", ""),
        ({"spark_version": "4.1.0-SNAPSHOT"}, "", ""),
    ],
)
def test_facts_are_judged(change: dict[str, Any], about: str, says: str) -> None:
    facts = Facts(
        python="/usr/bin/python3", python_version="3.11", spark_home="/opt/spark", spark_version="4.1.0",
        jars=["spark-kubernetes_2.13-4.1.0.jar"], java="/usr/bin/java", java_version=17, pyspark="/p", py4j="/q",
        shell=True, bash=True, submit=True, user=185,
    )  # fmt: skip
    found = {
        each.about: each.text for each in judge(replace(facts, **change), Wanted(spark="4.1")) if each.kind == LACKS
    }
    assert says in found.get(about, "")
    assert bool(found) is bool(about)


def test_a_link_never_leads_out_of_the_root(root: Path) -> None:
    (root.parent / "secret").write_text("of this machine")
    (root / "etc/escape").symlink_to("../../../../../../secret")
    (root / "etc/absolute").symlink_to(str(root.parent / "secret"))
    (root / "etc/circle").symlink_to("circle")
    seen = Root(str(root))
    assert seen.real("/etc/escape") == "/secret"
    assert [seen.text(path) for path in ("/etc/escape", "/etc/absolute", "/etc/circle")] == ["", "", ""]


@pytest.mark.parametrize(
    ("user", "uid"), [("185", 185), ("185:0", 185), ("spark", 185), ("", 0), ("root", 0), ("nobody-here", None)]
)
def test_what_docker_says_of_an_image_is_read(root: Path, user: str, uid: int | None) -> None:
    told = json.dumps([{"Config": {"Env": ["PATH=/opt/venv/bin:/bin", "A=b=c"], "User": user}}])
    assert configuration(told, Root(str(root))) == ({"PATH": "/opt/venv/bin:/bin", "A": "b=c"}, uid)
    assert configuration(json.dumps({"config": {"User": user}}), Root(str(root))) == ({}, uid)
    assert configuration(json.dumps({"OCIv1": {"config": {"User": user}}}), Root(str(root))) == ({}, uid)
    for nothing in ("[]", "7", '{"Config": 7}', "no JSON"):
        with pytest.raises(ValueError, match=r"."):
            configuration(nothing, Root(str(root)))


def test_the_command_looks_at_an_unpacked_image(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = root.parent / "inspected.json"
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    told.write_text(json.dumps([{"Config": {"Env": environment, "User": "185"}}]))
    given = ["check", "--root", str(root), "--config", str(told), "--spark", "3.5", "--python", "3.11"]
    assert image_command.main(given) == 0
    assert capsys.readouterr().out.endswith("This image has what a driver of Sparkyard's needs.\n")
    assert image_command.main([*given, "--spark", "4.1", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["facts"]["spark_version"] == "3.5.9"
    assert [each["about"] for each in answer["verdicts"] if each["kind"] == LACKS] == ["Spark"]


@pytest.mark.parametrize(
    "given", [[], ["chekc"], ["script", "more"], ["check", "--root", "/nosuch"], ["check", "--config", "/nosuch"]]
)
def test_a_wrong_command_is_told(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = image_command.main(given)
    except SystemExit as ended:  # argparse's way
        code = int(str(ended.code))
    assert code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_script_runs_inside_by_standard_input(capsys: pytest.CaptureFixture[str]) -> None:
    """Here the image is this machine, whose Python, Spark and Java are the ones of the tests."""
    assert image_command.main(["script"]) == 0
    script = capsys.readouterr().out
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    ran = subprocess.run(
        ["python3", "-", "--spark", "3.5", "--json"],
        input=script, env={"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    answer = json.loads(ran.stdout)
    assert {"Spark", "Python", "pyspark"} <= {each["about"] for each in answer["verdicts"] if each["kind"] == OK}
    root_alone = {"user"} if os.getuid() == 0 else set()
    # The tests' environment may lie in a folder that is closed to others.
    elsewhere = {"Spark's files", "Python's files", "pyspark's files"}
    assert {each["about"] for each in answer["verdicts"] if each["kind"] == LACKS} - elsewhere == root_alone


def test_it_needs_nothing_but_a_python_of_3_8() -> None:
    tree = ast.parse(CHECK.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        for name in [each.name for each in node.names] if isinstance(node, ast.Import) else []:
            assert name in sys.stdlib_module_names
        if isinstance(node, ast.ImportFrom):
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names
