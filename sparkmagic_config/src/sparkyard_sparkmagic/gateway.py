"""The gateway's REST interface as this side uses it: Livy's routes, with our gateway's waits and extra fields.

Against a plain Livy the extra parameters are ignored and the extra fields are absent; callers cope with that.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparkyard_sparkmagic.token import HubToken
from sparkyard_sparkmagic.transport import Transport

STARTING = frozenset({"not_started", "starting", "recovering"})
ENDED = frozenset({"shutting_down", "error", "dead", "killed", "success"})
PAGE = 100
SLACK = 15.0  # seconds a waiting answer may take beyond the wait that was asked for


@dataclass(frozen=True)
class SessionView:
    """A session as last heard of."""

    id: int
    state: str
    kind: str = ""
    owner: str | None = None
    reason: str | None = None
    profile: str | None = None
    driver_image: str | None = None
    executor_image: str | None = None
    notice: str | None = None
    spark_version: str | None = None
    app_id: str | None = None
    spark_ui_path: str | None = None
    log: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "SessionView":
        """Read the gateway's JSON; a field that isn't there is None."""

        def text(key: str) -> str | None:
            value = answer.get(key)
            return str(value) if value not in (None, "") else None

        return cls(
            id=int(answer["id"]),
            state=str(answer.get("state") or ""),
            kind=text("kind") or "",
            owner=text("owner") or text("proxyUser"),
            reason=text("stateReason") or text("phase"),
            profile=text("profile"),
            driver_image=text("driverImage"),
            executor_image=text("executorImage"),
            notice=text("notice"),
            spark_version=text("sparkVersion"),
            app_id=text("appId"),
            spark_ui_path=text("sparkUiPath"),
            log=tuple(str(line) for line in answer.get("log") or ()),
        )


class Gateway:
    """One method per request."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    @classmethod
    def at(cls, url: str) -> "Gateway":
        """The gateway at `url`, asked as the owner of this notebook server."""
        return cls(Transport(url, HubToken()))

    def create(self, body: Mapping[str, Any]) -> SessionView:
        """Ask for a session; it starts in the background."""
        return SessionView.of(self._http.post("/sessions", body, key=uuid.uuid4().hex))

    def check(self, body: Mapping[str, Any]) -> None:
        """Ask whether such a session would be granted, starting nothing. Raises GatewayError with the reason."""
        answer = self._http.post("/sessions", body, {"validate": "true"})
        if isinstance(answer, dict) and "id" in answer:  # a plain Livy knows no such question and has started one
            self.delete(int(answer["id"]))

    def session(self, session: int, *, wait: float = 0, state: str | None = None) -> SessionView:
        """The session; with `wait`, answered when its state is no longer `state` or after so many seconds."""
        params = {"wait": wait, "state": state} if wait else None
        return SessionView.of(self._http.get(f"/sessions/{session}", params, read=wait + SLACK))

    def sessions(self) -> list[SessionView]:
        """All that the caller may see, which for an admin are everybody's."""
        found: list[SessionView] = []
        while True:
            page = self._http.get("/sessions", {"from": len(found), "size": PAGE})
            found += [SessionView.of(one) for one in page["sessions"]]
            if len(page["sessions"]) < PAGE or len(found) >= page["total"]:
                return found

    def touch(self, session: int) -> str:
        """Renew the session's heartbeat; answers its state."""
        return str(self._http.get(f"/sessions/{session}/state", read=10, patience=10).get("state"))

    def delete(self, session: int, *, seconds: float = 30, connect: float = 5) -> None:
        """End the session."""
        self._http.delete(f"/sessions/{session}", seconds=seconds, connect=connect)

    def log(self, session: int) -> list[str]:
        """Every line that the gateway has kept."""
        return [str(line) for line in self._http.get(f"/sessions/{session}/log", {"from": 0, "size": -1})["log"]]

    def submit(self, session: int, code: str, kind: str, *, wait: float) -> dict[str, Any]:
        """Send a statement; answered when it is done, but after `wait` seconds at the latest."""
        path = f"/sessions/{session}/statements"
        answer: dict[str, Any] = self._http.post(
            path, {"code": code, "kind": kind}, {"wait": wait}, key=uuid.uuid4().hex, read=wait + SLACK
        )
        return answer

    def statement(
        self,
        session: int,
        statement: int,
        *,
        wait: float,
        since: int,
        seen: int,
        patience: float = 120,
        on_retry: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """The statement once it is final, has printed beyond `since`, or has changed since version `seen`."""
        answer: dict[str, Any] = self._http.get(
            f"/sessions/{session}/statements/{statement}",
            {"wait": wait, "since": since, "seen": seen},
            read=wait + SLACK,
            patience=patience,
            on_retry=on_retry,
        )
        return answer

    def cancel(self, session: int, statement: int) -> None:
        """Ask a statement to stop."""
        self._http.post(f"/sessions/{session}/statements/{statement}/cancel", {}, read=10)

    def complete(self, session: int, code: str, kind: str, cursor: int, *, seconds: float) -> dict[str, Any]:
        """What could follow at `cursor`."""
        answer: dict[str, Any] = self._http.post(
            f"/sessions/{session}/completion", {"code": code, "kind": kind, "cursor": cursor}, read=seconds
        )
        return answer
