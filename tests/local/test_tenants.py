"""Two people at once, neither of whom can see or touch what is the other's; and an admin who can."""

import time
from collections.abc import Iterator

import httpx
import pytest

from support.hub_session import GATEWAY_SCOPES, HubSession
from support.standalone import Standalone, User

pytestmark = pytest.mark.spark

DANA_ONLY = "a value of dana's"


class Tenant:
    """A signed-in person with a running server and one idle Spark session that has run a statement."""

    def __init__(self, stack: Standalone, user: User) -> None:
        self.user = user
        self.hub = HubSession(stack.address, user.name, user.password)
        self.gateway = httpx.Client(base_url=stack.gateway, timeout=180)
        self.gateway.headers["Authorization"] = f"token {self.hub.token()}"

    def open_session(self) -> int:
        created = self.gateway.post("/sessions", json={"kind": "pyspark", "profile": "small"})
        assert created.status_code == 201, created.text
        number: int = created.json()["id"]
        return number

    def run(self, session: int, code: str) -> dict[str, object]:
        path = f"/sessions/{session}/statements"
        statement = self.gateway.post(path, json={"code": code}).json()
        while statement["state"] not in ("available", "cancelled"):
            statement = self.gateway.get(f"{path}/{statement['id']}", params={"wait": 60}).json()
        output: dict[str, object] = statement["output"]
        return output


@pytest.fixture(scope="module")
def tenants(stack: Standalone) -> Iterator[tuple[Tenant, Tenant]]:
    """Dana and Ana, both with a server and an idle session, at the same time."""
    dana, ana = (Tenant(stack, stack.user(name)) for name in ("dana", "ana"))
    for tenant in (dana, ana):
        tenant.hub.start_server()
    yield dana, ana
    for tenant in (dana, ana):
        tenant.hub.stop_server()


@pytest.fixture(scope="module")
def danas_session(tenants: tuple[Tenant, Tenant]) -> Iterator[int]:
    dana, _ = tenants
    number = dana.open_session()
    assert dana.run(number, f"secret = {DANA_ONLY!r}; print(secret)")["data"] == {"text/plain": DANA_ONLY}
    yield number
    dana.gateway.delete(f"/sessions/{number}")


def test_a_strangers_session_answers_exactly_as_an_unknown_one(
    tenants: tuple[Tenant, Tenant], danas_session: int
) -> None:
    _, ana = tenants
    unknown = 987_654
    for method, path, body in (
        ("GET", "/sessions/{}", None),
        ("GET", "/sessions/{}/state", None),
        ("GET", "/sessions/{}/log", None),
        ("GET", "/sessions/{}/statements", None),
        ("GET", "/sessions/{}/statements/0", None),
        ("POST", "/sessions/{}/statements", {"code": "1+1"}),
        ("POST", "/sessions/{}/statements/0/cancel", {}),
        ("POST", "/sessions/{}/completion", {"code": "se", "kind": "pyspark", "cursor": 2}),
        ("DELETE", "/sessions/{}", None),
    ):
        theirs, nobodys = (
            ana.gateway.request(method, path.format(number), json=body) for number in (danas_session, unknown)
        )
        assert theirs.status_code == nobodys.status_code == 404, f"{method} {path}"
        assert theirs.text.replace(str(danas_session), "N") == nobodys.text.replace(str(unknown), "N")
        assert DANA_ONLY not in theirs.text


def test_lists_hold_ones_own_alone(tenants: tuple[Tenant, Tenant], danas_session: int) -> None:
    dana, ana = tenants

    assert danas_session in [it["id"] for it in dana.gateway.get("/sessions").json()["sessions"]]
    anas = ana.gateway.get("/sessions").json()
    assert danas_session not in [it["id"] for it in anas["sessions"]]
    assert anas["total"] == len(anas["sessions"])


