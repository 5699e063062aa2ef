"""The fixtures of the catalog's tests.

example             a valid catalog as data, made anew for each test to change
write               put data or text into a catalog file, and get its path
catalog             the example, loaded
lasting_catalog     the same, one for all tests
ada, bob, root      a data scientist, somebody in no group, an admin
problems            the problems of a text, as their sentences
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import Catalog, CatalogError, Person, Problem, load

EXAMPLE: dict[str, Any] = {
    "version": 1,
    "groups": {"data": "Data people", "leads": "Their leads", "analysts": "Analysts"},
    "default_profile": "small",
    "teams": {
        "data": {"title": "Data", "groups": ["data"], "leads": ["leads"]},
        "analytics": {"title": "Analytics", "groups": ["analysts"]},
    },
    "service_accounts": {
        "etl": {"title": "The nightly load", "team": "data"},
        "reports": {"title": "Reports", "team": "analytics", "groups": ["data", "leads"]},
    },
    "images": {
        "notebook": {"kind": "notebook", "ref": "registry.example.com/notebook:1"},
        "spark": {
            "kind": "spark",
            "spark": "3.5",
            "title": "Spark 3.5",
            "ref": "registry.example.com/spark:3.5",
            "local": {"python": "{venv}/bin/python", "spark_home": "{pyspark}"},
        },
        "old": {
            "kind": "spark",
            "spark": "3.5.9",
            "ref": "registry.example.com/spark:old",
            "local": {"python": "environments/old/bin/python"},
        },
    },
    "profiles": {
        "small": {
            "title": "Small",
            "groups": ["data", "analysts"],
            "notebook": {
                "image": "notebook",
                "cpu": {"guarantee": "100m", "limit": 1},
                "memory": {"guarantee": "256Mi", "limit": "1Gi"},
            },
            "spark": {
                "version": "3.5",
                "driver": {"image": "spark", "cores": 1, "memory": "1g"},
                "executor": {"image": "spark", "cores": 1, "memory": "1g", "count": 1},
            },
        },
        "large": {
            "title": "Large",
            "teams": ["data"],
            "notebook": {"image": "notebook", "cpu": {"limit": 2}, "memory": {"limit": "1.5Gi"}},
            "spark": {
                "version": "3.5",
                "driver": {
                    "image": "spark",
                    "choices": ["old"],
                    "own_images": {"prefixes": ["registry.example.com/data/"]},
                    "cores": {"default": 1, "max": 4},
                    "memory": {"default": "2g", "max": "8g", "min": "1g"},
                },
                "executor": {
                    "image": "spark",
                    "choices": ["old"],
                    "own_images": {"prefixes": ["ghcr.io/acme", "registry.example.com/data"], "digest": "optional"},
                    "cores": {"default": 2, "max": 4},
                    "memory": {"default": "4g", "max": "16g"},
                    "count": {"default": 2, "max": 20},
                },
                "conf": {
                    "spark.sql.shuffle.partitions": 64,
                    "spark.speculation": True,
                    "spark.sql.session.timeZone": "UTC",
                    "spark.hadoop.fs.s3a.endpoint": "https://s3.example.com",
                },
                "user_conf": {
                    "spark.sql.*": {"type": "any"},
                    "spark.sql.adaptive.*": {"type": "boolean"},
                    "spark.sql.shuffle.partitions": {"type": "integer", "min": 1, "max": 2000},
                    "spark.driver.maxResultSize": {"type": "memory", "max": "4g"},
                    "spark.network.timeout": {"type": "duration", "min": "10s", "max": "10m"},
                    "spark.serializer": {"type": "one_of", "values": ["org.apache.spark.serializer.KryoSerializer"]},
                    "spark.jars.packages": {"type": "pattern", "pattern": r"org\.apache\.iceberg:[a-z.:0-9_-]+"},
                },
                "files": {"allow": ["s3a://bucket/libraries/"]},
            },
            "sessions": {"idle_timeout": {"default": "1h", "max": "4h"}, "lifetime": "24h"},
        },
    },
}


def dump(data: Any) -> str:
    """Data as YAML, of which JSON is a part."""
    return json.dumps(data, indent=1)


@pytest.fixture
def example() -> dict[str, Any]:
    """A valid catalog, to be changed."""
    return copy.deepcopy(EXAMPLE)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a catalog file."""

    def write(content: Any) -> Path:
        path = tmp_path / "catalog.yaml"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else dump(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def problems(write: Callable[[Any], Path]) -> Callable[[Any], tuple[Problem, ...]]:
    """What is wrong with a catalog."""

    def problems(content: Any) -> tuple[Problem, ...]:
        with pytest.raises(CatalogError) as caught:
            load(write(content))
        return caught.value.problems

    return problems


@pytest.fixture
def catalog(example: dict[str, Any], write: Callable[[Any], Path]) -> Catalog:
    """The example, loaded."""
    return load(write(example))


@pytest.fixture(scope="session")
def lasting_catalog() -> Catalog:
    """The example, made once."""
    return Catalog.model_validate(EXAMPLE)


@pytest.fixture
def ada() -> Person:
    """A data scientist."""
    return Person("ada", frozenset({"data"}))


@pytest.fixture
def bob() -> Person:
    """Somebody in no group."""
    return Person("bob", frozenset({"kitchen"}))


@pytest.fixture
def root() -> Person:
    """An admin in no group."""
    return Person("root", admin=True)
