"""The gateway as a service of a real JupyterHub 6.1: tokens, scopes, revocation, and a browser's login.

Ann is an analyst; Sam and Mia are data scientists whom Lea leads; Ada is an admin; `nightly` is a service account.
"""

import time
from urllib.parse import urlsplit

import httpx
import pytest
from traitlets.config import Config

from sparkyard_gateway import auth
from sparkyard_hub.access import (
    CUSTOM_SCOPES,
    EXTRA_USER_SCOPES,
    OVERSEE,
    SERVER_TOKEN_SCOPES,
    USE_GATEWAY,
    gateway_service,
)
from sparkyard_hub.service_accounts import configure_service_accounts
from support.running_gateway import ROOT, RunningGateway
from support.running_hub import Hub, free_port

SECRET = "the-secret-of-the-gateways-service"
PIPELINES = "the-token-of-the-pipeline-called-nightly"
GROUPS = {
    "analysts": {"users": ["ann"]},
    "data-science": {"users": ["sam", "mia"]},
    "data-science-leads": {"users": ["lea"]},
}
SIMULATED = ROOT / "tests" / "support" / "simulated_driver.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A hub that knows the gateway as its service, and the gateway."""
    folder = tmp_path_factory.mktemp("world")
    port = free_port()
    c = Config()
    c.JupyterHub.services = [
        {"name": "tester", "api_token": "token-of-the-tester"},
        {"name": "other", "api_token": "token-of-another-service"},
        gateway_service(f"http://127.0.0.1:{port}", SECRET),
    ]
    c.JupyterHub.load_roles = [
        {
            "name": "tester",
            "services": ["tester"],
            "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "access:services"],
        },
        {"name": "other", "services": ["other"], "scopes": [USE_GATEWAY]},
    ]
    (folder / "tokens").mkdir()
    (folder / "tokens" / "nightly").write_text(PIPELINES + "\n")
    configure_service_accounts(c, ROOT / "catalog.yaml", folder / "tokens", None)
    c.JupyterHub.update(load_groups=GROUPS, custom_scopes=CUSTOM_SCOPES, extra_user_scopes=list(EXTRA_USER_SCOPES))
    hub = Hub(
        folder, ROOT / "catalog.yaml", ROOT / "examples", token="token-of-the-tester",
        config={"JupyterHub": dict(c.JupyterHub)},
    )  # fmt: skip
    hub.start()
    (folder / "secret").write_text(SECRET)
    gateway = RunningGateway(
        folder, f"{hub.url}/api", "--hub-token-file", str(folder / "secret"), "--driver-program", str(SIMULATED),
        "--identity-ttl-seconds", "1", "--stop-drivers-on-exit", forked=True,
    )  # fmt: skip
    gateway.port = port
    gateway.start()
    yield hub, gateway
    gateway.stop()
    hub.stop()


def token_of(hub: Hub, user: str, scopes: tuple[str, ...] | None = None, **more: object) -> tuple[str, str]:
    """A token of a person's own, as the hub gives it, and its id."""
    hub.api("POST", f"/users/{user}")
    made = hub.api("POST", f"/users/{user}/tokens", json={"scopes": scopes, **more} if scopes else more)
    assert made.status_code == 201, made.text
    return made.json()["token"], made.json()["id"]


def ask(
    gateway: RunningGateway, token: str, method: str = "GET", path: str = "/sessions", **more: object
) -> httpx.Response:
    return httpx.request(
        method,
        gateway.url + path,
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
        **more,  # type: ignore[arg-type]
    )


def test_a_notebook_servers_scopes_are_enough_to_start_a_session_with_ones_groups(world):
    hub, gateway = world
    token, _ = token_of(hub, "ann", SERVER_TOKEN_SCOPES)
    made = ask(gateway, token, "POST", json={"kind": "pyspark", "profile": "small"})
    assert made.status_code == 201, made.text
    assert (made.json()["owner"], made.json()["profile"]) == ("ann", "small")
    number = made.json()["id"]
    ran = ask(gateway, token, "POST", f"/sessions/{number}/statements?wait=20", json={"code": "6 * 7"})
    assert ran.json()["output"]["data"]["text/plain"] == "42"
    assert ask(gateway, token, "DELETE", f"/sessions/{number}").status_code == 200


def test_one_whose_groups_open_no_profile_reads_why(world):
    hub, gateway = world
    token, _ = token_of(hub, "olaf")
    refused = ask(gateway, token, "POST", json={"kind": "pyspark"})
    assert (refused.status_code, refused.json()["key"]) == (400, "profile")
    assert "No profile is open to you" in refused.json()["msg"]


