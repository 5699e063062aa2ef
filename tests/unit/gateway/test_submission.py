"""What goes to an upstream Livy with a batch, and what the driver gets with its bootstrap."""

import pytest

from sparkyard_gateway.backends.base import BatchOrder, DriverOrder
from sparkyard_gateway.backends.submission import (
    Images,
    Terms,
    at_home,
    batch,
    batch_name,
    bootstrap,
    claim_url,
    epoch_of,
    job,
    late_conf,
    probe,
    shown_secret,
)

TERMS = Terms(driver_file="s3a://bucket/sparkyard_driver.py", impersonate=True, namespace="prod")
IMAGES = {
    "spark.kubernetes.driver.container.image": "registry.example.com/driver:1",
    "spark.kubernetes.executor.container.image": "registry.example.com/executor:1",
}


def order(**conf: str) -> DriverOrder:
    return DriverOrder(
        session_id=12, epoch=3, owner="ann", url="wss://gateway.example.com/driver/v1/12", token="-code",
        kind="pyspark", app_name="sparkyard-12", cores=1,
        conf={key.replace("__", "."): value for key, value in conf.items()},
    )  # fmt: skip


def plain(conf: dict[str, str]) -> DriverOrder:
    return order(**{key.replace(".", "__"): value for key, value in conf.items()})


def test_a_batch_is_named_and_runs_the_driver_in_its_owners_name():
    body = batch(order(), TERMS)
    assert body == {
        "name": "sparkyard-prod-12-3",
        "file": "s3a://bucket/sparkyard_driver.py",
        "args": ["--claim-url=https://gateway.example.com/driver/v1/12/bootstrap", "--claim=-code"],
        "proxyUser": "ann",
        "conf": {"spark.yarn.maxAppAttempts": "1"},
    }


def test_what_an_operator_settles():
    terms = Terms(driver_file="f", impersonate=False, queue="spark", ca_file="/etc/ca.pem", namespace="n")
    body = batch(order(), terms)
    assert "proxyUser" not in body
    assert body["queue"] == "spark"
    assert body["args"][-1] == "--ca-file=/etc/ca.pem"


def test_sizes_become_livys_fields_and_files_its_lists():
    body = batch(
        plain(
            {
                "spark.driver.memory": "2g", "spark.driver.cores": "2", "spark.executor.memory": "4g",
                "spark.executor.cores": "3", "spark.executor.instances": "5", "spark.jars": "s3a://b/a.jar,s3a://b/b.jar",
                "spark.submit.pyFiles": "s3a://b/p.py", "spark.files": "s3a://b/f", "spark.archives": "s3a://b/e.tgz#e",
            }
        ),
        TERMS,
    )  # fmt: skip
    sizes = {key: body[key] for key in ("driverMemory", "driverCores", "executorMemory", "executorCores")}
    assert sizes == {"driverMemory": "2g", "driverCores": 2, "executorMemory": "4g", "executorCores": 3}
    assert body["numExecutors"] == 5
    assert (body["jars"], body["pyFiles"]) == (["s3a://b/a.jar", "s3a://b/b.jar"], ["s3a://b/p.py"])
    assert (body["files"], body["archives"]) == (["s3a://b/f"], ["s3a://b/e.tgz#e"])
    assert body["conf"] == {"spark.yarn.maxAppAttempts": "1"}


@pytest.mark.parametrize(
    ("key", "submitted"),
    [
        ("spark.driver.extraJavaOptions", True),
        ("spark.executor.memoryOverhead", True),
        ("spark.jars.packages", True),
        ("spark.yarn.am.nodeLabelExpression", True),
        ("spark.pyspark.python", True),
        ("spark.sql.shuffle.partitions", False),
        ("spark.hadoop.fs.s3a.secret.key", False),
        ("spark.executorEnv.SECRET", False),
        ("spark.dynamicAllocation.enabled", False),
    ],
)
def test_only_what_spark_submit_acts_upon_is_shown_to_the_upstream(key, submitted):
    body, late = batch(plain({key: "v"}), TERMS)["conf"], late_conf(plain({key: "v"}))
    assert (key in body, key in late) == (submitted, not submitted)


@pytest.mark.parametrize("key", ["spark.master", "spark.submit.deployMode", "spark.app.name"])
def test_where_a_batch_runs_is_the_upstreams_to_say(key):
    assert key not in batch(plain({key: "v"}), TERMS)["conf"]
    assert key not in late_conf(plain({key: "v"}))


@pytest.mark.parametrize(
    ("images", "conf"),
    [
        (Images.NONE, {}),
        (Images.KUBERNETES, IMAGES),
        (
            Images.YARN,
            {
                "spark.yarn.appMasterEnv.YARN_CONTAINER_RUNTIME_TYPE": "docker",
                "spark.yarn.appMasterEnv.YARN_CONTAINER_RUNTIME_DOCKER_IMAGE": "registry.example.com/driver:1",
                "spark.executorEnv.YARN_CONTAINER_RUNTIME_TYPE": "docker",
                "spark.executorEnv.YARN_CONTAINER_RUNTIME_DOCKER_IMAGE": "registry.example.com/executor:1",
            },
        ),
    ],
)
def test_images_in_the_words_of_what_runs_them(images, conf):
    terms = Terms(driver_file="f", impersonate=True, images=images, namespace="n")
    assert batch(plain(IMAGES), terms)["conf"] == {**conf, "spark.yarn.maxAppAttempts": "1"}
    assert not set(IMAGES) & set(late_conf(plain(IMAGES)))


