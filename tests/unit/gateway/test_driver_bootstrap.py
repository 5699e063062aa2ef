import json
import os
from pathlib import Path

import pytest

from sparkyard_gateway.driver.bootstrap import BootstrapError, from_json, read_descriptor, read_file

DOCUMENT = {"session": 12, "url": "ws://127.0.0.1:1/driver/v1/12", "token": "hush", "work_dir": "/tmp/w"}


def test_the_token_is_no_part_of_its_text_form() -> None:
    assert "hush" not in repr(from_json(json.dumps(DOCUMENT)))


def test_spark_settings_become_the_text_that_spark_expects() -> None:
    conf = {"spark.ui.enabled": False, "spark.ui.retainedJobs": 10, "spark.app.name": "x"}
    read = from_json(json.dumps({**DOCUMENT, "conf": conf}))
    assert read.conf == {"spark.ui.enabled": "false", "spark.ui.retainedJobs": "10", "spark.app.name": "x"}


def test_keys_of_a_newer_gateway_are_left_alone() -> None:
    assert from_json(json.dumps({**DOCUMENT, "shoe_size": 43})).session == 12


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"token": None}, "needs 'token' as str"),
        ({"session": "12"}, "needs 'session' as int"),
        ({"heartbeat_seconds": "10"}, "'heartbeat_seconds'"),
        ({"orphan_seconds": -1}, "'orphan_seconds'"),
        ({"conf": ["a"]}, "'conf'"),
    ],
)
def test_a_wrong_bootstrap_says_what_would_be_right(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(BootstrapError, match=sentence):
        from_json(json.dumps({**DOCUMENT, **change}))


def test_a_descriptor_is_closed_after_reading() -> None:
    reader, writer = os.pipe()
    os.write(writer, json.dumps(DOCUMENT).encode())
    os.close(writer)
    assert read_descriptor(reader).token == "hush"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


def test_a_file_is_deleted_after_reading(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(DOCUMENT))
    assert read_file(str(path)).token == "hush"
    assert not path.exists()


def test_no_file_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="cannot be read"):
        read_file(str(tmp_path / "none"))
