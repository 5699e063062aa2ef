"""Which warm drivers there should be, as decisions: what the catalog asks for, what can be taken, what to do next.

Words:
    warm       started, with Spark up, before anybody asked for it; nobody's until it is taken, and then its owner's
    essence    of what is granted to a session, all that a driver that runs already can't be given any more
    miss       a session of a profile that keeps warm drivers, which had to start one of its own
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sparkyard_catalog import Catalog, Person, Refused, SessionChoices, SessionSpec, relative_to_home, resolve_session
from sparkyard_catalog.quantities import spark_bytes
from sparkyard_gateway.backends.local import FILE_LISTS
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.orders import granted
from sparkyard_gateway.store.models import NOBODY
from sparkyard_gateway.store.repository import Limits
from sparkyard_gateway.wire import SessionRequest

WARM = "warm"
"""What a session's `spec` holds where its driver was warm; it stays when the driver is taken."""
BESIDE_THE_HEAP = 512 * 1024 * 1024
"""What a driver takes beside its JVM's heap: the JVM itself, and Python."""

_OURS = frozenset({"profile_title", "team", "idle_timeout_seconds", "lifetime_seconds", "notice", WARM})
"""What of a grant is the gateway's to keep to, or only told: it may be another for each who takes the same driver."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The warm drivers that the catalog asks for of one profile."""

    profile: str
    count: int
    spec: dict[str, Any]

    @property
    def mark(self) -> str:
        """Tells these from others."""
        return essence(self.spec)

    @property
    def needs(self) -> int:
        """How many bytes each will take, about."""
        return spark_bytes(self.spec["driver_memory"]) + BESIDE_THE_HEAP


@dataclass(frozen=True, slots=True)
class Kept:
    """A warm driver that there is."""

    id: int
    profile: str
    mark: str
    starting: bool = False
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now: which to end, and why, and which to start."""

    end: Mapping[int, str]
    start: Wanted | None


def essence(spec: Mapping[str, Any]) -> str:
    """A mark that two grants share if one driver is good for both."""
    kept = {key: value for key, value in spec.items() if key not in _OURS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def wanted(catalog: Catalog) -> dict[str, Wanted]:
    """What the catalog asks for, by profile."""
    found = {}
    for name, profile in catalog.profiles.items():
        if not profile.sessions.warm:
            continue
        try:
            # As one who may use every profile and asks for nothing; an admin gets no more than others.
            spec = granted(resolve_session(catalog, Person(NOBODY, admin=True), SessionChoices(profile=name)))
        except Refused:
            continue
        if not any(_at_home(spec["conf"].get(key, "")) for key in FILE_LISTS):
            found[name] = Wanted(name, profile.sessions.warm, spec)
    return found


def _at_home(addresses: str) -> bool:
    """Whether one of them lies in the home of whoever asks: then no driver can have it before."""
    return any(relative_to_home(each) is not None for each in addresses.split(","))


def plan(
    wishes: Mapping[str, Wanted],
    kept: Sequence[Kept],
    *,
    free: int | None,
    least: int,
    resting: frozenset[str] = frozenset(),
    turn: bool = True,
) -> Step:
    """What brings those that are kept closer to those that are wished for.

    `free` bytes of memory are available (None: nobody knows), and `least` must stay so. Of `resting` marks none is
    started, as they have just failed; nor any without a `turn`, while sessions start that somebody waits for.
    """
    end: dict[int, str] = {}
    staying: dict[str, list[Kept]] = {name: [] for name in wishes}
    # Those that are up before those that are starting, and the older before the younger.
    for each in sorted(kept, key=lambda one: (one.starting, one.id)):
        wish = wishes.get(each.profile)
        if each.ending:
            continue
        if wish is None or wish.mark != each.mark:
            end[each.id] = "The catalog has changed: no such warm driver is wanted any more."
        elif len(staying[each.profile]) >= wish.count:
            end[each.id] = "The catalog asks for fewer warm drivers."
        else:
            staying[each.profile].append(each)
    running = [each for each in kept if not each.ending and each.id not in end]
    if free is not None and free < least:
        if running and len(running) == len(kept):  # else one is going already, whose memory is not free yet
            last = max(running, key=lambda one: (one.starting, one.id))
            end[last.id] = "Memory is short."
        return Step(end, None)
    if not turn or any(each.starting for each in running):
        return Step(end, None)
    lacking = [
        wish
        for name, wish in wishes.items()
        if len(staying[name]) < wish.count and wish.mark not in resting and (free is None or free - wish.needs >= least)
    ]
    return Step(end, min(lacking, key=lambda wish: len(staying[wish.profile]) / wish.count, default=None))


class Rests:
    """Drivers that die at once are not started at once again: each time the pause is twice as long."""

    FIRST_SECONDS = 5.0
    LONGEST_SECONDS = 600.0

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}

    def failed(self, mark: str, now: float) -> float:
        """One of this mark has ended unasked; returns until when none is started."""
        times = self._failed.get(mark, (0, 0.0))[0] + 1
        until = now + min(self.LONGEST_SECONDS, self.FIRST_SECONDS * 2.0 ** min(times - 1, 16))
        self._failed[mark] = (times, until)
        return until

    def served(self, mark: str) -> None:
        """One of this mark was of use."""
        self._failed.pop(mark, None)

    def resting(self, now: float) -> frozenset[str]:
        """Of which marks none is started now."""
        return frozenset(mark for mark, (_, until) in self._failed.items() if now < until)

    def forget_all_but(self, marks: frozenset[str]) -> None:
        """Of what the catalog asks for no more nothing is remembered."""
        self._failed = {mark: value for mark, value in self._failed.items() if mark in marks}


def taken_message(session: LiveSession) -> dict[str, Any] | None:
    """What a driver that was warm is told of whose it is now; None for any other."""
    if not session.spec.get(WARM) or session.owner == NOBODY:
        return None
    return {"t": "taken", "owner": session.owner, "kind": session.kind}


class WarmDrivers(Protocol):
    """Drivers that are started already, for whoever asks for what they are."""

    async def take(
        self, owner: str, request: SessionRequest, key: str | None, spec: SessionSpec, limits: Limits | None
    ) -> LiveSession | None:
        """A session with such a driver, now the owner's; None where one must be started.

        Raises DuplicateError and FullError, as adding one would, and StoreUnavailable.
        """
