"""Keeps the kernel's one session: starts it with the kernel, has it ready for a cell, replaces it, ends it.

A failure to start is told once, to the cell that needed the session; the next cell tries anew, with the environment
and ~/sparkyard.toml read again.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sparkyard_sparkmagic import userfile
from sparkyard_sparkmagic.errors import GatewayError, MagicError, SessionEndedError, SessionStartError, SparkyardError
from sparkyard_sparkmagic.gateway import ENDED, Gateway, SessionView
from sparkyard_sparkmagic.request import merged
from sparkyard_sparkmagic.session import Session
from sparkyard_sparkmagic.settings import Settings

PYTHON, SCALA, R = "pyspark", "spark", "sparkr"
TICK = 1.0  # seconds between two reports while a cell waits
AT_SHUTDOWN = 2.0
ANSWER_AT_SHUTDOWN = 0.3
AT_REPLACEMENT = 10.0

Report = Callable[[SessionView | None, float], None]


class SessionKeeper:
    """The one place that knows which session cells run in."""

    def __init__(self, connect: Callable[[str], Gateway] = Gateway.at, kind: str = PYTHON) -> None:
        self._connect = connect
        self.kind = kind  # of the session, and of a cell that names none
        self._gateways: dict[str, Gateway] = {}
        self._configured: Mapping[str, Any] = {}
        self._session: Session | None = None
        self._problem: SparkyardError | None = None
        self._shut = False

    @property
    def settings(self) -> Settings:
        """The environment, read now."""
        return Settings.from_environ(os.environ)

    @property
    def gateway(self) -> Gateway:
        """The gateway that the environment names."""
        url = self.settings.gateway_url
        if url not in self._gateways:
            self._gateways[url] = self._connect(url)
        return self._gateways[url]

    @property
    def session(self) -> Session | None:
        """The present session, ready or not."""
        return self._session

    @property
    def id(self) -> int | None:
        """The present session's number, once the gateway has given one."""
        view = self._session.view if self._session else None
        return view.id if view else None

    def body(self, configured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a session would be asked for now: the profile's defaults, ~/sparkyard.toml, %%configure."""
        settings = self.settings
        own = userfile.read(settings.user_file)
        wanted = self._configured if configured is None else configured
        profile = wanted.get("profile") or own.get("profile") or settings.profile
        # The defaults that came with the server are its own profile's; another profile has others, at the gateway.
        body = merged(settings.defaults if profile == settings.profile else {}, own, wanted)
        if profile:
            body["profile"] = profile
        return {**body, "kind": self.kind}

    def begin(self) -> None:
        """Start a session in the background. Never raises: what is wrong is kept for the cell that needs it."""
        if self._shut:  # a cell that was queued when the kernel was told to go
            self._problem = SessionStartError("the kernel is shutting down")
            return
        try:
            session = Session(self.gateway, self.body())
        except SparkyardError as problem:
            self._problem = problem
        else:
            self._session = session
            session.begin()

    def ready(self, report: Report) -> Session:
        """The session, ready for a statement. Waits and reports meanwhile; raises what kept it from starting."""
        early = self._problem or (self._session.problem if self._session else None)
        if early is not None and not isinstance(early, SessionStartError):
            self._session = self._problem = None  # it failed before this cell, and may not fail again
        if self._session is None and self._problem is None:
            self.begin()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
        session = self._session
        assert session is not None
        began = time.monotonic()
        while not session.settled:
            session.wait(TICK)
            if not session.settled:
                report(session.view, time.monotonic() - began)
        if session.problem is not None:
            self._session = None
            raise session.problem
        return session

    def ended(self, session: Session, refusal: GatewayError | None = None) -> SessionEndedError | None:
        """Whether `session` is over, as an error that says why; the next cell then gets a new one."""
        view = session.view
        assert view is not None
        try:
            view = self.gateway.session(view.id)
        except GatewayError as unknown:
            if unknown.status != 404:
                return None
            reason = "the gateway no longer knows it; it was stopped, or ended after a long time without use"
        else:
            if view.state not in ENDED:
                return None
            reason = view.reason or (str(refusal) if refusal else f"it is {view.state}")
        if self._session is session:
            self._session = None
        problem = SessionEndedError(
            f"Spark session {view.id} has ended: {reason.rstrip('.')}. What was defined in it is lost; "
            "the next cell starts a new session."
        )
        session.fail(problem)
        return problem

    def configure(self, layer: Mapping[str, Any], *, force: bool) -> None:
        """Use `layer` from now on. Everything is checked before the present session is thrown away."""
        body = self.body(layer)
        self.gateway.check(body)
        session = self._session
        if session is not None and session.problem is None:
            if session.used and not force:
                raise MagicError(
                    "statements have run in this session, and what they defined would be lost with it. "
                    "To start a new session anyway: %%configure -f"
                )
            if session.body == body and not force:
                self._configured = layer
                return
            self._end(AT_REPLACEMENT)
        self._configured = layer
        self.begin()

    def drop(self) -> None:
        """End the session, as %%cleanup does; the next cell starts another."""
        self._end(AT_REPLACEMENT)

    def shut(self) -> None:
        """The kernel goes: end the session, quickly."""
        self._shut = True
        self._end(AT_SHUTDOWN, ANSWER_AT_SHUTDOWN)

    def _end(self, seconds: float, answer: float | None = None) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(SparkyardError):  # unheard, the gateway ends it when the heartbeats stay out
                session.close(seconds, answer)
