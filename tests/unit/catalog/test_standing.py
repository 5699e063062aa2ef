"""The built-in deny list: which settings no catalog opens, and which only a rule of their own does."""

import pytest

from sparkyard_catalog.standing import Standing, standing_of, standing_of_wildcard

# From the notes on Livy's and Sparkmagic's users: what must never be open.
NEVER = """
spark.jars spark.jars.ivy spark.jars.ivySettings spark.jars.repositories spark.files spark.archives
spark.submit.pyFiles spark.submit.deployMode spark.submit.proxyUser spark.submit.anything spark.master spark.remote
spark.driver.host spark.driver.bindAddress spark.driver.port spark.kubernetes.namespace
spark.kubernetes.authenticate.driver.serviceAccountName spark.kubernetes.driver.podTemplateFile
spark.kubernetes.executor.volumes.hostPath.x.mount.path spark.sql.hive.metastore.jars
spark.hadoop.hive.metastore.uris spark.hadoop.javax.jdo.option.ConnectionURL spark.hadoop.hadoop.security.authentication
spark.ui.acls.enable spark.acls.enable spark.admin.acls spark.admin.acls.groups spark.modify.acls spark.ui.view.acls
spark.ui.view.acls.groups spark.user.groups.mapping spark.ui.filters spark.history.fs.logDirectory spark.eventLog.dir
spark.eventLog.enabled spark.plugins spark.extraListeners spark.sql.queryExecutionListeners
spark.sql.streaming.streamingQueryListeners spark.redaction.regex spark.sql.redaction.options.regex spark.ssl.keyStore
spark.authenticate spark.authenticate.secret spark.network.crypto.enabled spark.io.encryption.enabled
spark.yarn.queue spark.yarn.dist.archives spark.proxyUser spark.sparkyard.profile spark.repl.class.outputDir
spark.r.command spark.r.driver.command spark.python.daemon.module spark.worker.resource.gpu.discoveryScript
spark.driver.resource.gpu.discoveryScript spark.submit.deploymode SPARK.MASTER spark.testing.memory
spark.kerberos.keytab spark.metrics.conf spark.deploy.recoveryMode spark.hadoop.yarn.resourcemanager.address
spark.driver.log.dfsDir spark.connect.grpc.binding.port
"""

EXACT = """
spark.driver.extraJavaOptions spark.executor.extraJavaOptions spark.driver.defaultJavaOptions
spark.driver.extraClassPath spark.executor.extraClassPath spark.driver.extraLibraryPath
spark.driver.userClassPathFirst spark.pyspark.python spark.pyspark.driver.python spark.jars.packages
spark.sql.extensions spark.sql.catalog.prod spark.sql.catalog.prod.uri spark.serializer spark.executorEnv.PATH
spark.executor.memoryOverhead spark.driver.maxResultSize spark.dynamicAllocation.maxExecutors spark.cores.max
spark.hadoop.fs.s3a.secret.key spark.local.dir spark.sql.warehouse.dir spark.shuffle.manager
spark.sql.sources.commitProtocolClass spark.sql.streaming.stateStore.providerClass spark.task.cpus
spark.memory.offHeap.size spark.my.password spark.kryo.registrator spark.sql.cache.serializer
spark.ui.showConsoleProgress
"""

OPEN = """
spark.sql.shuffle.partitions spark.sql.ansi.enabled spark.app.name spark.speculation spark.default.parallelism
spark.sql.adaptive.enabled spark.network.timeout spark.memory.fraction spark.scheduler.mode spark.sql.session.timeZone
"""


@pytest.mark.parametrize("key", NEVER.split())
def test_closed_to_users_for_good(key: str) -> None:
    assert standing_of(key).standing in (Standing.CLOSED, Standing.OURS)


@pytest.mark.parametrize("key", EXACT.split())
def test_opened_by_a_rule_of_its_own_alone(key: str) -> None:
    assert standing_of(key).standing is Standing.EXACT


@pytest.mark.parametrize("key", OPEN.split())
def test_ordinary(key: str) -> None:
    assert standing_of(key).standing is Standing.OPEN


@pytest.mark.parametrize(
    ("pattern", "standing"),
    [
        ("spark.*", Standing.OPEN),
        ("spark.sql.*", Standing.OPEN),
        ("spark.hadoop.*", Standing.EXACT),
        ("spark.driver.*", Standing.EXACT),
        ("spark.sql.catalog.*", Standing.EXACT),
        ("spark.jars.*", Standing.EXACT),
        ("spark.kubernetes.*", Standing.CLOSED),
        ("spark.submit.*", Standing.CLOSED),
        ("spark.yarn.*", Standing.CLOSED),
        ("spark.eventLog.*", Standing.CLOSED),
        ("spark.sparkyard.*", Standing.OURS),
    ],
)
def test_wildcards(pattern: str, standing: Standing) -> None:
    assert standing_of_wildcard(pattern).standing is standing


def test_sizes_and_images_are_decided_elsewhere() -> None:
    assert standing_of("spark.executor.instances").standing is Standing.SIZE
    assert standing_of("spark.driver.memory").standing is Standing.SIZE
    assert standing_of("spark.kubernetes.driver.container.image").standing is Standing.IMAGE
    assert standing_of("spark.kubernetes.container.image.pullPolicy").standing is Standing.CLOSED
