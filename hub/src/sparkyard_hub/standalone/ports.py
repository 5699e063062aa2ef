"""The ports of one machine's Sparkyard, all on the loopback interface.

The public one is the person's choice and must be free. The others are the ones after it where these are free, so
that they stay the same from start to start, and the next free ones where not.
"""

import socket
from dataclasses import dataclass

import psutil

from sparkyard_hub.standalone.failure import CannotStart

LOOPBACK = "127.0.0.1"
HIGHEST = 65535


@dataclass(frozen=True)
class Ports:
    """Who listens where."""

    public: int
    provider: int
    gateway: int
    hub: int
    proxy_api: int


def choose_ports(public: int) -> Ports:
    """The ports for a public one. Raises CannotStart if that is taken or none are free after it."""
    if not 1 <= public <= HIGHEST:
        raise CannotStart(f"{public} is no port: choose one from 1024 to 65000, as in `make up PORT=8000`.")
    if problem := _why_taken(public):
        raise CannotStart(
            f"Port {public} {problem}: choose another, as in `make up PORT={_suggestion(public)}`, or end what has it."
        )
    others: list[int] = []
    candidate = public
    while len(others) < 4:
        candidate += 1
        if candidate > HIGHEST:
            raise CannotStart(f"Too few free ports after {public}: choose a lower one, as in `make up PORT=8000`.")
        if is_free(candidate):
            others.append(candidate)
    return Ports(public, *others)


def is_free(port: int) -> bool:
    """Whether we could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _why_taken(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            return "may be used by root alone"
        except OSError:
            return f"is taken{_holder(port)}"
        return None


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return ""
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.Error:
                return f" by process {connection.pid}"
    return ""


def _suggestion(port: int) -> int:
    return next((candidate for candidate in range(port + 10, HIGHEST, 10) if is_free(candidate)), 8000)
