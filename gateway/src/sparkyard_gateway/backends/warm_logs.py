"""The event log of a driver that was warm goes to whose it became, once the driver is gone.

While it runs it writes into a folder that is its own uid's; Spark can't be told to go on elsewhere. What stands there
afterwards was written by its user's code and may be anything: links to others' files, pipes, another file's second
name. So the folder is taken out of everybody's reach first; only plain files of the driver's own uid with one name are
given to the user; and a log moves as a whole, by one rename into the folder that was opened before.
"""

import fcntl
import os
import stat
from pathlib import Path

import structlog

from sparkyard_gateway.backends.base import Identity
from sparkyard_gateway.backends.event_logs import LOG, EventLogs
from sparkyard_gateway.backends.removal import remove

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

log = structlog.get_logger(__name__)


def hand_over(logs: EventLogs, number: int, uid: int, owner: str, identity: Identity | None) -> None:
    """Move the logs of a session whose driver, of this uid, was warm to its owner's. Nothing of it may run any more.

    May be called again after a crash half-way. Raises OSError where it can't be done now.
    """
    folder = logs.warm_folder(number)
    target = os.open(logs.prepare(owner, identity), _FOLDER)
    try:
        source = os.open(folder, _FOLDER)
        try:
            # Of two gateways that share the folder one does it.
            fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _give(source, os.geteuid(), os.getegid())  # from here on nobody else enters it
            for name in os.listdir(source):  # noqa: PTH208 - a Path knows no descriptor
                if name.startswith(LOG):
                    _hand_over_one(name, source, target, uid, identity)
        finally:
            os.close(source)
    finally:
        os.close(target)
    remove(folder)


def discard(logs: EventLogs, number: int) -> None:
    """Remove the logs of a driver that nobody took."""
    remove(logs.warm_folder(number))


def _hand_over_one(name: str, source: int, target: int, drivers: int, identity: Identity | None) -> None:
    try:
        application = os.open(name, _FOLDER, dir_fd=source)
    except OSError:
        return  # no folder, so no log
    uid, gid = (identity.uid, identity.gid) if identity else (os.geteuid(), os.getegid())
    try:
        _give(application, os.geteuid(), os.getegid())
        for part in os.listdir(application):  # noqa: PTH208 - as above
            _hand_over_part(part, application, drivers, uid, gid)
        _give(application, uid, gid)
    finally:
        os.close(application)
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        log.warning("event_log_not_handed_over", application=name, error=error.strerror)


def _hand_over_part(part: str, application: int, drivers: int, uid: int, gid: int) -> None:
    try:
        file = os.open(part, _FILE, dir_fd=application)
    except OSError:
        file = None
    if file is not None:
        try:
            found = os.fstat(file)  # the owner's, where it was given before a crash
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid in {drivers, uid}:
                os.fchmod(file, 0o600)
                os.fchown(file, uid, gid)
                return
        finally:
            os.close(file)
    _remove(part, application)


def _remove(part: str, application: int) -> None:
    try:
        os.unlink(part, dir_fd=application)
    except IsADirectoryError:
        remove(Path(f"/proc/{os.getpid()}/fd/{application}", part))


def _give(folder: int, uid: int, gid: int) -> None:
    os.fchmod(folder, 0o700)
    if os.fstat(folder).st_uid != uid:
        os.fchown(folder, uid, gid)
