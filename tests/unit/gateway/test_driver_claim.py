"""A driver's claim of its bootstrap, by TLS, from a server that is what a gateway may be: slow, dying, or not ours."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sparkyard_gateway.driver.bootstrap import BootstrapError, ClaimRefused
from sparkyard_gateway.driver.claim import redeem, work_folder
from sparkyard_gateway.driver.program import EXIT_REFUSED, EXIT_USAGE
from sparkyard_gateway.driver_file import driver_digest, driver_file, write_driver_file
from support import tls

BOOTSTRAP = {"session": 12, "url": "wss://127.0.0.1:1/driver/v1/12", "epoch": 2, "conf": {"spark.ui.enabled": False}}


class Claimed(http.server.BaseHTTPRequestHandler):
    """Answers by script: a status and a body for each claim in turn, the last one for all further."""

    script: list[tuple[int, str]]
    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status, body = self.script[min(len(self.heard), len(self.script)) - 1]
        if status == 0:
            self.connection.close()
            return
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", body)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: Any) -> None:
        """Quietly."""


class Server:
    """A gateway's stand-in by TLS."""

    def __init__(self, folder: Path) -> None:
        self.identity = tls.identity(folder)
        self.handler = type("Handler", (Claimed,), {"script": [], "heard": []})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self._server.socket = self.identity.context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/driver/v1/12/bootstrap"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answers(self, *script: tuple[int, str]) -> None:
        self.handler.script = list(script)

    @property
    def heard(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.handler.heard
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "tls")
    yield server
    server.close()


def claim(gateway: Server, patience: float = 60) -> Any:
    return redeem([gateway.url], "code", str(gateway.identity.authority), "/tmp/w", patience)


def test_the_driver_makes_its_token_and_keeps_it(gateway):
    gateway.answers((200, json.dumps(BOOTSTRAP)))
    told = claim(gateway)
    (sent,) = gateway.heard
    assert (told.session, told.epoch, told.work_dir) == (12, 2, "/tmp/w")
    assert told.conf == {"spark.ui.enabled": "false"}
    assert told.ca_file == str(gateway.identity.authority)
    assert sent["claim"] == "code"
    assert sent["token"] == told.token
    assert len(told.token) >= 43
    assert claim(gateway).token != told.token


def test_it_repeats_the_same_claim_until_it_is_answered(gateway):
    gateway.answers((0, ""), (503, '{"msg": "no database"}'), (200, json.dumps(BOOTSTRAP)))
    told = claim(gateway)
    assert [each["token"] for each in gateway.heard] == [told.token] * 3


def test_where_one_gateway_is_gone_another_answers(gateway):
    gateway.answers((200, json.dumps(BOOTSTRAP)))
    away = gateway.url.replace(f":{urlsplit(gateway.url).port}", ":1")
    assert redeem([away, gateway.url], "code", str(gateway.identity.authority), "/tmp/w", 60).session == 12


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final(gateway, status):
    gateway.answers((status, '{"msg": "No session here waits."}'))
    with pytest.raises(ClaimRefused, match="refused this driver's claim: No session here waits"):
        claim(gateway)
    assert len(gateway.heard) == 1


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((404, ""), "answered 404: is it a gateway's address"),
        ((302, "https://127.0.0.1:1/elsewhere"), "answered 302"),
        ((200, "<html>"), "no bootstrap"),
        ((200, "[]"), "no bootstrap"),
        ((200, '{"session": 12}'), "needs 'url' as str"),
    ],
)
def test_what_is_no_gateway_is_a_sentence(gateway, answer, sentence):
    gateway.answers(answer)
    with pytest.raises(BootstrapError, match=sentence):
        claim(gateway)
    assert len(gateway.heard) == 1


def test_nothing_is_said_to_a_server_that_nobody_vouches_for(gateway, tmp_path):
    gateway.answers((200, json.dumps(BOOTSTRAP)))
    stranger = tls.identity(tmp_path / "stranger").authority
    with pytest.raises(BootstrapError, match=r"cannot be reached.*CERTIFICATE_VERIFY_FAILED"):
        redeem([gateway.url], "code", str(stranger), "/tmp/w", 0)
    assert gateway.heard == []


def test_a_gateway_that_stays_away_is_given_up(gateway):
    gateway.answers((503, '{"msg": "no database"}'))
    with pytest.raises(BootstrapError, match="no bootstrap within 0 s; the gateway answered 503: no database"):
        claim(gateway, 0)


def test_the_folder_is_private_and_goes_with_the_driver(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTAINER_ID", raising=False)
    with work_folder() as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert Path.cwd().samefile(folder)
    assert not Path(folder).exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTAINER_ID", "container_1")
    with work_folder() as folder:
        assert Path(folder).parent == tmp_path
        assert Path.cwd() == tmp_path


# The program as one file


def test_the_file_is_the_same_for_the_same_program(tmp_path):
    assert driver_file() == driver_file()
    write_driver_file(tmp_path / "deep" / "driver.py")
    assert (tmp_path / "deep" / "driver.py").read_bytes() == driver_file()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["driver.py"]


def test_another_program_has_another_digest(tmp_path):
    (tmp_path / "__main__.py").write_text("1")
    first = driver_digest(tmp_path)
    (tmp_path / "__main__.py").write_text("2")
    second = driver_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert first != second == driver_digest(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--claim-url={url}", "--claim=-begins-with-a-dash", "--ca-file={ca}"], EXIT_REFUSED, "refused this driver's"),
        (["--claim-url=file:///etc/passwd", "--claim=c"], EXIT_USAGE, "must begin with https:// or http://"),
    ],
)
def test_the_file_runs_as_a_program_and_tells_which_build_it_is(gateway, tmp_path, arguments, code, sentence):
    gateway.answers((401, '{"msg": "Nobody waits."}'))
    write_driver_file(tmp_path / "driver.py")
    given = [each.format(url=gateway.url, ca=gateway.identity.authority) for each in arguments]
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), *given], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == code, ended.stderr
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    if code == EXIT_REFUSED:
        assert [each["driver"] for each in gateway.heard] == [driver_digest()]
        assert [each["claim"] for each in gateway.heard] == ["-begins-with-a-dash"]
