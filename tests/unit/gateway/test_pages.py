"""The gateway's pages and what they read, asked as a browser asks: with a cookie, and no Authorization header."""

import json
import re
from pathlib import Path

import httpx
import pytest

from sparkyard_gateway import pages
from sparkyard_gateway.browser_login import LOGIN_COOKIE
from sparkyard_gateway.sealing import Seal
from support.running_gateway import RunningGateway

from .conftest import StartGateway, client, new_session, run
from .test_records import events
from .test_sessions import until

SECRET = "5" * 64
UI = "/services/gateway/ui"


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    """A gateway with a service's token, and so with pages."""
    token = tmp_path_factory.mktemp("service") / "token"
    token.write_text(SECRET)
    return start_gateway("--hub-token-file", str(token), "--identity-ttl-seconds", "0")


def browser(gateway: RunningGateway, token: str | None, **headers: str) -> httpx.Client:
    """A browser that has signed in with this token."""
    made = httpx.Client(base_url=gateway.url + UI, timeout=60, headers={"Sec-Fetch-Site": "same-origin", **headers})
    if token is not None:
        made.cookies.set(LOGIN_COOKIE, Seal(SECRET, "browser-login").seal(600, token=token))
    return made


@pytest.fixture(scope="module")
def alice(gateway):
    with browser(gateway, "token-of-alice") as made:
        yield made


@pytest.fixture(scope="module")
def bob(gateway):
    with browser(gateway, "token-of-bob") as made:
        yield made


@pytest.fixture(scope="module")
def ada(gateway):
    with browser(gateway, "token-of-ada") as made:
        yield made


@pytest.fixture(scope="module")
def session(as_alice):
    number = new_session(as_alice, name="hers")
    run(as_alice, number, "1 / 0")
    yield number
    as_alice.delete(f"/sessions/{number}")


def page_token(client: httpx.Client) -> str:
    found = re.search(r'data-token="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def first_event(client: httpx.Client, path: str) -> dict:
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        _, _, document = next(events(answer.iter_lines()))
        return document


READ = ("/self", "/events", "/past")
DANGEROUS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
OF_A_SESSION = (
    *("/events", "/log", "/log/events", "/log/text"),
    *("/executors/1/log", "/executors/1/log/events", "/executors/1/log/text"),
)


def test_a_page_is_for_one_who_has_signed_in(gateway, alice):
    answer = alice.get("/")
    assert answer.status_code == 200
    assert '<span class="user">alice</span>' in answer.text
    with browser(gateway, None) as nobody:
        sent = nobody.get("/", headers={"Sec-Fetch-Mode": "navigate"})
        assert (sent.status_code, sent.headers["Location"][:29]) == (302, "/hub/api/oauth2/authorize?cli")
        for path in READ:
            assert nobody.get(path, headers={"Sec-Fetch-Mode": "cors"}).status_code == 401


@pytest.mark.parametrize("path", ["", *OF_A_SESSION])
def test_a_strangers_session_answers_exactly_as_an_unknown_one(bob, session, path):
    mode = {"Sec-Fetch-Mode": "cors" if path else "navigate"}
    theirs, unknown = (bob.get(f"/sessions/{number}{path}", headers=mode) for number in (session, 999_999))
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(f"'{session}'", "N") == unknown.text.replace("'999999'", "N")


def test_nobody_but_an_admin_sees_what_is_anothers(alice, bob, ada, session):
    assert [row["id"] for row in first_event(alice, "/events")["changed"]] == [session]
    assert first_event(bob, "/events")["changed"] == []
    rows = first_event(ada, "/events")["changed"]
    assert [(row["id"], row["owner"], row["mine"]) for row in rows] == [(session, "alice", False)]
    assert first_event(ada, f"/sessions/{session}/events")["session"]["owner"] == "alice"


def test_a_row_tells_what_runs(alice, as_alice, session):
    made = as_alice.post(f"/sessions/{session}/statements", json={"code": "sleep 60"}).json()
    until(lambda: as_alice.get(f"/sessions/{session}/statements/{made['id']}").json()["state"] == "running")
    as_alice.post(f"/sessions/{session}/statements", json={"code": "2"})
    row = first_event(alice, "/events")["changed"][0]
    assert (row["state"], row["profile"], row["driverImage"], row["spark"]) == ("busy", "Small", "spark-3.5", "3.5.9")
    assert (row["statement"]["code"], row["statement"]["state"], row["waiting"]) == ("sleep 60", "running", 1)
    # A simulated driver is a small Python.
    assert 4 << 20 <= row["memory"] <= 1 << 30
    as_alice.post(f"/sessions/{session}/statements/{made['id']}/cancel")
    told = first_event(alice, f"/sessions/{session}/events")
    assert told["statements"][-1]["causes"] == ["ZeroDivisionError: division by zero"]
    assert told["exception"] is None


def test_changes_follow_without_asking(alice, as_alice):
    with alice.stream("GET", "/events") as answer:
        told = events(answer.iter_lines())
        _, _, before = next(told)
        assert before["first"] is True
        number = new_session(as_alice)
        changed: list = []
        while not any(row["id"] == number and row["state"] == "idle" for row in changed):
            changed += next(told)[2]["changed"]
        as_alice.delete(f"/sessions/{number}")
        while number not in next(told)[2]["gone"]:
            pass


def test_stopping_wants_the_token_of_a_page_that_this_browser_has(gateway, alice, bob, as_alice):
    number = new_session(as_alice)
    token, bobs = page_token(alice), page_token(bob)
    for headers in ({}, {"Sparkyard-Token": bobs}, {"Sparkyard-Token": "x"}):
        assert alice.post(f"/sessions/{number}/stop", headers=headers).status_code == 403
    # From another site's page, which has the cookie's company but cannot hide where it is.
    for site in ("cross-site", "same-site"):
        headers = {"Sparkyard-Token": token, "Sec-Fetch-Site": site}
        assert alice.post(f"/sessions/{number}/stop", headers=headers).status_code == 403
    # Nor is a login enough that a token was not given to.
    with browser(gateway, "token-of-alice") as elsewhere:
        elsewhere.cookies.set(LOGIN_COOKIE, Seal(SECRET, "browser-login").seal(601, token="token-of-alice"))
        assert elsewhere.post(f"/sessions/{number}/stop", headers={"Sparkyard-Token": token}).status_code == 403
    assert bob.post(f"/sessions/{number}/stop", headers={"Sparkyard-Token": bobs}).status_code == 404
    assert alice.get(f"/sessions/{number}/stop", headers={"Sparkyard-Token": token}).status_code == 405
    assert as_alice.get(f"/sessions/{number}/state").json()["state"] == "idle"

    assert alice.post(f"/sessions/{number}/stop", headers={"Sparkyard-Token": token}).status_code == 204
    dead = until(lambda: (s := as_alice.get(f"/sessions/{number}").json())["state"] == "dead" and s)
    assert dead["stateReason"] == "The session was stopped on the Sessions page by its owner."


def test_other_sites_read_nothing(alice, session):
    for path in (*READ, *(f"/sessions/{session}{each}" for each in OF_A_SESSION)):
        for site in ("cross-site", "same-site"):
            answer = alice.get(path, headers={"Sec-Fetch-Site": site})
            assert answer.status_code == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_cookie_opens_no_api_and_an_apis_token_no_page(gateway, alice, session):
    cookie = {"Cookie": f"{LOGIN_COOKIE}={alice.cookies[LOGIN_COOKIE]}"}
    assert httpx.get(f"{gateway.url}/services/gateway/sessions/{session}", headers=cookie).status_code == 401
    with browser(gateway, None, Authorization="token token-of-alice") as script:
        assert script.get("/events", headers={"Sec-Fetch-Mode": "cors"}).status_code == 401


def test_a_login_that_ends_ends_what_it_reads(gateway, hub):
    hub.admit("token-of-a-browser", "alice", ("people",))
    with browser(gateway, "token-of-a-browser") as reader, reader.stream("GET", "/events") as answer:
        told = events(answer.iter_lines())
        next(told)
        del hub.people["token-of-a-browser"]
        assert [name for name, _, _ in told][-1] == "login"
        assert reader.get("/self").status_code == 401


def test_texts_are_escaped_and_nothing_else_may_run(alice, gateway):
    evil = "\"'><script>alert(1)</script><img src=x>"
    names = ("title", "root", "hub", "user", "here", "admin", "token", "session", "heading", "sentence")
    text = pages.page("message", **dict.fromkeys(names, evil))
    assert "<script>" not in text
    assert "alert(1)" in text
    assert "<img src=x>" not in text
    for path in ("/", "/sessions/999999", "/static/common.js"):
        headers = alice.get(path).headers
        policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
        assert (policy["script-src"], policy["style-src"], policy["default-src"]) == ("'self'", "'self'", "'none'")
        assert policy["require-trusted-types-for"] == "'script'"
        assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")


def test_no_page_holds_a_script_a_style_or_a_handler_of_its_own():
    folder = Path(pages.__file__).parent
    for name in ("head", "foot", "sessions", "session", "message"):
        text = (folder / f"{name}.html").read_text()
        assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", text) == []
    for path in folder.glob("*.js"):
        assert (
            re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", path.read_text()
            )
            == []
        )


