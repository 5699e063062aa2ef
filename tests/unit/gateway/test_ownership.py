"""Each route as the wrong person: the routes are taken from the application, so none can be forgotten.

A new route fails here until it has its line in `ROUTES`, which says for whom it is.
"""

import re
import time
from enum import Enum

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sparkyard_gateway.app import ROUTERS

from .conftest import client, new_session, run

UNKNOWN = 999_999


class For(Enum):
    """For whom a route is."""

    ANYBODY = "knows nothing of anybody's"
    CALLER = "whoever has a token with the scope, about what is theirs"
    OVERSEER = "shows or stops something: its owner, the team's leads, admins"
    OWNER = "acts in the owner's place: the owner alone"
    NOBODY = "Livy's jobs, which are offered to nobody"
    EXECUTOR = "shows an executor's log: whoever sees its session, and to them it says that there is no such executor"
    BATCH_EXECUTOR = "shows an executor's log: whoever sees its batch"
    BATCH_OVERSEER = "shows or stops a batch: its owner, the team's leads, admins"
    BROWSER = "a page: like OVERSEER, by the browser's login"
    DRIVER = "a driver with its session's own token"


ROUTES = {
    ("GET", "/health/live"): For.ANYBODY,
    ("GET", "/health/ready"): For.ANYBODY,
    ("GET", "/"): For.ANYBODY,
    ("GET", "/version"): For.ANYBODY,
    ("GET", "/version/"): For.ANYBODY,
    ("GET", "/metrics"): For.ANYBODY,
    ("GET", "/metrics/ping"): For.ANYBODY,
    ("GET", "/oauth_callback"): For.ANYBODY,
    ("GET", "/proxy-errors/{status}"): For.ANYBODY,
    ("OPTIONS", "/spark-ui/{session}/~{text}/{path:path}"): For.ANYBODY,
    ("OPTIONS", "/spark-ui/batches/{session}/~{text}/{path:path}"): For.ANYBODY,
    ("GET", "/sessions"): For.CALLER,
    ("GET", "/sessions/"): For.CALLER,
    ("POST", "/sessions"): For.CALLER,
    ("POST", "/sessions/"): For.CALLER,
    ("GET", "/sessions/{session}"): For.OVERSEER,
    ("GET", "/sessions/{session}/state"): For.OVERSEER,
    ("GET", "/sessions/{session}/log"): For.OVERSEER,
    ("GET", "/sessions/{session}/statements"): For.OVERSEER,
    ("GET", "/sessions/{session}/statements/{statement}"): For.OVERSEER,
    ("POST", "/sessions/{session}/statements/{statement}/cancel"): For.OVERSEER,
    ("POST", "/sessions/{session}/stop"): For.OVERSEER,
    ("DELETE", "/sessions/{session}"): For.OVERSEER,
    ("POST", "/sessions/{session}/statements"): For.OWNER,
    ("POST", "/sessions/{session}/completion"): For.OWNER,
    ("POST", "/sessions/{session}/connect"): For.OWNER,
    ("POST", "/sessions/{session}/interrupt"): For.OVERSEER,
    ("POST", "/sessions/{session}/submit-job"): For.NOBODY,
    ("POST", "/sessions/{session}/run-job"): For.NOBODY,
    ("POST", "/sessions/{session}/jobs/{job}/cancel"): For.NOBODY,
    ("POST", "/sessions/{session}/upload-jar"): For.NOBODY,
    ("POST", "/sessions/{session}/upload-pyfile"): For.NOBODY,
    ("POST", "/sessions/{session}/upload-file"): For.NOBODY,
    ("POST", "/sessions/{session}/add-jar"): For.NOBODY,
    ("POST", "/sessions/{session}/add-pyfile"): For.NOBODY,
    ("POST", "/sessions/{session}/add-file"): For.NOBODY,
    ("GET", "/sessions/{session}/jobs/{job}"): For.NOBODY,
    ("GET", "/batches"): For.CALLER,
    ("GET", "/batches/"): For.CALLER,
    ("POST", "/batches"): For.CALLER,
    ("POST", "/batches/"): For.CALLER,
    ("GET", "/batches/{batch}"): For.BATCH_OVERSEER,
    ("GET", "/batches/{batch}/state"): For.BATCH_OVERSEER,
    ("GET", "/batches/{batch}/log"): For.BATCH_OVERSEER,
    ("DELETE", "/batches/{batch}"): For.BATCH_OVERSEER,
    ("GET", "/records"): For.CALLER,
    ("GET", "/sessions/{session}/statements/{statement}/output"): For.OVERSEER,
    ("GET", "/sessions/{session}/record"): For.OVERSEER,
    ("GET", "/sessions/{session}/exception"): For.OVERSEER,
    ("GET", "/sessions/{session}/statements/{statement}/exception"): For.OVERSEER,
    ("GET", "/sessions/{session}/record/log"): For.OVERSEER,
    ("GET", "/sessions/{session}/record/log/text"): For.OVERSEER,
    ("GET", "/sessions/{session}/record/log/events"): For.OVERSEER,
    ("GET", "/sessions/{session}/executors"): For.OVERSEER,
    ("GET", "/sessions/{session}/pod-events"): For.OVERSEER,
    ("GET", "/sessions/{session}/executors/{executor}/log"): For.EXECUTOR,
    ("GET", "/sessions/{session}/executors/{executor}/log/text"): For.EXECUTOR,
    ("GET", "/sessions/{session}/executors/{executor}/log/events"): For.EXECUTOR,
    ("GET", "/batches/{batch}/executors"): For.BATCH_OVERSEER,
    ("GET", "/batches/{batch}/pod-events"): For.BATCH_OVERSEER,
    ("GET", "/batches/{batch}/executors/{executor}/log"): For.BATCH_EXECUTOR,
    ("GET", "/batches/{batch}/executors/{executor}/log/text"): For.BATCH_EXECUTOR,
    ("GET", "/batches/{batch}/executors/{executor}/log/events"): For.BATCH_EXECUTOR,
    ("POST", "/driver/v1/{session}/bootstrap"): For.DRIVER,
    ("GET", "/ui"): For.ANYBODY,
    ("GET", "/ui/static/{name}"): For.ANYBODY,
    ("GET", "/ui/"): For.BROWSER,
    ("GET", "/ui/self"): For.BROWSER,
    ("GET", "/ui/events"): For.BROWSER,
    ("GET", "/ui/here"): For.BROWSER,
    ("GET", "/ui/past"): For.BROWSER,
    ("GET", "/ui/sessions/{session}"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/events"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/log"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/log/text"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/log/events"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/executors/{executor}/log"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/executors/{executor}/log/text"): For.BROWSER,
    ("GET", "/ui/sessions/{session}/executors/{executor}/log/events"): For.BROWSER,
    ("POST", "/ui/sessions/{session}/stop"): For.BROWSER,
    ("GET", "/spark-ui/{session}"): For.BROWSER,
    ("GET", "/spark-ui/{session}/{path:path}"): For.BROWSER,
    ("GET", "/spark-ui/{session}/~{text}/{path:path}"): For.BROWSER,
    ("GET", "/spark-ui/batches/{session}/{path:path}"): For.BROWSER,
    ("GET", "/spark-ui/batches/{session}/~{text}/{path:path}"): For.BROWSER,
    ("WEBSOCKET", "/driver/v1/{session}"): For.DRIVER,
    ("GET", "/driver/v1/{session}/events/{application}"): For.DRIVER,
    ("POST", "/driver/v1/{session}/events/{application}/{file}"): For.DRIVER,
    ("GET", "/driver/v1/batches/{batch}/events/{application}"): For.DRIVER,
    ("POST", "/driver/v1/batches/{batch}/events/{application}/{file}"): For.DRIVER,
}
BODIES = {
    "/sessions/{session}/statements": '{"code": "1"}',
    "/sessions/{session}/completion": '{"code": "1"}',
    "/sessions": '{"kind": "pyspark"}',
    "/sessions/": '{"kind": "pyspark"}',
    "/batches": '{"file": "s3a://bucket/alice/x.py"}',
    "/batches/": '{"file": "s3a://bucket/alice/x.py"}',
}
ENDS = {("POST", "/sessions/{session}/stop"), ("DELETE", "/sessions/{session}")}
"""Routes after which the session is no more what it was."""


