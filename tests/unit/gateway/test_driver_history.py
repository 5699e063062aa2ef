"""The program in a pod that shows what has ended: it takes logs from the gateway alone, and ends when nobody looks."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sparkyard_gateway.backends.local import DRIVER_PROGRAM
from sparkyard_gateway.driver.history import Shelf
from sparkyard_gateway.ui_keys import UiKeys, history_name
from support.waiting import until

APP = "spark-0123"
NAME = history_name("pod-1")
PATIENCE = 60
# In place of Spark's launcher, as what is tested is the program beside it: it tells what it was given, and stays.
SPARK_CLASS = """\
#!{python}
import json, os, sys, time
told = dict(words=sys.argv[1:], conf=open(sys.argv[3]).read(), heap=os.environ["SPARK_DAEMON_MEMORY"])
open("told.json.new", "w").write(json.dumps(told))
os.rename("told.json.new", "told.json")
while not os.path.exists("fail"):
    time.sleep(0.05)
sys.exit(5)
"""


def test_a_log_is_shown_once_it_is_whole_and_a_later_one_takes_its_place(tmp_path):
    shelf = Shelf(str(tmp_path), 1000)
    shown = tmp_path / "shown" / f"eventlog_v2_{APP}"
    assert shelf.put(APP, "events_1", io.BytesIO(b"abc"), 3)
    assert not shown.exists()
    assert shelf.show(APP)
    assert (shown / "events_1").read_bytes() == b"abc"
    assert not shelf.show(APP)
    assert shelf.put(APP, "events_1", io.BytesIO(b"abcdef"), 6)
    assert (shown / "events_1").read_bytes() == b"abc"
    assert shelf.show(APP)
    assert (shown / "events_1").read_bytes() == b"abcdef"


def test_the_log_that_came_first_gives_way_and_what_is_too_large_is_refused(tmp_path):
    shelf = Shelf(str(tmp_path), 1000)
    for number in (1, 2):
        assert shelf.put(f"app-{number}", "events_1", io.BytesIO(b"x" * 400), 400)
        shelf.show(f"app-{number}")
        os.utime(tmp_path / "shown" / f"eventlog_v2_app-{number}", (number, number))
    assert shelf.put("app-3", "events_1", io.BytesIO(b"x" * 500), 500)
    assert [path.name for path in (tmp_path / "shown").iterdir()] == ["eventlog_v2_app-2"]
    shelf.show("app-3")
    # It gives way to a later state of its own, where there is nothing else that could.
    assert shelf.put("app-3", "events_1", io.BytesIO(b"x" * 900), 900)
    assert list((tmp_path / "shown").iterdir()) == []
    assert not shelf.put("app-4", "events_1", io.BytesIO(b""), 1001)


@dataclass
class Program:
    """The program as a process, and how the gateway speaks with it."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str
    keys: UiKeys

    def ask(self, method: str, path: str, content: bytes = b"", keys: UiKeys | None = None) -> int:
        with httpx.Client(verify=(keys or self.keys).context(), timeout=20) as client:
            extensions = {"sni_hostname": NAME}
            return client.request(method, f"{self.url}{path}", content=content, extensions=extensions).status_code


@pytest.fixture
def start(tmp_path) -> Iterator[Any]:
    home = tmp_path / "spark"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "spark-class").write_text(SPARK_CLASS.format(python=sys.executable))
    (home / "bin" / "spark-class").chmod(0o755)
    keys = UiKeys("secret")
    own, clients = keys.pem(NAME)
    (tmp_path / "own.pem").write_bytes(own)
    (tmp_path / "clients.pem").write_bytes(clients)
    made: list[Program] = []

    def started(idle_seconds: float = 600) -> Program:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        told = {
            "folder": str(tmp_path / "work"), "limit": 10_000, "port": port, "memory_mib": 512,
            "certificate": str(tmp_path / "own.pem"), "clients": str(tmp_path / "clients.pem"),
            "idle_seconds": idle_seconds, "conf": {"spark.ssl.historyServer.keyPassword": "s3cret"},
        }  # fmt: skip
        (tmp_path / "history.json").write_text(json.dumps(told))
        command = [sys.executable, str(DRIVER_PROGRAM), "history", "--bootstrap-file", str(tmp_path / "history.json")]
        environment = {"PATH": os.environ["PATH"], "SPARK_HOME": str(home)}
        process = subprocess.Popen(command, env=environment)
        program = Program(process, tmp_path / "work", f"https://127.0.0.1:{port}", keys)
        made.append(program)

        def answers() -> bool:
            try:
                return program.ask("POST", "/stay") == 204
            except httpx.ConnectError:
                assert process.poll() is None
                return False

        until(answers, PATIENCE)
        return program

    yield started
    for program in made:
        program.process.kill()
        program.process.wait()
        (program.folder / "fail").touch()


def test_the_gateway_brings_logs_and_spark_is_told_where_they_are(start):
    program = start()
    assert program.ask("PUT", f"/events/{APP}/events_1_{APP}.zstd", b"abc") == 204
    assert program.ask("POST", f"/events/{APP}") == 204
    shown = program.folder / "shown" / f"eventlog_v2_{APP}"
    assert (shown / f"events_1_{APP}.zstd").read_bytes() == b"abc"
    until((program.folder / "told.json").exists, PATIENCE)
    told = json.loads((program.folder / "told.json").read_text())
    assert told["words"][:2] == ["org.apache.spark.deploy.history.HistoryServer", "--properties-file"]
    assert "s3cret" in told["conf"]
    assert "s3cret" not in " ".join(told["words"])
    assert f"spark.history.fs.logDirectory=file\\://{program.folder}/shown" in told["conf"]
    assert told["heap"] == "512m"
    assert (program.folder / "spark.properties").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/events/../x/y", 404),
        ("PUT", "/events/..%2Fx/y", 404),
        ("PUT", f"/events/{APP}/..", 404),
        ("PUT", f"/events/{APP}/a/b", 404),
        ("PUT", "/etc/passwd", 404),
        ("POST", "/events/unknown", 404),
        ("POST", "/", 404),
        ("GET", f"/events/{APP}", 501),
    ],
)
def test_it_takes_nothing_else(start, method, path, status):
    assert start().ask(method, path, b"x") == status


def test_who_has_no_key_of_the_gateways_is_not_heard(start):
    program = start()
    with pytest.raises(httpx.HTTPError):
        program.ask("POST", "/stay", keys=UiKeys("another"))
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{program.url}/stay", verify=False, timeout=20)
    assert program.ask("POST", "/stay") == 204


def test_it_ends_when_nobody_looks_any_more(start):
    assert start(idle_seconds=1).process.wait(PATIENCE) == 0


def test_it_ends_with_the_history_server(start):
    program = start()
    (program.folder / "fail").touch()
    assert program.process.wait(PATIENCE) == 70


def test_it_ends_when_it_is_told_to(start):
    program = start()
    program.process.terminate()
    assert program.process.wait(PATIENCE) == 0
