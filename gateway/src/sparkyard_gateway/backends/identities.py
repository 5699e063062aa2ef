"""Who drivers run as on this machine, where the gateway is root: their users, or, of warm ones, a uid of their own.

A user's uid is the owner of the user's home. Where no other uid can read the interpreter and the driver program, all
run as the gateway does, and the log says so.
"""

import subprocess
from pathlib import Path

import structlog

from sparkyard_catalog import SERVICE_PREFIX
from sparkyard_gateway.backends import warm_uids
from sparkyard_gateway.backends.base import BackendError, Identity
from sparkyard_gateway.backends.user_names import name_library
from sparkyard_gateway.backends.warm_uids import WarmUids
from sparkyard_gateway.store.models import NOBODY

ANY_UID = 65534
"""Tells whether users' processes can have uids of their own at all."""

_PROBE = "import os, sys; open(sys.argv[1]).close(); os.stat(sys.argv[2])"

log = structlog.get_logger(__name__)


class Identities:
    """Finds them, and remembers which uids can read what drivers need."""

    def __init__(self, folder: Path, homes: Path | None, program: Path, *, drop: bool) -> None:
        """`folder` is where drivers work; without `drop`, or without homes, all run as the gateway does."""
        self._dir = folder
        self._homes = homes
        self._program = program
        self._drop = drop
        self._warm_uids = WarmUids(folder / "warm-uids")
        self._probed: dict[tuple[int, Path], bool] = {}

    def of(self, owner: str, number: int, python: Path) -> Identity | None:
        """Who a session's driver runs as; None for this process's own user. Raises BackendError."""
        return self._of_nobody(number, python) if owner == NOBODY else self.of_user(owner, python)

    def of_user(self, owner: str, python: Path) -> Identity | None:
        """Who this user's processes run as; None for this process's own user. Raises BackendError."""
        if not self._drop or self._homes is None:
            return None
        try:
            home = (self._homes / folder_name(owner)).lstat()
        except FileNotFoundError:
            way = "Start your server once"
            if owner.startswith(SERVICE_PREFIX):
                way = "The hub makes it for a service account when it starts: restart it"
            raise BackendError(
                "Your home folder is not there yet, so it isn't known which system user your driver shall run as. "
                f"{way}, then try again."
            ) from None
        if home.st_uid == 0 or not self._reachable(home.st_uid, home.st_gid, python):
            return None
        return Identity(home.st_uid, home.st_gid, owner)

    def _of_nobody(self, number: int, python: Path) -> Identity | None:
        """Who a warm driver runs as: a uid that no other session ever has. Raises BackendError."""
        if not self._drop or self._homes is None:
            return None
        uid = self._warm_uids.of(number)
        # Raises where no process can be given such a uid.
        if self._reachable(uid, uid, python, alike=warm_uids.FIRST):
            return Identity(uid, uid, f"warm-{number}")
        if self._reachable(ANY_UID, ANY_UID, python):
            # Users' drivers do have uids of their own here: one that has not would read them all.
            raise BackendError("Warm drivers' uids cannot read what users' uids can.")
        return None

    def _reachable(self, uid: int, gid: int, python: Path, alike: int | None = None) -> bool:
        """Whether that system user can read the interpreter, the driver program and its folder, and has a name.

        Where not, drivers run as the gateway's own user, and the log says so. What holds for one uid holds for all
        that are `alike`.
        """
        key = (uid if alike is None else alike, python)
        if key not in self._probed:
            readable = self._readable_by(uid, gid, python)
            reached = readable and name_library() is not None
            if not reached:
                log.warning(
                    "drivers_run_as_the_gateways_user",
                    uid=uid,
                    interpreter=str(python),
                    why="libnss-wrapper is not installed" if readable else "it cannot read what it needs",
                )
            self._probed[key] = reached
        return self._probed[key]

    def _readable_by(self, uid: int, gid: int, python: Path) -> bool:
        try:
            probe = subprocess.run(
                [str(python), "-c", _PROBE, str(self._program), str(self._dir)],
                user=uid,
                group=gid,
                extra_groups=[],
                cwd="/",
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            # No such interpreter, no such uid in this container, or no process to be had now: nothing of which
            # says that drivers should run as we do.
            raise BackendError(f"The driver could not be started with {python}: {error.strerror}.") from error
        return probe.returncode == 0


def folder_name(owner: str) -> str:
    """What the hub's spawner calls the owner's folder: a person's is called like them."""
    if "/" in owner or "\0" in owner or owner in {"", ".", ".."}:
        raise BackendError("A user of this name cannot have a home folder, so nothing can run for it.")
    account = owner.removeprefix(SERVICE_PREFIX)
    return owner if account == owner else f"service~~{account}"