def test_nobody_reaches_anothers_server(tenants: tuple[Tenant, Tenant]) -> None:
    _, ana = tenants
    for tenant in tenants:  # signed in at their own server, as a browser is after the first page
        assert tenant.hub.get(f"/user/{tenant.user.name}/lab", follow_redirects=True).status_code == 200
        assert tenant.hub.get(f"/user/{tenant.user.name}/api/status").status_code == 200

    assert ana.hub.get("/user/dana/lab", follow_redirects=True).status_code == 403
    assert ana.hub.get("/user/dana/api/status").status_code == 403
    assert ana.hub.get("/user/dana/api/contents").status_code == 403
    assert ana.hub.get("/hub/api/users/dana").status_code == 404
    assert ana.hub.send("DELETE", "/hub/api/users/dana/server").status_code in (403, 404)
    assert ana.hub.send("POST", "/hub/api/users/dana/tokens", json={}).status_code in (403, 404)
    assert "dana" not in ana.hub.get("/hub/home").text


def test_a_session_needs_a_token_with_the_services_scope(tenants: tuple[Tenant, Tenant], stack: Standalone) -> None:
    dana, _ = tenants
    without_scope = dana.hub.token("read:users:name!user", "read:users:groups!user")

    assert httpx.get(f"{stack.gateway}/sessions").status_code == 401
    for token, status in (("0" * 32, 401), (without_scope, 403)):
        answer = httpx.get(f"{stack.gateway}/sessions", headers={"Authorization": f"token {token}"})
        assert answer.status_code == status
        assert token not in answer.text


def test_a_token_stops_working_once_it_is_revoked(tenants: tuple[Tenant, Tenant], stack: Standalone) -> None:
    dana, _ = tenants
    made = dana.hub.send(
        "POST",
        "/hub/api/users/dana/tokens",
        json={"scopes": ["access:services!service=gateway", "read:users:name!user", "read:users:groups!user"]},
    ).json()
    header = {"Authorization": f"token {made['token']}"}
    assert httpx.get(f"{stack.gateway}/sessions", headers=header).status_code == 200

    assert dana.hub.send("DELETE", f"/hub/api/users/dana/tokens/{made['id']}").status_code == 204

    deadline = time.monotonic() + 15  # identities are remembered for ten seconds
    while httpx.get(f"{stack.gateway}/sessions", headers=header).status_code != 401:
        assert time.monotonic() < deadline, "a revoked token still works"
        time.sleep(0.5)


def test_an_admin_sees_and_ends_anybodys_session(
    tenants: tuple[Tenant, Tenant], danas_session: int, stack: Standalone, ada: User
) -> None:
    dana, ana = tenants
    with HubSession(stack.address, ada.name, ada.password) as hub:
        # An admin's notebook cannot do this: the token must be made for it.
        token = hub.token(*GATEWAY_SCOPES, "admin:users")
        assert hub.get("/hub/api/users/dana").status_code == 200
    header = {"Authorization": f"token {token}"}
    anas_session = ana.open_session()

    with httpx.Client(base_url=stack.gateway, headers=header, timeout=180) as admin:
        seen = {it["id"]: it["owner"] for it in admin.get("/sessions").json()["sessions"]}
        assert seen[danas_session] == "dana"
        assert seen[anas_session] == "ana"
        assert admin.delete(f"/sessions/{anas_session}").json() == {"msg": "deleted"}

    deadline = time.monotonic() + 30
    while ana.gateway.get(f"/sessions/{anas_session}").status_code == 200:
        state = ana.gateway.get(f"/sessions/{anas_session}/state").json().get("state")
        if state in ("dead", "killed", "success", "shutting_down", None):
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert dana.run(danas_session, "40 + 2")["data"] == {"text/plain": "42"}, "the other session goes on"


