"""From what the catalog granted to a driver: what the row keeps of it, and the order that a backend gets.

The order is made from the row alone, so that a gateway after a restart can give it again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparkyard_catalog import SessionSpec
from sparkyard_gateway import policy
from sparkyard_gateway.backends.base import BatchOrder, DriverOrder
from sparkyard_gateway.backends.submission import Images
from sparkyard_gateway.config import Settings
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.live_batch import LiveBatch


def granted(spec: SessionSpec, backend: str = "local", images: Images = Images.NONE) -> dict[str, Any]:
    """What the row keeps of what was granted; `images` is what an upstream makes of them."""
    environment = spec.environment
    return {
        "profile": spec.profile,
        "profile_title": spec.profile_title,
        "team": spec.team,
        "spark_version": spec.spark_version,
        "driver_image": spec.driver_image.choice,
        "executor_image": spec.executor_image.choice,
        "driver_memory": spec.driver_memory,
        "driver_cores": spec.driver_cores,
        "executor_memory": spec.executor_memory,
        "executor_cores": spec.executor_cores,
        "executors": spec.executors,
        "conf": policy.spark_conf(spec),
        "idle_timeout_seconds": spec.idle_timeout_seconds,
        "lifetime_seconds": spec.lifetime_seconds,
        "python": environment.python if environment else None,
        "spark_home": environment.spark_home if environment else None,
        "notice": _notice(spec, backend, images),
        **({"pods": _pods(spec)} if backend == "kubernetes" else {}),
    }


def _notice(spec: SessionSpec, backend: str, images: Images) -> str | None:
    if backend == "kubernetes":
        return None
    return stand_in_notice(spec) if backend == "local" else upstream_notice(spec, images)


def _pods(spec: SessionSpec) -> dict[str, Any]:
    """What the backend makes pods of, and what their cost is told by."""
    return {**spec.pods.as_json(), "team": spec.team, "profile": spec.profile}


def stand_in_notice(spec: SessionSpec) -> str | None:
    """What a machine without containers cannot give of the images that were granted; None where nothing is missing."""
    driver, executor = spec.driver_image.choice, spec.executor_image.choice
    notices = []
    if spec.environment is None:
        notices.append(
            f"No interpreter here stands for the image {driver}: the driver has this machine's own libraries."
        )
    if executor != driver:
        notices.append(f"Executors run inside the driver on one machine: their image {executor} is recorded, not used.")
    return " ".join(notices) or None


def upstream_notice(spec: SessionSpec, images: Images) -> str | None:
    """What an upstream that runs no containers cannot give of the images; None where it runs them."""
    if images is not Images.NONE:
        return None
    named = " and ".join(dict.fromkeys((spec.driver_image.choice, spec.executor_image.choice)))
    return f"The cluster behind the upstream Livy has libraries of its own: the image {named} is recorded, not used."


def order(
    session: LiveSession, token: str, settings: Settings, driver_url: str, gateways: Sequence[str] = ()
) -> DriverOrder:
    """What the backend needs to start a session's driver."""
    spec = session.spec
    return DriverOrder(
        session_id=session.id,
        epoch=session.epoch,
        owner=session.owner,
        url=f"{driver_url}/driver/v1/{session.id}",
        gateways=tuple(gateways),
        token=token,
        kind=session.kind,
        app_name=session.name or f"sparkyard-{session.id}",
        conf=spec["conf"],
        cores=policy.local_cores(spec["executors"] * spec["executor_cores"], settings.local_cores),
        python=Path(spec["python"]) if spec["python"] else None,
        spark_home=Path(spec["spark_home"]) if spec["spark_home"] else None,
        pods=spec.get("pods") or {},
        orphan_seconds=settings.orphan_seconds,
    )


def batch_order(batch: LiveBatch, settings: Settings) -> BatchOrder:
    """What the backend needs for an attempt at a batch."""
    spec, asked = batch.spec, batch.request
    return BatchOrder(
        attempt=batch.attempt,
        batch=batch.id,
        key=batch.key,
        owner=batch.owner,
        app_name=batch.name or f"sparkyard-batch-{batch.id}",
        conf=spec["conf"],
        cores=policy.local_cores(spec["executors"] * spec["executor_cores"], settings.local_cores),
        python=Path(spec["python"]) if spec["python"] else None,
        spark_home=Path(spec["spark_home"]) if spec["spark_home"] else None,
        pods=spec.get("pods") or {},
        file=asked["file"],
        class_name=asked.get("className"),
        args=tuple(asked.get("args") or ()),
        grace_seconds=settings.stop_grace_seconds,
    )
