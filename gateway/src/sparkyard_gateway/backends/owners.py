"""Whose processes run as whom on this machine: where the gateway is root, as the owner of a user's home.

A warm driver, which is nobody's when it starts, has a uid of its own (`warm_uids`).
"""

import os
import subprocess
from pathlib import Path

import structlog

from sparkyard_catalog import SERVICE_PREFIX, relative_to_home
from sparkyard_gateway.backends.base import BackendError, Identity
from sparkyard_gateway.backends.reach import closed_to
from sparkyard_gateway.backends.user_names import name_library
from sparkyard_gateway.backends.warm_uids import FIRST, WarmUids
from sparkyard_gateway.store.models import NOBODY

_PROBE = "import os, sys; open(sys.argv[1]).close(); os.stat(sys.argv[2])"

log = structlog.get_logger(__name__)


class Owners:
    """Users' homes, and the system users whose they are."""

    def __init__(
        self, homes: Path | None, *, drop_privileges: bool, needed: tuple[Path, Path], warm_uids: WarmUids
    ) -> None:
        """`needed` is a file that each user must be able to read and a folder that each must reach."""
        self._homes = homes
        self._drop = drop_privileges and os.geteuid() == 0
        self._needed = needed
        self._warm_uids = warm_uids
        self._probed: dict[tuple[int, Path], bool] = {}

    def of_driver(self, owner: str, number: int, python: Path) -> Identity | None:
        """Who a session's driver runs as; None for this process's own user. Blocks. Raises BackendError."""
        return self._of_nobody(number, python) if owner == NOBODY else self.identity(owner, python)

    def identity(self, owner: str, python: Path) -> Identity | None:
        """Who the owner's processes run as; None for this process's own user. Blocks. Raises BackendError."""
        if not self._drop or self._homes is None:
            return None
        try:
            home = (self._homes / _folder_name(owner)).lstat()
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
        """Who a warm driver runs as: a uid that no other session ever has."""
        if not self._drop or self._homes is None or name_library() is None:
            return None
        try:
            uid = self._warm_uids.of(number)
        except (OSError, ValueError) as error:
            raise BackendError("It could not be found out which system user a warm driver runs as.") from error
        if (why := self._why_not(uid, uid, python)) is not None:
            # Some user's driver may have a uid of its own all the same: one that has not would read them all.
            raise BackendError(f"A warm driver runs as a system user of its own here, but {why}.")
        self._reachable(uid, uid, python, alike=FIRST)
        return Identity(uid, uid, f"warm-{number}")

    def at_home(self, owner: str, address: str) -> str:
        """The path for an address in the owner's home; any other address as it is."""
        within = relative_to_home(address)
        if within is None:
            return address
        if self._homes is None:
            raise BackendError(f"This gateway knows no home folders, so there is no {address}.")
        return str(self._homes.absolute() / _folder_name(owner) / within)

    def _reachable(self, uid: int, gid: int, python: Path, alike: int | None = None) -> bool:
        """Whether that system user can read the interpreter, the driver program and its folder, and has a name.

        Where not, drivers run as the gateway's own user, and the log says so. That must not follow from anything that
        the user has in hand: where they should be able to and yet it fails, no driver starts. What was found of one uid
        holds for all that are `alike`. Raises BackendError.
        """
        key = (uid if alike is None else alike, python)
        if key not in self._probed:
            why = self._why_not(uid, gid, python)
            if why is not None:
                log.warning("drivers_run_as_the_gateways_user", uid=uid, interpreter=str(python), why=why)
            elif not self._tried(uid, gid, python):
                raise BackendError(
                    "The driver could not be started under your own system user just now: this machine may be too "
                    "busy, or too many of your processes run. Try again; if it goes on, tell an administrator."
                )
            self._probed[key] = why is None
        return self._probed[key]

    def _why_not(self, uid: int, gid: int, python: Path) -> str | None:
        if name_library() is None:
            return "libnss-wrapper is not installed"
        closed = [str(each) for each in (python, *self._needed) if closed_to(each, uid, gid)]
        return f"it cannot get at {', '.join(closed)}" if closed else None

    def _tried(self, uid: int, gid: int, python: Path) -> bool:
        """Whether a process of that user does it."""
        try:
            probe = subprocess.run(
                [str(python), "-c", _PROBE, *map(str, self._needed)],
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
            log.warning("driver_identity_not_tried", uid=uid, error=str(error))
            return False
        if probe.returncode != 0:
            said = probe.stderr.decode(errors="replace")[-500:]
            log.warning("driver_identity_failed", uid=uid, code=probe.returncode, said=said)
        return probe.returncode == 0


def _folder_name(owner: str) -> str:
    """What the hub's spawner calls the owner's folder: a person's is called like them."""
    if "/" in owner or "\0" in owner or owner in {"", ".", ".."}:
        raise BackendError("A user of this name cannot have a home folder, so nothing can run for it.")
    account = owner.removeprefix(SERVICE_PREFIX)
    return owner if account == owner else f"service~~{account}"