def test_a_lead_sees_the_teams_sessions_and_runs_nothing_in_them(
    tenants: tuple[Tenant, Tenant], danas_session: int, stack: Standalone
) -> None:
    _, ana = tenants
    anas_session = ana.open_session()
    lee = stack.user("lee")
    with HubSession(stack.address, lee.name, lee.password) as hub:
        overseeing, ordinary = hub.token(*GATEWAY_SCOPES, "custom:sparkyard:oversee"), hub.token()
    path = f"/sessions/{danas_session}"
    with httpx.Client(base_url=stack.gateway, headers={"Authorization": f"token {overseeing}"}, timeout=180) as lead:
        assert [it["id"] for it in lead.get("/sessions").json()["sessions"]] == [danas_session]
        assert lead.get(f"{path}/statements/0").json()["output"]["data"] == {"text/plain": DANA_ONLY}
        assert lead.get(f"/spark-ui/{danas_session}/jobs/").status_code == 200
        refused = lead.post(f"{path}/statements", json={"code": "1"})
        assert refused.status_code == 403
        assert "dana alone" in refused.json()["msg"]
        # Ana is of another team.
        assert lead.get(f"/sessions/{anas_session}").status_code == 404
    with httpx.Client(base_url=stack.gateway, headers={"Authorization": f"token {ordinary}"}, timeout=180) as notebook:
        assert notebook.get(path).status_code == 404
    ana.gateway.delete(f"/sessions/{anas_session}")


def test_a_pipeline_has_sessions_of_its_own(tenants: tuple[Tenant, Tenant], stack: Standalone) -> None:
    dana, _ = tenants
    token = (stack.home / "hub" / "service_tokens" / "nightly").read_text().strip()
    with httpx.Client(base_url=stack.gateway, headers={"Authorization": f"token {token}"}, timeout=180) as pipeline:
        made = pipeline.post("/sessions", json={"kind": "pyspark", "profile": "small", "name": "load"})
        assert made.status_code == 201, made.text
        number = made.json()["id"]
        assert made.json()["owner"] == "service:nightly"
        code = "import os; print(os.getuid(), spark.range(10).count())"
        path = f"/sessions/{number}/statements"
        statement = pipeline.post(path, json={"code": code}).json()
        while statement["state"] not in ("available", "cancelled"):
            statement = pipeline.get(f"{path}/{statement['id']}", params={"wait": 60}).json()
        uid, count = statement["output"]["data"]["text/plain"].split()
        assert count == "10"
        assert int(uid) == (stack.home / "users" / "service~~nightly").stat().st_uid
        assert dana.gateway.get(f"/sessions/{number}").status_code == 404
        # At the hub the token opens nothing but the gateway.
        for what in ("users", "users/dana", "services", "groups", "proxy", "info"):
            answer = httpx.get(
                f"{stack.address}/hub/api/{what}", headers={"Authorization": f"token {token}"}, timeout=30
            )
            assert answer.status_code in {403, 404}, what
        assert pipeline.delete(f"/sessions/{number}").json() == {"msg": "deleted"}


def test_what_the_catalog_does_not_grant_is_refused_with_a_sentence(tenants: tuple[Tenant, Tenant]) -> None:
    dana, ana = tenants
    for tenant, body, key in (
        (ana, {"profile": "large"}, "large"),
        (dana, {"profile": "small", "driverMemory": "64g"}, "driverMemory"),
        (dana, {"profile": "small", "conf": {"spark.driver.extraJavaOptions": "-Dx=y"}}, "extraJavaOptions"),
        (dana, {"profile": "small", "conf": {"spark.master": "local[64]"}}, "spark.master"),
        (dana, {"profile": "large", "conf": {"spark.kubernetes.driver.container.image": "evil.io/x:1"}}, "evil.io"),
        (dana, {"profile": "small", "jars": ["file:///etc/passwd"]}, "jars"),
    ):
        answer = tenant.gateway.post("/sessions", json={"kind": "pyspark", **body})
        assert answer.status_code == 400, (body, answer.text)
        assert key in answer.text, answer.text
        assert len(answer.json()["msg"].split()) > 5, answer.text
