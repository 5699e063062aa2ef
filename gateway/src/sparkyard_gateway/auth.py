"""Who is calling: the hub is asked about each token, briefly remembered.

Words:
    caller    the person (or service) whose hub token came with the request
    scope     what the hub says the token may do; ours is ``access:services!service=<our name>``
    account   a service account of the catalog's: a service of the hub of the same name, called ``service:<name>`` here
    oversee   to see and stop others' sessions: an admin everybody's, a lead those of the team

A lead's or an admin's *notebook* carries a token without the scope to oversee, and so sees its owner's own sessions
only: code in a notebook, which may be anybody's, must not wield what its owner may do on the pages. The scope comes
with a token that was made with it (or with all of its owner's scopes) on the hub's token page, and with a browser's
login here. It gives nothing to who is neither lead nor admin. An admin's token that may administer users oversees too.

What a caller leads, and which service accounts there are, the catalog says: asked at each request, and read anew when
the hub is asked. So a change there takes effect within the same time as a revoked token, or a group that was left.

A token reaches this module in the Authorization header and nowhere else: a cookie never authenticates the API, so
another site's page cannot make a browser act here.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

import httpx
import structlog

from sparkyard_catalog import SERVICE_PREFIX, Catalog, CatalogFile, Person, service_person, teams_led_by
from sparkyard_gateway.errors import Forbidden, GatewayError, HubUnreachable, Unauthenticated
from sparkyard_gateway.times import steady_ms

OVERSEE = "custom:sparkyard:oversee"
"""The scope by which a token acts with its owner's power over others' sessions: a lead's or an admin's."""
ADMIN_SCOPES = frozenset({"admin:users", "admin-ui", OVERSEE})
"""Any of these, unfiltered, on an admin's token gives power over everybody's sessions."""

NEGATIVE_SHARE = 4
"""Refused tokens may fill one part in so many of the cache, so that junk never displaces the known."""

_TOKEN = re.compile(r"[!-~]{1,512}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is.

    `sees_all` and `leads` (names of teams) are whose sessions this token may see and stop beside the caller's own;
    `team` is set for a service account alone, as a person's follows from the groups.
    """

    name: str
    groups: frozenset[str]
    admin: bool
    sees_all: bool
    oversees: bool = False
    leads: frozenset[str] = frozenset()
    account: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    caller: Caller | GatewayError


class _Remembered:
    """A bounded map of what is known, the oldest out first."""

    def __init__(self, size: int) -> None:
        self._size = max(1, size)
        self._entries: OrderedDict[bytes, _Known] = OrderedDict()

    def get(self, key: bytes) -> _Known | None:
        known = self._entries.get(key)
        if known is not None and known.until <= time.monotonic():
            del self._entries[key]
            return None
        return known

    def put(self, key: bytes, known: _Known) -> None:
        self._entries[key] = known
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


