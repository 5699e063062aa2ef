"""What of a driver's order goes to an upstream Livy as a batch, and what waits until the driver claims it.

Livy shows a batch's settings to whoever asks, and so do `ps`, YARN and Spark's own pages. So the batch gets only what
spark-submit itself acts upon (sizes, files, images, what shapes the driver's JVM), and all other settings come to the
driver with its bootstrap, in time for the SparkContext. Pure functions, all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from sparkyard_catalog import relative_to_home
from sparkyard_gateway.backends.base import BatchOrder, DriverOrder

_SIZES = {
    "spark.driver.memory": "driverMemory",
    "spark.driver.cores": "driverCores",
    "spark.executor.memory": "executorMemory",
    "spark.executor.cores": "executorCores",
    "spark.executor.instances": "numExecutors",
}
_NUMBERS = frozenset({"driverCores", "executorCores", "numExecutors"})
_LISTS = {
    "spark.jars": "jars",
    "spark.submit.pyFiles": "pyFiles",
    "spark.files": "files",
    "spark.archives": "archives",
}
_SUBMITTED = (
    "spark.driver.", "spark.executor.", "spark.jars.", "spark.kubernetes.", "spark.pyspark.", "spark.submit.",
    "spark.yarn.",
)  # fmt: skip
"""What spark-submit or the cluster's manager reads before there is a SparkContext."""
_UPSTREAMS = frozenset({"spark.master", "spark.submit.deployMode", "spark.app.name"})
"""The upstream decides where a batch runs."""
_DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
_EXECUTOR_IMAGE = "spark.kubernetes.executor.container.image"
_EVERY_BATCH = {
    # YARN would start a driver that failed once more, with a claim that is used up; a session that died is dead.
    "spark.yarn.maxAppAttempts": "1",
}
_SECRET = re.compile(r"(?i)secret|password|token|access[.]?key")
_SECRETS_NAME = re.compile(r"spark\.kubernetes\.(driver|executor)\.(secrets|secretKeyRef)\.")
"""Tells where a secret of Kubernetes' is mounted, and not what it holds."""
_EVERY_CONTEXT = {
    # Its links to kill a job change something by a GET: a statement is cancelled through the gateway.
    "spark.ui.killEnabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


class Images(StrEnum):
    """How the cluster behind an upstream runs containers of the images that a profile names."""

    NONE = "none"
    YARN = "yarn"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an operator has settled about an upstream, the same for all of its batches."""

    driver_file: str
    impersonate: bool
    images: Images = Images.NONE
    queue: str | None = None
    ca_file: str | None = None
    namespace: str
    homes: str | None = None


def batch(order: DriverOrder, terms: Terms) -> dict[str, Any]:
    """The body of POST /batches."""
    body: dict[str, Any] = {
        "name": batch_name(terms.namespace, order.session_id, order.epoch),
        "file": terms.driver_file,
        "args": _arguments(order, terms),
    }
    conf = {key: value for key, value in order.conf.items() if _goes_first(key)}
    return {**body, **_common(order.owner, conf, terms)}


def job(order: BatchOrder, terms: Terms, name: str) -> dict[str, Any]:
    """The body of POST /batches for a batch of a person's: no driver of ours claims anything, so all settings go."""
    body: dict[str, Any] = {"name": name, "file": at_home(order.file, order.owner, terms.homes)}
    if order.class_name:
        body["className"] = order.class_name
    if order.args:
        body["args"] = list(order.args)
    conf = {key: value for key, value in order.conf.items() if key not in _UPSTREAMS}
    common = _common(order.owner, conf, terms)
    return {**body, **common, "conf": {**common["conf"], **_EVERY_CONTEXT}}


def probe(terms: Terms, name: str, owner: str) -> dict[str, Any]:
    """A batch that does nothing but to show in whose name it runs."""
    return {"name": name, "file": terms.driver_file, "args": ["--help"], **_common(owner, {}, terms)}


def job_name(namespace: str, key: str) -> str:
    """A person's batch's name at the upstream, which is never that of a session's driver (`batch_name`)."""
    return f"sparkyard-{namespace}-b{key}"


def at_home(address: str, owner: str, homes: str | None) -> str:
    """Where the upstream finds an address in its owner's home, whose name the policy has found plain; any other as it
    is."""
    within = relative_to_home(address)
    return address if within is None or homes is None else f"{homes.replace('{user}', owner).rstrip('/')}/{within}"


def shown_secret(conf: Mapping[str, str]) -> str | None:
    """A setting that may hold a secret, by what Spark itself takes for one, and would be shown with a batch's conf."""
    return next((key for key in sorted(conf) if _SECRET.search(key) and not _SECRETS_NAME.match(key)), None)


def _common(owner: str, conf: dict[str, str], terms: Terms) -> dict[str, Any]:
    """What the body of any batch says of its owner, sizes, files and settings."""
    images = {key: conf.pop(key, None) for key in (_DRIVER_IMAGE, _EXECUTOR_IMAGE)}
    body: dict[str, Any] = {}
    if terms.impersonate:
        body["proxyUser"] = owner
    if terms.queue:
        body["queue"] = terms.queue
    for key, field in _SIZES.items():
        value = conf.pop(key, None)
        if value is not None:
            body[field] = int(value) if field in _NUMBERS else value
    for key, field in _LISTS.items():
        if paths := [at_home(path, owner, terms.homes) for path in conf.pop(key, "").split(",") if path]:
            body[field] = paths
    body["conf"] = {**conf, **_image_conf(terms.images, images), **_EVERY_BATCH}
    return body


def late_conf(order: DriverOrder) -> dict[str, str]:
    """The settings that the driver gets with its bootstrap."""
    late = {key: value for key, value in order.conf.items() if not _goes_first(key) and key not in _UPSTREAMS}
    return {**late, **_EVERY_CONTEXT}


def bootstrap(order: DriverOrder) -> dict[str, Any]:
    """What a driver that claims it is told; its token and its folder it has already."""
    return {
        "session": order.session_id,
        "epoch": order.epoch,
        "url": order.url,
        "gateways": list(order.gateways),
        "kind": order.kind,
        "app_name": order.app_name,
        "conf": late_conf(order),
        "heartbeat_seconds": order.heartbeat_seconds,
        "orphan_seconds": order.orphan_seconds,
    }


def batch_name(namespace: str, session_id: int, epoch: int) -> str:
    """A batch's name, by which a gateway finds a driver whose number it could not write down."""
    return f"sparkyard-{namespace}-{session_id}-{epoch}"


def epoch_of(name: object, namespace: str, session_id: int) -> int | None:
    """The epoch in a batch's name; None where it is not one of this session's."""
    found = re.fullmatch(rf"sparkyard-{re.escape(namespace)}-{session_id}-(\d{{1,9}})", str(name))
    return int(found[1]) if found else None


def claim_url(driver_url: str) -> str:
    """Where a driver claims its bootstrap: beside where it then connects."""
    scheme, _, rest = driver_url.partition("://")
    return f"{'https' if scheme == 'wss' else 'http'}://{rest}/bootstrap"


def _arguments(order: DriverOrder, terms: Terms) -> list[str]:
    # With an equals sign: a code may begin with a dash. The gateway that asks may be gone before the driver is there.
    path = urlsplit(order.url).path
    addresses = dict.fromkeys([order.url, *(f"{each.rstrip('/')}{path}" for each in order.gateways)])
    arguments = [*(f"--claim-url={claim_url(each)}" for each in addresses), f"--claim={order.token}"]
    return [*arguments, f"--ca-file={terms.ca_file}"] if terms.ca_file else arguments


def _goes_first(key: str) -> bool:
    return key not in _UPSTREAMS and (key.startswith(_SUBMITTED) or key in _LISTS)


def _image_conf(images: Images, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """The images in the words of what runs them."""
    driver, executor = wanted[_DRIVER_IMAGE], wanted[_EXECUTOR_IMAGE]
    if images is Images.KUBERNETES:
        return {key: image for key, image in wanted.items() if image}
    conf: dict[str, str] = {}
    if images is Images.YARN:
        for prefix, image in (("spark.yarn.appMasterEnv.", driver), ("spark.executorEnv.", executor)):
            if image:
                conf[f"{prefix}YARN_CONTAINER_RUNTIME_TYPE"] = "docker"
                conf[f"{prefix}YARN_CONTAINER_RUNTIME_DOCKER_IMAGE"] = image
    return conf
