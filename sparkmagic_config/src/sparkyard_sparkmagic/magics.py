"""Sparkmagic's magics, on our session.

What %%help lists remains, with Sparkmagic's own options. Changed: an error fails the cell; %%configure merges and is
checked before anything is thrown away; results keep their types; tables sort; only a person's own sessions are shown.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hdijupyterutils.ipythondisplay import IpythonDisplay
from sparkmagic.kernels.kernelmagics import KernelMagics
from sparkmagic.magics.sparkmagicsbase import SparkOutputHandler
from sparkmagic.utils.utils import parse_argstring_or_throw

from sparkyard_sparkmagic import blocks, configure, manual, outputs, scala, screen, send
from sparkyard_sparkmagic.controller import Controller
from sparkyard_sparkmagic.errors import MagicError, StatementError
from sparkyard_sparkmagic.frame import to_pandas
from sparkyard_sparkmagic.keeper import PYTHON, SCALA, R, SessionKeeper
from sparkyard_sparkmagic.query import Query
from sparkyard_sparkmagic.statement import Result
from sparkyard_sparkmagic.table import Table


@contextmanager
def _message_alone() -> Iterator[None]:
    # The frames are of our fetching code or of Spark's parser: they would only mislead who wrote a query.
    try:
        yield
    except StatementError as failure:
        raise StatementError.named(type(failure).__name__, str(failure)) from None


class FailingDisplay(IpythonDisplay):  # type: ignore[misc]  # sparkmagic has no types
    """Sparkmagic prints an error in red and lets the cell succeed, so Run All goes on. Here it fails the cell."""

    def send_error(self, error: object) -> None:
        """Called by Sparkmagic's magics when they decline."""
        raise MagicError(str(error))


