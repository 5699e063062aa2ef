"""The repository's own catalog.yaml, which `make up` uses."""

import sys
from pathlib import Path

import pytest

from sparkyard_catalog import (
    Catalog,
    Person,
    Refused,
    SessionChoices,
    load,
    profiles_for,
    resolve_server,
    resolve_session,
)
from sparkyard_catalog.advice import advice
from sparkyard_catalog.quantities import spark_bytes

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(ROOT / "catalog.yaml")


def names(catalog: Catalog, *groups: str, admin: bool = False) -> list[str]:
    return [profile.name for profile in profiles_for(catalog, Person("p", frozenset(groups), admin))]


def test_who_sees_what(catalog: Catalog) -> None:
    assert names(catalog, "data-science") == ["small", "pandas-2.1", "spark-4", "large"]
    assert names(catalog, "data-science-leads") == ["small", "pandas-2.1", "spark-4", "large"]
    assert names(catalog, "analysts") == ["small", "pandas-2.1", "spark-4"]
    assert names(catalog, "sparkyard-admins") == ["small", "pandas-2.1", "spark-4"]
    assert names(catalog, admin=True) == ["small", "pandas-2.1", "spark-4", "large"]
    assert names(catalog, "kitchen") == []


def test_nothing_in_it_is_worth_advice(catalog: Catalog) -> None:
    assert list(advice(catalog)) == []


def test_everyone_who_sees_something_starts_with_small(catalog: Catalog) -> None:
    for group in catalog.all_groups:
        assert resolve_session(catalog, Person("p", frozenset({group})), SessionChoices()).profile == "small"


def test_small_fits_a_laptop_of_two_cores_and_four_gibibytes(catalog: Catalog) -> None:
    spec = resolve_server(catalog, Person("p", frozenset({"analysts"})), {"profile": "small"})
    assert spec.session.driver_memory == "1g"
    assert spec.session.driver_cores + spec.cpu_guarantee <= 2
    assert spec.memory_limit + 2 * spark_bytes(spec.session.driver_memory) <= 4 * 1024**3


def test_two_profiles_differ_in_their_interpreter_alone(catalog: Catalog) -> None:
    ada = Person("ada", frozenset({"data-science"}))
    new = resolve_session(catalog, ada, SessionChoices(profile="small"))
    old = resolve_session(catalog, ada, SessionChoices(profile="pandas-2.1"))
    assert new.spark_version == old.spark_version == "3.5"
    assert new.environment is not None
    assert old.environment is not None
    assert new.environment.python == f"{sys.prefix}/bin/python"
    assert old.environment.python == f"{sys.prefix}/environments/pandas-2.1/bin/python"
    assert new.environment.spark_home == old.environment.spark_home
    assert new.environment.spark_home is not None
    assert (Path(new.environment.spark_home) / "jars").is_dir()


def test_spark_4_brings_its_own_spark(catalog: Catalog) -> None:
    new = resolve_session(catalog, Person("ada", frozenset({"analysts"})), SessionChoices(profile="spark-4"))
    assert new.spark_version == "4.1"
    assert new.environment is not None
    assert new.environment.python == f"{sys.prefix}/environments/spark-4/bin/python"
    assert new.environment.spark_home is None


def test_large_gives_choices(catalog: Catalog) -> None:
    ada = Person("ada", frozenset({"data-science"}))
    options = {"profile": "large", "driver_image": "pandas-2.1", "executor_memory": "4g", "executors": 8}
    assert resolve_server(catalog, ada, options).session.driver_image.name == "pandas-2.1"
    own = "registry.example.com/data-science/mine@sha256:" + "a" * 64
    assert resolve_server(catalog, ada, {"profile": "large", "driver_image": own}).session.driver_image.ref == own
    with pytest.raises(Refused, match="because it is not pinned by its digest"):
        resolve_server(catalog, ada, {"profile": "large", "driver_image": "registry.example.com/data-science/mine:1"})
    with pytest.raises(Refused, match="it allows 512m to 4g"):
        resolve_server(catalog, ada, {"profile": "large", "executor_memory": "5g"})
    conf = {"spark.jars.packages": "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.5.0"}
    assert resolve_session(catalog, ada, SessionChoices(profile="large", conf=conf)).conf.items() >= conf.items()
    with pytest.raises(Refused, match=r"packages of org.apache.iceberg and org.apache.spark"):
        resolve_session(catalog, ada, SessionChoices(profile="large", conf={"spark.jars.packages": "com.evil:x:1"}))
