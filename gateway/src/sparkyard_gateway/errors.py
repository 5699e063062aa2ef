"""What can go wrong, in one tree, and how each is told to a client.

    GatewayError
    ├── Unauthenticated              401  no token, or one the hub doesn't know
    ├── Forbidden                    403  known, but may not
    ├── Unavailable                  503  nothing wrong with the request: the hub or the database is gone
    │   ├── HubUnreachable
    │   ├── DriverAway                    a session's driver is not connected just now
    │   └── StoreUnavailable
    ├── SessionNotFound              404  unknown, or somebody else's: the answer is the same
    ├── StatementNotFound            404
    ├── OutputNotKept                404  a statement has no output beyond its answer, or has it no more
    ├── ExecutorNotFound             404  a session has, and had, no such executor
    ├── NoSuchRoute                  404
    ├── NoHistory                    404  the Spark UI of a session that left none
    ├── Misdirected                  421  another gateway's: between gateways, which ask that one instead
    ├── MalformedBody                400  not JSON, an unknown field, a wrong type
    ├── BodyTooLarge                 413
    ├── BodyTooSlow                  408
    ├── EventLogFull                 507  between a driver and its gateway: no more of its event log is kept
    ├── TooMany                      429  of what may be open at once
    └── BadRequest                   400
        ├── BadNumber                     a number in the path or query that is none
        ├── NotOffered                    a route of Livy's that is refused here, with what to use instead
        ├── UnacceptableVersion      406
        ├── Rejected                      a creation refused: name taken, bad time, too many
        ├── RefusedByPolicy               the catalog doesn't grant it
        └── SessionNotActive              the session has ended

Livy answers errors in three shapes, and its clients know them: ``{"msg": ...}``, a bare JSON string, and no body.
Messages are written for the person who reads them in a notebook; none is another library's ``str(exception)``.
"""

# ruff: noqa: N818, D101 - the tree above says what each is, and they are named as a client meets them

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar


class Shape(Enum):
    """How an error's body looks."""

    MESSAGE = "msg"
    STRING = "string"
    EMPTY = "empty"


class GatewayError(Exception):
    """The root: every error a client is told about."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    shape: ClassVar[Shape] = Shape.MESSAGE

    def __init__(self, message: str, /, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the answer."""
        return {}


class Unauthenticated(GatewayError):
    status = 401
    code = "unauthenticated"

    @property
    def headers(self) -> Mapping[str, str]:
        """What a client must send."""
        return {"WWW-Authenticate": 'Bearer realm="JupyterHub"'}


class Forbidden(GatewayError):
    status = 403
    code = "forbidden"


class Unavailable(GatewayError):
    status = 503
    code = "unavailable"

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": "2"}


class HubUnreachable(Unavailable):
    code = "hub_unreachable"


class DriverAway(Unavailable):
    code = "driver_away"


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


class SessionNotFound(GatewayError):
    status = 404
    code = "session_not_found"

    def __init__(self, reference: str) -> None:
        super().__init__(f"Session '{reference}' not found.")


class StatementNotFound(GatewayError):
    status = 404
    code = "statement_not_found"
    shape = Shape.STRING

    def __init__(self) -> None:
        super().__init__("Statement not found")


class OutputNotKept(GatewayError):
    status = 404
    code = "output_not_kept"


class ExecutorNotFound(GatewayError):
    status = 404
    code = "executor_not_found"

    def __init__(self, reference: str) -> None:
        super().__init__(f"It has no executor '{reference}', and had none of whom anything is kept.")


class NoSuchRoute(GatewayError):
    status = 404
    code = "no_such_route"
    shape = Shape.EMPTY

    def __init__(self) -> None:
        super().__init__("")


class NoHistory(GatewayError):
    status = 404
    code = "no_history"

    def __init__(self) -> None:
        super().__init__("This session has ended, and Spark has left no history of it to show.")


class HistoryStarts(Unavailable):
    code = "history_starts"

    def __init__(self) -> None:
        super().__init__(
            "This session or batch has ended. Spark's history server, which shows what it has left, is starting: "
            "that takes some seconds, or minutes where the cluster has to get a machine for it. This page opens it by "
            "itself."
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """A browser asks again by itself."""
        return {**super().headers, "Refresh": "2"}


class Misdirected(GatewayError):
    """Clients do not see it: the gateway that they asked asks on (``sparkyard_gateway.forwarding``)."""

    status = 421
    code = "misdirected"

    def __init__(self, message: str, session: int | None = None) -> None:
        super().__init__(message)
        self.session = session

    @property
    def headers(self) -> Mapping[str, str]:
        """Which session is meant, where the request did not say."""
        return {} if self.session is None else {"Sparkyard-Session": str(self.session)}


class MalformedBody(GatewayError):
    status = 400
    code = "malformed_body"
    shape = Shape.STRING


class BodyTooLarge(GatewayError):
    status = 413
    code = "body_too_large"


class BodyTooSlow(GatewayError):
    status = 408
    code = "body_too_slow"

    @property
    def headers(self) -> Mapping[str, str]:
        """What is still on its way must not be read as the next request."""
        return {"Connection": "close"}


class EventLogFull(GatewayError):
    status = 507
    code = "event_log_full"


class TooMany(GatewayError):
    status = 429
    code = "too_many"

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": "10"}


class BadRequest(GatewayError):
    status = 400
    code = "bad_request"


class BadNumber(BadRequest):
    code = "bad_number"

    def __init__(self, text: str) -> None:
        super().__init__(f'For input string: "{text}"')


class NotOffered(BadRequest):
    code = "not_offered"


class UnacceptableVersion(BadRequest):
    status = 406
    code = "unacceptable_version"

    def __init__(self, version: str) -> None:
        super().__init__(f"No value found for '{version}'")


class Rejected(BadRequest):
    code = "rejected"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Rejected, Reason: {reason}")


class RefusedByPolicy(BadRequest):
    code = "refused_by_policy"


class SessionNotActive(BadRequest):
    code = "session_not_active"
