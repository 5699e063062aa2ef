"""Kind sparkr, which this driver does not run: it says what an image lacks, instead of failing in some other way."""

from __future__ import annotations

import os
import shutil
from typing import Optional

from .jvm import spark_home
from .reply import Reply, failure
from .streams import StatementOutput


class NoR:
    """Answers every R statement with the reason why it cannot run."""

    def execute(self, code: str, output: StatementOutput) -> Reply:  # noqa: ARG002  an interpreter's method
        """Say what is missing."""
        return failure("InterpreterError", missing(shutil.which("Rscript"), spark_home()))


def missing(r: Optional[str], home: str) -> str:
    """What of R an image lacks."""
    if r is None:
        return "this session's image has no R: there is no Rscript on its PATH. Use the kinds pyspark, sql or spark"
    if not os.path.isdir(os.path.join(home, "R", "lib", "SparkR")):
        return (
            f"this session's image has R but no SparkR: {home} has no R/lib/SparkR. Use the kinds pyspark, sql or spark"
        )
    return "this driver runs no R, although its image has R and SparkR. Use the kinds pyspark, sql or spark"
