"""Each route as the wrong person: the routes are taken from the application, so none can be forgotten."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sparkyard_gateway.routes import driver, health, records, sessions, spark_ui, statements

from .conftest import new_session, run

UNKNOWN = 999_999
OPEN = {"/health/live", "/health/ready", "/version", "/metrics", "/metrics/ping", "/openapi.json", "/oauth_callback"}
"""Routes that know nothing of anybody's."""
BODIES = {
    "/sessions/{session}/statements": '{"code": "1"}',
    "/sessions/{session}/completion": '{"code": "1"}',
    "/sessions": '{"kind": "pyspark"}',
    "/sessions/": '{"kind": "pyspark"}',
}


def _routes() -> list[tuple[str, str]]:
    app = FastAPI()
    for module in (sessions, statements, records, health, spark_ui, driver):
        app.include_router(module.router)
    found = []
    for module in (sessions, statements, records, health, spark_ui):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            found += [(method, route.path) for method in sorted(route.methods)]
    return found


GUARDED = [(method, path) for method, path in _routes() if path not in OPEN and not path.startswith("/spark-ui")]
OF_A_SESSION = [(method, path) for method, path in GUARDED if "{session}" in path]


def _ask(client, method, path, session):
    filled = path.replace("{session}", str(session)).replace("{statement}", "0")
    return client.request(method, filled, content=BODIES.get(path))


def test_the_routes_are_the_ones_this_file_knows():
    assert len(GUARDED) >= 21
    assert ("GET", "/sessions/{session}/record/log/events") in OF_A_SESSION
    assert ("POST", "/sessions/{session}/statements/{statement}/cancel") in OF_A_SESSION


@pytest.fixture(scope="module")
def alices(as_alice):
    session = new_session(as_alice, name="alices")
    run(as_alice, session, "40 + 2")
    yield session
    as_alice.delete(f"/sessions/{session}")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nobody_gets_401(as_nobody, alices, method, path):
    answer = _ask(as_nobody, method, path, alices)
    assert answer.status_code == 401
    assert "Authorization" in answer.json()["msg"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_token_without_the_scope_gets_403(as_eve, alices, method, path):
    answer = _ask(as_eve, method, path, alices)
    assert answer.status_code == 403
    assert "access:services!service=gateway" in answer.json()["msg"]


@pytest.mark.parametrize(("method", "path"), OF_A_SESSION)
def test_a_strangers_session_answers_exactly_as_an_unknown_one(as_alice, as_bob, alices, method, path):
    theirs, unknown = _ask(as_bob, method, path, alices), _ask(as_bob, method, path, UNKNOWN)
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(str(alices), "N") == unknown.text.replace(str(UNKNOWN), "N")
    hidden = {"date", "content-length"}
    assert {k: v for k, v in theirs.headers.items() if k not in hidden} == {
        k: v for k, v in unknown.headers.items() if k not in hidden
    }
    assert as_alice.get(f"/sessions/{alices}/state").json()["state"] == "idle"
    assert _ask(as_bob, method, path, "alices").status_code == 404


def test_lists_hold_ones_own(as_alice, as_bob, as_ada, as_ada_notebook, alices):
    def ids(client):
        return [each["id"] for each in client.get("/sessions").json()["sessions"]]

    assert alices in ids(as_alice)
    assert ids(as_bob) == []
    assert as_bob.get("/sessions").json()["total"] == 0
    assert alices in ids(as_ada)
    # An admin's notebook is not the admin.
    assert ids(as_ada_notebook) == []
    assert as_ada_notebook.get(f"/sessions/{alices}").status_code == 404


def test_an_admin_may_see_and_stop_what_is_others(as_bob, as_ada):
    session = new_session(as_bob)
    run(as_bob, session, "1")
    assert as_ada.get(f"/sessions/{session}").json()["owner"] == "bob"
    assert as_ada.get(f"/sessions/{session}/statements/0").json()["state"] == "available"
    assert as_ada.delete(f"/sessions/{session}").json() == {"msg": "deleted"}
    assert as_bob.get(f"/sessions/{session}").status_code == 404


def test_a_session_cannot_be_started_for_somebody_else(as_alice):
    refused = as_alice.post("/sessions", json={"kind": "pyspark", "proxyUser": "bob"})
    assert (refused.status_code, refused.json()["key"]) == (400, "proxyUser")
    made = as_alice.post("/sessions?doAs=bob", json={"kind": "pyspark", "proxyUser": "alice"}).json()
    assert (made["owner"], made["proxyUser"]) == ("alice", "alice")
    as_alice.delete(f"/sessions/{made['id']}")


def test_cookies_and_query_parameters_authenticate_nothing(as_nobody, alices):
    cookie = {"Cookie": "jupyterhub-services=token-of-alice; sparkyard-gateway-login=token-of-alice"}
    assert as_nobody.get(f"/sessions/{alices}", headers=cookie).status_code == 401
    assert as_nobody.get(f"/sessions/{alices}", params={"token": "token-of-alice"}).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "token",
        "Basic dG9rZW4tb2YtYWxpY2U6",
        "token-of-alice",
        "token token-of-alice extra",
        "Bearer \xe9",
        "token " + "x" * 5000,
    ],
)
def test_a_header_that_is_no_token_gets_401(as_nobody, header):
    assert as_nobody.get("/sessions", headers={"Authorization": header.encode("latin-1")}).status_code == 401


def test_drivers_are_admitted_by_their_own_token_alone(gateway, as_alice, alices):
    url = gateway.url.replace("http", "ws")

    def refused(path: str, token: str, **headers: str) -> bool:
        try:
            with connect(f"{url}{path}", additional_headers={"Authorization": f"Bearer {token}", **headers}):
                return False
        except InvalidStatus as error:
            return error.response.status_code == 403

    own = run(as_alice, alices, "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")
    other = new_session(as_alice)
    others = run(as_alice, other, "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")
    assert refused(f"/driver/v1/{alices}", "token-of-alice")
    assert refused(f"/driver/v1/{alices}", others)
    assert refused(f"/driver/v1/{UNKNOWN}", own)
    assert refused(f"/driver/v1/{alices}", own, **{"Sparkyard-Epoch": "7"})
    # Neither through the hub's proxy nor from a page in a browser.
    assert refused(f"/services/gateway/driver/v1/{alices}", own)
    assert refused(f"/driver/v1/{alices}", own, Origin="http://evil.example")
    assert re.fullmatch(r"[\w-]{43}", own)
    as_alice.delete(f"/sessions/{other}")
    # A driver's token opens nothing else.
    assert as_alice.get("/sessions", headers={"Authorization": f"token {own}"}).status_code == 401