def test_a_token_without_the_services_scope_is_refused(world):
    hub, gateway = world
    token, _ = token_of(hub, "ann", ("read:users:name!user",))
    assert ask(gateway, token).status_code == 403


def test_a_revoked_and_an_expired_token_stop_within_the_time(world):
    hub, gateway = world
    token, number = token_of(hub, "ann")
    assert ask(gateway, token).status_code == 200
    assert hub.api("DELETE", f"/users/ann/tokens/{number}").status_code == 204
    time.sleep(1.2)
    assert ask(gateway, token).status_code == 401
    short, _ = token_of(hub, "ann", expires_in=1)
    assert ask(gateway, short).status_code in {200, 401}
    time.sleep(2.2)
    assert ask(gateway, short).status_code == 401


def test_an_admins_whole_token_sees_all_and_the_notebooks_does_not(world):
    hub, gateway = world
    anns, _ = token_of(hub, "ann")
    number = ask(gateway, anns, "POST", json={"kind": "pyspark", "profile": "small"}).json()["id"]
    whole, _ = token_of(hub, "ada", ("inherit",))
    notebook, _ = token_of(hub, "ada", SERVER_TOKEN_SCOPES)
    assert ask(gateway, whole, path=f"/sessions/{number}").json()["owner"] == "ann"
    assert ask(gateway, notebook, path=f"/sessions/{number}").status_code == 404
    sams, _ = token_of(hub, "sam")
    assert ask(gateway, sams, path=f"/sessions/{number}").status_code == 404
    ask(gateway, whole, "DELETE", f"/sessions/{number}")


def test_the_services_own_token_has_no_sessions(world):
    _, gateway = world
    assert ask(gateway, SECRET).status_code == 403


def test_a_service_with_the_scope_that_is_no_account_of_the_catalogs_is_refused(world):
    _, gateway = world
    for token in ("token-of-another-service", "token-of-the-tester"):
        refused = ask(gateway, token)
        assert refused.status_code == 403
        assert "is no service account of the catalog's" in refused.json()["msg"]


def test_hub_and_gateway_agree_on_the_scope_and_everybody_may_ask_for_it(world):
    hub, gateway = world
    assert auth.OVERSEE == OVERSEE
    # Who leads nobody gets the token, and sees no more by it.
    anns, _ = token_of(hub, "ann", (USE_GATEWAY, OVERSEE))
    assert ask(gateway, anns).json()["total"] == 0


def test_a_lead_sees_and_stops_the_teams_sessions_and_runs_nothing_in_them(world):
    hub, gateway = world
    sams, _ = token_of(hub, "sam")
    number = ask(gateway, sams, "POST", json={"kind": "pyspark", "profile": "small"}).json()["id"]
    ask(gateway, sams, "POST", f"/sessions/{number}/statements?wait=20", json={"code": "6 * 7"})
    # As the hub's token page makes it: with all that Lea has, or with these scopes alone.
    whole, _ = token_of(hub, "lea")
    made_for_it, _ = token_of(hub, "lea", (USE_GATEWAY, OVERSEE))
    notebook, _ = token_of(hub, "lea", SERVER_TOKEN_SCOPES)
    for token in (whole, made_for_it):
        assert [each["id"] for each in ask(gateway, token).json()["sessions"]] == [number]
        assert ask(gateway, token, path=f"/sessions/{number}").json()["owner"] == "sam"
        assert ask(gateway, token, path=f"/sessions/{number}/log").status_code == 200
        refused = ask(gateway, token, "POST", f"/sessions/{number}/statements", json={"code": "1"})
        assert refused.status_code == 403
        assert "sam alone" in refused.json()["msg"]
    for stranger in (notebook, token_of(hub, "mia")[0], token_of(hub, "ann")[0], PIPELINES):
        assert ask(gateway, stranger, path=f"/sessions/{number}").status_code == 404
        assert ask(gateway, stranger, "DELETE", f"/sessions/{number}").status_code == 404
    assert ask(gateway, made_for_it, "DELETE", f"/sessions/{number}").json() == {"msg": "deleted"}
    assert ask(gateway, sams, path=f"/sessions/{number}").status_code == 404


def test_a_notebooks_token_cannot_get_itself_one_that_oversees(world):
    hub, _ = world
    notebook, _ = token_of(hub, "lea", SERVER_TOKEN_SCOPES)
    asked = httpx.post(
        f"{hub.url}/api/users/lea/tokens", headers={"Authorization": f"token {notebook}"},
        json={"scopes": [OVERSEE, USE_GATEWAY]}, timeout=30,
    )  # fmt: skip
    assert asked.status_code in {403, 404}


