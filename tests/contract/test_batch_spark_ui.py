"""The Spark UI of a batch, as that of a session: for who may see it, through the gateway, and kept after its end.

One batch of Alice's runs until a file appears in its home, so that everybody can look at it while it runs.
"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from sparkyard_gateway.ui_keys import UiKeys, batch_server_name, server_name
from support.waiting import until

from .conftest import Neighbours, Tenant

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

SCRIPT = """\
import os, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(100).selectExpr("id % 7 AS k").groupBy("k").count().collect()
print("ui", spark.sparkContext.uiWebUrl, flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
spark.stop()
"""
PREFIX = "/services/gateway"


@dataclass
class Shown:
    """A batch, and where its UI listens by its own word."""

    number: int
    port: int
    path: str
    """Of its UI at the gateway, without the gateway's own prefix."""


def home_of(neighbours: Neighbours, name: str) -> Path:
    return neighbours.gateway._folder / "homes" / name


@pytest.fixture(scope="module")
def shown(neighbours: Neighbours) -> Iterator[Shown]:
    alice = neighbours.alice.http
    home = home_of(neighbours, "alice")
    (home / "looks.py").write_text(SCRIPT)
    (home / "looks.py").chmod(0o644)
    wish = {"file": "home://looks.py", "args": [str(home / "done")], "profile": "small", "name": "looked-at"}
    made = alice.post("/batches", json=wish)
    assert made.status_code == 201, made.text
    number = made.json()["id"]

    def said() -> str | None:
        lines = alice.get(f"/batches/{number}/log?size=-1").json()["log"]
        return next((line.removeprefix("ui ") for line in lines if line.startswith("ui ")), None)

    address = urlsplit(until(said, 120))
    assert address.port is not None
    path = until(lambda: alice.get(f"/batches/{number}").json()["appInfo"]["sparkUiUrl"], 60)
    assert path == f"{PREFIX}/spark-ui/batches/{number}/"
    assert address.scheme == "https"
    yield Shown(number, address.port, path.removeprefix(PREFIX))
    (home / "done").touch()
    alice.delete(f"/batches/{number}")


def status(tenant: Tenant, path: str) -> int:
    return tenant.http.get(path).status_code


def test_it_shows_itself_to_who_may_see_the_batch(neighbours: Neighbours, shown: Shown) -> None:
    jobs = f"{shown.path}jobs/"
    page = neighbours.alice.http.get(jobs)
    assert page.status_code == 200
    assert "Spark Jobs" in page.text
    # Its links stay within its path, and its scripts have no origin.
    assert f'href="{shown.path}stages/' in page.text
    assert page.headers["Content-Security-Policy"].startswith("sandbox ")
    assert "allow-same-origin" not in page.headers["Content-Security-Policy"]
    assert status(neighbours.lee, jobs) == 200
    by_name = neighbours.alice.http.get("/spark-ui/batches/looked-at/environment/")
    assert by_name.status_code == 200


def test_nobody_else_learns_that_it_is_there(neighbours: Neighbours, shown: Shown) -> None:
    unknown = neighbours.bob.http.get("/spark-ui/batches/999999/jobs/")
    for path in (f"{shown.path}jobs/", shown.path, "/spark-ui/batches/looked-at/jobs/"):
        for stranger in (neighbours.bob, neighbours.olaf):
            answer = stranger.http.get(path)
            assert answer.status_code == unknown.status_code == 404
            if path.endswith(f"{shown.number}/jobs/"):
                assert answer.json() == {"msg": f"Session '{shown.number}' not found."}
    with httpx.Client(base_url=neighbours.gateway.url) as nobody:
        led = nobody.get(f"{shown.path}jobs/")
        assert (led.status_code, "oauth2/authorize" in led.headers["location"]) == (302, True)
        assert nobody.get(f"{shown.path}jobs/", headers={"Authorization": "token wrong"}).status_code == 401
        assert nobody.get(f"{shown.path}~forged/jobs/", headers={"Sec-Fetch-Mode": "cors"}).status_code == 404
    # A session's number is no batch's, and the other way round.
    assert status(neighbours.alice, f"/spark-ui/batches/{neighbours.alice.session + 1000}/jobs/") == 404


def test_its_port_answers_the_gateway_alone(neighbours: Neighbours, shown: Shown) -> None:
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((httpx.HTTPError, ssl.SSLError, OSError)):
        httpx.get(f"https://127.0.0.1:{shown.port}/environment/", verify=blind, timeout=20)
    with socket.create_connection(("127.0.0.1", shown.port), timeout=20) as line:
        line.sendall(b"GET /environment/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"spark.app.name" not in line.recv(65536)
    # The gateway takes nothing else for it: neither a session of that number nor another attempt.
    context = UiKeys("t" * 64).context()

    def ask(name: str) -> int:
        with httpx.Client(verify=context, timeout=20) as client:
            return client.get(
                f"https://127.0.0.1:{shown.port}/environment/", extensions={"sni_hostname": name}
            ).status_code

    assert ask(batch_server_name(shown.number)) == 200, "the first attempts have their batches' numbers here"
    for other in (server_name(shown.number), batch_server_name(shown.number + 1)):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(other)


def test_its_keys_are_its_users_alone(neighbours: Neighbours, shown: Shown) -> None:
    work = neighbours.gateway._folder / "state" / "batches" / str(shown.number) / "work"
    for name in ("ui-key.p12", "ui-clients.p12", "spark.properties"):
        assert (work / name).stat().st_mode & 0o077 == 0
    if neighbours.own_uids:
        attempt = (
            f"import os\ntry:\n    os.listdir({str(work)!r}); print('read')\nexcept OSError as e: print('no', e.errno)"
        )
        assert neighbours.bob.text(attempt).startswith("no")
    for process in psutil.process_iter(["cmdline"]):
        assert not any("keyStorePassword" in word for word in process.info["cmdline"] or ())


def test_after_its_end_the_same_address_shows_its_history(neighbours: Neighbours, shown: Shown) -> None:
    alice = neighbours.alice.http
    (home_of(neighbours, "alice") / "done").touch()
    ended = until(lambda: (b := alice.get(f"/batches/{shown.number}").json())["ended"] and b, 60)
    assert ended["state"] == "success", ended
    assert ended["appInfo"]["sparkUiUrl"] == PREFIX + shown.path
    jobs = alice.get(f"{shown.path}jobs/", follow_redirects=False)
    assert jobs.status_code == 302
    assert jobs.headers["location"] == f"{shown.path}history/{ended['appId']}/jobs/"
    page = until(
        lambda: (found := alice.get(f"{shown.path}history/{ended['appId']}/jobs/")).status_code == 200 and found, 120
    )
    assert "Completed Jobs" in page.text
    assert status(neighbours.bob, f"{shown.path}history/{ended['appId']}/jobs/") == 404
    assert status(neighbours.lee, f"{shown.path}history/{ended['appId']}/jobs/") == 200
    # Another application of the same user's is another address's.
    own = alice.get(f"/sessions/{neighbours.alice.session}").json()["appId"]
    assert status(neighbours.alice, f"{shown.path}history/{own}/jobs/") == 404