def test_files_are_the_ones_there_are(alice):
    for name in pages.FILES:
        answer = alice.get(f"/static/{name}")
        assert (answer.status_code, answer.content) == (200, pages.FILES[name])
        assert "immutable" in answer.headers["Cache-Control"]
    for name in ("nothing.js", "..%2fconfig.py", "__init__.py", "head.html"):
        assert alice.get(f"/static/{name}").status_code == 404


def test_without_a_services_token_there_are_no_pages(start_gateway):
    gateway = start_gateway()
    for path in ("/", "/events", "/static/page.css", "/sessions/1"):
        assert httpx.get(f"{gateway.url}{UI}{path}").status_code == 404


def test_what_ended_a_while_ago_is_listed_and_shown(start_gateway, tmp_path):
    (tmp_path / "token").write_text(SECRET)
    gateway = start_gateway("--hub-token-file", str(tmp_path / "token"), "--finished-retention-seconds", "0.01")
    with (
        client(gateway, "token-of-alice") as api,
        browser(gateway, "token-of-alice") as alice,
        browser(gateway, "token-of-bob") as bob,
    ):
        number = new_session(api, name="gone")
        api.post(f"/sessions/{number}/stop")
        until(lambda: api.get(f"/sessions/{number}").status_code == 404)
        past = alice.get("/past").json()
        assert [(row["id"], row["name"], row["state"]) for row in past["records"]] == [(number, "gone", "dead")]
        assert past["days"] == "7 days"
        assert bob.get("/past").json()["records"] == []
        assert "the simulated driver is up" in alice.get(f"/sessions/{number}/log/text").text
        with alice.stream("GET", f"/sessions/{number}/events") as answer:
            told = list(events(answer.iter_lines()))
        assert [name for name, _, _ in told] == ["session", "end"]
        assert alice.post(f"/sessions/{number}/stop", headers={"Sparkyard-Token": page_token(alice)}).status_code == 404
        assert json.dumps(told[0][2]["session"]["mayStop"]) == "false"
