"""What a hostile user would try against the most generous catalog that an admin can write.

The profile `open` opens `spark.*` to any value, allows files of every scheme under some folder, and images of the
users' own. What is still refused here is refused everywhere.
"""

import copy
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import Catalog, Person, Refused, SessionChoices, resolve_session
from sparkyard_catalog.places import pyspark_folder
from sparkyard_catalog.standing import Standing, standing_of

from .conftest import EXAMPLE

DIGEST = "sha256:" + "a" * 64
DRIVER_IMAGE = "spark.kubernetes.driver.container.image"
MALLORY = Person("mallory", frozenset({"data"}))


@pytest.fixture(scope="module")
def generous() -> Catalog:
    example = copy.deepcopy(EXAMPLE)
    profile = example["profiles"]["large"]
    profile["spark"]["user_conf"] = {
        "spark.*": {"type": "any"},
        "spark.sql.*": {"type": "any"},
        "spark.driver.maxResultSize": {"type": "memory", "max": "1g"},
        "spark.network.timeout": {"type": "duration", "max": "10m"},
        "spark.sql.shuffle.partitions": {"type": "integer", "max": 2000},
    }
    prefixes = [
        "s3a://bucket/ok",
        "https://files.example.com/ok/",
        "hdfs://name/ok",
        "file:///opt/ok",
        "local:///opt/ok",
    ]
    profile["spark"]["files"] = {"allow": prefixes}
    return Catalog.model_validate(example)


