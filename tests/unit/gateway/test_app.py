"""Around every request: paths, methods, headers, health, metrics, the description of the API; and no 5xx from junk."""

import json
import socket
import struct
import subprocess
import sys

import httpx
import pytest

from support.waiting import until

from .conftest import CATALOG, StartGateway, client, new_session, run
from .test_connections import events


def test_the_hubs_path_is_the_same_application(as_alice):
    assert as_alice.get("/services/gateway/sessions").json() == as_alice.get("/sessions").json()
    assert as_alice.get("/services/gateway/sessions/").status_code == 200
    assert as_alice.get("/services/gatewayx/sessions").status_code == 404


@pytest.mark.parametrize(
    "path", ["/nosuch", "/sessions/1/nosuch", "/sessions/1/", "/services/gateway/driver/v1/1", "/batches/1/nosuch"]
)
def test_an_unknown_path_is_an_empty_404(as_alice, path):
    answer = as_alice.get(path)
    assert (answer.status_code, answer.content) == (404, b"")


def test_the_entrance_leads_to_what_is_there(as_nobody):
    for path, description in (("/", "/openapi.json"), ("/services/gateway/", "/services/gateway/openapi.json")):
        answer = as_nobody.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (302, description)
        assert as_nobody.get(answer.headers["Location"]).json()["info"]["title"] == "Sparkyard gateway"


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("POST", "submit-job", "POST /sessions/{id}/statements"),
        ("POST", "run-job", "POST /batches"),
        ("GET", "jobs/0", "POST /sessions/{id}/statements"),
        ("POST", "jobs/0/cancel", "POST /sessions/{id}/statements"),
        ("POST", "upload-jar", "when you create it"),
        ("POST", "upload-pyfile", "when you create it"),
        ("POST", "upload-file", "when you create it"),
        ("POST", "add-jar", "when you create it"),
        ("POST", "add-pyfile", "when you create it"),
        ("POST", "add-file", "when you create it"),
    ],
)
def test_livys_job_api_is_refused_with_what_to_use_instead(as_alice, method, path, instead):
    session = new_session(as_alice)
    answer = as_alice.request(method, f"/sessions/{session}/{path}", content=b"\xac\xed\x00\x05")
    assert answer.status_code == 400
    assert instead in answer.json()["msg"]
    assert as_alice.get(f"/sessions/{session}/state").json()["state"] == "idle"
    as_alice.delete(f"/sessions/{session}")


def test_wrong_methods_name_the_right_ones(as_alice):
    assert as_alice.put("/sessions").headers["Allow"] == "GET, HEAD, POST"
    assert as_alice.patch("/services/gateway/sessions/1").headers["Allow"] == "DELETE, GET, HEAD"


def test_head_is_a_get_without_its_body(as_alice):
    answer = as_alice.head("/sessions")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(as_alice.get("/sessions").content)
    # The connection is as good as before.
    assert as_alice.get("/sessions").status_code == 200