def _routes_of_the_application() -> set[tuple[str, str]]:
    found = set()
    for route in (each for router in ROUTERS for each in router.routes):
        assert isinstance(route, APIRoute | WebSocketRoute), route
        methods = route.methods if isinstance(route, APIRoute) else {"WEBSOCKET"}
        found |= {(method, route.path.replace(":int", "")) for method in methods}
    return found


def _for(*whom: For) -> list[tuple[str, str]]:
    return [route for route, of in ROUTES.items() if of in whom]


OF_EXECUTORS = _for(For.EXECUTOR, For.BATCH_EXECUTOR)
API = [*_for(For.CALLER, For.OVERSEER, For.OWNER, For.NOBODY, For.BATCH_OVERSEER), *OF_EXECUTORS]
OF_A_SESSION = _for(For.OVERSEER, For.OWNER)
OF_A_BATCH = _for(For.BATCH_OVERSEER, For.BATCH_EXECUTOR)
OF_STRANGERS = [*OF_A_SESSION, *_for(For.NOBODY, For.EXECUTOR)]


def _ask(client: httpx.Client, method: str, path: str, session: object) -> httpx.Response:
    filled = (
        path.replace("{session}", str(session))
        .replace("{batch}", str(session))
        .replace("{job}", "0")
        .replace("{executor}", "1")
        .replace("{statement}", "0")
    )
    answer = client.send(client.build_request(method, filled, content=BODIES.get(path)), stream=True)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        answer.close()  # it would go on for as long as the session lives
    else:
        answer.read()
    return answer


