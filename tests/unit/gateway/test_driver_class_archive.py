import subprocess
import sys
from pathlib import Path

import pytest

from sparkyard_gateway.driver.class_archive import using
from support.driver_peer import DRIVER, DriverPeer, DriverProcess

OPTIONS = "spark.driver.extraJavaOptions"


def test_an_archive_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    assert using({"spark.master": "local[1]"}, str(tmp_path / "none.jsa")) == {"spark.master": "local[1]"}
    assert using({"spark.master": "local[1]"}, "") == {"spark.master": "local[1]"}


def test_an_archive_joins_the_options_that_are_there(tmp_path: Path) -> None:
    archive = tmp_path / "with space.jsa"
    archive.touch()
    assert using({OPTIONS: "-Dx=1"}, str(archive))[OPTIONS] == f'-Dx=1 "-XX:SharedArchiveFile={archive}"'
    assert using({}, str(archive))[OPTIONS] == f'"-XX:SharedArchiveFile={archive}"'


def test_an_archive_of_the_users_own_stays(tmp_path: Path) -> None:
    archive = tmp_path / "ours.jsa"
    archive.touch()
    conf = {OPTIONS: "-XX:SharedArchiveFile=/theirs.jsa"}
    assert using(conf, str(archive)) == conf


def test_where_none_can_be_made_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "spark.jsa"
    command = [sys.executable, str(DRIVER), "--make-class-archive", str(path)]
    environment = {"PATH": "/usr/bin:/bin", "SPARK_HOME": str(tmp_path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 70
    assert "spark-submit cannot be run" in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spark
@pytest.mark.timeout(400)
def test_a_driver_starts_from_the_archive_that_was_made(tmp_path: Path) -> None:
    archive = tmp_path / "spark.jsa"
    made = subprocess.run([sys.executable, str(DRIVER), "--make-class-archive", str(archive)], check=False, timeout=300)
    assert made.returncode == 0
    assert archive.stat().st_mode & 0o777 == 0o644
    peer = DriverPeer()
    # A JVM told -Xshare:on does not start at all without its archive.
    conf = {"spark.master": "local[1]", "spark.ui.enabled": "false", OPTIONS: "-Xshare:on"}
    driver = DriverProcess(peer, tmp_path, conf=conf, class_archive=str(archive))
    try:
        assert peer.wait_for(lambda m: m["t"] in ("ready", "failed"), 90)["t"] == "ready"
        assert peer.text("'SharedArchiveFile' in str(sc.getConf().get('spark.driver.extraJavaOptions'))") == "True"
    finally:
        driver.end()
        peer.close()
