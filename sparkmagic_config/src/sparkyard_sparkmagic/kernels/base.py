"""What the Spark kernels share: Sparkmagic's kernel on our session, with real error replies."""

import asyncio
import threading
from typing import Any, ClassVar

from ipykernel.ipkernel import IPythonKernel
from sparkmagic.kernels.pysparkkernel.pysparkkernel import PySparkKernel
from sparkmagic.livyclientlib.exceptions import LivyClientLibException

from sparkyard_sparkmagic import completion, configuration
from sparkyard_sparkmagic.cell import CellReader
from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.keeper import SessionKeeper
from sparkyard_sparkmagic.magics import SparkyardMagics

_IPYTHON: Any = IPythonKernel  # what Sparkmagic's kernel wraps; ipykernel annotates half of it
NOWHERE = "http://127.0.0.1:9"  # Sparkmagic wants an address; ours come from the environment at each request


class SparkKernel(PySparkKernel):  # type: ignore[misc]  # sparkmagic has no types
    """A kernel whose bare cells run on Spark."""

    keeper: ClassVar[SessionKeeper]
    bare: ClassVar[str] = "spark"
    comment: ClassVar[str] = "#"

    def __init__(self, **kwargs: Any) -> None:
        try:
            settings = self.keeper.settings
            configuration.apply(settings.gateway_url, settings.defaults)
        except ConfigurationError:
            configuration.apply(NOWHERE, {})  # the first cell that needs Spark says what is wrong
        super().__init__(user_code_parser=CellReader(self.bare, self.comment), **kwargs)

    def _load_magics_extension(self) -> None:
        # Called by Sparkmagic's constructor. Through a cell, as it does it, it would run before there is a loop.
        self.magics = SparkyardMagics(self.shell, self.keeper, sql=self.bare == "sql")
        self.shell.register_magics(self.magics)
        # Sparkmagic's magics are known by a decorator that would replace their table; ours join it.
        self.shell.register_magic_function(self.magics.pyspark, "cell", "pyspark")
        self.shell.register_magic_function(self.magics.scala, "cell", "scala")
        self.shell.register_magic_function(self.magics.r, "cell", "r")
        self.shell.set_custom_exc((LivyClientLibException,), _show_plainly)

    def _change_language(self) -> None:
        self.magics.language = self.session_language
        self.magics.refresh_configuration()

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Called for each cell; answers ipykernel's own reply, an error included, so that Run All stops there."""
        reply: dict[str, Any] = await _IPYTHON.do_execute(
            self,
            self.user_code_parser.get_code_to_run(code),
            silent,
            store_history,
            user_expressions,
            allow_stdin,
            cell_meta=cell_meta,
            cell_id=cell_id,
        )
        return reply

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """Called at Tab; the session may take two seconds, then there is no completion."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        place = completion.locate(code, cursor, self.bare, self.comment, self.keeper.kind)
        if place is None:
            local: dict[str, Any] = _IPYTHON.do_complete(self, code, cursor)
            return local
        nothing = {"status": "ok", "matches": [], "cursor_start": cursor, "cursor_end": cursor, "metadata": {}}
        return await asyncio.to_thread(completion.ask, self.keeper, place) or nothing

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Called at Shift-Tab; a local object of the same name would be the wrong answer for code on Spark."""
        if completion.locate(code, cursor_pos, self.bare, self.comment) is not None:
            return {"status": "ok", "found": False, "data": {}, "metadata": {}}
        local: dict[str, Any] = _IPYTHON.do_inspect(self, code, cursor_pos, detail_level, omit_sections)
        return local

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """Called when the kernel ends or restarts: the session goes with it, and never holds it up."""
        # In a thread of its own: a gateway that hangs shall not keep the kernel from answering.
        ending = threading.Thread(target=self.keeper.shut, name="spark-shutdown", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, 2.0)
        reply: dict[str, Any] = _IPYTHON.do_shutdown(self, restart)
        return reply


def _show_plainly(shell: Any, etype: type[BaseException], value: BaseException, tb: Any, tb_offset: Any = None) -> None:
    # An error of Sparkmagic's own, about what the user wrote: a sentence, without the frames.
    del tb, tb_offset
    shell._showtraceback(etype, value, [f"{etype.__name__}: {value}"])  # noqa: SLF001  IPython's hook for this
