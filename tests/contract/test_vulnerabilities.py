"""The known vulnerabilities of this kind of software, one by one: what each was, and that it can't happen here.

On the real parts: a gateway with real Spark drivers (`neighbours`). Where a hostile web server in a driver's place is
needed, a simulated driver names one of its own.
"""

import http.client
import json
import re
import secrets
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from sparkyard_catalog.references import parse
from sparkyard_catalog.standing import Standing, standing_of
from support import hub_stand_in
from support.running_gateway import ROOT, TOKEN, RunningGateway

from .conftest import AWKWARD, Neighbours

SCRIPT = "<script>alert(1)</script>"
_TEXT_MAKERS = re.compile(r"^\s*(?:import|from)\s+(yaml|jinja2|string|mako|chevron)\b", re.MULTILINE)
SIMULATED = ROOT / "tests" / "support" / "simulated_driver.py"
pytestmark = pytest.mark.spark


def raw(gateway: RunningGateway, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """A request whose path goes out as it is: clients tidy paths up."""
    line = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        line.putheader("Host", "127.0.0.1")
        for name, value in headers.items():
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        line.close()


def refused(neighbours: Neighbours, conf: dict[str, str]) -> dict[str, str]:
    """The answer of the policy to these settings."""
    answer = neighbours.alice.http.post("/sessions", json={"kind": "pyspark", "profile": "small", "conf": conf})
    assert answer.status_code == 400, answer.text
    found: dict[str, str] = answer.json()
    return found


# CVE-2021-26544: Livy 0.7.0 showed a session's name unescaped in its pages, so a name could carry a script.


def test_cve_2021_26544_a_sessions_name_carries_no_script(neighbours: Neighbours) -> None:
    for name in (SCRIPT, '"><img src=x onerror=alert(1)>', "a<b", "a&b", "a'b", "a`b", "\u003cscript", "javascript:x"):
        made = neighbours.alice.http.post("/sessions", json={"kind": "pyspark", "profile": "small", "name": name})
        if made.status_code == 201:  # harmless characters alone
            assert re.fullmatch(r"[\w.@:+\- ]+", name)
            neighbours.alice.http.delete(f"/sessions/{made.json()['id']}")
            continue
        assert made.status_code == 400
        # What names the refused name is JSON, and no browser takes it for a page.
        assert made.headers["content-type"] == "application/json"
        assert made.headers["x-content-type-options"] == "nosniff"
    for path in (f"/sessions/{quote(SCRIPT)}", f"/spark-ui/{quote(SCRIPT)}/", f"/sessions/1/{quote(SCRIPT)}"):
        answer = neighbours.alice.http.get(path)
        assert answer.status_code == 404
        assert "text/html" not in answer.headers["content-type"]
    page = httpx.get(f"{neighbours.gateway.url}/spark-ui/{quote(SCRIPT)}/", headers={"Sec-Fetch-Mode": "cors"})
    assert "<script" not in page.text


# GHSA-h84f-4ff9-8hc3: a file outside the folder that was meant could be read by dots in a path.


def test_ghsa_h84f_4ff9_8hc3_no_path_leads_elsewhere(neighbours: Neighbours) -> None:
    alice, gateway = neighbours.alice, neighbours.gateway
    token = {"Authorization": "token token-of-alice"}
    ups = (
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%252f",
        "..%5c",
        "..\\",
        "....//",
        "..;/",
        "%c0%ae%c0%ae/",
        ".%2e/",
    )
    for up in ups:
        for start in (
            f"/spark-ui/{alice.session}/", f"/spark-ui/{alice.session}/static/", f"/sessions/{alice.session}/log/",
            "/sessions/", "/static/", "/", "/services/gateway/",
        ):  # fmt: skip
            for target in ("etc/passwd", "token", "state/gateway.sqlite", f"sessions/{neighbours.bob.session}"):
                status, body = raw(gateway, f"{start}{up * 12}{target}", **token)
                assert status in {302, 400, 404}, (status, start, up, target)
                assert "root:" not in body
                assert "SQLite" not in body
                assert "bobs" not in body
    for address in ("file:///etc/passwd", "../../etc/passwd", "s3a://example-data-science/libraries/../secrets"):
        for key in ("jars", "pyFiles", "files", "archives"):
            answer = alice.http.post("/sessions", json={"kind": "pyspark", "profile": "large", key: [address]})
            assert (answer.status_code, answer.json()["key"]) == (400, key)


# CVE-2022-33891 and CVE-2023-32007: with Spark's access lists on, a user's name (?doAs=) was put into a shell command.


@pytest.mark.parametrize("name", ["CVE-2022-33891", "CVE-2023-32007"])
def test_cve_2022_33891_and_cve_2023_32007_no_name_reaches_a_shell(
    neighbours: Neighbours, tmp_path: Path, name: str
) -> None:
    alice = neighbours.alice
    mark = Path(f"/tmp/sparkyard-{name}-{secrets.token_hex(4)}")
    for attempt in (
        f"`touch {mark}`",
        f"$(touch {mark})",
        f";touch {mark};",
        f"|touch {mark}",
        f"' ; touch {mark} ; '",
    ):
        for path in (f"/spark-ui/{alice.session}/jobs/", f"/spark-ui/{alice.session}/api/v1/applications"):
            answer = alice.http.get(path, params={"doAs": attempt, "user.name": attempt})
            assert answer.status_code in {200, 403, 404}
        assert alice.http.get("/sessions", params={"doAs": attempt}).status_code == 200
        refusal = alice.http.post("/sessions", json={"kind": "pyspark", "profile": "small", "proxyUser": attempt})
        assert refusal.json()["key"] == "proxyUser"
    assert not mark.exists()
    for key in (
        "spark.acls.enable",
        "spark.ui.acls.enable",
        "spark.user.groups.mapping",
        "spark.history.ui.acls.enable",
    ):
        assert refused(neighbours, {key: "true"})["key"] == key
    running = alice.text("print(sc.getConf().get('spark.acls.enable', 'false'), sc.version)").split()
    assert running[0] == "false"
    assert version(running[1]) >= (3, 4)


# CVE-2023-22946: with proxy-user and cluster mode, a class path of the user's own ran as the one who submits.


def test_cve_2023_22946_who_submits_and_with_which_class_path_is_not_asked(neighbours: Neighbours) -> None:
    for key in (
        "spark.submit.deployMode", "spark.submit.proxyUser.allowCustomClasspathInClusterMode", "spark.submit.proxyUser",
        "spark.proxyUser", "spark.master", "spark.driver.extraClassPath", "spark.executor.extraClassPath",
        "spark.driver.userClassPathFirst", "spark.driver.extraLibraryPath", "spark.driver.extraJavaOptions",
    ):  # fmt: skip
        assert refused(neighbours, {key: "true"})["key"] == key
    told = neighbours.alice.text(
        "conf = sc.getConf(); print(conf.get('spark.submit.deployMode'), conf.get('spark.master'), sc.sparkUser())"
    )
    assert told.split()[0] == "client"
    assert told.split()[1].startswith("local[")
    assert told.split()[2] == "alice"


# CVE-2018-8024: a Spark UI showed a job's description as HTML, and with it a script of whoever ran the job.


def test_cve_2018_8024_a_script_in_the_spark_ui_has_no_origin(neighbours: Neighbours) -> None:
    alice = neighbours.alice
    alice.text(f"sc.setJobDescription({SCRIPT!r}); print(sc.parallelize([1]).count())")
    page = alice.http.get(f"/spark-ui/{alice.session}/jobs/")
    assert page.status_code == 200
    # Spark shows it as text by now; should it not, what runs there is nobody: no cookies, no API, no frame around it.
    assert SCRIPT not in page.text
    policy = {part.split()[0]: part.split()[1:] for part in page.headers["content-security-policy"].split("; ")}
    assert "allow-scripts" in policy["sandbox"]
    assert not {"allow-same-origin", "allow-top-navigation", "allow-popups", "allow-modals"} & set(policy["sandbox"])
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["connect-src"] == policy["form-action"] == ["'self'"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert "set-cookie" not in page.headers


# CVE-2025-54920: the history server built objects of any class that an event log named.


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3])


