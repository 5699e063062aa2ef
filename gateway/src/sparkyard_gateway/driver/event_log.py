"""Carry what Spark writes into its event log to the gateway, while it is being written.

A pod's folder goes with the pod, and the Spark UI of what has ended is shown from its event log. So a thread looks
into the folder every other second and sends what is new: a driver that is killed loses the last seconds of its history
and no more. The gateway says how much it has of each file, so that nothing is sent twice, and after a change of
gateways all of it once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import SplitResult, quote, urlsplit

from .notes import note

_LOOK_SECONDS = 2.0
_LONGEST_PAUSE = 30.0
_LAST_PAUSE = 0.5
_REFUSED_SECONDS = 20.0
_REQUEST_SECONDS = 30.0
_PIECE = 256 * 1024
_FOLDER = "eventlog_v2_"
_MOST_APPLICATIONS = 8
_PART = re.compile(r"events_(\d{1,6})_")
_GONE_ON, _FULL, _NO_ROOM = 409, 413, 507

File = Tuple[str, str]  # application, name


class _Unwanted(Exception):  # noqa: N818  reads as what happened
    """The gateway does not take the event log at all."""


class _Behind(Exception):  # noqa: N818  reads as what happened
    """The gateway has less than it had: it is another one, or has lost its disk."""


class _Refused(OSError):  # noqa: N818  reads as what happened
    """The gateway does not know us, which in the midst of a change of gateways may be so for a moment."""


class Carrier:
    """Sends the event logs of a folder to `addresses()`, the first of which is to be tried first."""

    def __init__(
        self, folder: str, addresses: Callable[[], List[str]], token: str, ca_file: str = "", epoch: int = 1
    ) -> None:
        self._folder = folder
        self._addresses = addresses
        self._headers = {"Authorization": f"Bearer {token}", "Sparkyard-Epoch": str(epoch)}
        self._ca_file = ca_file
        self._have: Dict[File, int] = {}  # how much the gateway has; -1 of a file it may never have heard of
        self._full: Dict[str, bool] = {}
        self._asked = ""  # the address whose word `_have` is
        self._turn = 0
        self._line: Optional[Any] = None
        self._finishing = threading.Event()
        self._until = 0.0
        self._done = threading.Event()
        self._all_sent = False
        self._thread = threading.Thread(target=self._run, name="sparkyard-event-log", daemon=True)
        os.makedirs(folder, exist_ok=True)  # Spark makes none

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Spark has ended: send the rest, as long as that takes no longer; says whether the gateway has all."""
        self._until = time.monotonic() + seconds
        self._finishing.set()
        if self._thread.is_alive():
            self._done.wait(seconds)
        return self._all_sent

    # The thread

    def _run(self) -> None:
        pause, complained, began = _LOOK_SECONDS, "", 0.0
        try:
            while not self._finishing.wait(pause) or time.monotonic() < self._until:
                last = self._finishing.is_set()
                began = began or (time.monotonic() if last else 0.0)
                try:
                    self._round()
                    pause = _LOOK_SECONDS
                except _Unwanted as error:
                    note(f"the gateway does not take this event log, and Spark's history will not be shown: {error}")
                    return
                except _Behind:
                    self._asked, pause = "", _LAST_PAUSE
                    continue
                except (OSError, ValueError) as error:
                    self._turn, self._asked = self._turn + 1, ""
                    if str(error) != complained:
                        complained = str(error)
                        note(f"the event log cannot be sent just now: {error or type(error).__name__}")
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    if last and isinstance(error, _Refused) and time.monotonic() > began + _REFUSED_SECONDS:
                        return
                    if last:
                        time.sleep(_LAST_PAUSE)
                    continue
                finally:
                    self._hang_up()
                if last:
                    self._all_sent = True
                    return
        finally:
            self._done.set()

    def _round(self) -> None:
        """Send all that the gateway has not got."""
        for application in self._full:
            self._prune(application)
        addresses = self._addresses()
        address = addresses[self._turn % len(addresses)]
        changed = address != self._asked
        waiting = [(file, path, size) for file, path, size in self._files() if changed or self._lacks(file, size)]
        for file, path, size in waiting:
            if changed and self._asked != address:
                self._ask_all(address, waiting)
            if self._lacks(file, size):
                self._send(address, file, path)

    def _lacks(self, file: File, size: int) -> bool:
        return not self._full.get(file[0]) and self._have.get(file, -1) < size

    def _files(self) -> List[Tuple[File, str, int]]:
        """What stands in the folder: of each application its parts in order, and then the file that says its state."""
        found: List[Tuple[Tuple[str, int], File, str, int]] = []
        for name in sorted(_listed(self._folder))[:_MOST_APPLICATIONS]:
            application = name[len(_FOLDER) :]
            if not name.startswith(_FOLDER) or not application:
                continue
            for each in _listed(os.path.join(self._folder, name)):
                part = _PART.match(each)
                if (part is None and not each.startswith("appstatus_")) or each.endswith(".compact"):
                    continue
                path = os.path.join(self._folder, name, each)
                with contextlib.suppress(OSError):
                    order = int(part.group(1)) if part else 1 << 30
                    found.append(((application, order), (application, each), path, os.path.getsize(path)))
        return [each[1:] for each in sorted(found)]

    def _ask_all(self, address: str, waiting: List[Tuple[File, str, int]]) -> None:
        """What does this gateway have? It may be another one than before, or one that has lost its disk."""
        for application in {file[0] for file, _, _ in waiting}:
            answer = self._request(address, "GET", f"/{quote(application, safe='')}")
            kept = answer.get("have")
            self._have = {file: size for file, size in self._have.items() if file[0] != application}
            if isinstance(kept, dict):
                self._have.update({(application, name): int(size) for name, size in kept.items()})
        self._asked = address

    def _send(self, address: str, file: File, path: str) -> None:
        application, name = file
        with open(path, "rb") as stream:
            while True:
                at = max(0, self._have.get(file, -1))
                stream.seek(at)
                piece = stream.read(_PIECE)
                if not piece and self._have.get(file, -1) >= 0:
                    return
                where = f"/{quote(application, safe='')}/{quote(name, safe='')}?at={at}"
                answer = self._request(address, "POST", where, piece)
                if "have" not in answer:
                    self._stop(application)
                    return
                have = int(answer["have"])
                if have < at:
                    raise _Behind
                if have == at and piece:
                    raise OSError("the gateway took nothing")
                self._have[file] = have
                # It may be another one behind the same address, which has this part and none of those before.
                known = sum(max(0, size) for each, size in self._have.items() if each[0] == application)
                if int(answer.get("all", known)) < known:
                    raise _Behind

    def _stop(self, application: str) -> None:
        note("the event log has reached its limit: Spark's history of this session will show what was until now")
        self._full[application] = True
        self._prune(application)

    def _prune(self, application: str) -> None:
        """Nobody will read the rest: only the part that is being written is left on the disk."""
        parts = [path for file, path, _ in self._files() if file[0] == application and _PART.match(file[1])]
        for path in parts[:-1]:
            with contextlib.suppress(OSError):
                os.unlink(path)

    # The line

    def _request(self, address: str, method: str, path: str, body: Optional[bytes] = None) -> Dict[str, Any]:
        """The gateway's answer; empty where there is no room for more. Raises _Unwanted, OSError, ValueError."""
        import http.client  # noqa: PLC0415  on this thread, while nobody waits for it

        base = urlsplit(address)
        try:
            if self._line is None:
                self._line = self._connection(base)
            self._line.request(method, f"{base.path}/events{path}", body, self._headers)
            answer = self._line.getresponse()
            text = answer.read(64 * 1024)
        except http.client.HTTPException as error:
            raise OSError(f"the gateway broke off: {type(error).__name__}") from None
        if answer.status in (_FULL, _NO_ROOM):
            return {}
        if answer.status == 404:
            raise _Unwanted("it keeps none")
        if answer.status in (401, 403):
            raise _Refused(f"the gateway answered {answer.status}")
        if answer.status >= 300 and answer.status != _GONE_ON:
            raise OSError(f"the gateway answered {answer.status}")
        found = json.loads(text.decode("utf-8"))
        if not isinstance(found, dict):
            raise OSError("the gateway's answer cannot be understood")
        return found

    def _connection(self, base: SplitResult) -> Any:
        import http.client  # noqa: PLC0415  as above

        host, timeout = base.hostname or "", _REQUEST_SECONDS
        if base.scheme not in ("wss", "https"):
            return http.client.HTTPConnection(host, base.port, timeout=timeout)
        import ssl  # noqa: PLC0415  as above

        trusted = ssl.create_default_context(cafile=self._ca_file or None)
        return http.client.HTTPSConnection(host, base.port, timeout=timeout, context=trusted)

    def _hang_up(self) -> None:
        """Between two looks there is no connection: of a thousand drivers most have nothing to say."""
        if self._line is not None:
            self._line.close()
            self._line = None


def _listed(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
