"""Spark settings where driver and executors are pods, and what memory and CPU such pods need.

Spark makes executor pods by its own rules; the driver's pod is ours, so the sum that Spark does for an executor is done
for the driver here. Pure functions.
"""

from collections.abc import Mapping
from pathlib import Path

from sparkyard_catalog.quantities import seconds, spark_bytes
from sparkyard_gateway.backends.base import SparkOrder
from sparkyard_gateway.backends.event_logs import EventLogs
from sparkyard_gateway.backends.pod_places import (
    AUTH_SECRET,
    EVENTS,
    EXECUTOR_CONTAINER,
    EXECUTOR_TEMPLATE,
    SCRATCH,
    Terms,
)

DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
EXECUTOR_IMAGE = "spark.kubernetes.executor.container.image"
DRIVER_PORT, BLOCK_MANAGER_PORT, UI_PORT = 7078, 7079, 4040
SECURE_UI_PORT = 4440
"""Of a batch's Spark UI, which tells the gateway no address as a session's driver does."""
OVERHEAD_FACTOR = 0.4
"""Of the heap, for what is not in it: Python, which Spark's own 10% forget where it is not told that there is any."""
_LEAST_OVERHEAD = 384 * 1024 * 1024
_MIB = 1024 * 1024


def spark_conf(order: SparkOrder, terms: Terms, pod: str) -> dict[str, str]:
    """What was granted, and over it what Spark needs in a pod, whoever asks."""
    pods = order.pods
    executor = pods.get("executor") or {}
    granted = {key: value for key, value in order.conf.items() if key != DRIVER_IMAGE}
    cpu = executor.get("cpu")
    return {
        "spark.executor.memoryOverheadFactor": str(OVERHEAD_FACTOR),
        "spark.sql.warehouse.dir": f"{SCRATCH}/warehouse",
        **dynamic_allocation(granted, pods.get("dynamic")),
        **(EventLogs.conf(Path(EVENTS)) if carries(order, terms) else {}),
        "spark.master": f"k8s://{terms.api_url}",
        "spark.submit.deployMode": "client",
        "spark.app.name": order.app_name,
        # Always the same, so that a NetworkPolicy can name them.
        "spark.driver.port": str(DRIVER_PORT),
        "spark.driver.blockManager.port": str(BLOCK_MANAGER_PORT),
        "spark.ui.port": str(UI_PORT),
        # Its links to kill a job change something by a GET: a statement is cancelled through the gateway.
        "spark.ui.killEnabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Who connects to the driver or an executor must know the secret that only these have, in a file: in Spark's own
        # way it would stand in every executor's environment, for all who may list pods.
        "spark.authenticate": "true",
        "spark.authenticate.secret.file": AUTH_SECRET,
        "spark.kubernetes.namespace": namespace(order, terms),
        "spark.kubernetes.driver.pod.name": pod,
        "spark.kubernetes.executor.podNamePrefix": pod,
        "spark.kubernetes.executor.podTemplateFile": EXECUTOR_TEMPLATE,
        "spark.kubernetes.executor.podTemplateContainerName": EXECUTOR_CONTAINER,
        "spark.kubernetes.authenticate.executor.serviceAccountName": terms.executor_account,
        **({"spark.kubernetes.executor.request.cores": cpu_text(cpu)} if cpu else {}),
        # The gateway deletes them once it has their logs: Spark would do it the moment that it sees their end.
        "spark.kubernetes.executor.deleteOnTermination": "false",
        # So long has one that is told to go to do so by itself, and with its log, before Spark deletes it after all.
        "spark.kubernetes.dynamicAllocation.deleteGracePeriod": "30s",
        # Nothing but pods: so its service account needs no right to anything else.
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        "spark.kubernetes.driver.waitToReusePersistentVolumeClaim": "false",
    }


def carries(order: SparkOrder, terms: Terms) -> bool:
    """Whether its event log is carried to the gateway; not where the catalog has its own idea of one."""
    return terms.event_logs and not any(key.startswith("spark.eventLog.") for key in order.conf)


def namespace(order: SparkOrder, terms: Terms) -> str:
    """Where its pods live."""
    return str(order.pods.get("namespace") or terms.namespace)


def dynamic_allocation(granted: Mapping[str, str], dynamic: Mapping[str, object] | None) -> dict[str, str]:
    """The granted settings, with executors that come and go where the catalog wants that.

    There is no shuffle service for pods, so an executor that holds shuffled data somebody may want is kept for it.
    """
    conf = dict(granted)
    if not dynamic:
        return conf
    # Spark starts with as many as this setting names, and the point is to start with the fewest.
    most = conf.pop("spark.executor.instances", "1")
    least = min(int(str(dynamic["min"])), int(most))
    conf.update(
        {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.minExecutors": str(least),
            "spark.dynamicAllocation.initialExecutors": str(least),
            "spark.dynamicAllocation.maxExecutors": most,
            "spark.dynamicAllocation.executorIdleTimeout": _whole_seconds(dynamic["idle_timeout"]),
            "spark.dynamicAllocation.cachedExecutorIdleTimeout": _whole_seconds(dynamic["cached_idle_timeout"]),
            "spark.dynamicAllocation.shuffleTracking.timeout": _whole_seconds(dynamic["cached_idle_timeout"]),
        }
    )
    return conf


def driver_memory(conf: Mapping[str, str]) -> int:
    """MiB of a driver's pod: the heap, what is beside it, and what Spark allocates outside of it."""
    heap = spark_bytes(conf["spark.driver.memory"])
    own = conf.get("spark.driver.memoryOverhead")
    factor = float(conf.get("spark.driver.memoryOverheadFactor", OVERHEAD_FACTOR))
    beside = _mib_or_amount(own) if own else max(_LEAST_OVERHEAD, int(heap * factor))
    outside = 0
    if conf.get("spark.memory.offHeap.enabled") == "true":
        outside = _mib_or_amount(conf.get("spark.memory.offHeap.size", "0b"), unit=1)
    return -(-(heap + beside + outside) // _MIB)


def cpu_text(cpus: float) -> str:
    """CPUs as Kubernetes writes them."""
    return str(int(cpus)) if cpus == int(cpus) else f"{round(cpus * 1000)}m"


def _mib_or_amount(text: str, unit: int = _MIB) -> int:
    """An amount of Spark's; one without a unit counts in what that setting counts in."""
    return int(text) * unit if text.isdecimal() else spark_bytes(text)


def _whole_seconds(duration: object) -> str:
    return f"{max(1, round(seconds(str(duration))))}s"
