"""The process that starts the parts, watches them and stops them all: a child of the guard."""

import os
import signal
import time
from collections.abc import Callable, Sequence

from sparkyard_hub.standalone.failure import CannotStart, Stopped
from sparkyard_hub.standalone.parts import Installation, Part, parts_of
from sparkyard_hub.standalone.people import DemonstrationUser, demonstration_users
from sparkyard_hub.standalone.processes import (
    adopt_orphans,
    end_children,
    end_descendants,
    reap_adopted,
    wait_until,
)

Say = Callable[[str], None]

TOLD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
PATIENCE = 25.0
"""How long the parts together may take to end. The hub gives each notebook server about fifteen seconds."""


class Runner:
    """Runs one installation from start to end."""

    def __init__(self, installation: Installation, say: Say) -> None:
        self._installation = installation
        self._say = say
        self.parts: Sequence[Part] = ()
        os.umask(0o077)  # databases and logs are this user's alone
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD | {signal.SIGCHLD})
        adopt_orphans()

    def start(self) -> tuple[DemonstrationUser, ...]:
        """Start all parts and wait for each. Raises CannotStart or Stopped; `stop` has to follow in any case."""
        users = demonstration_users(self._installation.home.provider / "passwords.json")
        self.parts = parts_of(self._installation)
        for part in self.parts:
            part.child.start()
        for part in self.parts:
            self._wait_for(part)
        return users

    def watch(self) -> str | None:
        """Wait until somebody asks to stop (None), or it can't go on (what to say about that)."""
        while True:
            try:
                self._pause(5.0)
            except Stopped:
                return None
            if dead := self._dead():
                return self._obituary(dead)
            if not self._installation.home.lock.exists():
                return f"{self._installation.home.path} is gone, and nothing can be kept any more."
            reap_adopted([part.child for part in self.parts])

    def stop(self) -> None:
        """End everything, within bounds."""
        # The hub first: it ends notebook servers and Traefik in order.
        end_children([part.child for part in reversed(self.parts)], PATIENCE)
        end_descendants()

    def _wait_for(self, part: Part) -> None:
        self._say(f"  {part.title} ...")

        def ready() -> bool:
            if dead := self._dead():
                raise CannotStart(self._obituary(dead))
            return part.is_ready()

        if not wait_until(ready, self._pause, part.seconds):
            raise CannotStart(
                f"{part.title} did not answer within {part.seconds:.0f} s; the end of {part.child.log}:\n"
                + _indented(part.child.last_lines())
            )
        self._say(f"  {part.title} ready after {time.monotonic() - part.child.began:.1f} s")

    def _pause(self, seconds: float) -> None:
        """Wait for a moment, or for a child's end; raises Stopped when somebody asks to stop."""
        received = signal.sigtimedwait(TOLD | {signal.SIGCHLD}, seconds)
        if received is not None and received.si_signo != signal.SIGCHLD:
            raise Stopped

    def _dead(self) -> Part | None:
        return next((part for part in self.parts if part.child.exit_code is not None), None)

    @staticmethod
    def _obituary(part: Part) -> str:
        return f"{part.title} {part.child.how_it_ended()}; the end of {part.child.log}:\n" + _indented(
            part.child.last_lines()
        )


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  | {line}" for line in lines)
