"""Tells JupyterLab when this notebook server will be stopped, and lets its user keep it.

The hub stops servers that nobody uses (`jupyterhub-idle-culler`), by what it knows of their last activity. This
extension of the notebook server asks the hub for that with the server's own token, so what is shown is what the hub
will do; that an extension of JupyterLab asks here counts as no use. The limits come from the hub, in the environment.

    GET  sparkyard/idle     when the server stops, and why
    POST sparkyard/idle     somebody is here: that is activity, and the hub hears of it at once
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.web import HTTPError, authenticated

_HUB_SECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """What the hub does: stop a server after so many seconds without use, or of life. 0 is never."""

    idle: int = 0
    age: int = 0
    warning: int = 600

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Limits":
        """As the spawner wrote them."""
        names = ("SPARKYARD_IDLE_SECONDS", "SPARKYARD_MAX_AGE_SECONDS", "SPARKYARD_IDLE_WARNING_SECONDS")
        idle, age, warning = (environment.get(name, "") for name in names)
        made = cls(idle=_number(idle, 0), age=_number(age, 0), warning=_number(warning, 600))
        shortest = min((limit for limit in (made.idle, made.age) if limit), default=0)
        # Who is warned from the very beginning on is not warned at all.
        return replace(made, warning=min(made.warning, shortest // 2)) if shortest else made


@dataclass(frozen=True)
class Known:
    """What is known of a server: when it began, and when somebody last used it."""

    started: datetime | None
    active: datetime | None


@dataclass(frozen=True)
class End:
    """When a server will be stopped, and whether that is for want of use or of age."""

    at: datetime
    why: str


def end_of(limits: Limits, known: Known) -> End | None:
    """The first reason for which the server will be stopped; None where nothing stops it."""
    ends = []
    active = known.active or known.started
    if limits.idle and active is not None:
        ends.append(End(active + timedelta(seconds=limits.idle), "idle"))
    if limits.age and known.started is not None:
        ends.append(End(known.started + timedelta(seconds=limits.age), "age"))
    return min(ends, key=lambda end: end.at, default=None)


def known_of(user: Mapping[str, Any], server: str) -> Known:
    """What the hub's model of a user says of a server."""
    found = user.get("servers", {}).get(server, {})
    return Known(_moment(found.get("started")), _moment(found.get("last_activity")))


def answer(limits: Limits, end: End | None, now: datetime) -> dict[str, Any]:
    """What JupyterLab is told. Seconds from now, as a browser's clock may be another."""
    if end is None:
        return {"ends_in": None, "why": None, "warning": limits.warning, "idle": limits.idle}
    left = max(0, round((end.at - now).total_seconds()))
    return {"ends_in": left, "why": end.why, "warning": limits.warning, "idle": limits.idle}


class HubView:
    """The hub, as this server's token may ask it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._api = environment.get("JUPYTERHUB_API_URL", "")
        self._token = environment.get("JUPYTERHUB_API_TOKEN", "")
        self._user = environment.get("JUPYTERHUB_USER", "")
        self._server = environment.get("JUPYTERHUB_SERVER_NAME", "")

    async def known(self) -> Known:
        """What the hub knows of this server. Raises what Tornado raises where it does not answer."""
        return known_of(await self._ask("GET", "user"), self._server)

    async def tell(self, active: datetime) -> None:
        """Somebody used this server then."""
        moment = active.isoformat()
        told = {"last_activity": moment, "servers": {self._server: {"last_activity": moment}}}
        await self._ask("POST", f"users/{quote(self._user, safe='@')}/activity", told)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = HTTPRequest(
            url_path_join(self._api, path),
            method=method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            request_timeout=_HUB_SECONDS,
        )
        response = await AsyncHTTPClient().fetch(request)
        found = json.loads(response.body or b"{}")
        return found if isinstance(found, dict) else {}


class IdleHandler(APIHandler):
    """Both routes. JupyterHub sees to it that nobody but the server's own user gets here."""

    limits = Limits()
    hub = HubView({})

    @authenticated
    async def get(self) -> None:
        """When the server stops."""
        self._track_activity = False  # whoever only asks is not there
        await self._tell()

    @authenticated
    async def post(self) -> None:
        """Keep it."""
        self.update_api_activity()
        await self._tell(kept=True)

    async def _tell(self, *, kept: bool = False) -> None:
        end = None
        if self.limits.idle or self.limits.age:
            try:
                end = await self._end(kept=kept)
            except (HTTPClientError, OSError, ValueError) as error:
                self.log.warning("The hub does not say when this server stops: %s", type(error).__name__)
                raise HTTPError(503, "The hub does not answer; it stops no server meanwhile.") from None
        self.finish(json.dumps(answer(self.limits, end, datetime.now(UTC))))

    async def _end(self, *, kept: bool) -> End | None:
        known = await self.hub.known()
        server = self.serverapp
        assert server is not None  # which has loaded us
        own: datetime = server.web_app.last_activity()  # type: ignore[no-untyped-call]
        end = end_of(self.limits, known)
        near = end is not None and (end.at - datetime.now(UTC)).total_seconds() <= self.limits.warning + 60
        if kept or (near and known.active is not None and own > known.active):
            # The hub hears of activity every few minutes only, and must not stop a server for that.
            await self.hub.tell(own)
            known = replace(known, active=max(own, known.active or own))
        return end_of(self.limits, known)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "sparkyard_sparkmagic.idle"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    handler = type("IdleHandler", (IdleHandler,), {"limits": Limits.of(os.environ), "hub": HubView(os.environ)})
    path = url_path_join(serverapp.base_url, "sparkyard", "idle")
    serverapp.web_app.add_handlers(".*$", [(path, handler)])


def _number(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