def test_who_leaves_the_leads_at_the_hub_leads_nobody_within_the_time(world):
    hub, gateway = world
    sams, _ = token_of(hub, "sam")
    number = ask(gateway, sams, "POST", json={"kind": "pyspark", "profile": "small"}).json()["id"]
    leas, _ = token_of(hub, "lea")
    assert ask(gateway, leas, path=f"/sessions/{number}").status_code == 200
    assert hub.api("DELETE", "/groups/data-science-leads/users", json={"users": ["lea"]}).status_code == 200
    try:
        hub.wait(lambda: ask(gateway, leas, path=f"/sessions/{number}").status_code == 404, "she leads on")
    finally:
        hub.api("POST", "/groups/data-science-leads/users", json={"users": ["lea"]})
    ask(gateway, sams, "DELETE", f"/sessions/{number}")


def test_a_pipeline_has_sessions_of_its_own_in_its_teams_name(world):
    hub, gateway = world
    made = ask(gateway, PIPELINES, "POST", json={"kind": "pyspark", "profile": "large", "name": "load"})
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert made.json()["owner"] == "service:nightly"
    ran = ask(gateway, PIPELINES, "POST", f"/sessions/{number}/statements?wait=20", json={"code": "6 * 7"})
    assert ran.json()["output"]["data"]["text/plain"] == "42"
    assert [each["id"] for each in ask(gateway, PIPELINES).json()["sessions"]] == [number]
    sams, _ = token_of(hub, "sam")
    assert ask(gateway, sams, path="/sessions/load").status_code == 404
    leas, _ = token_of(hub, "lea")
    assert ask(gateway, leas, "DELETE", "/sessions/load").json() == {"msg": "deleted"}


def test_nobody_at_the_hub_can_be_called_like_a_pipeline(world):
    hub, gateway = world
    made = hub.api("POST", "/users/service:nightly")
    assert made.status_code in {201, 409, 400}
    if made.status_code != 400:
        token, _ = token_of(hub, "service:nightly")
        refused = ask(gateway, token)
        assert refused.status_code == 403
        assert "Only service accounts" in refused.json()["msg"]


class _Browser:
    """A browser that sees hub and gateway under one address, as Traefik makes it."""

    def __init__(self, hub: Hub, gateway: RunningGateway, user: str) -> None:
        self.hub, self.gateway = hub, gateway
        self.client = hub.sign_in(user)._client

    def get(self, path: str, **headers: str) -> httpx.Response:
        base = self.hub.url.removesuffix("/hub") if path.startswith("/hub/") else self.gateway.url
        return self.client.get(base + path, headers={"Sec-Fetch-Mode": "navigate", **headers})

    def follow(self, path: str) -> list[httpx.Response]:
        seen = [self.get(path)]
        while seen[-1].is_redirect:
            parts = urlsplit(seen[-1].headers["Location"])
            seen.append(self.get(parts.path + (f"?{parts.query}" if parts.query else "")))
        return seen


@pytest.fixture
def session_of_ann(world):
    hub, gateway = world
    token, _ = token_of(hub, "ann")
    number = ask(gateway, token, "POST", json={"kind": "pyspark", "profile": "small"}).json()["id"]
    ask(gateway, token, path=f"/sessions/{number}?wait=20&state=starting")
    yield number
    ask(gateway, token, "DELETE", f"/sessions/{number}")


def test_a_browser_logs_in_through_the_hub_and_comes_back_to_where_it_wanted(world, session_of_ann):
    ann = _Browser(*world, "ann")
    seen = ann.follow(f"/services/gateway/spark-ui/{session_of_ann}/stages/?id=1")
    paths = [urlsplit(str(each.url)).path for each in seen]
    assert paths[1] == "/hub/api/oauth2/authorize"
    assert paths[2] == "/services/gateway/oauth_callback"
    assert paths[3] == f"/services/gateway/spark-ui/{session_of_ann}/stages/"
    # The simulated driver has no Spark UI: what matters here is who came how far.
    assert seen[-1].status_code == 404
    login = next(line for each in seen for line in each.headers.get_list("set-cookie") if "gateway-login=" in line)
    for attribute in ("HttpOnly", "SameSite=lax", "Path=/services/gateway/spark-ui/"):
        assert attribute in login
    assert "id=1" in str(seen[3].url)
    assert not any("token-of" in str(each.url) for each in seen)


