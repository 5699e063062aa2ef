"""The kernels' classes, apart from the modules that start them: those must not import Sparkmagic first."""

from typing import Any

from sparkyard_sparkmagic.kernels.base import SparkKernel


class PySparkKernel(SparkKernel):
    """Python on Spark."""


class SQLKernel(SparkKernel):
    """SQL on Spark."""

    bare = "sql"
    comment = "--"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.implementation = "Spark SQL"
        self.language = "sql"
        self.language_info = {
            "name": "sql",
            "version": "ANSI",
            "mimetype": "text/x-sql",
            "codemirror_mode": "sql",
            "file_extension": ".sql",
            "pygments_lexer": "sql",
        }

    def do_is_complete(self, code: str) -> dict[str, str]:
        """Called by consoles; Python's rules would call every SQL statement invalid."""
        return {"status": "complete" if code.rstrip().endswith(";") or not code.strip() else "unknown"}