def test_cve_2025_54920_the_sparks_in_the_locks_are_mended_and_nobody_writes_event_logs_of_their_own_choice(
    neighbours: Neighbours,
) -> None:
    locked = [
        found
        for path in (ROOT / "requirements").rglob("*.txt")
        for found in re.findall(r"^pyspark(?:-client|-connect)?==([0-9.]+)", path.read_text(), re.MULTILINE)
    ]
    assert locked, "some lock names a Spark"
    for each in locked:
        assert version(each) >= ((4, 0, 1) if version(each) >= (4,) else (3, 5, 7)), each
    allowed = tomllib.loads((ROOT / "gateway" / "pyproject.toml").read_text())["project"]["optional-dependencies"][
        "local"
    ]
    assert any(each.startswith("pyspark>=3.5.7") for each in allowed)
    for key in (
        "spark.eventLog.enabled", "spark.eventLog.dir", "spark.eventLog.compress", "spark.eventLog.rolling.enabled",
        "spark.history.fs.logDirectory", "spark.history.provider", "spark.history.store.path",
    ):  # fmt: skip
        assert standing_of(key).standing is Standing.CLOSED
        assert refused(neighbours, {key: "/tmp"})["key"] == key


# GHSA-7r3h-4ph8-w38g: a page below the hub's host could plant cookies for it ("cookie tossing"), and act as its user.