class SparkyardMagics(KernelMagics):  # type: ignore[misc]  # sparkmagic has no types
    """No @magics_class here: it would replace the parent's table of magics instead of adding to it."""

    def __init__(self, shell: Any, keeper: SessionKeeper, *, sql: bool = False) -> None:
        super().__init__(shell)
        self.keeper = keeper
        self.ipython_display = FailingDisplay()
        self.spark_controller = Controller(self.ipython_display, keeper)
        self._sql_kernel = sql

    # What the parent's magics ask for ------------------------------------------------------------------------------

    def _do_not_call_start_session(self, line: str, cell: str = "", local_ns: object = None) -> bool:
        del line, cell, local_ns
        self.spark_controller.ready()
        self.session_started = True
        return True

    def _do_not_call_delete_session(self, line: str, cell: str = "", local_ns: object = None) -> None:
        del line, cell, local_ns
        self.keeper.drop()
        self.session_started = False

    def execute_spark(
        self,
        cell: str,
        output_var: str | None,
        samplemethod: str | None,
        maxrows: int | None,
        samplefraction: float | None,
        session_name: str | None,
        coerce: bool | None,
        output_handler: SparkOutputHandler | None = None,
    ) -> None:
        """%%spark and %%pretty: run the cell, show its result, fetch a DataFrame if one is named."""
        del session_name, coerce
        wanted = Query.of_variable(output_var, method=samplemethod, maxrows=maxrows, fraction=samplefraction) \
            if output_var else None  # fmt: skip
        result = self.spark_controller.run(textwrap.dedent(cell), quiet=output_handler is not None)
        if output_handler is None:
            outputs.show(result)
        else:
            output_handler.text(result.text)
        if wanted is not None and output_var:
            if self.keeper.kind == SCALA:
                self.spark_controller.run(scala.lend(output_var), quiet=True)
                wanted = replace(wanted, frame=scala.lent(output_var))
            self._keep(output_var, self._fetch(wanted))

    def execute_sqlquery(
        self,
        cell: str,
        samplemethod: str | None,
        maxrows: int | None,
        samplefraction: float | None,
        session: str | None,
        output_var: str | None,
        quiet: bool,
        coerce: bool | None,
    ) -> None:
        """%%sql: run the query, show its rows as a table, keep them as a pandas DataFrame if a name is given."""
        del session, coerce
        if not cell.strip():
            raise MagicError("%%sql needs a query below it")
        if self._sql_kernel and (samplemethod, maxrows, samplefraction, output_var) == (None,) * 4:
            result = self._run_sql(cell)
            table = outputs.table(result)
            if table is None:
                outputs.show(result)
        else:
            query = Query.of_sql(cell, method=samplemethod, maxrows=maxrows, fraction=samplefraction)
            table = self._fetch(query)
            if output_var:
                self._keep(output_var, table, say=quiet)
        if table is not None and not quiet:
            screen.show(table.bundle() if table.columns else {"text/plain": "Done; this statement has no rows."})

    def do_send_to_spark(
        self,
        cell: str,
        input_variable_name: str,
        var_type: str,
        output_variable_name: str | None,
        max_rows: int,
        session_name: str | None,
    ) -> None:
        """%%send_to_spark."""
        del cell, session_name
        if input_variable_name not in self.shell.user_ns:
            raise MagicError(f"there is no local variable {input_variable_name}; define it in a %%local cell first")
        value = self.shell.user_ns[input_variable_name]
        name = output_variable_name or input_variable_name
        if var_type.lower() == "str":
            code = send.text(name, value)
        elif var_type.lower() == "df":
            code = send.frame(name, value, max_rows)
        else:
            raise MagicError(f"-t takes str or df, not {var_type!r}")
        if self.keeper.kind == SCALA and var_type.lower() == "str":
            self.spark_controller.run(scala.text(name, value), quiet=True)
        else:
            self.spark_controller.run(code, kind=PYTHON, quiet=True)
        if self.keeper.kind == SCALA and var_type.lower() == "df":
            self.spark_controller.run(scala.lend_from_python(name), kind=PYTHON, quiet=True)
            self.spark_controller.run(scala.borrow(name), quiet=True)
        sent = ""
        if var_type.lower() == "df" and 0 <= max_rows < len(value):
            sent = f" (the first {max_rows:,} of {len(value):,} rows; -m sends another number, -m -1 all)"
        screen.write(f"Sent {input_variable_name} to Spark as {name}{sent}.\n")

    # Magics that differ from the parent's ---------------------------------------------------------------------------

    def configure(self, line: str, cell: str = "", local_ns: object = None) -> None:
        """%%configure."""
        del local_ns
        args = parse_argstring_or_throw(KernelMagics.configure, line)
        self.keeper.configure(configure.read(cell), force=args.force)
        self.session_started = False
        screen.show(blocks.settings(self.keeper.body()))

    def pyspark(self, line: str, cell: str = "") -> None:
        """%%pyspark: Python on Spark, in whatever kernel."""
        self._run_as(PYTHON, "pyspark", line, cell)

    def scala(self, line: str, cell: str = "") -> None:
        """%%scala: Scala on Spark, in whatever kernel."""
        self._run_as(SCALA, "scala", line, cell)

    def r(self, line: str, cell: str = "") -> None:
        """%%r: R in the session, in whatever kernel."""
        self._run_as(R, "r", line, cell)

    def _run_as(self, kind: str, name: str, line: str, cell: str) -> None:
        if line.strip():
            raise MagicError(f"%%{name} takes no options; %%spark -o brings a DataFrame of the kernel's own kind here")
        outputs.show(self.spark_controller.run(textwrap.dedent(cell), kind=kind))

    def help(self, line: str, cell: str = "", local_ns: object = None) -> None:
        """%%help."""
        del line, local_ns
        self._assure_cell_body_is_empty("help", cell)
        screen.show(manual.bundle())

    def info(self, line: str, cell: str = "", local_ns: object = None) -> None:
        """%%info."""
        del line, local_ns
        self._assure_cell_body_is_empty("info", cell)
        screen.show(blocks.settings(self.keeper.body()))
        screen.show(blocks.sessions(self.spark_controller.own_sessions(), self.keeper.id))

    def logs(self, line: str, cell: str = "", local_ns: object = None) -> None:
        """%%logs."""
        del line, local_ns
        self._assure_cell_body_is_empty("logs", cell)
        screen.write(self.spark_controller.get_logs())

    def matplot(self, line: str, cell: str = "", local_ns: object = None) -> None:
        """%matplot: the driver's figure, shown here."""
        del cell, local_ns
        outputs.show(self.spark_controller.run(f"%matplot {line}", kind=PYTHON))

    def _fetch(self, query: Query) -> Table:
        with _message_alone():
            result = self.spark_controller.run(query.code, kind=PYTHON, quiet=True)
        return query.table(result.text, result.truncated)

    def _run_sql(self, cell: str) -> Result:
        with _message_alone():
            return self.spark_controller.run(cell, kind="sql")

    def _keep(self, name: str, table: Table, *, say: bool = True) -> None:
        self.shell.user_ns[name] = to_pandas(table)
        if table.note and say:  # else the table's caption says it
            screen.write(f"{name} holds {len(table.rows):,} rows; {table.note}.\n")
