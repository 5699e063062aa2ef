"""Each user's folder on this machine: its name, its owner, its making.

The folder's name is made from the user's name so that no name of a provider's reaches outside the users' folder or
meets another user's, and so that the usual names stay readable. Who owns the folder is who the user's processes run
as: the gateway's local backend reads the uid from there.

Where we run as root, each user gets a uid of their own from 61000 up, provided that such a uid can get at the
interpreter and at the homes at all. ``/root/project`` typically can't be entered by anybody else; then everybody
runs as we do, and the start says so.
"""

import fcntl
import hashlib
import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FIRST_UID = 61000
LAST_UID = 61183  # systemd gives out what is above to services of its own

# What the hub lets through as a user's name, so that for all of them folder and name are the same.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_SERVICE = re.compile(r"service:([a-z0-9][a-z0-9.-]{0,62})")


@dataclass(frozen=True)
class Home:
    """A user's folder, and the uid of their processes; None where they run as we do."""

    path: Path
    uid: int | None


class HomeUnavailable(Exception):  # noqa: N818 - reads as what it says
    """The folder could not be made or is not what it should be; the message is for the user."""


def folder_name(user: str) -> str:
    """A folder's name for this user: theirs if it is plain, else a readable part and a hash. No two users share one.

    A service account's is `service~~<name>`: the gateway, which starts its drivers, finds it by the same rule.
    """
    if _PLAIN.fullmatch(user):
        return user
    if account := _SERVICE.fullmatch(user):
        return f"service~~{account[1]}"
    readable = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:32] or "user"
    # No plain name holds a tilde, so no user can be called like another's folder.
    return f"{readable}~{hashlib.sha256(user.encode()).hexdigest()[:16]}"


def own_uids_possible(users: Path, needed: Sequence[Path]) -> str | None:
    """Why users can't have uids of their own here, or None if they can: a process tries it as uid 61000.

    ``needed`` are files that a user's server must read: our own packages, Jupyter's settings.
    """
    if os.geteuid() != 0:
        return f"the hub runs as {_name_of(os.geteuid())}, and only root can start processes as somebody else"
    try:
        attempt = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ATTEMPT, str(users), *map(str, needed)],
            user=FIRST_UID,
            group=FIRST_UID,
            extra_groups=(),
            cwd="/",
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return f"{sys.executable} can't be run by other users"
    return (attempt.stdout + attempt.stderr).strip() or None


_ATTEMPT = """
import os, sys
users, *needed = sys.argv[1:]
if not os.access(users, os.X_OK):
    sys.exit(f"{users} can't be entered by other users")
for path in needed:
    if not os.access(path, os.R_OK):
        sys.exit(f"{path} can't be read by other users")
"""


def make_home(users: Path, user: str, *, own_uids: bool) -> Home:
    """The user's folder, made if it is not there. With ``own_uids`` it belongs to a uid of theirs alone."""
    users.mkdir(parents=True, exist_ok=True)
    users.chmod(0o711)  # entered by all, listed by none
    path = users / folder_name(user)
    with _locked(users):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise HomeUnavailable(
                    f"Your folder {path} is not a folder. An administrator must move it away."
                ) from None
        except OSError as error:
            raise HomeUnavailable(
                f"Your folder {path} could not be made: {error.strerror}. Tell an administrator."
            ) from error
        uid = path.lstat().st_uid
        if not own_uids:
            if os.geteuid() not in (0, uid):
                raise HomeUnavailable(
                    f"Your folder {path} belongs to {_name_of(uid)} and not to {_name_of(os.geteuid())}, as who the "
                    "hub runs now. An administrator must give it away, or run Sparkyard as before."
                )
            return Home(path, None)
        if not FIRST_UID <= uid <= LAST_UID:
            uid = _free_uid(users)
            _give(path, uid)
        return Home(path, uid)


def _free_uid(users: Path) -> int:
    """The first uid of our range that owns no home and no account of the machine."""
    taken = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(users)} | {
        account.pw_uid for account in pwd.getpwall()
    }
    for uid in range(FIRST_UID, LAST_UID + 1):
        if uid not in taken:
            return uid
    raise HomeUnavailable(
        f"All {LAST_UID - FIRST_UID + 1} users that fit on this machine have a folder in {users}. "
        "An administrator must remove one, or install Sparkyard on a cluster."
    )


def _give(path: Path, uid: int) -> None:
    """Hand a folder and all in it to a uid; links are handed over themselves, not what they point to."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.lchown(Path(folder, name), uid, uid)
    os.lchown(path, uid, uid)


@contextmanager
def _locked(users: Path) -> Iterator[None]:
    """One maker of homes at a time, so that no two users get the same uid."""
    descriptor = os.open(users, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
