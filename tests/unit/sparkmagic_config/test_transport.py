"""HTTP towards the gateway: what is sent again, what never is, and what an error may show."""

import os
import time
import traceback
from collections.abc import Iterator

import pytest

from sparkyard_sparkmagic import transport
from sparkyard_sparkmagic.errors import (
    AnswerLostError,
    ConfigurationError,
    GatewayError,
    GatewayUnreachableError,
    SparkyardError,
    UnknownSessionError,
)
from sparkyard_sparkmagic.gateway import Gateway
from support.scripted_gateway import (
    AnswersStatementsWith504,
    DropsPolls,
    HangsUpOnStatements,
    ScriptedGateway,
)

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def started() -> Iterator[list[ScriptedGateway]]:
    servers: list[ScriptedGateway] = []
    yield servers
    for server in servers:
        server.close()


def with_session(server: ScriptedGateway, started: list[ScriptedGateway]) -> tuple[Gateway, int]:
    started.append(server)
    gateway = Gateway.at(server.url)
    return gateway, gateway.create({"kind": "pyspark"}).id


def test_the_token_is_read_for_each_request(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Gateway.at(gateway.url)
    client.sessions()
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "another")
    client.sessions()
    sent = [headers["Authorization"] for _, _, headers, _ in gateway.requests]
    assert sent == ["token 0123456789abcdef-hub-token", "token another"]


def test_without_a_token_nothing_is_sent(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    with pytest.raises(ConfigurationError, match="start the server from the hub"):
        Gateway.at(gateway.url).sessions()
    assert gateway.requests == []


def test_a_proxy_of_the_environment_never_sees_the_token(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert Gateway.at(gateway.url).sessions() == []


def test_each_post_has_a_key_of_its_own(gateway: ScriptedGateway) -> None:
    client = Gateway.at(gateway.url)
    number = client.create({"kind": "pyspark"}).id
    time.sleep(0.01)
    client.session(number)
    client.submit(number, "1", "pyspark", wait=1)
    client.submit(number, "1", "pyspark", wait=1)
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in gateway.sent("POST")]
    assert len(set(keys)) == 3


def test_a_504_gives_one_post(started: list[ScriptedGateway]) -> None:
    server = AnswersStatementsWith504()
    client, number = with_session(server, started)
    client.session(number)
    with pytest.raises(GatewayError, match=r"not available just now \(504\)"):
        client.submit(number, "1+1", "pyspark", wait=1)
    assert len(server.sent("POST", "/statements")) == 1


def test_a_lost_answer_gives_one_post_and_says_what_may_have_happened(started: list[ScriptedGateway]) -> None:
    server = HangsUpOnStatements()
    client, number = with_session(server, started)
    client.session(number)
    with pytest.raises(AnswerLostError, match="may have been carried out, so it was not sent again"):
        client.submit(number, "1+1", "pyspark", wait=1)
    assert len(server.sent("POST", "/statements")) == 1


def test_a_dropped_poll_is_asked_again(started: list[ScriptedGateway]) -> None:
    server = DropsPolls()
    client, number = with_session(server, started)
    client.session(number)
    client.submit(number, "1+1", "pyspark", wait=1)
    answer = client.statement(number, 0, wait=1, since=0, seen=0)
    assert answer["output"]["data"] == {"text/plain": "2"}
    assert server.polls == 3


def test_a_post_to_nobody_was_not_sent_and_waits_for_somebody(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_PATIENCE", 0.4)
    url = gateway.url
    gateway.close()
    with pytest.raises(GatewayUnreachableError, match=r"not running or not reachable \(POST /sessions; nothing was"):
        Gateway.at(url).create({})


def test_a_get_gives_up_in_the_end(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.close()
    with pytest.raises(GatewayUnreachableError, match=r"GET /x, \d attempts"):
        transport.Transport(gateway.url, Gateway.at(gateway.url)._http._auth).get("/x", patience=0.3)


def test_a_silent_gateway_is_left_in_time(gateway: ScriptedGateway) -> None:
    client = Gateway.at(gateway.url)
    number = client.create({"kind": "pyspark"}).id
    gateway.start_seconds = 60
    gateway.sessions[number]["_ready"] = time.monotonic() + 60
    with pytest.raises(GatewayUnreachableError, match="did not answer in time"):
        client._http.get(f"/sessions/{number}", {"wait": 5, "state": "starting"}, read=0.2, patience=0)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"msg": "no such image", "key": "k"}, "no such image"),
        (400, "bad JSON", "bad JSON"),
        (401, {}, "stop and start your server"),
        (403, {"msg": "x"}, r"you may not use the gateway \(403\): x"),
        (404, {"msg": "Session '99' not found."}, "Session '99' not found."),
        (500, "<html>", "<html>"),
        (418, {}, "the gateway answered 418"),
    ],
)
def test_an_error_says_what_the_gateway_said(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch, status: int, body: object, says: str
) -> None:
    monkeypatch.setattr(gateway, "respond", lambda *_: (status, body))
    with pytest.raises(GatewayError, match=says) as error:
        Gateway.at(gateway.url).log(1)
    assert error.value.status == status
    assert isinstance(error.value, UnknownSessionError) == (status == 404)


@pytest.mark.parametrize("broken", [AnswersStatementsWith504, HangsUpOnStatements])
def test_no_error_shows_the_token(started: list[ScriptedGateway], broken: type[ScriptedGateway]) -> None:
    client, number = with_session(broken(), started)
    client.session(number)
    with pytest.raises(SparkyardError) as error:
        client.submit(number, "1", "pyspark", wait=1)
    shown = "".join(traceback.format_exception(error.value)) + "".join(error.value._render_traceback_())
    shown += repr(client.__dict__) + repr(client._http.__dict__) + repr(client._http._auth.__dict__)
    assert os.environ["JUPYTERHUB_API_TOKEN"] not in shown
    assert "Authorization" not in shown
