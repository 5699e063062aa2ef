"""What a session's row keeps of a grant."""

from pathlib import Path

import pytest

from sparkyard_catalog import Person, SessionChoices, load, resolve_session
from sparkyard_gateway.orders import granted

CATALOG = Path(__file__).parents[3] / "catalog.yaml"
DANA = Person("dana", frozenset({"data-science"}))
OWN = "registry.example.com/data-science/geo@sha256:" + "a" * 64
DRIVER, EXECUTOR = (f"spark.kubernetes.{part}.container.image" for part in ("driver", "executor"))


@pytest.mark.parametrize(
    ("conf", "notice"),
    [
        ({}, None),
        ({DRIVER: "pandas-2.1", EXECUTOR: "pandas-2.1"}, None),
        (
            {EXECUTOR: "pandas-2.1"},
            "Executors run inside the driver on one machine: their image pandas-2.1 is recorded, not used.",
        ),
        (
            {DRIVER: OWN, EXECUTOR: OWN},
            f"No interpreter here stands for the image {OWN}: the driver has this machine's own libraries.",
        ),
    ],
)
def test_what_this_machine_cannot_give_of_the_images_is_said(conf: dict[str, str], notice: str | None) -> None:
    spec = resolve_session(load(CATALOG), DANA, SessionChoices(profile="large", conf=conf))

    kept = granted(spec)

    assert kept["notice"] == notice
    assert kept["driver_image"] == conf.get(DRIVER, "spark-3.5")