def test_every_answer_forbids_guessing_and_keeping(as_alice, as_nobody):
    for answer in (as_alice.get("/sessions"), as_nobody.get("/sessions"), as_alice.get("/nosuch")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "server" not in answer.headers


def test_another_sites_page_is_not_answered_to(as_alice):
    answer = as_alice.get("/sessions", headers={"Origin": "http://evil.example"})
    assert not any(name.lower().startswith("access-control") for name in answer.headers)
    assert as_alice.options("/sessions", headers={"Origin": "http://evil.example"}).status_code == 405


def test_a_long_answer_is_zipped_if_wished(as_alice):
    session = new_session(as_alice)
    run(as_alice, session, "'x' * 5000")
    answer = as_alice.get(f"/sessions/{session}/statements", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "xxxxx" in answer.text
    plain = as_alice.get(f"/sessions/{session}/statements", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    as_alice.delete(f"/sessions/{session}")


def test_a_body_beyond_the_limit_is_refused(start_gateway: StartGateway):
    gateway = start_gateway("--max-body-bytes", "1000")
    with client(gateway, "token-of-alice") as alice:
        answer = alice.post("/sessions", content=b'{"kind": "pyspark", "name": "' + b"x" * 2000 + b'"}')
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["msg"]


def test_health_says_what_is_wrong(as_nobody, gateway):
    assert as_nobody.get("/health/live").json()["status"] == "ok"
    ready = as_nobody.get("/health/ready")
    parts = {"database": "ok", "catalog": "ok", "gateway": "ok", "backend local": "ok"}
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "parts": parts})
    catalog = gateway._folder / "catalog.yaml"
    good = catalog.read_text()
    catalog.write_text("version: 1\nprofiles: 5\n")
    try:
        with client(gateway, "token-of-alice") as alice:
            made = alice.post("/sessions", json={"kind": "pyspark"})
            # The last good one is in force.
            assert made.status_code == 201
            alice.delete(f"/sessions/{made.json()['id']}")
        ready = as_nobody.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "refused" in ready.json()["parts"]["catalog"]
    finally:
        catalog.write_text(good)


def test_metrics_are_for_this_machine_and_never_through_the_proxy(as_alice):
    session = new_session(as_alice)
    run(as_alice, session, "1")
    text = as_alice.get("/metrics").text
    assert 'sparkyard_gateway_sessions{state="idle"}' in text
    assert "sparkyard_gateway_statement_seconds_count" in text
    assert "alice" not in text
    assert as_alice.get("/services/gateway/metrics").status_code == 404
    assert as_alice.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 404
    as_alice.delete(f"/sessions/{session}")


def test_the_description_covers_the_routes_and_resolves(as_nobody):
    description = as_nobody.get("/openapi.json").json()
    assert set(description["paths"]["/sessions/{session}/statements"]) == {"get", "post"}
    names = [
        each["name"] for each in description["paths"]["/sessions/{session}/statements/{statement}"]["get"]["parameters"]
    ]
    assert {"wait", "since", "seen"} <= set(names)
    texts = json.dumps(description)
    for reference in {each.split('"')[0] for each in texts.split('"$ref": "')[1:]}:
        node = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


JUNK = [
    "", "null", "[]", '"x"', "{", '{"kind": 5}', '{"conf": {"a": {"b": 1}}}', '{"conf": {"a": null}}',
    '{"name": "\\ud800"}', '{"ttl": 5e999}', '{"numExecutors": 99999999999999999999}', '{"driverCores": -1}',
    '{"jars": [null]}', "\x00", "é", '{"kind": "pyspark", "kind": "spark", "nosuch": 1}', "[" * 5000,
    '{"heartbeatTimeoutInSecond": 1.5}',
]  # fmt: skip


@pytest.mark.parametrize("body", JUNK)
def test_junk_to_create_is_a_400_with_a_sentence(as_alice, body):
    answer = as_alice.post("/sessions", content=body.encode("utf-8", "surrogatepass"))
    assert answer.status_code == 400, answer.text
    said = answer.json()
    assert said if isinstance(said, str) else said["msg"]


@pytest.mark.parametrize(
    "reference", ["%00", "..%2f..%2fetc", "%2e%2e", "a" * 200, "-1", "99999999999", "1e3", "٣", "0x1", " "]
)
def test_junk_for_a_session_is_never_a_5xx(as_alice, reference):
    for path in (f"/sessions/{reference}", f"/sessions/{reference}/log", f"/sessions/{reference}/statements/0"):
        assert as_alice.get(path).status_code in {400, 404}


@pytest.mark.parametrize(
    "query", ["from=x", "size=", "from=1.5", "wait=soon", "from=99999999999", "state=nosuch", "validate=maybe"]
)
def test_junk_in_a_query_is_a_400(as_alice, query):
    session = new_session(as_alice)
    paths = {"wait": f"/sessions/{session}", "state": f"/sessions/{session}"}
    path = paths.get(query.split("=")[0], "/sessions")
    method = "POST" if "validate" in query else "GET"
    answer = as_alice.request(method, f"{path}?{query}", content='{"kind": "pyspark"}')
    assert answer.status_code == 400
    assert answer.json()["msg"]
    as_alice.delete(f"/sessions/{session}")


def test_a_wait_that_is_no_number_does_not_hang(as_alice):
    session = new_session(as_alice)
    for wait in ("nan", "-5", "0"):
        assert as_alice.get(f"/sessions/{session}?wait={wait}").status_code == 200
    as_alice.delete(f"/sessions/{session}")


def test_a_client_that_breaks_off_in_the_midst_does_no_harm(gateway, as_alice):
    port = int(gateway.url.rpartition(":")[2])
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as broken:
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: token token-of-alice\r\n"
            broken.sendall(head + b"Content-Length: 100\r\n\r\n{")
    assert as_alice.get("/sessions").status_code == 200
    assert "Traceback" not in gateway.log


def test_the_gateways_log_is_json_and_names_session_and_user(gateway, as_alice):
    session = new_session(as_alice)

    def lines():
        return [line for line in events(gateway) if line["event"] == "session_created" and line["session"] == session]

    (created,) = until(lines)
    assert (created["user"], created["profile"], created["level"]) == ("alice", "small", "info")
    as_alice.delete(f"/sessions/{session}")


def test_version_is_livys_and_ours(as_nobody):
    answer = as_nobody.get("/version").json()
    assert answer["version"].startswith("0.9")
    assert answer["gateway"].startswith("sparkyard-gateway ")


def test_a_taken_port_is_a_sentence(gateway, tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    port = gateway.url.rpartition(":")[2]
    arguments = ["--port", port, "--state-dir", str(tmp_path / "state"), "--catalog", str(tmp_path / "catalog.yaml")]
    ended = subprocess.run(
        [sys.executable, "-m", "sparkyard_gateway.command", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert httpx.get(f"{gateway.url}/health/live").status_code == 200


def test_a_second_gateway_on_the_same_folder_is_refused(gateway):
    catalog = str(gateway._folder / "catalog.yaml")
    arguments = ["--port", "0", "--state-dir", str(gateway._folder / "state"), "--catalog", catalog]
    ended = subprocess.run(
        [sys.executable, "-m", "sparkyard_gateway.command", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "another gateway uses" in ended.stderr
