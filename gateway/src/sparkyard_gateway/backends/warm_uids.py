"""The uids of warm drivers: one for each session that starts as nobody's, and for no other, ever.

A driver that is started before its user is known can't run under the user's uid, and can't change its uid afterwards.
Under a uid that several such drivers have, one after the other, the first could leave something for the next to fall
over: a process that still runs, or a program in /tmp that is started with its owner's rights. So no uid is used twice:
it follows from the session's number, which is never given again, in a range so large that it does not end. Where it
begins is drawn by lot, so that two gateways on one machine, or one that was set up anew, don't meet.

The range is one that neither systemd nor the distributions give out, 1879048192 to 2147483647.
"""

import contextlib
import secrets
from pathlib import Path

FIRST = 1_879_048_192
COUNT = 2**28
_NOTE = "warm-uid"


def is_warm(uid: object) -> bool:
    """Whether this is a uid of the range."""
    return isinstance(uid, int) and FIRST <= uid < FIRST + COUNT


def note(folder: Path, uid: int) -> None:
    """Write down, in a session's folder that is the gateway's own, as whom its driver runs."""
    (folder / _NOTE).write_text(str(uid), encoding="ascii")


def noted(folder: Path) -> int | None:
    """The uid of a session's driver, if that is of the range."""
    try:
        uid = int((folder / _NOTE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return uid if is_warm(uid) else None


class WarmUids:
    """The uids of one gateway's warm drivers."""

    def __init__(self, file: Path) -> None:
        """`file` keeps where they begin."""
        self._file = file
        self._begin: int | None = None

    def of(self, number: int) -> int:
        """The uid that this session has if it started warm. Raises OSError."""
        if self._begin is None:
            self._begin = self._drawn()
        return FIRST + (self._begin + number) % COUNT

    def _drawn(self) -> int:
        try:
            return self._read()
        except FileNotFoundError:
            pass
        except ValueError:  # cut short, as the machine went down
            self._file.unlink(missing_ok=True)
        new = self._file.with_name(f"{self._file.name}.{secrets.token_hex(8)}")
        try:
            new.write_text(str(secrets.randbelow(COUNT)), encoding="ascii")
            # Of two gateways that share the folder one draws, and the other takes what was drawn.
            with contextlib.suppress(FileExistsError):
                self._file.hardlink_to(new)
            return self._read()
        finally:
            new.unlink(missing_ok=True)

    def _read(self) -> int:
        return int(self._file.read_text(encoding="ascii")) % COUNT
