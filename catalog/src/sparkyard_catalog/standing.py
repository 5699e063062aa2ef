"""How far a Spark setting may be opened to users at all: the built-in deny list that every catalog stands on.

open     an exact rule or a wildcard may open it
exact    only a rule for this very key may open it, and only one that limits the value: it loads code, names a file or
         a secret, or takes resources
closed   nothing opens it to a user; an administrator may still fix its value in a profile's `conf`
size     decided under the profile's `driver` and `executor`, wherever the user writes it
image    likewise, by the profile's images
ours     set by Sparkyard alone; not even the catalog's `conf` may name it

The first line of the table that matches a key decides. `*` stands for any text, dots included, and letters' case is
ignored: Spark reads its keys exactly, but what stands behind it (Hadoop, the JVM) is not always so careful.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

KEY = r"^spark(\.[A-Za-z0-9_-]+)+$"
WILDCARD = r"^spark(\.[A-Za-z0-9_-]+)*\.\*$"

DRIVER_MEMORY = "spark.driver.memory"
DRIVER_CORES = "spark.driver.cores"
EXECUTOR_MEMORY = "spark.executor.memory"
EXECUTOR_CORES = "spark.executor.cores"
EXECUTORS = "spark.executor.instances"
BOTH_IMAGES = "spark.kubernetes.container.image"
DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
EXECUTOR_IMAGE = "spark.kubernetes.executor.container.image"
PROFILE = "spark.sparkyard.profile"


class Standing(StrEnum):
    """See the module's docstring."""

    OPEN = "open"
    EXACT = "exact"
    CLOSED = "closed"
    SIZE = "size"
    IMAGE = "image"
    OURS = "ours"


@dataclass(frozen=True)
class Verdict:
    """The standing of a key, and the reason in words that end a sentence starting with 'because it'."""

    standing: Standing
    reason: str


