"""One Spark session of this kernel: asked for in the background, watched until it is ready, kept alive, ended.

One daemon thread does all of it, so that a kernel's start never waits for Spark's. The thread sleeps on an event,
never on a clock: closing wakes it at once, and nothing ever joins it.

A kernel that is killed tells nobody. So the session is asked for with a heartbeat timeout, and the thread renews it;
when the beats stop, the gateway ends the session after HEARTBEAT_TIMEOUT seconds.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sparkyard_sparkmagic.errors import GatewayError, SessionStartError, SparkyardError, UnknownSessionError
from sparkyard_sparkmagic.gateway import ENDED, STARTING, Gateway, SessionView

HEARTBEAT_TIMEOUT = 180
BEAT = 30.0
WATCH = 2.0  # seconds after which a starting session is asked again, for a new reason of its waiting


class Session:
    """A session and the thread that looks after it."""

    def __init__(self, gateway: Gateway, body: Mapping[str, Any]) -> None:
        self._gateway = gateway
        self.body = dict(body)
        self.used = False  # whether a statement was sent: then something can be lost
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._view: SessionView | None = None
        self._problem: SparkyardError | None = None
        self._posted = threading.Event()

    def begin(self) -> None:
        """Ask for the session; returns at once."""
        threading.Thread(target=self._live, name="spark-session", daemon=True).start()

    @property
    def view(self) -> SessionView | None:
        """What was last heard of it; None before the gateway has answered."""
        return self._view

    @property
    def problem(self) -> SparkyardError | None:
        """Why the session cannot be used, once that is known."""
        return self._problem

    @property
    def ready(self) -> bool:
        """Whether it has started and, as far as we know, not ended."""
        return self._problem is None and self._view is not None and self._view.state not in STARTING

    @property
    def settled(self) -> bool:
        """Whether it has started or failed."""
        return self.ready or self._problem is not None

    def wait(self, seconds: float) -> None:
        """Until something about it has changed, or the time has passed. Can be interrupted."""
        with self._changed:
            if not self.settled:
                self._changed.wait(seconds)

    def fail(self, problem: SparkyardError) -> None:
        """Note that it cannot be used any more: for whoever found out, here or in a cell."""
        with self._change():
            self._problem = self._problem or problem
        self._closing.set()

    def close(self, seconds: float, answer: float | None = None) -> None:
        """End it, taking no longer than `seconds`, of which `answer` may go by until the gateway says it is done.

        A request that is sent is carried out without anybody waiting for it; what the gateway never hears, it ends
        by the missed heartbeat.
        """
        self._closing.set()
        self._posted.wait(seconds)
        with self._change():
            view, self._problem = self._view, self._problem or SessionStartError("the session was closed")
        if view is not None and view.state not in ENDED:
            self._gateway.delete(view.id, seconds=answer or seconds, connect=seconds)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changed.notify_all()

    def _live(self) -> None:
        try:
            self._start()
            while self._problem is None and not self._closing.wait(BEAT):
                self._beat()
        except SparkyardError as problem:
            self.fail(problem)
        finally:
            self._posted.set()

    def _start(self) -> None:
        view = self._gateway.create({**self.body, "heartbeatTimeoutInSecond": HEARTBEAT_TIMEOUT})
        with self._change():
            self._view = view
        self._posted.set()
        if self._closing.is_set():  # closed while the request was under way
            self._gateway.delete(view.id, seconds=5)
        while view.state in STARTING and not self._closing.is_set():
            try:
                view = self._gateway.session(view.id, wait=WATCH, state=view.state)
            except UnknownSessionError:
                view = SessionView(view.id, "dead", reason="it was deleted")
            if view.state in ENDED:
                raise SessionStartError(_why_not(view))
            with self._change():
                self._view = view

    def _beat(self) -> None:
        view = self._view
        if view is None:
            return
        try:
            state = self._gateway.touch(view.id)
        except GatewayError as refusal:
            # Gone, or not ours any more: the next statement finds that out and says why.
            if refusal.status == 404:
                self._closing.set()
            return
        except SparkyardError:
            return  # the gateway is away; the next beat may reach it
        if state in ENDED:
            self._closing.set()


def _why_not(view: SessionView) -> str:
    message = f"Spark session {view.id} did not start: {view.reason or f'it is {view.state}'}"
    if not view.reason and view.log:
        message += "\n" + "\n".join(view.log[-10:])
    return message
