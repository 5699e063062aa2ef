"""What the proxy shows while the hub, a server or a gateway is away."""

from collections.abc import Callable

import httpx
import pytest

from support.running_gateway import RunningGateway

StartGateway = Callable[..., RunningGateway]


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    """A gateway with a service's token, and so with pages."""
    token = tmp_path_factory.mktemp("service") / "token"
    token.write_text("s" * 64)
    return start_gateway("--hub-token-file", str(token))


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/", "The hub is restarting"),
        ("/hub/home", "The hub is restarting"),
        ("/hub/spawn?next=%2Fuser%2Falice", "The hub is restarting"),
        ("/user/alice/lab/tree/a%20b.ipynb?token=abc", "Your server does not answer"),
        ("/services/gateway/ui", "Sparkyard's gateway does not answer"),
        ("/services/gateway/spark-ui/7/jobs/", "Sparkyard's gateway does not answer"),
    ],
)
def test_a_page_says_who_is_away_and_tries_again(gateway: RunningGateway, path: str, heading: str) -> None:
    """Nobody has signed in: the hub is who would know them."""
    answer = httpx.get(f"{gateway.url}/proxy-errors/503", params={"url": path})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert f"<h1>{heading.replace(chr(39), '&#x27;')}</h1>" in answer.text
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert "/services/gateway/ui/static/page.css" in answer.text  # the proxy shows it at any path
    assert "alice" not in answer.text, "nothing of the request is in it"


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/hub/api/users/alice", "The hub is restarting"),
        ("/services/gateway/sessions/1", "Sparkyard's gateway does not answer"),
    ],
)
def test_a_program_gets_a_sentence_where_it_looks_for_one(gateway: RunningGateway, path: str, who: str) -> None:
    answer = httpx.get(f"{gateway.url}/proxy-errors/503", params={"url": path})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["message"] == answer.json()["msg"]
    assert answer.json()["msg"].startswith(who)


def test_it_loads_its_files_without_a_login(gateway: RunningGateway) -> None:
    page = httpx.get(f"{gateway.url}/services/gateway/proxy-errors/503", params={"url": "/hub/home"}).text
    for name in ("page.css", "mark.svg", "theme.js"):
        (path,) = {part for part in page.split('"') if f"/static/{name}" in part}
        assert httpx.get(f"{gateway.url}{path}").status_code == 200, name


@pytest.mark.parametrize("status", ["200", "600", "x"])
def test_other_numbers_are_no_errors(gateway: RunningGateway, status: str) -> None:
    assert httpx.get(f"{gateway.url}/proxy-errors/{status}").status_code in (400, 404, 422)
