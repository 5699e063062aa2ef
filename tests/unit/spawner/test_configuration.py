"""The functions that take `c`, with JupyterHub's real traitlets."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from sparkyard_spawner import LocalSpawner, StartFailed, configure_local, configure_spawner
from sparkyard_spawner.catalog_spawner import catalog_file

CATALOG = Path(__file__).parent / "catalog.yaml"


def configured(folder: Path, catalog: Path = CATALOG) -> Config:
    c = Config()
    configure_spawner(
        c, catalog=catalog, gateway_url="http://127.0.0.1:8711", options_form=lambda _: "form", contact="us"
    )
    configure_local(
        c, users=folder / "users", logs=folder / "logs", examples=folder / "examples", supervisor_pid=os.getpid()
    )
    return c


def spawner(c: Config, **options: Any) -> LocalSpawner:
    user = SimpleNamespace(name="sam", admin=False, groups=[SimpleNamespace(name="scientists")])
    return LocalSpawner(config=c, user=user, user_options=options)


def test_the_hub_takes_our_spawner_and_the_spawner_its_settings(tmp_path: Path) -> None:
    c = configured(tmp_path)

    assert JupyterHub(config=c).spawner_class is LocalSpawner
    sams = spawner(c)
    assert sams.catalog_path == str(CATALOG)
    assert sams.gateway_url == "http://127.0.0.1:8711"
    assert sams.gateway_public_path == "/services/gateway"
    assert sams.contact == "us"
    assert sams.default_url == "/lab"
    assert sams.options_form(sams) == "form"
    assert (sams.users_dir, sams.logs_dir) == (str(tmp_path / "users"), str(tmp_path / "logs"))
    assert sams.examples_dir == str(tmp_path / "examples")
    assert sams.supervisor_pid == os.getpid()


def test_every_setting_is_explained() -> None:
    for name, trait in LocalSpawner.class_own_traits(config=True).items():
        assert trait.help, name


def test_all_spawners_see_one_live_catalog() -> None:
    assert catalog_file(CATALOG) is catalog_file(CATALOG)


async def test_a_hub_that_never_read_a_good_catalog_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "catalog.yaml"
    broken.write_text("profiles: 3\n")

    with pytest.raises(StartFailed, match="The catalog of profiles is refused, so no server can be started"):
        await spawner(configured(tmp_path, broken), profile="small").start()


async def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/server.log")

    monkeypatch.setattr("sparkyard_spawner.local.ServerProcess.launch", full)
    sams = spawner(configured(tmp_path), profile="small")
    monkeypatch.setattr(type(sams), "get_env", lambda _: {})

    with pytest.raises(
        StartFailed, match=r"No space left on device \(/somewhere/server\.log\)\. Tell an administrator\."
    ):
        await sams.start()
    assert await sams.poll() == 0, "nothing is left of the start"


async def test_a_server_without_state_is_not_running(tmp_path: Path) -> None:
    sams = spawner(configured(tmp_path))
    assert await sams.poll() == 0
    await sams.stop()
