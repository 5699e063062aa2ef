"""A real gateway process with simulated drivers, and people who use it.

hub         a stand-in of the hub that knows the people below
gateway     a gateway of this module's own, its drivers simulated
as_alice, as_bob, as_ada ...   clients with these people's tokens
postgres    a real PostgreSQL, started once for all tests that ask for it
start_mortal    starts gateways that a test may kill, whose drivers run on without them; all end with the test
forked      whether gateways begin with their modules imported; a module about the start itself says no

Alice and Bob have nothing to do with each other, but that both are of the team `crew`, which Lee leads: with a token
that oversees, while that of Lee's notebook does not. Olga leads another team. `etl` is a service account of the crew's,
`cron` a service of the hub that is none. Ada is an admin with a token made for administration;
`as_ada_notebook` is her notebook's token, which has no admin scope. Eve's token lacks the gateway's scope.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sparkyard_gateway.auth import OVERSEE
from sparkyard_gateway.backends import processes
from support import hub_stand_in
from support import postgres as postgresql
from support.hub_stand_in import SERVER_TOKEN_SCOPES, HubStandIn
from support.running_gateway import RunningGateway

SIMULATED = Path(__file__).parents[2] / "support" / "simulated_driver.py"
CATALOG = """\
version: 1
groups: {people: Everybody, leads: Who leads them, other-leads: Who leads others, others: Others}
default_profile: small
teams:
  crew: {title: Crew, groups: [people], leads: [leads]}
  others: {title: Others, groups: [others], leads: [other-leads]}
service_accounts:
  etl: {title: The nightly load, team: crew, groups: [other-leads]}
images:
  notebook: {kind: notebook, ref: sparkyard/notebook:1, local: {python: "{venv}/bin/python"}}
  spark-3.5: {kind: spark, spark: "3.5", ref: sparkyard/spark:3.5, local: {python: "{venv}/bin/python"}}
profiles:
  small:
    title: Small
    description: For tests.
    everyone: true
    notebook: {image: notebook, cpu: {guarantee: 0.1, limit: 1}, memory: {guarantee: 256Mi, limit: 1Gi}}
    spark:
      version: "3.5"
      driver: {image: spark-3.5, cores: 1, memory: {default: 512m, max: 1g}}
      executor: {image: spark-3.5, cores: 1, memory: 512m, count: {default: 1, max: 2}}
      user_conf:
        spark.sql.shuffle.partitions: {type: integer, min: 1, max: 100}
        spark.ui.showConsoleProgress: {type: boolean}
      files: {allow: ["home://", "s3a://bucket/{user}/"]}
"""


def admit_people(hub: HubStandIn) -> None:
    hub.admit("token-of-alice", "alice", ("people",))
    hub.admit("token-of-bob", "bob", ("people",))
    hub.admit("token-of-eve", "eve", ("people",), scopes=("read:users:name!user",))
    hub.admit("token-of-ada", "ada", admin=True, scopes=("admin:users", "access:services", "read:users"))
    hub.admit("token-of-adas-notebook", "ada", admin=True, scopes=SERVER_TOKEN_SCOPES)
    hub.admit("token-of-lee", "lee", ("leads",), scopes=(*SERVER_TOKEN_SCOPES, OVERSEE))
    hub.admit("token-of-lees-notebook", "lee", ("leads",), scopes=SERVER_TOKEN_SCOPES)
    hub.admit("token-of-olga", "olga", ("other-leads",), scopes=(*SERVER_TOKEN_SCOPES, OVERSEE))
    hub.admit("token-of-etl", "etl", scopes=("access:services!service=gateway", OVERSEE), kind="service", admin=True)
    hub.admit("token-of-cron", "cron", scopes=("access:services!service=gateway",), kind="service")


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in.running() as running:
        admit_people(running)
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.Postgres]:
    with postgresql.running() as server:
        yield server


StartGateway = Callable[..., RunningGateway]


@pytest.fixture(scope="session")
def forked() -> bool:
    return True


@pytest.fixture(scope="module")
def start_gateway(hub: HubStandIn, forked: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Start a gateway with these options; all are stopped at the end, and their drivers with them."""
    started: list[RunningGateway] = []

    def start(*options: str, module: str = "sparkyard_gateway.command") -> RunningGateway:
        folder = tmp_path_factory.mktemp("gateway")
        (folder / "catalog.yaml").write_text(CATALOG)
        gateway = RunningGateway(
            folder, hub.url, "--driver-program", str(SIMULATED), "--catalog", str(folder / "catalog.yaml"),
            "--stop-drivers-on-exit", "--sweep-seconds", "0.1", "--identity-ttl-seconds", "1", *options,
            module=module, forked=forked,
        )  # fmt: skip
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def start_mortal(hub: HubStandIn, forked: bool, tmp_path: Path) -> Iterator[StartGateway]:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    started: list[RunningGateway] = []

    def start(*options: str, clock: Path | None = None, log: str = "gateway") -> RunningGateway:
        gateway = RunningGateway(
            tmp_path, hub.url, "--driver-program", str(SIMULATED), "--catalog", str(tmp_path / "catalog.yaml"),
            "--sweep-seconds", "0.1", "--identity-ttl-seconds", "1", *options,
            module="support.gateway_with_clock" if clock else "sparkyard_gateway.command", log=log, forked=forked,
        )  # fmt: skip
        if clock is not None:
            gateway.extra_environment = {"SPARKYARD_TEST_CLOCK": str(clock)}
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in started:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.send_signal(signal.SIGCONT)
            gateway.kill()
    for work in tmp_path.glob("**/sessions/*/work"):
        for pid in processes.working_in(work):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> RunningGateway:
    return start_gateway()


def client(gateway: RunningGateway, token: str | None) -> httpx.Client:
    headers = {"Authorization": f"token {token}"} if token else {}
    return httpx.Client(base_url=gateway.url, headers=headers, timeout=70)


def _as(token: str | None) -> Callable[[RunningGateway], Iterator[httpx.Client]]:
    @pytest.fixture(scope="module")
    def fixture(gateway: RunningGateway) -> Iterator[httpx.Client]:
        with client(gateway, token) as made:
            yield made

    return fixture


as_alice = _as("token-of-alice")
as_bob = _as("token-of-bob")
as_eve = _as("token-of-eve")
as_ada = _as("token-of-ada")
as_ada_notebook = _as("token-of-adas-notebook")
as_nobody = _as(None)
as_lee = _as("token-of-lee")
as_lee_notebook = _as("token-of-lees-notebook")
as_olga = _as("token-of-olga")
as_etl = _as("token-of-etl")
as_cron = _as("token-of-cron")


def new_session(client: httpx.Client, **wish: object) -> int:
    """Start a session and wait until it is idle."""
    made = client.post("/sessions", json={"kind": "pyspark", **wish})
    assert made.status_code == 201, made.text
    number: int = made.json()["id"]
    answer = client.get(f"/sessions/{number}?wait=20&state=starting").json()
    assert answer["state"] == "idle", answer
    return number


def run(client: httpx.Client, session: int, code: str, **more: object) -> dict[str, object]:
    """Run a statement to its end."""
    answer = client.post(f"/sessions/{session}/statements?wait=20", json={"code": code, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.json()
    return found