def test_every_route_of_the_application_has_its_line_here():
    assert _routes_of_the_application() == set(ROUTES), "say in ROUTES for whom a route is, and these tests try it"


@pytest.fixture(scope="module")
def alices(as_alice):
    session = new_session(as_alice, name="alices")
    run(as_alice, session, "40 + 2")
    yield session
    as_alice.delete(f"/sessions/{session}")


@pytest.mark.parametrize(("method", "path"), API)
def test_nobody_gets_401(as_nobody, alices, method, path):
    answer = _ask(as_nobody, method, path, alices)
    assert answer.status_code == 401
    assert "Authorization" in answer.json()["msg"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.fixture(scope="module")
def as_gone(gateway, hub):
    """A token that was Alice's and that the hub knows no more: revoked or expired, to the hub that is the same."""
    hub.admit("token-that-was", "alice", ("people",))
    with client(gateway, "token-that-was") as gone:
        assert gone.get("/sessions").status_code == 200
        del hub.people["token-that-was"]
        deadline = time.monotonic() + 30
        while gone.get("/sessions").status_code != 401:
            assert time.monotonic() < deadline, "a revoked token still works"
            time.sleep(0.1)
        yield gone


@pytest.mark.parametrize(("method", "path"), API)
def test_a_revoked_token_gets_401(as_gone, as_alice, alices, method, path):
    answer = _ask(as_gone, method, path, alices)
    assert answer.status_code == 401
    assert "wrong, expired or revoked" in answer.json()["msg"]
    assert as_alice.get(f"/sessions/{alices}/state").json()["state"] == "idle"


@pytest.mark.parametrize(("method", "path"), API)
def test_a_token_without_the_scope_gets_403(as_eve, alices, method, path):
    answer = _ask(as_eve, method, path, alices)
    assert answer.status_code == 403
    assert "access:services!service=gateway" in answer.json()["msg"]


@pytest.mark.parametrize(("method", "path"), API)
def test_a_service_of_the_hub_that_is_no_account_gets_403(as_cron, alices, method, path):
    answer = _ask(as_cron, method, path, alices)
    assert answer.status_code == 403
    assert "'cron' of the hub is no service account" in answer.json()["msg"]


@pytest.mark.parametrize("stranger", ["as_bob", "as_olga", "as_lee_notebook", "as_ada_notebook", "as_etl"])
@pytest.mark.parametrize(("method", "path"), OF_STRANGERS)
def test_a_strangers_session_answers_exactly_as_an_unknown_one(request, as_alice, alices, method, path, stranger):
    """A member of the same team, another team's lead, the notebooks of the lead and of an admin, a pipeline."""
    caller = request.getfixturevalue(stranger)
    theirs, unknown = _ask(caller, method, path, alices), _ask(caller, method, path, UNKNOWN)
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(str(alices), "N") == unknown.text.replace(str(UNKNOWN), "N")
    hidden = {"date", "content-length", "x-request-id"}
    assert {k: v for k, v in theirs.headers.items() if k not in hidden} == {
        k: v for k, v in unknown.headers.items() if k not in hidden
    }
    assert as_alice.get(f"/sessions/{alices}/state").json()["state"] == "idle"
    assert _ask(caller, method, path, "alices").status_code == 404


@pytest.fixture(scope="module")
def alices_batch(as_alice):
    """It fails at once, as nothing here reaches an object store, and stays listed."""
    made = as_alice.post("/batches", json={"file": "s3a://bucket/alice/x.py", "name": "alices"})
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert as_alice.get(f"/batches/{number}?wait=30&state=starting").status_code == 200
    yield number
    as_alice.delete(f"/batches/{number}")


@pytest.mark.parametrize("stranger", ["as_bob", "as_olga", "as_lee_notebook", "as_ada_notebook", "as_etl"])
@pytest.mark.parametrize(("method", "path"), OF_A_BATCH)
def test_a_strangers_batch_answers_exactly_as_an_unknown_one(request, as_alice, alices_batch, method, path, stranger):
    caller = request.getfixturevalue(stranger)
    theirs, unknown = _ask(caller, method, path, alices_batch), _ask(caller, method, path, UNKNOWN)
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(str(alices_batch), "N") == unknown.text.replace(str(UNKNOWN), "N")
    assert as_alice.get(f"/batches/{alices_batch}/state").status_code == 200
    assert _ask(caller, method, path, "alices").status_code == 404


def test_lists_of_batches_hold_ones_own(as_alice, as_bob, as_lee, as_ada, as_ada_notebook, alices_batch):
    def ids(client):
        return [each["id"] for each in client.get("/batches").json()["sessions"]]

    for sees in (as_alice, as_lee, as_ada):
        assert alices_batch in ids(sees)
    assert ids(as_bob) == ids(as_ada_notebook) == []
    assert as_lee.get("/batches/alices").json()["owner"] == "alice"
    made = as_alice.post("/batches?doAs=bob", json={"file": "s3a://bucket/alice/x.py", "proxyUser": "alice"}).json()
    assert (made["owner"], made["proxyUser"]) == ("alice", "alice")
    # Who oversees may end what is others'.
    assert as_lee.delete(f"/batches/{made['id']}").json() == {"msg": "deleted"}
    assert as_alice.get(f"/batches/{made['id']}").status_code == 404


@pytest.mark.parametrize("overseer", ["as_lee", "as_ada"])
@pytest.mark.parametrize(("method", "path"), [route for route in _for(For.OVERSEER) if route not in ENDS])
def test_leads_and_admins_see_and_cancel(request, alices, method, path, overseer):
    answer = _ask(request.getfixturevalue(overseer), method, path, alices)
    assert answer.status_code == 200
    assert _ask(request.getfixturevalue(overseer), method, path, "alices").status_code == 200


@pytest.mark.parametrize("who", ["as_alice", "as_lee", "as_ada"])
@pytest.mark.parametrize(("method", "path"), OF_EXECUTORS)
def test_whoever_sees_it_is_told_that_there_is_no_such_executor(request, alices, alices_batch, method, path, who):
    """Where drivers are processes none has executors of its own; on pods `tests/cluster` reads their logs."""
    answer = _ask(request.getfixturevalue(who), method, path, alices_batch if "{batch}" in path else alices)
    assert answer.status_code == 404
    assert answer.json()["msg"] == "It has no executor '1', and had none of whom anything is kept."


@pytest.mark.parametrize("overseer", ["as_lee", "as_ada"])
@pytest.mark.parametrize(("method", "path"), sorted(ENDS))
def test_leads_and_admins_end(request, as_alice, method, path, overseer):
    session = new_session(as_alice)
    assert _ask(request.getfixturevalue(overseer), method, path, session).status_code in {200, 204}
    left = as_alice.get(f"/sessions/{session}?wait=20&state=shutting_down")
    if method == "DELETE":
        assert left.status_code == 404
    else:
        who = {"as_lee": "lee", "as_ada": "ada"}[overseer]
        assert (left.json()["state"], left.json()["stateReason"]) == ("dead", f"The session was stopped by {who}.")


@pytest.mark.parametrize("overseer", ["as_lee", "as_ada"])
@pytest.mark.parametrize(("method", "path"), _for(For.OWNER))
def test_leads_and_admins_do_not_act_in_the_owners_place(request, as_alice, alices, method, path, overseer):
    before = as_alice.get(f"/sessions/{alices}/statements").json()["total_statements"]
    answer = _ask(request.getfixturevalue(overseer), method, path, alices)
    assert answer.status_code == 403
    assert "code runs in it for alice alone" in answer.json()["msg"]
    assert as_alice.get(f"/sessions/{alices}/statements").json()["total_statements"] == before


@pytest.mark.parametrize(("method", "path"), OF_A_SESSION)
def test_the_owner_may_all_of_it(as_alice, method, path):
    session = new_session(as_alice)
    run(as_alice, session, "1")
    assert _ask(as_alice, method, path, session).status_code in {200, 201, 204}
    as_alice.delete(f"/sessions/{session}")


def test_who_looks_in_does_not_keep_a_session_alive(as_alice, as_lee):
    session = new_session(as_alice, heartbeatTimeoutInSecond=2)
    deadline = time.monotonic() + 120
    # Lee looks at it all the time; Alice's client has gone.
    while (answer := as_lee.get(f"/sessions/{session}?wait=1&state=idle")).json().get("state") in {"idle", "busy"}:
        assert time.monotonic() < deadline, "a lead's look renews the heartbeat"
    assert answer.status_code in {200, 404}


def test_names_are_unique_for_each_owner_and_ones_own_is_meant_first(as_alice, as_bob, as_lee):
    alices = new_session(as_alice, name="same")
    twice = as_alice.post("/sessions", json={"kind": "pyspark", "name": "same"})
    assert (twice.status_code, twice.json()["msg"]) == (400, "Rejected, Reason: Duplicate session name: same")
    bobs, lees = new_session(as_bob, name="same"), new_session(as_lee, name="same")
    for caller, own in ((as_alice, alices), (as_bob, bobs), (as_lee, lees)):
        assert caller.get("/sessions/same").json()["id"] == own
    as_lee.delete(f"/sessions/{lees}")
    # Now the name means one of the team's to Lee, and still the own one to everybody else.
    assert as_lee.get("/sessions/same").json()["id"] in {alices, bobs}
    assert as_bob.delete("/sessions/same").status_code == 200
    assert as_alice.get("/sessions/same").json()["id"] == alices
    as_alice.delete("/sessions/same")


def test_a_service_accounts_sessions_are_its_own_and_its_teams_leads(as_etl, as_alice, as_lee, as_olga, alices):
    session = new_session(as_etl, name="nightly")
    run(as_etl, session, "1")
    made = as_etl.get(f"/sessions/{session}").json()
    assert (made["owner"], made["proxyUser"]) == ("service:etl", "service:etl")
    # A member of its team is not its owner, and it sees nothing of the members'.
    assert as_alice.get(f"/sessions/{session}").status_code == 404
    assert [each["id"] for each in as_etl.get("/sessions").json()["sessions"]] == [session]
    # It counts as one of Olga's group, but belongs to Lee's team.
    assert as_olga.get(f"/sessions/{session}").status_code == 404
    assert as_lee.post(f"/sessions/{session}/statements", json={"code": "1"}).status_code == 403
    assert as_lee.delete(f"/sessions/{session}").status_code == 200


def test_lists_hold_ones_own(as_alice, as_bob, as_ada, as_ada_notebook, as_lee, as_lee_notebook, as_olga, alices):
    def ids(client):
        return [each["id"] for each in client.get("/sessions").json()["sessions"]]

    assert alices in ids(as_alice)
    assert ids(as_bob) == []
    assert as_bob.get("/sessions").json()["total"] == 0
    assert alices in ids(as_ada)
    assert alices in ids(as_lee)
    assert ids(as_olga) == ids(as_lee_notebook) == []
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
    refused = as_alice.post("/sessions", json={"kind": "pyspark", "queue": "gold"})
    assert (refused.status_code, refused.json()["key"]) == (400, "queue")
    made = as_alice.post("/sessions?doAs=bob", json={"kind": "pyspark", "proxyUser": "alice"}).json()
    assert (made["owner"], made["proxyUser"]) == ("alice", "alice")
    as_alice.delete(f"/sessions/{made['id']}")


def test_nobody_is_somebody_else_by_asking_for_it(as_alice, as_lee, as_ada, alices):
    for query in ("doAs=bob", "proxyUser=bob", "user.name=bob", "user=bob"):
        assert alices in [each["id"] for each in as_alice.get(f"/sessions?{query}").json()["sessions"]]
    for caller in (as_lee, as_ada):
        refused = caller.post("/sessions", json={"kind": "pyspark", "proxyUser": "alice"})
        assert (refused.status_code, refused.json()["key"]) == (400, "proxyUser")
        assert caller.post(f"/sessions/{alices}/statements?doAs=alice", json={"code": "1"}).status_code == 403
    header = {"X-Forwarded-User": "bob", "X-Remote-User": "bob", "Proxy-User": "bob"}
    assert as_alice.get(f"/sessions/{alices}", headers=header).json()["owner"] == "alice"


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


@pytest.fixture(scope="module")
def with_pages(start_gateway, tmp_path_factory):
    """A gateway with its pages on, and a session of Alice's there."""
    secret = tmp_path_factory.mktemp("pages") / "secret"
    secret.write_text("s" * 64)
    gateway = start_gateway("--hub-token-file", str(secret))
    with client(gateway, "token-of-alice") as alice:
        return gateway, new_session(alice)


@pytest.mark.parametrize("path", ["/spark-ui/{}", "/spark-ui/{}/", "/spark-ui/{}/jobs/", "/spark-ui/{}/~forged/jobs/"])
def test_a_program_sees_the_spark_ui_of_what_it_may_see(with_pages, path):
    gateway, session = with_pages
    filled = path.format(session)
    for token, status in (
        ("token-of-bob", 404),
        ("token-of-olga", 404),
        ("token-of-lees-notebook", 404),
        ("token-of-etl", 404),
        ("token-of-cron", 403),
        ("token-of-eve", 403),
        ("token-of-nobody", 401),
    ):
        with client(gateway, token) as stranger:
            answer, unknown = stranger.get(filled), stranger.get(path.format(UNKNOWN))
            # A pass that is none says nothing about sessions: whoever opens it is sent where the login decides.
            expected = {302} if "~" in path else {status}
            assert {answer.status_code, unknown.status_code} == expected, token
    with client(gateway, None) as nobody:
        assert nobody.get(filled, headers={"Sec-Fetch-Mode": "cors"}).status_code in {401, 404}
        assert (
            "/hub/api/oauth2/authorize" in nobody.get(path.format(UNKNOWN).replace("/~forged", "")).headers["location"]
        )