class Identities:
    """Asks the hub who a token belongs to, once for each token and span of time, however many ask."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        api_url: str,
        service: str,
        ttl: float,
        size: int,
        catalog: CatalogFile | None = None,
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._url = f"{api_url}/user"
        self._scopes = frozenset({"access:services", f"access:services!service={service}"})
        self._service = service
        self._ttl = ttl
        self._accepted = _Remembered(size)
        self._refused = _Remembered(size // NEGATIVE_SHARE)
        self._asking: dict[bytes, asyncio.Task[Caller | GatewayError]] = {}
        # Only a keyed hash of a token is kept, so that a dump of this process's memory map holds few of them.
        self._salt = secrets.token_bytes(32)
        self.unreachable_at = 0
        """When somebody was last turned away because the hub did not answer, by the steady clock."""

    async def caller_of(self, authorization: str | None) -> Caller:
        """The caller, from an Authorization header. Raises Unauthenticated, Forbidden or HubUnreachable."""
        token = token_in(authorization)
        if token is None:
            raise Unauthenticated("Send a JupyterHub token: 'Authorization: token <token>'.")
        return await self.caller(token)

    async def caller(self, token: str) -> Caller:
        """The caller, from a token."""
        key = hashlib.blake2b(token.encode(), key=self._salt).digest()
        known = self._accepted.get(key) or self._refused.get(key)
        if known is not None:
            return self._as_the_catalog_has_it(_unless_refused(known.caller))
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(key, token), name="ask-hub")
            self._asking[key] = asking
            asking.add_done_callback(lambda _task: self._asking.pop(key, None))
        # Shielded: one caller who hangs up doesn't take the answer from the others.
        return self._as_the_catalog_has_it(_unless_refused(await asyncio.shield(asking)))

    def _as_the_catalog_has_it(self, caller: Caller) -> Caller:
        """The caller with what the catalog makes of them. Raises Forbidden for an account that it doesn't know."""
        catalog = self._catalog.catalog if self._catalog is not None else None
        if caller.account is not None:
            return _service_account(catalog, caller)
        return _lead(catalog, caller) if caller.oversees and catalog is not None else caller

    async def _ask(self, key: bytes, token: str) -> Caller | GatewayError:
        found = await self._ask_hub(key, token)
        if isinstance(found, HubUnreachable):
            self.unreachable_at = steady_ms()
        return found

    async def _ask_hub(self, key: bytes, token: str) -> Caller | GatewayError:
        try:
            answer = await self._client.get(self._url, headers={"Authorization": f"token {token}"})
        except httpx.HTTPError as error:
            log.warning("hub_unreachable", error=type(error).__name__)
            return HubUnreachable("JupyterHub does not answer, so the gateway cannot tell who you are. Try again.")
        if self._catalog is not None:
            # On a thread: a catalog that has just been edited is read and checked anew.
            await asyncio.to_thread(self._catalog.refresh)
        return self._judge(key, answer)

    def _judge(self, key: bytes, answer: httpx.Response) -> Caller | GatewayError:
        if answer.status_code in (401, 403):
            return self._refuse(
                key, Unauthenticated("JupyterHub does not know this token: it is wrong, expired or revoked.")
            )
        if answer.status_code != 200:
            log.warning("hub_unreachable", status=answer.status_code)
            return HubUnreachable(
                "JupyterHub answers with an error, so the gateway cannot tell who you are. Try again."
            )
        try:
            model = answer.json()
            name, kind, scopes = str(model["name"]), model["kind"], frozenset(model["scopes"])
        except (ValueError, KeyError, TypeError):
            log.exception("hub_answer_not_understood")
            return HubUnreachable("JupyterHub's answer about you is not understood. Is hub_api_url right?")
        if not scopes & self._scopes:
            return self._refuse(
                key,
                Forbidden(
                    f"This token lacks the scope access:services!service={self._service}, so it may not be used here."
                ),
            )
        if kind == "service":
            # Whatever the hub lets it do besides: here it is a pipeline, and nobody's lead or admin.
            caller = Caller(f"{SERVICE_PREFIX}{name}", frozenset(), admin=False, sees_all=False, account=name)
        elif kind == "user" and not name.startswith(SERVICE_PREFIX):
            admin = bool(model.get("admin"))
            caller = Caller(
                name=name,
                groups=frozenset(map(str, model.get("groups") or ())),
                admin=admin,
                sees_all=admin and bool(scopes & ADMIN_SCOPES),
                oversees=OVERSEE in scopes,
            )
        else:
            whose = f"Only service accounts are called '{SERVICE_PREFIX}...' here: you need another name."
            neither = "JupyterHub says that this token is neither a person's nor a service's."
            return self._refuse(key, Forbidden(whose if kind == "user" else neither))
        self._accepted.put(key, _Known(time.monotonic() + self._ttl, caller))
        return caller

    def _refuse(self, key: bytes, error: GatewayError) -> GatewayError:
        self._refused.put(key, _Known(time.monotonic() + self._ttl, error))
        return error


def token_in(authorization: str | None) -> str | None:
    """The token of an Authorization header, in the two ways that JupyterHub knows."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() not in {"token", "bearer"} or not _TOKEN.fullmatch(token):
        return None
    return token


def _service_account(catalog: Catalog | None, caller: Caller) -> Caller:
    person = service_person(catalog, caller.account or "") if catalog is not None else None
    if person is None:
        raise Forbidden(
            f"The service '{caller.account}' of the hub is no service account of the catalog's, so it has no sessions "
            "here: an admin adds it under service_accounts, or you use a person's token."
        )
    return replace(caller, groups=person.groups, team=person.team)


def _lead(catalog: Catalog, caller: Caller) -> Caller:
    led = frozenset(team.name for team in teams_led_by(catalog, Person(caller.name, caller.groups)))
    return replace(caller, leads=led) if led else caller


def _unless_refused(result: Caller | GatewayError) -> Caller:
    if isinstance(result, GatewayError):
        # A fresh one each time: an exception collects the traceback of everyone who raises it.
        raise type(result)(result.message)
    return result