def refusal(catalog: Catalog, **choices: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        resolve_session(catalog, MALLORY, SessionChoices(profile="large", **choices))
    refused = caught.value
    # Each refusal names key and profile and says what would be allowed, on one line.
    assert refused.key
    assert refused.profile == "large"
    assert refused.allowed
    assert "\n" not in refused.message
    assert "large" in refused.message
    return refused


# Code of one's own in the driver's or the executors' processes, by whatever name.
CODE = """
spark.driver.extraJavaOptions spark.driver.extraJavaOptions2 spark.driver.defaultJavaOptions
spark.executor.extraJavaOptions spark.executor.defaultJavaOptions spark.yarn.am.extraJavaOptions
spark.r.driver.command spark.driver.extraClassPath spark.executor.extraClassPath spark.driver.extraLibraryPath
spark.executor.extraLibraryPath spark.yarn.am.extraLibraryPath spark.driver.userClassPathFirst
spark.executor.userClassPathFirst spark.files.userClassPathFirst spark.jars spark.jars.packages spark.jars.excludes
spark.jars.ivy spark.jars.ivySettings spark.jars.repositories spark.files spark.archives spark.submit.pyFiles
spark.app.initial.jar.urls spark.app.initial.file.urls spark.app.initial.archive.urls spark.yarn.dist.jars
spark.yarn.dist.files spark.yarn.dist.pyFiles spark.yarn.jars spark.yarn.archive spark.repl.class.uri
spark.repl.class.outputDir spark.repl.local.jars spark.pyspark.python spark.pyspark.driver.python
spark.sql.execution.pyspark.python spark.python.daemon.module spark.python.worker.module spark.python.use.daemon
spark.python.worker.reuse spark.executorEnv.LD_PRELOAD spark.executorEnv.PYTHONSTARTUP spark.yarn.appMasterEnv.PATH
spark.kubernetes.driverEnv.LD_PRELOAD spark.driver.resource.gpu.discoveryScript
spark.worker.resource.gpu.discoveryScript
spark.executor.resource.gpu.discoveryScript spark.resources.discoveryPlugin spark.plugins spark.plugins.defaultList
spark.extraListeners spark.sql.queryExecutionListeners spark.sql.streaming.streamingQueryListeners spark.sql.extensions
spark.sql.extensions.test.loadFromCp spark.sql.catalog.evil spark.sql.catalog.evil.type spark.sql.sources.default
spark.sql.sources.commitProtocolClass spark.sql.sources.outputCommitterClass spark.sql.parquet.output.committer.class
spark.sql.streaming.checkpointFileManagerClass spark.sql.streaming.stateStore.providerClass spark.sql.cache.serializer
spark.sql.streaming.commitProtocolClass spark.sql.streaming.stateStore.compression.codec spark.serializer
spark.closure.serializer spark.kryo.registrator spark.kryo.classesToRegister spark.shuffle.manager
spark.shuffle.sort.io.plugin.class spark.shuffle.push.server.mergedShuffleFileManagerImpl
spark.shuffle.mapStatus.compression.codec spark.io.compression.codec spark.storage.replication.policy
spark.storage.replication.topologyMapper spark.storage.replication.topologyFile spark.streaming.clock
spark.metrics.conf spark.metrics.conf.driver.sink.evil.class spark.metrics.namespace spark.artifact.x.impl
spark.sql.artifact.copyFromLocalToFs.allowDestLocal spark.hadoop.fs.evil.impl spark.hadoop.io.compression.codecs
spark.hadoop.mapreduce.job.outputformat.class spark.scheduler.allocation.file
"""

# Another place, another person, another's secrets, or fewer guards.
ESCAPES = """
spark.master SPARK.MASTER spark.Master spark.remote spark.api.mode spark.submit.deployMode spark.submit.deploymode
spark.proxyUser spark.submit.proxyUser spark.kerberos.principal spark.kerberos.keytab spark.yarn.keytab spark.yarn.queue
spark.yarn.proxyUser spark.yarn.stagingDir spark.app.id spark.app.attempt.id spark.driver.host spark.driver.bindAddress
spark.driver.port spark.driver.blockManager.port spark.blockManager.port spark.local.dir spark.local.connect
spark.ui.port spark.ui.enabled spark.ui.filters spark.ui.killEnabled spark.ui.proxyBase spark.ui.proxyRedirectUri
spark.ui.reverseProxy spark.ui.reverseProxyUrl spark.ui.view.acls spark.ui.view.acls.groups spark.ui.acls.enable
spark.acls.enable spark.admin.acls spark.admin.acls.groups spark.modify.acls spark.user.groups.mapping
spark.ui.allowFramingFrom spark.ui.xXssProtection spark.ui.custom.executor.log.url spark.redaction spark.redaction.regex
spark.redaction.string.regex spark.sql.redaction.options.regex spark.sql.redaction.string.regex spark.ssl.enabled
spark.ssl.ui.needClientAuth spark.ssl.ui.enabled spark.ssl.keyStore spark.authenticate spark.authenticate.secret
spark.authenticate.secret.file spark.network.crypto.enabled spark.network.sasl.serverAlwaysEncrypt
spark.io.encryption.enabled spark.security.credentials.hive.enabled spark.eventLog.enabled spark.eventLog.dir
spark.eventLog.logBlockUpdates.enabled spark.history.fs.logDirectory spark.history.ui.acls.enable
spark.driver.log.dfsDir spark.driver.log.localDir spark.hadoop.fs.s3a.access.key spark.hadoop.fs.s3a.endpoint
spark.hadoop.fs.s3a.aws.credentials.provider spark.hadoop.fs.defaultFS spark.hadoop.hadoop.security.authentication
spark.hadoop.hadoop.proxyuser.mallory.hosts spark.hadoop.yarn.resourcemanager.address spark.hadoop.hive.metastore.uris
spark.hadoop.javax.jdo.option.ConnectionURL spark.sql.hive.metastore.jars spark.sql.hive.metastore.jars.path
spark.hive.metastore.uris spark.sql.warehouse.dir spark.sql.defaultCatalog spark.sql.catalogImplementation
spark.checkpoint.dir spark.streaming.checkpoint.directory spark.sql.streaming.checkpointLocation
spark.kubernetes.namespace spark.kubernetes.driver.podTemplateFile spark.kubernetes.executor.podTemplateFile
spark.kubernetes.authenticate.driver.serviceAccountName spark.kubernetes.driver.secrets.x
spark.kubernetes.file.upload.path
spark.kubernetes.executor.volumes.hostPath.x.mount.path spark.connect.grpc.binding.port spark.deploy.recoveryMode
spark.submit.appName spark.launcher.childProcLoggerName spark.sparkyard.profile.x spark.testing spark.test.home
spark.shuffle.service.port spark.standalone.submit.waitAppCompletion spark.master.rest.enabled
"""

# More than the profile's sizes.
RESOURCES = """
spark.executor.memoryOverhead spark.executor.memoryOverheadFactor spark.executor.pyspark.memory
spark.driver.memoryOverhead spark.driver.memoryOverheadFactor spark.memory.offHeap.size spark.memory.offHeap.enabled
spark.cores.max spark.dynamicAllocation.enabled spark.dynamicAllocation.maxExecutors spark.executor.heartbeatInterval
spark.streaming.dynamicAllocation.enabled spark.task.cpus spark.task.resource.gpu.amount
spark.executor.resource.gpu.amount spark.driver.resource.gpu.amount
"""


@pytest.mark.parametrize("key", (CODE + ESCAPES + RESOURCES).split())
def test_no_wildcard_opens_what_runs_code_escapes_or_takes_more(generous: Catalog, key: str) -> None:
    assert refusal(generous, conf={key: "x"}).key == key


@pytest.mark.parametrize(
    "key",
    [
        " spark.master",
        "spark.master ",
        "spark.master\n",
        "spark.sql.x\nspark.master",
        "spark.sql.x\rspark.master",
        "spark.sql.x=1\\nspark.master",
        "spark.sql.x spark.master",
        "spark.sql.x\u2028spark.master",
        "spark.sql.x\0",
        "spark.s\u0071l..x",
        "spark.sql.",
        "spark",
        "spark.",
        ".spark.master",
        "SPARK.sql.x",
        "Spark.sql.x",
        "\uff53park.master",  # full-width s
        "spar\u212a.master",  # the Kelvin sign, which lower-cases to k
        "spark.ma\u017fter",  # the long s
        "spark.sql.\u0445",  # a Cyrillic x
        "spark.sql.x#",
        "!spark.sql.x",
        "spark.sql.x:y",
        "hadoop.fs.defaultFS",
        "hive.metastore.uris",
        "",
    ],
)
def test_what_only_looks_like_a_key_is_none(generous: Catalog, key: str) -> None:
    assert "is not a Spark setting" in refusal(generous, conf={key: "x"}).message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.x", "a\nspark.master yarn"),
        ("spark.sql.x", "a\rb"),
        ("spark.sql.x", "a\0b"),
        ("spark.sql.x", "${env:HOME}"),
        ("spark.sql.x", "${spark.authenticate.secret}"),
        ("spark.sql.x", "a" * 5000),
        ("spark.driver.maxResultSize", "0"),
        ("spark.driver.maxResultSize", "0b"),
        ("spark.driver.maxResultSize", "000g"),
        ("spark.driver.maxResultSize", "-1g"),
        ("spark.driver.maxResultSize", "2g"),
        ("spark.driver.maxResultSize", "1025m"),
        ("spark.driver.maxResultSize", "1048577k"),
        ("spark.driver.maxResultSize", "1048576\u212a"),
        ("spark.driver.maxResultSize", " 1g"),
        ("spark.driver.maxResultSize", "1g\n"),
        ("spark.driver.maxResultSize", "1e3m"),
        ("spark.driver.maxResultSize", "\u0661g"),
        ("spark.driver.maxResultSize", "18446744073709551617b"),
        ("spark.driver.maxResultSize", "0x1g"),
        ("spark.network.timeout", "0s"),
        ("spark.network.timeout", "0"),
        ("spark.network.timeout", "11m"),
        ("spark.network.timeout", "99999999999d"),
        ("spark.sql.shuffle.partitions", "2001"),
        ("spark.sql.shuffle.partitions", "-1"),
        ("spark.sql.shuffle.partitions", "99999999999999999999999"),
        ("spark.sql.shuffle.partitions", "1_0"),
        ("spark.sql.shuffle.partitions", "0x10"),
        ("spark.sql.shuffle.partitions", "\u0661"),
    ],
)
def test_no_value_slips_past_its_rule(generous: Catalog, key: str, value: str) -> None:
    assert refusal(generous, conf={key: value}).key == key


