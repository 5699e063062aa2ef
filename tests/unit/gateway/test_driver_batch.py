"""A batch's first process, the driver program: it becomes the image's own spark-submit, and tells it nothing openly."""

import json
import os
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from sparkyard_gateway.backends.local import DRIVER_PROGRAM
from support.waiting import until

SUBMIT = """\
#!{python}
import json, os, sys
print(json.dumps(dict(pid=os.getpid(), words=sys.argv, properties=open(sys.argv[2]).read(),
                      mode=os.stat(sys.argv[2]).st_mode, fds=sorted(map(int, os.listdir("/proc/self/fd"))))))
"""


@pytest.fixture
def spark_home(tmp_path: Path) -> Path:
    """A Spark whose spark-submit tells what it was given."""
    home = tmp_path / "spark"
    (home / "bin").mkdir(parents=True)
    (home / "conf").mkdir()
    (home / "conf" / "spark-defaults.conf").write_text("spark.eventLog.enabled true\nspark.sql.ansi.enabled true\n")
    (home / "bin" / "spark-submit").write_text(SUBMIT.format(python=sys.executable))
    (home / "bin" / "spark-submit").chmod(0o755)
    return home


def run(batch: dict[str, object], **environment: str) -> subprocess.CompletedProcess[str]:
    descriptor = os.memfd_create("bootstrap")
    os.write(descriptor, json.dumps(batch).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return subprocess.run(
            [sys.executable, str(DRIVER_PROGRAM), "batch", "--bootstrap-fd", str(descriptor)],
            pass_fds=[descriptor], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(descriptor)


def test_it_becomes_spark_submit_with_the_settings_in_a_private_file(tmp_path, spark_home):
    batch = {
        "file": "file:///jobs/etl.jar",
        "class_name": "org.example.Main",
        "args": ["--master", "yarn", "b c", "é", ""],
        "conf": {"spark.hadoop.fs.s3a.secret.key": "s3cret = a\\b", "spark.sql.ansi.enabled": "false"},
        "work_dir": str(tmp_path),
    }
    told = json.loads(run(batch, SPARK_HOME=str(spark_home)).stdout)
    path = tmp_path / "spark.properties"
    # Options end at the file: what follows is the program's own, whatever it looks like.
    assert told["words"][1:] == [
        "--properties-file", str(path), "--class", "org.example.Main", "file:///jobs/etl.jar", *batch["args"],
    ]  # fmt: skip
    assert "s3cret" not in json.dumps(told["words"])
    assert stat.S_IMODE(told["mode"]) == 0o600
    # The image's own settings hold where the batch says nothing, and come first where it does.
    defaults, _, granted = told["properties"].partition("\n\n")
    assert "spark.eventLog.enabled true" in defaults
    assert "spark.sql.ansi.enabled=false" in granted
    assert "spark.hadoop.fs.s3a.secret.key=s3cret\\ \\=\\ a\\\\b" in granted
    assert told["fds"] == [0, 1, 2, 3]


def test_python_needs_no_class(tmp_path, spark_home):
    batch = {"file": "file:///jobs/etl.py", "class_name": None, "args": [], "conf": {}, "work_dir": str(tmp_path)}
    told = json.loads(run(batch, SPARK_HOME=str(spark_home)).stdout)
    assert told["words"][3:] == ["file:///jobs/etl.py"]


def test_it_may_be_told_by_a_file(tmp_path, spark_home):
    batch = {"file": "local:///jobs/etl.py", "args": ["x"], "conf": {}, "work_dir": str(tmp_path)}
    (tmp_path / "bootstrap.json").write_text(json.dumps(batch))
    command = [sys.executable, str(DRIVER_PROGRAM), "batch", "--bootstrap-file", str(tmp_path / "bootstrap.json")]
    environment = {"PATH": os.environ["PATH"], "SPARK_HOME": str(spark_home)}
    told = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout)
    assert told["words"][3:] == ["local:///jobs/etl.py", "x"]


@pytest.mark.parametrize(
    ("home", "reason"), [("/nowhere", "No such file or directory"), ("", "spark-submit could not be run")]
)
def test_without_a_spark_it_says_so(tmp_path, home, reason):
    batch = {
        "file": "file:///jobs/etl.py",
        "args": ["x"],
        "conf": {},
        "work_dir": str(tmp_path / ("" if home else "x")),
    }
    done = run(batch, SPARK_HOME=home)
    assert done.returncode == 127
    assert "spark-submit could not be run" in done.stderr
    assert reason in done.stderr


CARRIED = """\
#!{python}
import json, os, signal, sys, time
log = os.path.join({folder!r}, "eventlog_v2_spark-1")
os.makedirs(log)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
open(os.path.join(log, "events_1_spark-1"), "w").write("begun")
open(os.path.join({folder!r}, "..", "runs"), "w").close()
if {how!r} == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
while {how!r} == "told to end":
    time.sleep(0.05)
open(os.path.join(log, "events_1_spark-1"), "a").write(" and done")
open(os.path.join(log, "appstatus_spark-1"), "w").close()
sys.exit(3)
"""


class Kept(BaseHTTPRequestHandler):
    """A gateway as far as a batch's event log goes: it keeps what comes, for who has the token."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self.answer({"have": {}})

    def do_POST(self) -> None:
        path, _, at = self.path.partition("?at=")
        name = path.rpartition("/")[2]
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert len(self.files.get(name, b"")) == int(at)
        self.files[name] = self.files.get(name, b"") + data
        self.answer({"have": len(self.files[name])})

    def answer(self, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(200 if self.headers["Authorization"] == "Bearer the-token" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize(
    ("how", "code", "events"),
    [("by itself", 3, b"begun and done"), ("killed", 137, b"begun"), ("told to end", 9, b"begun")],
)
def test_where_its_event_log_is_carried_it_ends_as_spark_submit_did_and_all_of_the_log_is_there(
    tmp_path, spark_home, how, code, events
):
    folder = tmp_path / "work" / "events"
    (tmp_path / "work").mkdir()
    text = CARRIED.format(python=sys.executable, folder=str(folder), how=how)
    (spark_home / "bin" / "spark-submit").write_text(text)
    Kept.files.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{gateway.server_port}/driver/v1/batches/1"
        batch = {
            "file": "file:///jobs/etl.py", "args": [], "conf": {}, "work_dir": str(tmp_path / "work"),
            "events": {"folder": str(folder), "urls": [url], "token": "the-token"},
        }  # fmt: skip
        (tmp_path / "bootstrap.json").write_text(json.dumps(batch))
        command = [sys.executable, str(DRIVER_PROGRAM), "batch", "--bootstrap-file", str(tmp_path / "bootstrap.json")]
        process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], "SPARK_HOME": str(spark_home)})
        if how == "told to end":
            until((tmp_path / "work" / "runs").exists, 60)
            process.terminate()
        assert process.wait(60) == code
        gateway.shutdown()
    assert Kept.files.get("events_1_spark-1") == events
    assert ("appstatus_spark-1" in Kept.files) is (how == "by itself")