@pytest.fixture(scope="module")
def hostile_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, int]]:
    """A session whose driver serves a web page of its user's making where the Spark UI should be."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "token").write_text("t" * 64)
    serve = (
        "[space := {}, exec('''\n"
        "import gc, http.server, json, threading\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body = json.dumps(dict(self.headers)).encode()\n"
        "        self.send_response(200)\n"
        "        for name, value in (('Set-Cookie', 'jupyterhub-session-id=tossed; Path=/hub/'),\n"
        "                            ('Set-Cookie', '_xsrf=tossed; Path=/'), ('Clear-Site-Data', '\"*\"'),\n"
        "                            ('Access-Control-Allow-Origin', '*'), ('Service-Worker-Allowed', '/'),\n"
        "                            ('Content-Security-Policy', 'default-src *'), ('Refresh', '0; url=/hub/logout'),\n"
        "                            ('Link', '</hub/>; rel=preload'), ('Content-Type', 'text/html'),\n"
        "                            ('Content-Length', str(len(body)))):\n"
        "            self.send_header(name, value)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "driver = next(each for each in gc.get_objects() if type(each).__name__ == 'SimulatedDriver')\n"
        "driver.durable(t='ready', app_id='x', spark_ui=f'http://127.0.0.1:{server.server_port}',\n"
        "               spark_version='3.5.9', python_version='3.11.2')\n"
        "''', space)][1]"
    )
    with hub_stand_in.running() as hub:
        hub.admit(TOKEN, "ann", ("data-science",))
        gateway = RunningGateway(
            folder, hub.url, "--driver-program", str(SIMULATED), "--hub-token-file", str(folder / "token"),
            "--stop-drivers-on-exit",
        )  # fmt: skip
        gateway.start()
        try:
            with httpx.Client(base_url=gateway.url, headers={"Authorization": f"token {TOKEN}"}, timeout=60) as client:
                number = client.post("/sessions", json={"kind": "pyspark", "profile": "small"}).json()["id"]
                client.get(f"/sessions/{number}?wait=60&state=starting")
                ran = client.post(f"/sessions/{number}/statements?wait=60", json={"code": serve}).json()
                assert ran["output"]["status"] == "ok", ran
                yield client, number
        finally:
            gateway.stop()


def test_ghsa_7r3h_4ph8_w38g_a_spark_ui_plants_no_cookie_and_sees_none(hostile_ui: tuple[httpx.Client, int]) -> None:
    client, number = hostile_ui
    sent = {"Cookie": "jupyterhub-session-id=of-the-hub; _xsrf=x", "X-Xsrftoken": "x", "Referer": "http://hub/hub/home"}
    page = client.get(f"/spark-ui/{number}/", headers=sent)
    assert page.status_code == 200
    for name in ("set-cookie", "clear-site-data", "service-worker-allowed", "refresh", "link"):
        assert name not in page.headers, name
    assert page.headers.get("access-control-allow-origin") is None
    assert page.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in page.headers["content-security-policy"]
    seen = page.text.lower()
    for hidden in ("cookie", "of-the-hub", "authorization", TOKEN, "xsrf", "referer"):
        assert hidden not in seen, f"the driver's page was sent {hidden}"


# CVE-2020-36191: JupyterHub's forms could be sent by another site, with the user's cookies (CSRF).


def test_cve_2020_36191_a_cookie_opens_no_api_and_no_other_site_may_ask(neighbours: Neighbours) -> None:
    url = neighbours.gateway.url
    cookies = {"Cookie": "sparkyard-gateway-login=token-of-alice; jupyterhub-services=token-of-alice", "Origin": url}
    forms = (
        {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": "application/json"},
    )  # fmt: skip
    for form in forms:
        for origin in (url, "https://evil.example", "null"):
            headers = {**cookies, **form, "Origin": origin}
            for method, path, body in (
                ("POST", "/sessions", json.dumps({"kind": "pyspark", "profile": "small"})),
                ("POST", f"/sessions/{neighbours.alice.session}/statements", json.dumps({"code": "1"})),
                ("DELETE", f"/sessions/{neighbours.alice.session}", ""),
            ):
                for prefix in ("", "/services/gateway"):
                    answer = httpx.request(method, url + prefix + path, headers=headers, content=body, timeout=30)
                    assert answer.status_code == 401, (method, path, headers)
                    assert "access-control-allow-origin" not in answer.headers
    preflight = httpx.options(
        f"{url}/sessions",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization"},
    )  # fmt: skip
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control-")]
    assert neighbours.alice.http.get(f"/sessions/{neighbours.alice.session}/state").json()["state"] == "idle"
    # Nothing changes by a GET, and no header or parameter makes another method of it.
    for trick in ({"X-HTTP-Method-Override": "DELETE"}, {"X-HTTP-Method": "DELETE"}, {"X-Method-Override": "DELETE"}):
        path = f"/sessions/{neighbours.alice.session}?_method=DELETE"
        assert neighbours.alice.http.get(path, headers=trick).status_code == 200
    assert neighbours.alice.http.get(f"/sessions/{neighbours.alice.session}/state").json()["state"] == "idle"


# CVE-2026-44181 and CVE-2026-44182: what a user asked for was pasted into a manifest's text, and became a part of it.

INJECTIONS = (
    "x\n    privileged: true", "x\r\nhostPID: true", "x: {a: b}", "x # y", '"}, "privileged": "true', "{{ 7*7 }}",
    "{username}", "${env:HOME}", "%(x)s", "- a\n- b", "!!python/object/apply:os.system ['id']", "&a *a", "x\0y",
    "x\u2028y",
)  # fmt: skip


def test_cve_2026_44181_and_cve_2026_44182_a_value_is_a_value_and_never_a_piece_of_text(
    neighbours: Neighbours,
) -> None:
    alice = neighbours.alice
    # What arrives is what was sent, one setting, with all that means something in YAML, templates, shells and files.
    told = json.loads(alice.text("import json; print(json.dumps(dict(sc.getConf().getAll())))"))
    assert told["spark.sql.note"] == AWKWARD
    assert not [key for key in told if "privileged" in key or "username" in key]
    # What could end a line, or would be replaced after the check, is refused wherever it stands.
    for text in INJECTIONS:
        assert parse(f"registry.example.com/data-science/{text}@sha256:{'a' * 64}") is None
        image = {"spark.kubernetes.driver.container.image": f"registry.example.com/data-science/x:{text}"}
        for field in ({"conf": image}, {"queue": text}, {"proxyUser": text}, {"driverMemory": text}, {"jars": [text]}):
            answer = alice.http.post("/sessions", json={"kind": "pyspark", "profile": "large", **field})
            assert answer.status_code == 400, (field, answer.text)
            assert "key" in answer.json()
        if re.search(r"[\x00-\x1f]|\$\{", text):
            assert refused(neighbours, {"spark.sql.note": text})["key"] == "spark.sql.note"
        assert alice.http.post("/sessions", json={"profile": text}).status_code == 400
        assert refused(neighbours, {f"spark.sql.{text}": "x"})["profile"] == "small"
    # And what starts servers and drivers has nothing to make a manifest's text with: pods are objects to it.
    for folder in ("gateway", "spawner", "catalog"):
        for path in (ROOT / folder / "src").rglob("*.py"):
            imports = _TEXT_MAKERS.findall(path.read_text())
            assert not imports, path
