"""What `helm` makes of the chart: a table of the rendered objects, and an install on a real cluster.

zero-to-jupyterhub's chart is a dependency that can't be fetched everywhere: a stand-in without templates is in its
place (support/chart.py), so what is judged and installed is ours.
"""

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import postgres, registries
from support.chart import Chart, merged, values
from support.cluster import archives, binaries, proxy
from support.cluster.lifecycle import addresses_of
from support.cluster.using import Cluster
from support.pod_security import containers, violations

Object = dict[str, Any]


@pytest.fixture(scope="module")
def chart(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(tmp_path_factory.mktemp("chart"), binaries.built(binaries.HELM) / "helm")


@pytest.fixture(scope="module")
def rendered(chart: Chart) -> list[Object]:
    """With everything on that may be."""
    return chart.render(
        spark={"namespaces": ["spark", "team-a"]},
        traefik={"enabled": True, "ingress": {"enabled": True, "hosts": ["spark.example.com"]}},
        jupyterhub={"custom": {"sparkyard": {"proxy": "traefik-redis"}}},
    )


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for it in objects:
        if it["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield f"{it['kind']}/{it['metadata']['name']}", it["spec"]["template"]["spec"]


def the(objects: list[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    (found,) = [
        it
        for it in objects
        if (it["kind"], it["metadata"]["name"], it["metadata"].get("namespace")) == (kind, name, namespace)
    ]
    return found


# Rendered -----------------------------------------------------------------------------------------------------------


def test_the_chart_is_sound(chart: Chart) -> None:
    said = chart.run("lint", chart.folder, "--strict", "--values", chart.values_file({}))
    assert "0 chart(s) failed" in said


def test_no_pod_is_root_or_privileged_and_every_container_has_its_size(rendered: list[Object]) -> None:
    found = dict(pod_templates(rendered))
    assert set(found) == {
        "StatefulSet/sparkyard-gateway",
        "DaemonSet/sparkyard-pre-puller",
        "Deployment/sparkyard-traefik",
        "StatefulSet/sparkyard-redis",
    }
    for name, spec in found.items():
        assert violations(spec) == [], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        for container in containers(spec):
            where = f"{name} {container['name']}"
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, where
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, where
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}, where


def test_only_the_gateway_has_a_token_of_kubernetes(rendered: list[Object]) -> None:
    found = {name: spec["automountServiceAccountToken"] for name, spec in pod_templates(rendered)}
    assert {name for name, has_one in found.items() if has_one} == {"StatefulSet/sparkyard-gateway"}


def test_no_secret_is_in_an_environment(rendered: list[Object]) -> None:
    (gateway,) = the(rendered, "StatefulSet", "sparkyard-gateway")["spec"]["template"]["spec"]["containers"]
    from_secrets = {
        it["name"]: it["valueFrom"]["secretKeyRef"]["key"]
        for it in gateway["env"]
        if "secretKeyRef" in it.get("valueFrom", {})
    }
    assert from_secrets == {"SPARKYARD_GATEWAY_DATABASE_URL": "url"}  # which has no password in it
    assert not any(re.search("TOKEN$|PASSWORD$|SECRET$", it["name"]) for it in gateway["env"])
    for name, spec in pod_templates(rendered):
        assert name == "StatefulSet/sparkyard-gateway" or not any(it.get("env") for it in containers(spec)), name


def test_each_gateway_has_a_name_and_an_address_of_its_own(rendered: list[Object]) -> None:
    stateful = the(rendered, "StatefulSet", "sparkyard-gateway")["spec"]
    assert stateful["replicas"] == 2
    headless = the(rendered, "Service", stateful["serviceName"])["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    env = {it["name"]: it.get("value") for it in stateful["template"]["spec"]["containers"][0]["env"]}
    assert env["SPARKYARD_GATEWAY_INSTANCE"] == "$(POD_NAME)"
    assert env["SPARKYARD_GATEWAY_DRIVER_URL"] == "ws://$(POD_NAME).sparkyard-gateways.$(POD_NAMESPACE).svc:8711"


def test_two_releases_of_one_name_share_nothing_of_the_whole_clusters(chart: Chart) -> None:
    """In two namespaces: what is in none is named by both."""

    def of_cluster(namespace: str) -> set[str]:
        objects = chart.render(namespace, spark={"namespaces": [f"{namespace}-spark"]})
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole", "ClusterRoleBinding")
        return {f"{it['kind']}/{it['metadata']['name']}" for it in objects if it["kind"] in kinds}

    one, other = of_cluster("one"), of_cluster("other")
    assert len(one) == len(other) == 8
    assert not one & other


@pytest.mark.parametrize(
    ("changed", "scheduler"),
    [
        ({}, "sparkyard-user-scheduler"),
        ({"spark": {"scheduler": "default-scheduler"}}, "default-scheduler"),
        ({"spark": {"scheduler": "packing"}}, "packing"),
        ({"jupyterhub": {"scheduling": {"userScheduler": {"enabled": False}}}}, None),
        ({"jupyterhub": {"enabled": False}}, None),
    ],
)
def test_drivers_are_placed_by_zero_to_jupyterhubs_scheduler_where_that_is_on(
    chart: Chart, changed: Any, scheduler: str | None
) -> None:
    stateful = the(chart.render(**changed), "StatefulSet", "sparkyard-gateway")
    env = {it["name"]: it.get("value") for it in stateful["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env.get("SPARKYARD_GATEWAY_KUBERNETES_SCHEDULER") == scheduler


def test_settings_reach_the_gateway_as_they_are(chart: Chart) -> None:
    settings = {"max_sessions_per_user": 3, "max_body_bytes": 16777216, "event_logs": False, "log_level": "debug"}
    stateful = the(chart.render(gateway={"settings": settings}), "StatefulSet", "sparkyard-gateway")
    env = {it["name"]: it.get("value") for it in stateful["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["SPARKYARD_GATEWAY_MAX_SESSIONS_PER_USER"] == "3"
    assert env["SPARKYARD_GATEWAY_MAX_BODY_BYTES"] == "16777216"
    assert env["SPARKYARD_GATEWAY_EVENT_LOGS"] == "false"
    assert env["SPARKYARD_GATEWAY_LOG_LEVEL"] == "debug"


def test_the_catalog_arrives_as_it_was_written(chart: Chart, rendered: list[Object]) -> None:
    text = (Path(__file__).parents[2] / "catalog.yaml").read_text()
    assert the(rendered, "ConfigMap", "sparkyard-catalog")["data"] == {"catalog.yaml": text}


def test_a_new_catalog_changes_no_pod_but_the_pre_pullers(chart: Chart, rendered: list[Object]) -> None:
    text = (Path(__file__).parents[2] / "catalog.yaml").read_text()
    again = chart.render(spark={"namespaces": ["spark", "team-a"]}, catalog=text.replace("title: Small", "title: Tiny"))
    for kind, name in (("StatefulSet", "sparkyard-gateway"), ("DaemonSet", "sparkyard-pre-puller")):
        assert the(again, kind, name) == the(rendered, kind, name)


def test_every_image_of_the_catalog_is_pulled_in_advance(chart: Chart) -> None:
    catalog = json.dumps({"images": {"a": {"ref": "r.example.com/a:1"}, "b": {"ref": "r.example.com/b:1"}}})
    objects = chart.render(catalog=catalog, prePuller={"extraImages": ["r.example.com/c:1", "r.example.com/a:1"]})
    spec = the(objects, "DaemonSet", "sparkyard-pre-puller")["spec"]["template"]["spec"]
    images = [container["image"] for container in spec["initContainers"]]
    assert images == ["r.example.com/a:1", "r.example.com/b:1", "r.example.com/c:1"]


def test_everything_is_denied_that_is_not_allowed(rendered: list[Object]) -> None:
    for namespace in (None, "spark", "team-a"):
        deny = the(rendered, "NetworkPolicy", "sparkyard-default-deny", namespace)["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_no_policy_lets_anybody_reach_the_metadata_address(rendered: list[Object]) -> None:
    metadata = ipaddress.ip_address("169.254.169.254")
    for policy in (it for it in rendered if it["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress") or ():
            if not rule.get("to"):
                assert [port["port"] for port in rule["ports"]] == [5432], policy["metadata"]["name"]
            for peer in rule.get("to") or ():
                if block := peer.get("ipBlock"):
                    inside = metadata in ipaddress.ip_network(block["cidr"])
                    excepted = any(metadata in ipaddress.ip_network(net) for net in block.get("except") or ())
                    assert not inside or excepted, policy["metadata"]["name"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"catalog": ""}, "give your catalog by --set-file catalog=catalog.yaml"),
        ({"catalog": "a: [b"}, "catalog is not YAML"),
        ({"catalog": "a: b"}, "catalog names no images"),
        (
            {"catalog": json.dumps({"images": {"a": {"ref": "x"}}, "teams": {"t": {"namespace": "team-t"}}})},
            "team t has the namespace team-t, and spark.namespaces does not list it",
        ),
        ({"gateway": {"settings": {"host": "x"}}}, "gateway.settings.host is decided by the chart"),
        ({"gateway": {"replica": 3}}, "replica"),
        ({"jupyterhub": {"fullnameOverride": "x"}}, "fullnameOverride is not supported"),
    ],
)
def test_mistakes_are_told(chart: Chart, changed: Any, words: str) -> None:
    assert words in chart.refusal(**changed)


def test_what_is_off_is_not_there(chart: Chart) -> None:
    off = {
        "prePuller": {"enabled": False},
        "networkPolicies": {"enabled": False},
        "metrics": {"serviceMonitor": {"enabled": False}, "dashboards": {"enabled": False}},
        "secrets": {"makeGatewayToken": False},
        "spark": {"createNamespaces": False},
    }
    kinds = {it["kind"] for it in chart.render(**off)}
    assert not kinds & {"DaemonSet", "NetworkPolicy", "ServiceMonitor", "Secret", "Namespace"}


# Installed ----------------------------------------------------------------------------------------------------------

PASSWORD = "a-password-for-tests"
SMALL: dict[str, Any] = {
    "gateway": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}, "state": {"size": "50Mi"}},
    "metrics": {"serviceMonitor": {"enabled": False}, "from": ["10.0.0.0/8"]},
    "prePuller": {"enabled": False},
}


@dataclass
class Installed:
    """A release in a namespace of its own."""

    cluster: Cluster
    chart: Chart
    namespace: str
    team: str

    @property
    def release(self) -> str:
        """Its name: what a release makes for the whole cluster is named by it."""
        return self.namespace

    def uninstall(self) -> None:
        self.chart.run(
            "uninstall", self.release, "--namespace", self.namespace, "--wait", "--ignore-not-found",
            kubeconfig=self.cluster.kubeconfig,
        )  # fmt: skip

    def helm(self, command: str, **changed: Any) -> str:
        """Install or upgrade; what a test changes stays for the next."""
        values = merged(
            merged(SMALL, {"spark": {"namespaces": [self.team], "createNamespaces": False}}),
            {"catalog": catalog_text("Small")} | changed,
        )
        return self.chart.run(
            command, self.release, self.chart.folder, "--namespace", self.namespace,
            "--values", self.chart.values_file(values), "--wait", "--timeout", "9m",
            kubeconfig=self.cluster.kubeconfig,
        )  # fmt: skip

    def gateways(self) -> dict[str, str]:
        """The gateways' pods with their uids."""
        found = self.cluster.get("pods", namespace=self.namespace, **{"app.kubernetes.io/name": "sparkyard-gateway"})
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found["items"]}

    def inside(self, pod: str, code: str) -> str:
        """What Python prints in a gateway's pod."""
        return self.cluster.inside(self.namespace, pod, "python3", "-c", code)


def catalog_text(title: str) -> str:
    return (Path(__file__).parent / "notebook_catalog.yaml").read_text().replace("title: Small", f"title: {title}", 1)


@pytest.fixture(scope="module")
def installed(cluster: Cluster, chart: Chart) -> Iterator[Installed]:
    cluster.load("gateway")
    assert cluster.place is not None, "the database runs on this machine, which the pods must reach"
    everybody = addresses_of(cluster.place).all
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    with (
        postgres.running(cluster.host, everybody) as server,
        cluster.namespace(**enforce) as namespace,
        cluster.namespace(**enforce) as team,
    ):
        database = server.new_database()
        with server.connect() as connection:
            connection.execute(f"ALTER USER {postgres.USER} PASSWORD '{PASSWORD}'")
        url = f"postgresql://{postgres.USER}@{cluster.host}/{database}"
        for name, data in (
            ("sparkyard-database", {"url": url, "password": PASSWORD}),
            ("sparkyard-okta", {"client_secret": "none"}),
        ):
            metadata = {"name": name, "namespace": namespace}
            cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
        release = Installed(cluster, chart, namespace, team)
        try:
            release.helm("install")
            yield release
        finally:
            release.uninstall()


def test_the_gateways_run_and_are_ready(installed: Installed) -> None:
    names = set(installed.gateways())
    assert names == {"sparkyard-gateway-0", "sparkyard-gateway-1"}
    # Through the Service's name: DNS and the Service are let through, and any gateway may answer.
    code = "import httpx; r = httpx.get('http://sparkyard-gateway:8711/health/ready'); print(r.status_code, r.text)"
    answer = installed.cluster.until(
        lambda: {"said": installed.inside("sparkyard-gateway-0", code)}, lambda found: found["said"].startswith("200")
    )
    assert '"database":"ok"' in answer["said"]


def test_a_new_catalog_is_in_force_without_a_restart(installed: Installed) -> None:
    before = installed.gateways()
    installed.helm("upgrade", catalog=catalog_text("Smaller still"))
    assert installed.gateways() == before
    look = "print('Smaller still' in open('/etc/sparkyard/catalog/catalog.yaml').read())"
    installed.cluster.until(
        lambda: {"seen": installed.inside("sparkyard-gateway-0", look)}, lambda found: "True" in found["seen"]
    )


def test_the_token_of_hub_and_gateway_stays_over_upgrades(installed: Installed) -> None:
    def token() -> str:
        found: str = installed.cluster.get("secret", "sparkyard-gateway", installed.namespace)["data"]["token"]
        return found

    before = token()
    installed.helm("upgrade", gateway={"settings": {"max_sessions_per_user": 2}})
    assert token() == before


def test_while_the_hub_is_away_the_proxy_says_so(installed: Installed) -> None:
    """The proxy as zero-to-jupyterhub starts it, and a hub of whom there is nothing but the Service."""
    cluster, namespace = installed.cluster, installed.namespace
    assert cluster.place is not None
    proxy.load(cluster.place)
    metadata = {"namespace": namespace}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata | {"name": "hub"},
            "spec": {"selector": {"component": "hub"}, "ports": [{"port": 8081}]},
        },
        # What that chart lets its proxy do.
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata | {"name": "proxy"},
            "spec": {"podSelector": {"matchLabels": {"component": "proxy"}}, "policyTypes": ["Egress"], "egress": [{}]},
        },
    )
    cluster.run_pod(
        namespace, "proxy", "configurable-http-proxy", "--ip=", "--port=8000", "--default-target=http://hub:8081",
        f"--error-target={values()['jupyterhub']['proxy']['chp']['errorTarget']}",
        labels={"component": "proxy"}, container={"image": proxy.IMAGE},
    )  # fmt: skip
    code = (
        "fetch('http://127.0.0.1:8000' + process.argv[1])"
        ".then(async it => console.log(it.status, it.headers.get('content-type'), await it.text()))"
    )

    def shown(path: str, kind: str) -> str:
        found = cluster.until(
            lambda: {"said": cluster.inside(namespace, "proxy", proxy.node_program(), "-e", code, path)},
            lambda found: found["said"].startswith(f"503 {kind}"),
        )
        return str(found["said"])

    page = shown("/hub/home", "text/html")
    assert "<h1>The hub is restarting</h1>" in page
    assert "/services/gateway/ui/static/page.css" in page
    assert "Spark sessions go on" in json.loads(shown("/hub/api/", "application/json").split(" ", 2)[2])["message"]
    for kind, name in (("pod", "proxy"), ("networkpolicy", "proxy"), ("service", "hub")):
        cluster.delete(kind, name, namespace)


@pytest.fixture
def registry(cluster: Cluster, tmp_path: Path) -> Iterator[registries.Registry]:
    """One of the node's own, with images that the cluster has never had."""
    with registries.on_node(cluster, tmp_path) as found:
        yield found


def test_every_image_of_a_catalog_is_fetched_and_of_the_next_one_too(
    installed: Installed, registry: registries.Registry
) -> None:
    cluster, namespace = installed.cluster, installed.namespace
    assert cluster.place is not None

    def catalog(version: int) -> str:
        """Notebooks', Spark's and steps' images, all of them new; the second has one of each other name."""
        text = re.sub(r'ref: "localhost[^"]*"', f'ref: "{registry.image("tools", 1)}"', catalog_text("Small"))
        text = text.replace("sparkyard/notebook:0.1", registry.image("lab", version))
        return text.replace("sparkyard/spark:3.5", registry.image("spark", 1))

    def fetched() -> set[str]:
        assert cluster.place is not None
        names = archives.images(cluster.place)
        return {name for name in names if name.startswith(f"{registry.address}/") and "@" not in name}

    def all_there() -> None:
        cluster.until(
            lambda: cluster.get("daemonset", "sparkyard-pre-puller", namespace),
            lambda it: (
                it["metadata"]["generation"] == it["status"].get("observedGeneration")
                and it["status"].get("updatedNumberScheduled") == it["status"].get("numberReady") == 1
            ),
        )

    assert fetched() == set()
    # Where images are there already nothing waits; helm's own wait is for the first readiness of all.
    installed.helm("upgrade", prePuller={"enabled": True}, catalog=catalog(1))
    all_there()
    assert fetched() == {registry.image(name, 1) for name in ("tools", "lab", "spark")}
    installed.helm("upgrade", prePuller={"enabled": True}, catalog=catalog(2))
    all_there()
    assert registry.image("lab", 2) in fetched()
    installed.helm("upgrade")
    assert cluster.get("daemonset", namespace=namespace)["items"] == []


def test_uninstalling_leaves_what_the_guide_says(installed: Installed) -> None:
    """The last of them: nothing of ours runs on, and nothing that is somebody's is gone."""
    cluster, namespace = installed.cluster, installed.namespace
    installed.uninstall()
    cluster.until(lambda: cluster.get("pods", namespace=namespace), lambda found: not found["items"])
    left = {it["metadata"]["name"] for it in cluster.get("pvc", namespace=namespace)["items"]}
    assert left == {"state-sparkyard-gateway-0", "state-sparkyard-gateway-1"}
    assert cluster.get("secret", "sparkyard-gateway", namespace)["data"]["token"]
    assert cluster.get("networkpolicies", namespace=namespace)["items"] == []
    policies = [it["metadata"]["name"] for it in cluster.get("validatingadmissionpolicies")["items"]]
    assert not [name for name in policies if name.startswith(installed.release)]
