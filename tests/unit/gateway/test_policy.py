"""From a request to the catalog's words and back."""

import pytest

from sparkyard_catalog import load
from sparkyard_gateway import policy
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.errors import RefusedByPolicy, Rejected
from sparkyard_gateway.wire import SessionRequest
from support.running_gateway import ROOT

ALICE = Caller("alice", frozenset({"data-science"}), admin=False, sees_all=False)
NOOR = Caller("noor", frozenset(), admin=False, sees_all=False)
ADA = Caller("ada", frozenset(), admin=True, sees_all=False)


@pytest.fixture(scope="module")
def catalog():
    return load(ROOT / "catalog.yaml")


def request(**wish) -> SessionRequest:
    return SessionRequest.model_validate({"kind": "pyspark", **wish})


def test_livys_zero_means_as_the_profile_has_it():
    asked = policy.choices(request(driverCores=0, executorCores=0, numExecutors=0))
    assert (asked.driver_cores, asked.executor_cores, asked.executors) == (None, None, None)


def test_everything_travels():
    asked = policy.choices(
        request(
            profile="small", driverMemory="1g", numExecutors=2, conf={"spark.sql.shuffle.partitions": 8},
            jars=["s3a://a/b.jar"], pyFiles=["s3a://a/b.py"], idleTimeout="30m", ttl="2h", proxyUser="alice",
        )
    )  # fmt: skip
    assert asked.profile == "small"
    assert asked.conf == {"spark.sql.shuffle.partitions": "8"}
    assert (asked.jars, asked.py_files) == (("s3a://a/b.jar",), ("s3a://a/b.py",))
    assert (asked.idle_timeout, asked.lifetime, asked.proxy_user, asked.executors) == ("30m", "2h", "alice", 2)


def test_a_time_that_is_none_is_refused_in_livys_words():
    for wish in ({"ttl": "soon"}, {"idleTimeout": "soon"}):
        with pytest.raises(Rejected, match="Rejected, Reason: Invalid time string: soon"):
            policy.choices(request(**wish))


def test_groups_decide_and_admins_have_every_profile(catalog):
    assert policy.decide(catalog, ALICE, request(profile="small")).profile == "small"
    assert policy.decide(catalog, ADA, request(profile="small")).profile == "small"
    with pytest.raises(RefusedByPolicy, match="No profile is open to you"):
        policy.decide(catalog, NOOR, request())


def test_files_become_sparks_own_settings(catalog):
    spec = policy.decide(catalog, ALICE, request(profile="small"))
    object.__setattr__(spec, "jars", ("s3a://a/b.jar", "s3a://a/c.jar"))
    assert policy.spark_conf(spec)["spark.jars"] == "s3a://a/b.jar,s3a://a/c.jar"
    assert "spark.files" not in policy.spark_conf(spec)


@pytest.mark.parametrize(("wanted", "limit", "cores"), [(8, 2, 2), (1, 4, 1), (0, 4, 1), (3, 3, 3)])
def test_local_cores(wanted, limit, cores):
    assert policy.local_cores(wanted, limit) == cores
