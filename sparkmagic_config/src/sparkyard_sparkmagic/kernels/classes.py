"""The kernels' classes, apart from the modules that start them: those must not import Sparkmagic first."""

from typing import Any

from sparkyard_sparkmagic.kernels.base import SparkKernel


class PySparkKernel(SparkKernel):
    """Python on Spark."""


class ScalaKernel(SparkKernel):
    """Scala on Spark."""

    comment = "//"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.implementation = "Spark (Scala)"
        self.language = "scala"
        self.language_info = {
            "name": "scala",
            "version": "2",
            "mimetype": "text/x-scala",
            "codemirror_mode": "text/x-scala",
            "file_extension": ".sc",
            "pygments_lexer": "scala",
        }

    def do_is_complete(self, code: str) -> dict[str, str]:
        """Called by consoles; only the session's compiler knows, and Python's rules would be wrong."""
        return {"status": "unknown" if code.strip() else "complete"}


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
