"""Spark's classes, parsed and verified once for a machine or an image instead of at each start (the JVM's CDS).

Half of what a starting Spark does is reading classes. A JVM that ends can leave them in an archive, and the next one
maps that file: a session is ready in two thirds of the time, and its first job is quicker too. The JVM itself
checks that the archive is of its own build and of the very same jars, and goes without it otherwise.

    make    `PYTHON <driver> --make-class-archive PATH`, once, where Java is 13 or later
    use     `class_archive` in the bootstrap
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from typing import Any, Dict, Mapping

from .jvm import JvmFailed
from .notes import note
from .spark import Spark, SparkFailed, start

_OPTIONS = "spark.driver.extraJavaOptions"
_CONF = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.port": "0",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.catalogImplementation": "in-memory",
}


def using(conf: Mapping[str, str], archive: str) -> Dict[str, str]:
    """The settings, with the archive if there is one and nobody has chosen another."""
    options = conf.get(_OPTIONS, "")
    if not archive or not os.path.exists(archive) or "SharedArchiveFile" in options:
        return dict(conf)
    return {**conf, _OPTIONS: f'{options} "-XX:SharedArchiveFile={archive}"'.strip()}


def make(path: str, seconds: float = 120.0) -> bool:
    """Run Spark once through what sessions do first, and keep its classes in `path`; says whether that worked."""
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="class-archive-")
    unfinished = path + ".making"
    conf = {**_CONF, _OPTIONS: f'"-XX:ArchiveClassesAtExit={unfinished}"', "spark.sql.warehouse.dir": folder}
    try:
        spark = start(conf, "class archive", folder, began)
        _exercise(spark, folder)
        spark.stop(seconds)
        os.chmod(unfinished, 0o644)  # every user's driver maps it; it holds Spark's own classes and nothing else
        os.replace(unfinished, path)
    except (JvmFailed, SparkFailed, OSError) as error:
        note(f"no class archive was made: {error}")
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
    note(f"{path} was made in {time.monotonic() - began:.0f} s")
    return True


def _exercise(spark: Spark, folder: str) -> None:
    session: Any = spark.session
    spark.enter(0, "class archive")
    session.range(1000).selectExpr("id", "id % 7 as k").createOrReplaceTempView("numbers")
    session.sql("select k, count(*) as n from numbers group by k order by n").collect()
    session.sql("show tables").collect()
    session.range(10).write.parquet(os.path.join(folder, "parquet"))
    session.read.parquet(os.path.join(folder, "parquet")).limit(3).collect()
    session.range(10).toJSON().take(5)
    session.sparkContext.parallelize([1, 2]).map(str).collect()
    session.sparkContext.statusTracker().getJobIdsForGroup("0")