# The keys that the words of the docstring stand for. Reasons end a sentence that says 'because it'.
_TABLE: tuple[tuple[Standing, str, str], ...] = (
    (
        Standing.SIZE,
        "is a size that the profile caps under driver and executor",
        f"{DRIVER_MEMORY} {DRIVER_CORES} {EXECUTOR_MEMORY} {EXECUTOR_CORES} {EXECUTORS}",
    ),
    (
        Standing.IMAGE,
        "is the choice of an image, which the profile lists under driver and executor",
        f"{BOTH_IMAGES} {DRIVER_IMAGE} {EXECUTOR_IMAGE}",
    ),
    (
        Standing.OURS,
        "is set by Sparkyard itself",
        """
        spark.sparkyard.* spark.master spark.remote spark.api.mode spark.submit.deployMode spark.app.id spark.home
        spark.app.attempt* spark.app.startTime spark.app.submitTime spark.local.connect
        spark.driver.host spark.driver.bindAddress spark.driver.port spark.repl.* spark.proxyUser spark.submit.proxyUser
        """,
    ),
    (
        Standing.CLOSED,
        "loads files: name them in the session's jars, pyFiles, files or archives, which have a policy of their own",
        "spark.jars spark.files spark.archives spark.submit.pyFiles spark.yarn.dist.* spark.app.initial*",
    ),
    (
        Standing.CLOSED,
        "fetches code from an address of its own choice",
        "spark.jars.ivy* spark.jars.repositories",
    ),
    (
        Standing.CLOSED,
        "decides how and where Spark itself is started",
        """
        spark.submit.* spark.launcher.* spark.deploy.* spark.master.* spark.worker.* spark.mesos.* spark.yarn.*
        spark.kubernetes.* spark.test* spark.connect.* spark.driver.supervise spark.driver.blockManager.port
        spark.blockManager.port spark.standalone.*
        """,
    ),
    (
        Standing.CLOSED,
        "runs a program of its own choice",
        """
        *.discoveryScript *.discoveryPlugin spark.resources.* spark.r.* spark.sparkr.* spark.python.daemon.module
        spark.python.worker.module spark.python.use.daemon
        """,
    ),
    (
        Standing.CLOSED,
        "decides who may see and change a session",
        """
        spark.acls.* spark.admin.acls* spark.modify.acls* spark.ui.acls.* spark.ui.view.acls* spark.user.groups.*
        spark.ui.filters spark.ui.proxy* spark.ui.reverseProxy* spark.ui.port spark.ui.enabled spark.ui.killEnabled
        spark.ui.custom.* spark.ui.allowFramingFrom spark.ui.xXssProtection spark.ui.xContentTypeOptions.*
        spark.ui.strictTransportSecurity spark.ui.requestHeaderSize
        """,
    ),
    (
        Standing.CLOSED,
        "writes or reads the history that others see",
        "spark.history.* spark.eventLog.* spark.driver.log.*",
    ),
    (
        Standing.CLOSED,
        "hooks code into every session's start",
        """
        spark.plugins spark.plugins.* spark.extraListeners spark.sql.queryExecutionListeners
        spark.sql.streaming.streamingQueryListeners spark.metrics.*
        """,
    ),
    (
        Standing.CLOSED,
        "guards secrets and connections",
        """
        spark.redaction* spark.sql.redaction.* spark.ssl.* spark.authenticate* spark.network.crypto.*
        spark.network.sasl.* spark.network.auth.*
        spark.io.crypto.* spark.io.encryption.* spark.security.* spark.kerberos.* spark.hadoop.hadoop.*
        spark.hadoop.dfs.* spark.hadoop.yarn.*
        """,
    ),
    (
        Standing.CLOSED,
        "decides which metastore is spoken to, and as whom",
        """
        spark.hive.* spark.sql.hive.metastore.* spark.sql.hive.thriftServer* spark.hadoop.hive.*
        spark.hadoop.javax.jdo.* spark.hadoop.datanucleus.* spark.hadoop.metastore.* spark.sql.catalogImplementation
        """,
    ),
    (
        Standing.EXACT,
        "changes what the JVM or Python runs",
        """
        *.extraJavaOptions *.defaultJavaOptions *.extraClassPath *.extraLibraryPath *.userClassPathFirst spark.jars*
        spark.pyspark.* spark.executorEnv.* spark.driverEnv.* spark.python.* spark.files.userClassPathFirst
        spark.sql.execution.pyspark.python spark.sql.artifact.*
        """,
    ),
    (
        Standing.EXACT,
        "takes resources beyond the profile's sizes",
        """
        spark.driver.* spark.executor.* spark.dynamicAllocation.* spark.cores.max spark.task.* spark.memory.offHeap.*
        spark.local.dir spark.rpc.* spark.ui.* spark.scheduler.allocation.file spark.shuffle.service.*
        spark.streaming.dynamicAllocation.*
        """,
    ),
    (
        Standing.EXACT,
        "reaches storage and catalogs, often with credentials",
        """
        spark.hadoop.* spark.kafka.* spark.sql.catalog.* spark.sql.hive.* spark.sql.warehouse.dir
        spark.sql.defaultCatalog spark.checkpoint.dir spark.sql.streaming.checkpointLocation spark.appStatusStore.*
        spark.storage.decommission.fallbackStorage.* spark.streaming.checkpoint.directory
        """,
    ),
    (
        Standing.EXACT,
        "loads a class by its name",
        """
        spark.sql.extensions* spark.serializer spark.kryo.* spark.closure.serializer spark.shuffle.manager
        spark.shuffle.sort.io.* spark.io.compression.codec spark.shuffle.mapStatus.compression.codec spark.logConf
        spark.checkpoint.compression.codec spark.sql.streaming.stateStore.compression.codec spark.storage.replication.*
        spark.sql.sources.default spark.streaming.clock
        *class *classes *provider *plugin* *listener* *impl *serializer *registrator* *extension*
        """,
    ),
    (
        Standing.EXACT,
        "looks like a secret",
        "*password* *secret* *token* *credential* *access.key* *accesskey*",
    ),
)


def _regex(patterns: str) -> re.Pattern[str]:
    parts = (".*".join(re.escape(piece) for piece in pattern.split("*")) for pattern in patterns.split())
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)


_COMPILED = tuple((_regex(patterns), Verdict(standing, reason)) for standing, reason, patterns in _TABLE)
_OPEN = Verdict(Standing.OPEN, "is an ordinary setting")


@lru_cache(maxsize=4096)
def standing_of(key: str) -> Verdict:
    """How far this key may be opened, and why."""
    return next((verdict for regex, verdict in _COMPILED if regex.fullmatch(key)), _OPEN)


def standing_of_wildcard(pattern: str) -> Verdict:
    """The standing of the keys that a wildcard such as `spark.sql.*` would open, as far as they all share one.

    `spark.*` is open: it opens what is left once the table has spoken. `spark.kubernetes.*` is closed as a whole.
    """
    return standing_of(pattern.removesuffix("*") + "x--any--key")
