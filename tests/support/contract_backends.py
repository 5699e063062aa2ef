"""The backends against which the contract is replayed. To add one, add it here: every test of the contract runs on it.

A backend says how a gateway with it is started, and what keeps it from running here. Where Spark itself is not the
point its drivers are simulated; a backend that cannot take another driver program runs those stories on real ones.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support import hub_stand_in
from support.hub_stand_in import SERVER_TOKEN_SCOPES, HubStandIn
from support.running_gateway import RunningGateway

SIMULATED = Path(__file__).parent / "simulated_driver.py"
CATALOG = """\
version: 1
groups: {people: Everybody}
default_profile: contract
images:
  notebook: {kind: notebook, ref: sparkyard/notebook:1, local: {python: "{venv}/bin/python"}}
  spark-3.5:
    kind: spark
    spark: "3.5"
    ref: sparkyard/spark:3.5
    local: {python: "{venv}/bin/python", spark_home: "{pyspark}"}
profiles:
  contract:
    title: What the recordings ask for
    description: For tests.
    everyone: true
    notebook: {image: notebook, cpu: {guarantee: 0.1, limit: 1}, memory: {guarantee: 256Mi, limit: 1Gi}}
    spark:
      version: "3.5"
      driver: {image: spark-3.5, cores: 1, memory: {default: 1g, max: 1g}}
      executor: {image: spark-3.5, cores: 1, memory: {default: 512m, max: 1g}, count: {default: 2, max: 2}}
      conf: {spark.sql.shuffle.partitions: 2}
      user_conf:
        spark.ui.showConsoleProgress: {type: boolean}
    sessions: {idle_timeout: {default: 1h, max: 12h}, lifetime: {default: 12h, max: 12h}}
"""

PEOPLE = ("alice", "bob", "hub", "mallory", "")
"""Of the recordings: `hub` is the superuser, `mallory` may not use the service, `` sends no token."""


def _nothing() -> None:
    """Nothing keeps it from running here."""


@dataclass(frozen=True)
class ContractBackend:
    """One of them: options of the gateway with it, by whether drivers are simulated."""

    name: str
    options: Callable[[bool], tuple[str, ...]]
    missing: Callable[[], str | None] = _nothing


def _local(simulated: bool) -> tuple[str, ...]:
    return ("--driver-program", str(SIMULATED)) if simulated else ()


BACKENDS = (ContractBackend("local", _local),)


@contextmanager
def running(
    backend: ContractBackend, folder: Path, *options: str, simulated: bool
) -> Iterator[dict[str, httpx.Client]]:
    """A gateway with this backend, as the people of the recordings reach it."""
    (folder / "catalog.yaml").write_text(CATALOG)
    with ExitStack() as stack:
        hub = stack.enter_context(hub_stand_in.running())
        admit_everybody(hub)
        gateway = RunningGateway(
            folder, hub.url, "--catalog", str(folder / "catalog.yaml"), "--stop-drivers-on-exit",
            *backend.options(simulated), *options, forked=True,
        )  # fmt: skip
        stack.callback(gateway.stop)
        gateway.start()
        yield {name: stack.enter_context(client_of(name, gateway.url)) for name in PEOPLE}


def admit_everybody(hub: HubStandIn) -> None:
    """Have the hub know the people of the recordings."""
    for name in ("alice", "bob"):
        hub.admit(f"token-of-{name}", name, ("people",))
    hub.admit("token-of-hub", "hub", admin=True, scopes=("admin:users", *SERVER_TOKEN_SCOPES))
    hub.admit("token-of-mallory", "mallory", scopes=("read:users:name!user",))


def client_of(name: str, url: str) -> httpx.Client:
    """One of them at a gateway."""
    headers = {"Authorization": f"token token-of-{name}"} if name else {}
    return httpx.Client(base_url=url, headers=headers, timeout=120)