@pytest.mark.parametrize(
    "address",
    [
        "s3a://bucket/ok/../x",
        "s3a://bucket/ok/a/../../x",
        "s3a://bucket/ok/..",
        "s3a://bucket/ok/./a",
        "s3a://bucket/ok/%2e%2e/x",
        "s3a://bucket/ok/%252e%252e/x",
        "s3a://bucket/ok/..%2fx",
        "s3a://bucket/ok%2f..%2fx",
        "s3a://bucket/ok",
        "s3a://bucket/ok/",
        "s3a://bucket/ok//x",
        "s3a://bucket/okay/x",
        "s3a://bucket/OK/x",
        "S3A://bucket/ok/x",
        "s3://bucket/ok/x",
        "s3n://bucket/ok/x",
        "s3a:/bucket/ok/x",
        "s3a:bucket/ok/x",
        "s3a:///bucket/ok/x",
        "s3a://bucket.evil.example/ok/x",
        "s3a://bucket@evil.example/ok/x",
        "s3a://bucket:key@evil/ok/x",
        "s3a://evil/s3a://bucket/ok/x",
        " s3a://bucket/ok/x",
        "s3a://bucket/ok/x ",
        "s3a://bucket/ok/x\n",
        "s3a://bucket/ok/x\t.jar",
        "s3a://bucket/ok/x\0.jar",
        "s3a://bucket/ok/a.jar,file:///etc/passwd",
        "s3a://bucket/ok/a.jar;file:///etc/passwd",
        "s3a://bucket/ok/*.jar",
        "s3a://bucket/ok/{a,../x}",
        "s3a://bucket/ok/[ab].jar",
        "s3a://bucket/ok/a?.jar",
        "s3a://bucket/ok/a.zip#../../../etc",
        "s3a://bucket/ok\\..\\x",
        "s3a://bucket/ok/\u2025/x",
        "s3a://bucket/ok/\uff0e\uff0e/x",
        "s3a://bucket/\u043ek/x",
        "https://files.example.com/ok/../x",
        "https://files.example.com:8443/ok/x",
        "https://files.example.com@evil.example/ok/x",
        "https://FILES.example.com/ok/x",
        "https://files.example.com/ok/x?redirect=https://evil.example",
        "http://files.example.com/ok/x",
        "hdfs:/ok/x",
        "hdfs:///ok/x",
        "hdfs://other/ok/x",
        "webhdfs://name/ok/x",
        "file:/opt/ok/x",
        "file:/etc/passwd",
        "file:///etc/passwd",
        "file:///opt/ok/../../etc/passwd",
        "file://localhost/opt/ok/x",
        "local:/opt/ok/x",
        "/opt/ok/x",
        "/etc/passwd",
        "../x",
        "x.jar",
        "~/x.jar",
        "ivy://org.evil:evil:1",
        "jar:file:///opt/ok/x.jar!/y",
        "data:text/plain,evil",
        "javascript:alert(1)",
        "",
        ".",
    ],
)
def test_no_address_leaves_its_prefix(generous: Catalog, address: str) -> None:
    for key, choice in (("jars", "jars"), ("pyFiles", "py_files"), ("files", "files"), ("archives", "archives")):
        assert refusal(generous, **{choice: (address,)}).key == key
        assert refusal(generous, **{choice: ("s3a://bucket/ok/fine.jar", address)}).key == key


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/data/x",
        "registry.example.com/data/x:latest",
        f"registry.example.com/data@{DIGEST}",
        f"registry.example.com/data/@{DIGEST}",
        f"registry.example.com/data/../x@{DIGEST}",
        f"registry.example.com/data/./x@{DIGEST}",
        f"registry.example.com/data//x@{DIGEST}",
        f"registry.example.com/database/x@{DIGEST}",
        f"registry.example.com/Data/x@{DIGEST}",
        f"registry.example.com:5000/data/x@{DIGEST}",
        f"registry.example.com.evil.example/data/x@{DIGEST}",
        f"evil.example/registry.example.com/data/x@{DIGEST}",
        f"mallory@registry.example.com/data/x@{DIGEST}",
        f"https://registry.example.com/data/x@{DIGEST}",
        f"docker://registry.example.com/data/x@{DIGEST}",
        f"data/x@{DIGEST}",
        f"x@{DIGEST}",
        "registry.example.com/data/x@sha256:" + "a" * 63,
        "registry.example.com/data/x@sha256:" + "a" * 65,
        "registry.example.com/data/x@sha256:" + "A" * 64,
        "registry.example.com/data/x@sha256:" + "g" * 64,
        "registry.example.com/data/x@sha512:" + "a" * 128,
        "registry.example.com/data/x@md5:" + "a" * 32,
        "registry.example.com/data/x@",
        f"registry.example.com/data/x@{DIGEST}@{DIGEST}",
        f"registry.example.com/data/x@{DIGEST}:latest",
        f"registry.example.com/data/x@{DIGEST}\n",
        f"registry.example.com/data/x@{DIGEST} ",
        f" registry.example.com/data/x@{DIGEST}",
        f"registry.example.com/data/x:1\n@{DIGEST}",
        f"registry.example.com/data/%2e%2e/x@{DIGEST}",
        f"registry.example.com/d\u0430ta/x@{DIGEST}",  # a Cyrillic a
        f"registry.example.com/data/x@{DIGEST}".replace("a" * 64, "\uff41" * 64),
        f"registry.example.com/data/x;rm -rf@{DIGEST}",
        "notebook",
        "SPARK",
        " spark",
        "",
    ],
)
def test_no_image_comes_from_elsewhere_or_unpinned(generous: Catalog, image: str) -> None:
    refusal(generous, conf={DRIVER_IMAGE: image})


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        *(
            ("driver_memory", each)
            for each in ("9g", "8193m", "0g", "-1g", "999999999999t", "9" * 40 + "g", "8G ", "8gg")
        ),
        *(("driver_memory", each) for each in ("8Gi", "0x8g", "8\u212a", "\uff18g", "8e0g", "", "g", "8,0g", "1.5g")),
        *(("driver_cores", each) for each in (0, -1, 5, 2**31, 2**63, 2**64 + 1, True, "1e1", "0x1", " 1", "\u0661")),
        *(("executors", each) for each in (0, -1, 21, 2**31 - 1, 2**32 + 1, "99999999999999999999", "1.0")),
    ],
)
def test_no_size_overflows(generous: Catalog, choice: str, value: Any) -> None:
    refusal(generous, **{choice: value})