def test_the_bootstrap_holds_no_secret_of_the_drivers():
    told = bootstrap(plain({"spark.sql.shuffle.partitions": "8"}))
    assert told["url"] == "wss://gateway.example.com/driver/v1/12"
    assert told["conf"]["spark.sql.shuffle.partitions"] == "8"
    assert told["conf"]["spark.ui.killEnabled"] == "false"
    assert "token" not in told
    assert "-code" not in str(told)


@pytest.mark.parametrize(
    ("driver_url", "expected"),
    [
        ("wss://gateway.example.com/driver/v1/1", "https://gateway.example.com/driver/v1/1/bootstrap"),
        ("ws://127.0.0.1:8711/driver/v1/1", "http://127.0.0.1:8711/driver/v1/1/bootstrap"),
    ],
)
def test_a_claim_goes_where_the_driver_then_connects(driver_url, expected):
    assert claim_url(driver_url) == expected


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        (batch_name("prod", 12, 3), 3),
        ("sparkyard-prod-12-30", 30),
        ("sparkyard-prod-1-3", None),
        ("sparkyard-prod-112-3", None),
        ("sparkyard-test-12-3", None),
        ("xsparkyard-prod-12-3", None),
        ("sparkyard-prod-12-3x", None),
        ("sparkyard-prod-12-", None),
        (None, None),
    ],
)
def test_a_name_tells_the_session_and_nobody_elses(name, epoch):
    assert epoch_of(name, "prod", 12) == epoch


def test_a_persons_batch_takes_all_of_its_settings_along():
    asked = BatchOrder(
        attempt=5, key="4-1000", owner="ann", app_name="nightly", cores=1, file="home://jobs/etl.jar",
        class_name="org.example.Main", args=("a", ""), conf={
            "spark.executor.memory": "4g", "spark.jars": "home://lib/a.jar,s3a://b/b.jar", "spark.master": "local",
            "spark.sql.shuffle.partitions": "7", "spark.app.name": "x", "spark.submit.deployMode": "client",
        },
    )  # fmt: skip
    terms = Terms(driver_file="f", impersonate=True, queue="q", namespace="prod", homes="hdfs:///user/{user}/")
    assert job(asked, terms, "sparkyard-prod-b4-1000") == {
        "name": "sparkyard-prod-b4-1000",
        "file": "hdfs:///user/ann/jobs/etl.jar",
        "className": "org.example.Main",
        "args": ["a", ""],
        "proxyUser": "ann",
        "queue": "q",
        "executorMemory": "4g",
        "jars": ["hdfs:///user/ann/lib/a.jar", "s3a://b/b.jar"],
        "conf": {
            "spark.sql.shuffle.partitions": "7",
            "spark.yarn.maxAppAttempts": "1",
            "spark.ui.killEnabled": "false",
            "spark.ui.showConsoleProgress": "false",
        },
    }


def test_a_probe_holds_nothing_of_a_persons():
    assert probe(TERMS, "sparkyard-prod-probe-1", "ann") == {
        "name": "sparkyard-prod-probe-1",
        "file": TERMS.driver_file,
        "args": ["--help"],
        "proxyUser": "ann",
        "conf": {"spark.yarn.maxAppAttempts": "1"},
    }


@pytest.mark.parametrize(
    ("address", "homes", "there"),
    [
        ("home://a/b.py", "hdfs:///user/{user}", "hdfs:///user/ann/a/b.py"),
        ("home://a/b.py", "s3a://b/{user}/home/", "s3a://b/ann/home/a/b.py"),
        ("home://a/b.py", None, "home://a/b.py"),
        ("home://../b.py", "hdfs:///user/{user}", "home://../b.py"),
        ("s3a://b/home.py", "hdfs:///user/{user}", "s3a://b/home.py"),
    ],
)
def test_where_a_home_lies_there(address, homes, there):
    assert at_home(address, "ann", homes) == there


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        ("spark.hadoop.fs.s3a.secret.key", True),
        ("spark.hadoop.fs.s3a.access.key", True),
        ("spark.ssl.keyPassword", True),
        ("spark.hadoop.some.Token", True),
        ("spark.hadoop.fs.s3a.aws.credentials.provider", False),
        ("spark.kubernetes.driver.secrets.mine", False),
        ("spark.sql.shuffle.partitions", False),
    ],
)
def test_what_may_be_a_secret(key, is_one):
    assert shown_secret({"spark.a": "b", key: "v"}) == (key if is_one else None)
