"""The images in pods: what each is for starts in it, as an ordinary user under the level `restricted`."""

import pytest

from support.cluster import using
from support.cluster.images import IMAGES

COUNT = (
    "from pyspark.sql import SparkSession; import pandas, pyspark; "
    "spark = SparkSession.builder.master('local[1]').config('spark.ui.enabled', False).getOrCreate(); "
    "print(pyspark.__version__[:3], pandas.__version__[:3], spark.range(100).selectExpr('sum(id)').first()[0])"
)
# Where users' code runs there is nothing that could be Sparkyard's secret.
NONE_OF_OURS = (
    "import importlib.util as u; print([n for n in ('sparkyard_gateway', 'sparkyard_hub') if u.find_spec(n)])"
)


def said(cluster: using.Cluster, namespace: str, image: str, *command: str) -> str:
    """What a command prints in a pod of the image, with the image's own user."""
    name = cluster.load(image)
    security = {key: value for key, value in using.RESTRICTED.items() if key != "runAsUser"}
    pod = f"try-{image.replace('.', '-')}"
    cluster.run_pod(
        namespace, pod, "sleep", "infinity",
        container={"image": name, "imagePullPolicy": "IfNotPresent", "securityContext": security},
    )  # fmt: skip
    printed = cluster.inside(namespace, pod, *command)
    cluster.delete("pod", pod, namespace)
    return printed


@pytest.fixture
def restricted(cluster: using.Cluster) -> object:
    """A namespace whose pods must keep to the level `restricted`."""
    with cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@pytest.mark.parametrize(
    ("image", "spark", "pandas"),
    [("spark-3.5", "3.5", "2.3"), ("spark-3.5-pandas-2.1", "3.5", "2.1"), ("spark-4", "4.1", "2.3")],
)
def test_a_spark_image_runs_spark(cluster: using.Cluster, restricted: str, image: str, spark: str, pandas: str) -> None:
    printed = said(cluster, restricted, image, "python3", "-c", f"{COUNT}; {NONE_OF_OURS}")
    assert printed.split("\n")[-3:-1] == [f"{spark} {pandas} 4950", "[]"]


@pytest.mark.parametrize(("image", "science"), [("notebook", False), ("notebook-science", True)])
def test_a_notebook_image_has_a_server_and_our_kernels(
    cluster: using.Cluster, restricted: str, image: str, science: bool
) -> None:
    look = "jupyterhub-singleuser --version; jupyter kernelspec list; python3 -c 'import sklearn' 2>&1 | tail -1; id -u"
    printed = said(cluster, restricted, image, "sh", "-c", look)
    assert "pyspark" in printed
    assert ("No module named 'sklearn'" not in printed) is science
    assert printed.splitlines()[-1] == "1000"


def test_the_hub_s_image_has_what_the_chart_s_hub_imports(cluster: using.Cluster, restricted: str) -> None:
    imports = (
        "import jupyterhub_idle_culler, kubespawner, oauthenticator, psycopg, pycurl, sparkyard_hub.configuration, "
        "sparkyard_spawner, tornado"
    )
    printed = said(cluster, restricted, "hub", "sh", "-c", f"python3 -c '{imports}' && jupyterhub --version")
    assert printed.startswith("6.1")


def test_the_gateway_s_image_has_the_gateway(cluster: using.Cluster, restricted: str) -> None:
    printed = said(
        cluster, restricted, "gateway", "sh", "-c", "sparkyard-gateway --help && python3 -c 'import psycopg'"
    )
    assert "--port" in printed


def test_every_image_is_tried_here() -> None:
    assert set(IMAGES) == {
        "spark-3.5",
        "spark-3.5-pandas-2.1",
        "spark-4",
        "notebook",
        "notebook-science",
        "hub",
        "gateway",
    }