def test_who_one_is_is_not_asked(generous: Catalog) -> None:
    for name in ("root", "ada", "MALLORY", "mallory ", "mallory\0", "service:etl", "*"):
        assert refusal(generous, proxy_user=name).allowed == "mallory"
    for queue in ("root.gold", "DEFAULT", "default ", "*"):
        assert refusal(generous, queue=queue).key == "queue"


# Settings of Spark that sound as if they named code, files or people, and don't: looked at one by one.
HARMLESS = """
spark.files.fetchFailure.unRegisterOutputOnHost spark.port spark.reducer.maxBlocksInFlightPerAddress
spark.scheduler.mode spark.shuffle.push.server.minChunkSizeInMergedShuffleFile spark.sql.avro.compression.codec
spark.sql.cbo.joinReorder.dp.star.filter spark.sql.codegen.factoryMode spark.sql.execution.pandas.structHandlingMode
spark.sql.execution.useObjectHashAggregateExec spark.sql.files.maxRecordsPerFile
spark.sql.legacy.addSingleFileInAddFile spark.sql.legacy.allowCreatingManagedTableUsingNonemptyLocation
spark.sql.legacy.createHiveTableByDefault spark.sql.legacy.ctePrecedencePolicy spark.sql.legacy.timeParserPolicy
spark.sql.legacy.useV1Command spark.sql.mapKeyDedupPolicy spark.sql.optimizer.replaceExceptWithFilter
spark.sql.orc.compression.codec spark.sql.parquet.compression.codec spark.sql.sources.partitionOverwriteMode
spark.sql.storeAssignmentPolicy spark.sql.streaming.forceDeleteTempCheckpointLocation
spark.sql.streaming.multipleWatermarkPolicy spark.sql.ui.explainMode spark.streaming.stopSparkContextByDefault
spark.api.python spark.sql.execution.command
"""
_KEY = re.compile(rb"spark\.[a-z][A-Za-z0-9_-]*(?:\.[a-z][A-Za-z0-9_-]*)*")
_SUSPICIOUS = re.compile(
    r"(?i)(class|path|dir|directory|file|uri|url|python|command|script|impl|jars?|archives?|listener|codec|factory|"
    r"manager|mapper|policy|location|host|port|address|user|mode|default|exec|loader|handler|filters?)$"
)


def _settings_in(jars: Path) -> Iterator[str]:
    for jar in jars.glob("spark-*.jar"):
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if name.endswith(".class"):
                    for found in re.findall(
                        rb"spark\.[a-z][A-Za-z0-9_-]*(?:\.[a-z][A-Za-z0-9_-]*)*", archive.read(name)
                    ):
                        yield found.decode()


def test_every_setting_of_the_spark_that_is_here_which_sounds_dangerous_was_looked_at() -> None:
    jars = Path(pyspark_folder()) / "jars"
    if not jars.is_dir():
        pytest.skip("needs the jars of pyspark")
    found = set(_settings_in(jars))
    assert {"spark.master", "spark.sql.shuffle.partitions"} <= found
    open_ones = {key for key in found if _SUSPICIOUS.search(key) and standing_of(key).standing is Standing.OPEN}
    assert open_ones - set(HARMLESS.split()) == set(), "give these a standing, or write them down as harmless"
