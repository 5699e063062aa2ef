"""Where Sparkmagic's magics meet our session: its controller, with one session and nobody else's.

Above this seam everything is Sparkmagic's own. Below it are our session in the background, our HTTP, our statement.
"""

from collections.abc import Callable
from typing import Any

from sparkmagic.livyclientlib.command import Command
from sparkmagic.livyclientlib.sparkcontroller import SparkController

from sparkyard_sparkmagic import blocks, screen
from sparkyard_sparkmagic.errors import Interrupted, MagicError, SparkyardError, UnknownSessionError
from sparkyard_sparkmagic.gateway import SessionView
from sparkyard_sparkmagic.keeper import SessionKeeper
from sparkyard_sparkmagic.session import Session
from sparkyard_sparkmagic.statement import PLAIN, Result, Statement


class Controller(SparkController):  # type: ignore[misc]  # sparkmagic has no types
    """The one session of this kernel, by the names that Sparkmagic's magics use."""

    def __init__(self, ipython_display: Any, keeper: SessionKeeper) -> None:
        super().__init__(ipython_display)
        self.keeper = keeper
        self._introduced: Session | None = None

    def run(self, code: str, *, kind: str | None = None, quiet: bool = False) -> Result:
        """Run code in the session, of the kernel's kind unless told; waits for the session first, saying what for."""
        session = self.ready()
        return Statement(self.keeper, session, quiet=quiet).run(code, kind or self.keeper.kind)

    def ready(self) -> Session:
        """The session, introduced by its status block in the first cell that uses it."""
        block = screen.Block(delay=0.3)
        try:
            session = self.keeper.ready(lambda view, seconds: block.offer(blocks.waiting(view, seconds)))
        except SparkyardError:
            block.clear()
            raise
        except KeyboardInterrupt:
            block.clear()
            raise Interrupted("nothing was run; Spark goes on starting, and the next cell waits for it") from None
        if session is not self._introduced and session.view is not None:
            settings = self.keeper.settings
            own = session.view.profile in (None, settings.profile)
            block.show(blocks.status(session.view, settings.profile_title if own else None))
            self._introduced = session
        else:
            block.clear()
        return session

    def run_command(self, command: Command, client_name: str | None = None) -> tuple[bool, Any, str]:
        """Run a command of Sparkmagic's own."""
        del client_name
        result = self.run(command.code)
        return True, result.text, PLAIN

    def get_logs(self, client_name: str | None = None) -> str:
        """Every line of the session's log."""
        del client_name
        number = self.keeper.id
        return "No logs yet.\n" if number is None else "\n".join(self.keeper.gateway.log(number)) + "\n"

    def get_session_id_for_client(self, name: str) -> int | None:
        """The session's number."""
        del name
        return self.keeper.id

    def own_sessions(self) -> list[SessionView]:
        """This person's sessions. The gateway shows an admin everybody's, and a notebook must not touch those."""
        user = self.keeper.settings.user
        present = self.keeper.id
        return [
            view
            for view in self.keeper.gateway.sessions()
            if view.id == present or (user is not None and view.owner == user)
        ]

    def cleanup_endpoint(self, endpoint: Any) -> None:
        """End all of this person's sessions."""
        del endpoint
        self._end_each(self.own_sessions())

    def delete_session_by_id(self, endpoint: Any, session_id: int) -> None:
        """End one of this person's sessions."""
        del endpoint
        mine = [view for view in self.own_sessions() if view.id == session_id]
        if not mine:
            raise MagicError(f"you have no session {session_id}; %%info lists yours")
        self._end_each(mine)

    def _end_each(self, views: list[SessionView]) -> None:
        end: Callable[[int], None] = self.keeper.gateway.delete
        for view in views:
            try:
                end(view.id)
            except UnknownSessionError:
                continue
