"""The kernel's one session: started in the background, replaced after a check, ended quickly."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkyard_sparkmagic import session as sessions
from sparkyard_sparkmagic.errors import (
    ConfigurationError,
    GatewayError,
    GatewayUnreachableError,
    MagicError,
    SessionStartError,
)
from sparkyard_sparkmagic.gateway import SessionView
from sparkyard_sparkmagic.keeper import SessionKeeper
from support.scripted_gateway import NeverAnswersDelete, ScriptedGateway


def silent(view: SessionView | None, seconds: float) -> None:
    """Report to nobody."""


def created(gateway: ScriptedGateway) -> list[dict[str, object]]:
    return [body for _, path, _, body in gateway.sent("POST", "/sessions") if "validate" not in path]


def test_it_starts_before_anybody_asks(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.start_seconds = 0.3
    keeper.begin()
    time.sleep(0.6)
    reports: list[float] = []
    keeper.ready(lambda view, seconds: reports.append(seconds))
    assert reports == []  # it was ready already
    assert len(created(gateway)) == 1


def test_the_first_cell_is_told_what_it_waits_for(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.start_seconds = 0.5
    keeper.begin()
    reasons = set()
    keeper.ready(lambda view, seconds: reasons.add(view.reason if view else None))
    assert "the driver is starting" in reasons


def test_what_it_asks_for(gateway: ScriptedGateway, keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKYARD_PROFILE", "small")
    monkeypatch.setenv("SPARKYARD_SESSION_DEFAULTS", json.dumps({"driverMemory": "2g", "conf": {"a.b": "1"}}))
    (Path(keeper.settings.user_file)).write_text('executorMemory = "3g"\n[conf]\n"c.d" = 2\n')
    keeper.begin()
    keeper.ready(silent)
    assert created(gateway) == [
        {
            "driverMemory": "2g",
            "executorMemory": "3g",
            "conf": {"a.b": "1", "c.d": "2"},
            "profile": "small",
            "kind": "pyspark",
            "heartbeatTimeoutInSecond": sessions.HEARTBEAT_TIMEOUT,
        }
    ]


def test_another_profile_brings_its_own_defaults(keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKYARD_PROFILE", "small")
    monkeypatch.setenv("SPARKYARD_SESSION_DEFAULTS", '{"driverMemory": "2g"}')
    assert keeper.body({"profile": "large"}) == {"profile": "large", "kind": "pyspark"}
    assert keeper.body({"profile": "small"})["driverMemory"] == "2g"


def test_a_failed_start_is_told_once_and_tried_again(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.start_failure = "the image was not found"
    keeper.begin()
    with pytest.raises(SessionStartError, match="session 0 did not start: the image was not found"):
        keeper.ready(silent)
    gateway.start_failure = None
    assert keeper.ready(silent).view.id == 1


def test_a_refusal_is_told_and_tried_again(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    gateway.refusal = {"msg": "queue: not allowed under the profile small", "key": "queue"}
    keeper.begin()
    with pytest.raises(GatewayError, match="queue: not allowed"):
        keeper.ready(silent)
    gateway.refusal = None
    assert keeper.ready(silent).ready


def test_a_mended_file_needs_no_restart(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    own = Path(keeper.settings.user_file)
    own.write_text("numExecutor = 1\n")
    keeper.begin()
    with pytest.raises(ConfigurationError, match="line 1: numExecutor"):
        keeper.ready(silent)
    own.write_text("numExecutors = 1\n")
    assert keeper.ready(silent).body["numExecutors"] == 1


@pytest.mark.usefixtures("surroundings")
def test_outside_of_a_hub_it_says_so() -> None:
    keeper = SessionKeeper()
    keeper.begin()
    with pytest.raises(ConfigurationError, match="SPARKYARD_GATEWAY_URL is not set"):
        keeper.ready(silent)


def test_configuring_before_the_first_statement_needs_no_force(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    keeper.begin()
    keeper.configure({"driverMemory": "3g"}, force=False)
    assert keeper.ready(silent).body["driverMemory"] == "3g"
    assert list(gateway.sessions) == [1]


def test_configuring_a_used_session_needs_force(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    keeper.ready(silent).used = True
    with pytest.raises(MagicError, match="%%configure -f"):
        keeper.configure({"driverMemory": "3g"}, force=False)
    assert keeper.id == 0
    assert "driverMemory" not in keeper.body()
    keeper.configure({"driverMemory": "3g"}, force=True)
    assert keeper.ready(silent).view.id == 1


def test_a_refused_configuration_throws_nothing_away(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    before = keeper.ready(silent)
    gateway.refusal = {"msg": "spark.driver.extraJavaOptions: not allowed"}
    with pytest.raises(GatewayError, match="extraJavaOptions"):
        keeper.configure({"conf": {"spark.driver.extraJavaOptions": "-x"}}, force=True)
    assert gateway.sent("DELETE") == []
    assert keeper.ready(silent) is before


def test_configuring_the_same_again_keeps_the_session(keeper: SessionKeeper) -> None:
    keeper.begin()
    keeper.configure({"driverMemory": "3g"}, force=False)
    first = keeper.ready(silent)
    keeper.configure({"driverMemory": "3g"}, force=False)
    assert keeper.ready(silent) is first


def test_shutting_down_ends_the_session_and_its_thread(gateway: ScriptedGateway, keeper: SessionKeeper) -> None:
    keeper.ready(silent)
    keeper.shut()
    assert gateway.sessions == {}
    deadline = time.monotonic() + 2
    while any(thread.name == "spark-session" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.name == "spark-session" for thread in threading.enumerate())


@pytest.fixture
def hanging(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    server = NeverAnswersDelete()
    monkeypatch.setenv("SPARKYARD_GATEWAY_URL", server.url)
    yield server
    server.close()


@pytest.mark.timeout(60)
def test_a_gateway_that_hangs_does_not_hold_up_a_shutdown(hanging: ScriptedGateway) -> None:
    keeper = SessionKeeper()
    keeper.ready(silent)
    keeper.shut()  # returns, although the gateway never answers
    assert [path for _, path, _, _ in hanging.sent("DELETE")] == ["/sessions/0"]


def test_closing_while_the_request_is_under_way_leaves_no_session(
    gateway: ScriptedGateway, keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = gateway._create
    monkeypatch.setattr(gateway, "_create", lambda *args: (time.sleep(0.5), create(*args))[1])
    keeper.begin()
    time.sleep(0.1)
    assert keeper.session is not None
    keeper.session.close(0.05)
    time.sleep(1)
    assert gateway.sessions == {}


def test_the_heart_beats(gateway: ScriptedGateway, keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BEAT", 0.05)
    keeper.ready(silent)
    time.sleep(0.3)
    assert len(gateway.sent("GET", "/state")) >= 3


def test_an_unreachable_gateway_at_the_kernels_start_is_not_held_against_the_cell(
    gateway: ScriptedGateway, keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparkyard_sparkmagic.transport.CONNECT_PATIENCE", 0.0)
    monkeypatch.setenv("SPARKYARD_GATEWAY_URL", "http://127.0.0.1:9")
    keeper.begin()
    deadline = time.monotonic() + 5
    while keeper.session is not None and keeper.session.problem is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert keeper.session is not None
    assert isinstance(keeper.session.problem, GatewayUnreachableError)
    monkeypatch.setenv("SPARKYARD_GATEWAY_URL", gateway.url)
    assert keeper.ready(silent).ready
