"""The catalog's file while it is in use, on a real file system."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import CatalogError, CatalogFile, live

Write = Callable[[Any], Path]


def titled(example: dict[str, Any], title: str) -> str:
    example["profiles"]["small"]["title"] = title
    return json.dumps(example)


def title(file: CatalogFile) -> str:
    return file.catalog.profiles["small"].title


def replace(path: Path, text: str) -> None:
    """As a careful editor saves."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_nothing_changed(write: Write, example: dict[str, Any]) -> None:
    file = CatalogFile(write(example))
    loaded_at = file.loaded_at
    assert file.refresh() is False
    assert file.loaded_at == loaded_at
    assert file.problem is None


@pytest.mark.parametrize("save", [Path.write_text, replace])
def test_an_edit_is_seen(write: Write, example: dict[str, Any], save: Callable[[Path, str], None]) -> None:
    path = write(example)
    file = CatalogFile(path)
    save(path, titled(example, "Tiny"))
    assert file.refresh() is True
    assert title(file) == "Tiny"
    assert file.refresh() is False
    assert file.current() is file.catalog


def test_an_edit_within_a_tick_of_the_file_systems_clock_is_seen(
    write: Write, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stat is the same as before, so a file that was changed a moment ago is read again."""
    path = write(titled(example, "One"))
    stat = path.stat()
    same = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    monkeypatch.setattr(CatalogFile, "_look", lambda _: same)
    file = CatalogFile(path)
    for name in ("Two", "Six", "Ten"):
        path.write_text(titled(example, name))
        assert file.refresh() is True
        assert title(file) == name


def test_a_comment_is_no_other_catalog(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    file = CatalogFile(path)
    before = file.catalog
    path.write_text("# a comment\n" + path.read_text())
    assert file.refresh() is False
    assert file.catalog is before


def test_a_broken_edit_is_refused_and_the_last_good_one_stays(write: Write, example: dict[str, Any]) -> None:
    path = write(titled(example, "Good"))
    file = CatalogFile(path)
    path.write_text("profiles: [")
    assert file.refresh() is False
    assert title(file) == "Good"
    assert file.problem is not None
    assert file.problem.problems[0].line == 1
    assert file.refresh() is False  # still, and still told
    assert file.problem is not None
    path.write_text(titled(example, "Better"))
    assert file.refresh() is True
    assert title(file) == "Better"
    assert file.problem is None


def test_taking_a_broken_edit_back_clears_the_problem(write: Write, example: dict[str, Any]) -> None:
    path = write(example)
    good = path.read_text()
    file = CatalogFile(path)
    path.write_text(good + "\nnonsense: true")
    file.refresh()
    assert file.problem is not None
    path.write_text(good)
    assert file.refresh() is False
    assert file.problem is None


def test_a_file_that_is_removed_and_comes_back(write: Write, example: dict[str, Any]) -> None:
    path = write(titled(example, "Here"))
    file = CatalogFile(path)
    text = path.read_text()
    path.unlink()
    assert file.refresh() is False
    assert title(file) == "Here"
    assert "there is no such file" in str(file.problem)
    path.write_text(text)
    assert file.refresh() is False
    assert file.problem is None


def test_a_config_map_of_kubernetes(tmp_path: Path, example: dict[str, Any]) -> None:
    """catalog.yaml -> ..data/catalog.yaml, and ..data -> a dated folder that is swapped by a rename."""

    def revision(name: str, text: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "catalog.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    revision("..2026_01", titled(example, "First"))
    path = tmp_path / "catalog.yaml"
    path.symlink_to("..data/catalog.yaml")
    file = CatalogFile(path)
    revision("..2026_02", titled(example, "Second"))
    assert file.refresh() is True
    assert title(file) == "Second"
    assert file.catalog.folder == tmp_path  # where the catalog is named, not where it happens to lie


def test_a_broken_file_at_the_start_is_an_error(write: Write) -> None:
    with pytest.raises(CatalogError):
        CatalogFile(write("profiles: ["))


def test_a_look_at_a_settled_file_reads_nothing(
    write: Write, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = CatalogFile(write(example))
    monkeypatch.setattr(live, "_CLOCK_STEP_NS", -1)  # as if the file had been old when it was read
    file.refresh()
    monkeypatch.setattr(live, "read_bytes", lambda _: pytest.fail("the file was read"))
    for _ in range(100):
        assert file.refresh() is False


def test_several_threads_see_whole_catalogs(write: Write, example: dict[str, Any]) -> None:
    path = write(titled(example, "t0"))
    file = CatalogFile(path)
    stop = threading.Event()
    seen: list[str] = []
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            while not stop.is_set():
                file.refresh()
                seen.append(title(file))
        except BaseException as error:  # noqa: BLE001  whatever it is fails the test
            failures.append(error)

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 8):
        replace(path, titled(example, f"t{number}"))
        file.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(seen) <= {f"t{number}" for number in range(8)}
    assert title(file) == "t7"
    assert file.problem is None
