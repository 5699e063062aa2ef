"""The whole product on a cluster, as `helm install` brings it, with the provider to sign in at and a way for browsers.

What a company has around it is on this machine: PostgreSQL, the OpenID provider behind TLS, and an open port that
stands for its ingress.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from sparkyard_hub.standalone.people import DemonstrationUser
from support import postgres, quick_java, tls, z2jh_real
from support.chart import Z2JH, Chart, merged
from support.cluster import binaries
from support.cluster.lifecycle import addresses_of
from support.cluster.using import Cluster
from support.hub_session import HubSession
from support.provider import RunningProvider, running_provider
from support.standalone import free_port

PASSWORD = "a-password-for-tests"
PEOPLE = (
    DemonstrationUser("dana", "Dana Reyes", "data scientist", ("data-science",), "open-sesame"),
    DemonstrationUser("ana", "Ana Costa", "analyst", ("analysts",), "let-me-in"),
    DemonstrationUser("noor", "Noor Haddad", "in no group", (), "abracadabra"),
)
IMAGES = ("hub", "gateway", "notebook", "spark-3.5", "spark-3.5-pandas-2.1", "spark-4")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
LITTLE = {"requests": {"cpu": "50m", "memory": "128Mi"}}


@dataclasses.dataclass
class Installation:
    """A release that runs, and its people."""

    cluster: Cluster
    chart: Chart
    provider: RunningProvider
    port: int
    namespace: str
    teams: dict[str, str]
    """The namespace in which each team's Spark runs."""
    catalog: str
    database: postgres.Postgres
    database_name: str
    authority: Path
    """What the provider's certificate is checked by."""

    @property
    def address(self) -> str:
        """Where people's browsers go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        """The gateway as scripts reach it, through the proxy."""
        return f"{self.address}/services/gateway"

    def helm(self, command: str, **changed: Any) -> str:
        """Install or upgrade."""
        values = merged(self._values(), changed)
        return self.chart.run(
            command, self.namespace, self.chart.folder, "--namespace", self.namespace,
            "--values", self.chart.values_file(values), "--wait", "--timeout", "9m",
            kubeconfig=self.cluster.kubeconfig,
        )  # fmt: skip

    def _values(self) -> dict[str, Any]:
        return {
            "catalog": self.catalog,
            "spark": {"namespaces": list(self.teams.values()), "createNamespaces": False},
            "gateway": {"resources": LITTLE, "state": {"size": "50Mi"}},
            "metrics": {"serviceMonitor": {"enabled": False}, "dashboards": {"enabled": False}},
            "prePuller": {"enabled": False},
            "jupyterhub": merged(
                z2jh_real.values(),
                {
                    "custom": {
                        "sparkyard": {
                            "public_url": self.address,
                            "okta_url": self.provider.address,
                            "okta_ca_file": "/etc/sparkyard/okta/authority.pem",
                            "okta_client_id": self.provider.client.client_id,
                            "home_size": "50Mi",
                        }
                    },
                    "hub": {"resources": LITTLE},
                    "proxy": {"chp": {"resources": LITTLE}},
                },
            ),
        }

    def uninstall(self) -> None:
        self.chart.run(
            "uninstall", self.namespace, "--namespace", self.namespace, "--wait", "--ignore-not-found",
            kubeconfig=self.cluster.kubeconfig,
        )  # fmt: skip

    def sign_in(self, name: str) -> HubSession:
        """A person at the hub, without a browser."""
        return HubSession(self.address, name, self.password(name), authority=self.authority)

    def password(self, name: str) -> str:
        return next(user.password for user in PEOPLE if user.name == name)

    def owner(self, session: int) -> str:
        """The gateway that serves a session, as the database has it."""
        with self.database.connect(self.database_name) as connection:
            (name,) = connection.execute("SELECT gateway FROM sessions WHERE id = %s", (session,)).fetchone() or ("",)
        return str(name)

    def pods(self, namespace: str | None = None, **labels: str) -> list[dict[str, Any]]:
        """The pods that are there and not just ending."""
        found = self.cluster.get("pods", namespace=namespace or self.namespace, **labels)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kill(self, pod: dict[str, Any]) -> None:
        """End a pod as the loss of its machine does: at once, and nothing of it says goodbye."""
        where = pod["metadata"]
        self.cluster.kubectl(
            "delete", "pod", where["name"], "-n", where["namespace"], "--grace-period=0", "--force", "--wait=false"
        )

    def reached(self, path: str = "/hub/api/") -> bool:
        """Whether the hub, or what else is behind the proxy, answers people."""
        try:
            return httpx.get(f"{self.address}{path}", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running(cluster: Cluster, folder: Path, catalog: Path) -> Iterator[Installation]:
    """An installation for a while; `catalog` has the words SCIENCE and ANALYTICS for the namespaces of two teams."""
    assert cluster.place is not None, "database and provider run on this machine, which the pods must reach"
    for image in IMAGES:
        cluster.load(image)
    z2jh_real.load(cluster.place)
    real = z2jh_real.chart(folder)
    chart = Chart(folder, binaries.built(binaries.HELM) / "helm", real or Z2JH)
    port = free_port()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.running(cluster.host, addresses_of(cluster.place).all))
        namespace = stack.enter_context(cluster.namespace(**RESTRICTED))
        teams = {team: stack.enter_context(cluster.namespace(**RESTRICTED)) for team in ("science", "analytics")}
        provider = stack.enter_context(_provider(folder, cluster.host, port))
        name = _new_database(database)
        url = f"postgresql://{postgres.USER}@{cluster.host}/{name}"
        _make_secrets(cluster, namespace, folder, provider, url)
        text = quick_java.in_pods(catalog.read_text())
        for team, place in teams.items():
            text = text.replace(team.upper(), place)
        found = Installation(cluster, chart, provider, port, namespace, teams, text, database, name, _authority(folder))
        if real:
            cluster.apply(rights := z2jh_real.rights(namespace))
            stack.callback(cluster.delete, rights["kind"], rights["metadata"]["name"])
        stack.callback(found.uninstall)
        found.helm("install")
        service = cluster.get("service", "proxy-public", namespace)["spec"]["clusterIP"]
        stack.enter_context(tls.terminator(None, 80, behind=service, port=port))
        yield found


@contextlib.contextmanager
def _provider(folder: Path, host: str, port: int) -> Iterator[RunningProvider]:
    """The provider where pods and browsers reach it: by TLS, as the hub asks for outside of one machine."""
    identity = tls.identity(folder / "tls", host)
    with running_provider(folder, f"http://127.0.0.1:{port}", PEOPLE, scheme="https") as plain:
        behind = int(plain.address.rpartition(":")[2])
        with tls.terminator(identity, behind, at=host) as port_of_tls:
            yield dataclasses.replace(plain, address=f"https://{host}:{port_of_tls}")


def _authority(folder: Path) -> Path:
    return folder / "tls" / "authority.pem"


def _new_database(database: postgres.Postgres) -> str:
    name = database.new_database()
    with database.connect() as connection:
        connection.execute(f"ALTER USER {postgres.USER} PASSWORD '{PASSWORD}'")
    return name


def _make_secrets(cluster: Cluster, namespace: str, folder: Path, provider: RunningProvider, url: str) -> None:
    authority = _authority(folder).read_text()
    for name, data in (
        ("sparkyard-database", {"url": url, "password": PASSWORD}),
        ("sparkyard-okta", {"client_secret": provider.client.secret, "authority.pem": authority}),
    ):
        metadata = {"name": name, "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