def test_a_login_does_not_open_the_api(world, session_of_ann):
    ann = _Browser(*world, "ann")
    ann.follow(f"/services/gateway/spark-ui/{session_of_ann}/")
    assert ann.get("/services/gateway/sessions").status_code == 401


def test_a_stranger_logs_in_and_finds_nothing(world, session_of_ann):
    sam = _Browser(*world, "sam")
    theirs = sam.follow(f"/services/gateway/spark-ui/{session_of_ann}/")[-1]
    unknown = sam.follow("/services/gateway/spark-ui/999999/")[-1]
    assert (theirs.status_code, theirs.text) == (unknown.status_code, unknown.text)
    assert theirs.status_code == 404


def test_a_callback_that_was_not_begun_here_is_refused(world):
    ann = _Browser(*world, "ann")
    for query in ("", "?state=x&code=y", "?code=y"):
        answer = ann.get(f"/services/gateway/oauth_callback{query}")
        assert answer.status_code == 403
        assert "not begun in this browser" in answer.text
    begun = ann.get("/services/gateway/spark-ui/1/")
    state = httpx.URL(begun.headers["Location"]).params["state"]
    # The state is right and the cookie there, but the code is nobody's.
    refused = ann.get(f"/services/gateway/oauth_callback?state={state}&code=forged")
    assert refused.status_code == 403
    assert "did not confirm" in refused.text


def test_where_a_login_leads_stays_within_the_pages(world):
    ann = _Browser(*world, "ann")
    seen = ann.follow("/services/gateway/spark-ui/..%2f..%2f..%2fhub%2fhome")
    assert seen[-1].status_code == 404
    assert all(urlsplit(str(each.url)).path.startswith(("/services/gateway/", "/hub/api/oauth2/")) for each in seen)


def test_signing_out_at_the_hub_ends_the_login_here(world, session_of_ann):
    ann = _Browser(*world, "ann")
    path = f"/services/gateway/spark-ui/{session_of_ann}/"
    ann.follow(path)
    assert "~" in ann.get(path).headers["Location"]
    ann.client.get(f"{ann.hub.url}/logout")
    time.sleep(1.2)
    assert "/hub/api/oauth2/authorize" in ann.get(path).headers["Location"]


def test_a_script_is_not_sent_to_log_in(world, session_of_ann):
    ann = _Browser(*world, "ann")
    path = f"/services/gateway/spark-ui/{session_of_ann}/"
    assert ann.get(path, **{"Sec-Fetch-Mode": "cors"}).status_code == 401
    # Nor does it get anywhere with the login that its reader has: a notebook's page shares this host.
    ann.follow(path)
    for mode in ("cors", "same-origin", "no-cors"):
        assert ann.get(path, **{"Sec-Fetch-Mode": mode}).status_code == 401


def test_a_pass_ends_with_the_login_it_was_given_for(world, session_of_ann):
    ann = _Browser(*world, "ann")
    opened = ann.follow(f"/services/gateway/spark-ui/{session_of_ann}/")[-1]
    passed = urlsplit(str(opened.url)).path
    assert "/~" in passed

    def part() -> httpx.Response:
        # As a page without an origin fetches its parts: no cookie, no login, the pass alone.
        agent = {"User-Agent": ann.client.headers["User-Agent"], "Sec-Fetch-Mode": "no-cors"}
        return httpx.get(f"{ann.gateway.url}{passed}static/x.css", headers=agent, timeout=30)

    # The simulated driver has no Spark UI, and says so to who may ask; to others the pass is none.
    let_in = part()
    assert let_in.status_code == 404
    ann.client.get(f"{ann.hub.url}/logout")
    ann.hub.wait(lambda: part().text != let_in.text, "the pass outlives the login")
    assert part().status_code == 404


def test_a_lead_opens_the_spark_uis_of_the_team_and_a_member_does_not(world):
    hub, gateway = world
    sams, _ = token_of(hub, "sam")
    number = ask(gateway, sams, "POST", json={"kind": "pyspark", "profile": "small"}).json()["id"]
    ask(gateway, sams, path=f"/sessions/{number}?wait=20&state=starting")
    path = f"/services/gateway/spark-ui/{number}/"
    # Whoever may see the session is sent on with a pass; whoever may not, isn't.
    assert "/~" in str(_Browser(hub, gateway, "lea").follow(path)[-1].url)
    for stranger in ("mia", "ann"):
        last = _Browser(hub, gateway, stranger).follow(path)[-1]
        assert last.status_code == 404
        assert "/~" not in str(last.url)
    ask(gateway, sams, "DELETE", f"/sessions/{number}")
