"""What is looked at before a start, and the sentence that a person reads when it is not so."""

import os
import shutil
import socket
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from sparkyard_hub.standalone import surroundings
from sparkyard_hub.standalone.failure import CannotStart
from sparkyard_hub.standalone.people import ALPHABET, PEOPLE, demonstration_users
from sparkyard_hub.standalone.ports import choose_ports
from sparkyard_hub.standalone.state import Home, kept_secret, read_json, write_json
from sparkyard_hub.standalone.surroundings import check_disk, find_java, load_catalog, make_home

ROOT = Path(__file__).parents[3]
Usage = namedtuple("Usage", "total used free")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_state_folder_is_private_but_for_the_way_to_ones_own_home(tmp_path):
    home = Home(tmp_path / "state")
    make_home(home)
    assert {mode(folder) for folder in (home.hub, home.gateway, home.provider, home.logs)} == {0o700}
    assert mode(home.users) == 0o711
    assert list(home.path.glob(".probe*")) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match=r"cannot be written .*name another folder in SPARKYARD_HOME"):
        make_home(Home(tmp_path / "file" / "state"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_elses_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotStart, match=r"cannot be written: give user .* that right"):
        make_home(Home(tmp_path / "state"))


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 3 * 2**20))
    with pytest.raises(CannotStart, match=r"has 3 MB left and 500 MB are needed: free some"):
        check_disk(Home(tmp_path))


def test_java_is_found_and_run():
    assert find_java().name == "java"


def test_no_java_is_a_sentence_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match=r"none is installed; .*apt-get install openjdk-17-jre-headless"):
        find_java()


def test_a_wrong_java_home_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(CannotStart, match=r"JAVA_HOME is .*, and there is no .*/bin/java: correct it or unset it"):
        find_java()


def test_a_java_that_is_too_old_is_a_sentence(monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("""#!/bin/sh\necho 'openjdk version "1.7.0_80"' >&2\n""")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(CannotStart, match="is not a Java that Spark runs on"):
        find_java()


def test_a_broken_catalog_is_told_with_its_line(tmp_path):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text((ROOT / "catalog.yaml").read_text().replace("default_profile: small", "default_profile: smal"))
    with pytest.raises(CannotStart) as problem:
        load_catalog(catalog)
    line = next(n for n, text in enumerate(catalog.read_text().splitlines(), 1) if "default_profile" in text)
    assert f"catalog.yaml:{line}" in str(problem.value)


def test_a_missing_catalog_is_a_sentence(tmp_path):
    with pytest.raises(CannotStart, match=r"nowhere\.yaml"):
        load_catalog(tmp_path / "nowhere.yaml")


def test_ports_follow_the_public_one(monkeypatch):
    monkeypatch.setattr("sparkyard_hub.standalone.ports.is_free", lambda port: port != 8002)
    monkeypatch.setattr("sparkyard_hub.standalone.ports._why_taken", lambda _: None)
    ports = choose_ports(8000)
    assert (ports.provider, ports.gateway, ports.hub, ports.proxy_api) == (8001, 8003, 8004, 8005)


def test_a_taken_port_is_a_sentence_that_says_who_has_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"Port {port} is taken by .* \(process {os.getpid()}\): choose another"):
            choose_ports(port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_a_sentence(port):
    with pytest.raises(CannotStart, match="is no port"):
        choose_ports(port)


def test_secrets_are_made_once_and_private(tmp_path):
    path = tmp_path / "secret"
    first = kept_secret(path)
    assert kept_secret(path) == first
    assert len(bytes.fromhex(first)) == 32
    assert mode(path) == 0o600


def test_a_secret_that_was_open_is_closed(tmp_path):
    path = tmp_path / "secret"
    path.write_text("ab" * 32)
    path.chmod(0o644)
    kept_secret(path)
    assert mode(path) == 0o600


def test_passwords_are_random_private_and_stay(tmp_path):
    path = tmp_path / "passwords.json"
    first = demonstration_users(path)
    assert demonstration_users(path) == first
    assert mode(path) == 0o600
    assert len({user.password for user in first}) == len(PEOPLE)
    assert all(set(user.password) <= set(ALPHABET + "-") and len(user.password) == 19 for user in first)


def test_a_new_person_gets_a_password_beside_the_old_ones(tmp_path):
    path = tmp_path / "passwords.json"
    write_json(path, {"dana": "old"})
    assert {user.name: user.password for user in demonstration_users(path)}["dana"] == "old"
    assert set(read_json(path) or {}) == {person.name for person in PEOPLE}


def test_there_is_a_demonstration_user_of_each_role():
    assert {person.role for person in PEOPLE} >= {"data scientist", "analyst", "team lead", "admin"}
    assert any(not person.groups for person in PEOPLE), "and one in no group, to see the refusal"
    known = load_catalog(ROOT / "catalog.yaml").all_groups
    assert {group for person in PEOPLE for group in person.groups} <= known | {"sparkyard-admins"}


def test_the_disk_that_is_measured_is_the_homes(tmp_path, monkeypatch):
    asked: list[Path] = []
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda path: asked.append(path) or Usage(1, 0, 10**12))
    check_disk(Home(tmp_path))
    assert asked == [tmp_path]
