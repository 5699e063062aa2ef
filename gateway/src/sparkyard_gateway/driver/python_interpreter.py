"""Runs the Python of cells as Livy's shell does: one `__main__` for the session, the last expression echoed."""

from __future__ import annotations
import __future__

import ast
import builtins
import sys
import types
from typing import Any, Dict, List, Tuple

from .display import Gallery, rich_forms
from .magics import run_magic
from .reply import Reply
from .streams import StatementOutput, Streams
from .tracebacks import cell_name, describe, remember_source

_FUTURES = tuple(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


class PythonInterpreter:
    """Kinds pyspark and python. All of it runs on the main thread."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._gallery = Gallery()
        # A module of its own under the name that pickle, multiprocessing and cloudpickle look for: cells see nothing
        # of the driver's own __main__.
        self._module = types.ModuleType("__main__", None)
        self.names: Dict[str, Any] = self._module.__dict__
        self.names["__builtins__"] = builtins
        self.names["display"] = self._gallery.displayer()
        self._future_flags = 0
        self._echoed = ""  # of the running cell: its last value's text, if that value has a richer form

    def take_over_main(self) -> None:
        """Become `__main__`; once, before the first cell."""
        sys.modules["__main__"] = self._module

    def execute(self, code: str, output: StatementOutput) -> Reply:
        """Run one cell; whatever it raises becomes the reply, except a signal that comes outside of its code."""
        statement = output.statement
        remember_source(statement, code)
        self._gallery.clear()
        self._echoed = ""
        sys.displayhook = self._echo
        magic_data: Dict[str, Any] = {}
        try:
            for chunk, is_magic in _chunks(code, cell_name(statement)):
                magic_data = run_magic(chunk, self.names, self._gallery) if is_magic else self._run(chunk, statement)
            self._gallery.add_open_figures()
        except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt end the cell, not the driver
            self._close_figures()
            return Reply(error=describe(type(error), error, error.__traceback__, statement))
        return Reply(data={**self._gallery.collect(), **magic_data}, echo=self._echoed)

    def _run(self, code: str, statement: int) -> Dict[str, Any]:
        name = cell_name(statement)
        tree = self._compile(code, name, "exec", ast.PyCF_ONLY_AST)
        first = ast.Module(body=tree.body[:-1], type_ignores=[])
        if first.body:
            self._exec(self._compile(first, name, "exec"))
        if tree.body:
            self._exec(self._compile(ast.Interactive(body=tree.body[-1:]), name, "single"))
        return {}

    def _compile(self, source: Any, name: str, mode: str, flags: int = 0) -> Any:
        # dont_inherit: this file's own __future__ imports are not the user's.
        return compile(source, name, mode, flags | self._future_flags, dont_inherit=True)

    def _exec(self, compiled: types.CodeType) -> None:
        for flag in _FUTURES:
            self._future_flags |= compiled.co_flags & flag
        exec(compiled, self.names)  # noqa: S102  what a driver is for

    def _echo(self, value: Any) -> None:
        if value is None:
            return
        builtins._ = None  # type: ignore[attr-defined]
        text = repr(value)
        forms = rich_forms(value)
        if sys.stdout is self._streams.stdout:
            self._streams.stdout.echo(text + "\n", streamed=not forms)
        else:
            print(text)  # noqa: T201  to where the cell redirected it
        builtins._ = value  # type: ignore[attr-defined]
        if forms:
            self._gallery.add(forms)
            self._echoed = text

    def _close_figures(self) -> None:
        try:
            self._gallery.add_open_figures()
        except Exception:  # noqa: BLE001  a half-made plot must not hide the error that left it so
            pyplot = sys.modules.get("matplotlib.pyplot")
            if pyplot is not None:
                pyplot.close("all")


def _chunks(code: str, name: str) -> List[Tuple[str, bool]]:
    """Split a cell into Python and magic lines, but only if it is no Python as a whole: `%` is an operator too."""
    try:
        ast.parse(code, name)
    except SyntaxError:
        lines = code.rstrip().split("\n")
        if not any(line.startswith("%") for line in lines):
            return [(code, False)]
    else:
        return [(code, False)]
    chunks: List[Tuple[str, bool]] = []
    python: List[str] = []
    for number, line in enumerate(lines):
        if line.startswith("%"):
            if any(part.strip() for part in python):
                chunks.append(("\n".join(python), False))
            chunks.append((line, True))
            python = [""] * (number + 1)  # so that line numbers still point into the cell
        else:
            python.append(line)
    if any(part.strip() for part in python):
        chunks.append(("\n".join(python), False))
    return chunks
