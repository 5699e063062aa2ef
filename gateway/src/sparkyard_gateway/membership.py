"""Which gateways run beside this one on one database, and what becomes of those that stop.

Words:
    lease       how long a gateway is believed to run without a sign of life; each of its transactions is one
    held        this gateway's lease is surely not over: nobody can have taken it for dead yet
    suspended   it may be over, and there is somebody who would take over: nothing is decided or told from memory then
    lost        it is over: the sessions in memory are another's, and this gateway begins anew with none

A gateway watches the others' beats by its own steady clock. One whose beat stands still for a lease is declared dead,
and whoever does it first takes its sessions up as a start takes up its own. See ``sparkyard_gateway.store.gateways``
for why none of this needs clocks that agree.
"""

import asyncio
import dataclasses
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import Misdirected, StoreUnavailable
from sparkyard_gateway.live import Signal, token_hash
from sparkyard_gateway.store.database import Database
from sparkyard_gateway.store.gateways import Claimed, GatewayRecord, GatewayRows, Living

BEATS_IN_A_LEASE = 5
SAFE_SHARE = 0.9
"""Of one's own lease: clocks on two machines do not tick at exactly the same pace."""
HELD_POLL_SECONDS = 0.1
LOOK_AGAIN_SECONDS = 60.0
"""How often the sessions of gateways that are long dead are looked for: some may only be taken after a time."""

log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class _Watched:
    life: str | None
    beat: int
    since: float


class Membership:
    """This gateway among the others. `begin` at start, `run` beside everything, `leave` at the end."""

    def __init__(self, settings: Settings, rows: GatewayRows, database: Database) -> None:
        self._settings = settings
        self._rows = rows
        self._database = database
        self._me = GatewayRecord(
            name=settings.instance,
            life=None,
            beat=0,
            lease_seconds=settings.lease_seconds,
            url=settings.peer_url or "",
            driver_url=settings.driver_url or "",
            place=_place(settings.sessions_dir),
        )
        self._watched: dict[str, _Watched] = {}
        self._looked_at = time.monotonic()
        self._claimed_at = 0.0
        self._dead: frozenset[str] = frozenset()
        self._pending: list[Claimed] = []
        self._lost = False
        self.peers: dict[str, GatewayRecord] = {}
        """The others that run."""
        self.changed = Signal()
        """Fired when the others, or whose sessions are whose, may have changed."""
        self.when_changed: Callable[[], None] = lambda: None
        self.when_lost: Callable[[], None] = lambda: None
        self.when_suspended: Callable[[], None] = lambda: None
        self.take_up: Callable[[Claimed, Callable[[], bool]], Awaitable[None]] = _nobody
        database.when_fenced = self._fenced

    # What is asked of it

    @property
    def name(self) -> str:
        """This gateway's name."""
        return self._me.name

    @property
    def lease_seconds(self) -> float:
        """How long a gateway is believed to run without a sign of life."""
        return self._me.lease_seconds

    @property
    def suspended(self) -> bool:
        """Whether another gateway may already have taken over."""
        if self._lost:
            return True
        held = time.monotonic() - self._database.written_at < self._me.lease_seconds * SAFE_SHARE
        return not held and bool(self.peers)

    @property
    def not_running(self) -> frozenset[str]:
        """The gateways that do not run, as far as is known."""
        return self._dead

    def driver_addresses(self) -> list[str]:
        """Where drivers may call, this gateway first."""
        return [self._me.driver_url, *(each.driver_url for each in self.peers.values())]

    async def driver_address(self, number: int, token: str | None, epoch: str | None) -> str | None:
        """Where the gateway is that a driver of this session should call; None for whoever is no such driver."""
        found = await self._rows.driver(number)
        if found is None or token is None:
            return None
        gateway, hashed, current = found
        if not secrets.compare_digest(hashed, token_hash(token)) or (epoch or str(current)) != str(current):
            return None
        owner = self.peers.get(gateway)
        # Where its owner does not run, somebody will own it in a moment: the driver is to ask again.
        return owner.driver_url if owner is not None else ""

    async def living(self) -> Living:
        """What may still run, everybody's."""
        return await self._rows.living()

    async def until_held(self) -> None:
        """Return when this gateway's sessions are surely its own; whoever waits here is ended when they are not."""
        while self.suspended:  # noqa: ASYNC110 - time passes, and that is no event
            await asyncio.sleep(HELD_POLL_SECONDS)

    async def wait_unless_suspended(self, seconds: float) -> None:
        """Return when this gateway may speak for its sessions, or raise StoreUnavailable."""
        end = time.monotonic() + seconds
        while self.suspended:
            if time.monotonic() > end:
                raise StoreUnavailable(
                    "This gateway has lost touch with the others, so it cannot say what has become of your session. "
                    "Try again shortly."
                )
            await asyncio.sleep(HELD_POLL_SECONDS)

    # Its life

    def reachable_at(self, url: str, driver_url: str) -> None:
        """Where the others and drivers find this gateway, unless the settings say so."""
        self._me = dataclasses.replace(
            self._me, url=self._settings.peer_url or url, driver_url=self._settings.driver_url or driver_url
        )

    async def begin(self) -> None:
        """Begin to run, and take up what is now this gateway's. Raises StoreUnavailable."""
        self._me = dataclasses.replace(self._me, life=secrets.token_hex(16))
        await self._rows.register(self._me)
        self._lost = False
        self._look(await self._rows.all())
        claimed = await self._rows.claim(self._me, self._settings.orphan_seconds, own=True)
        count = {"sessions": len(claimed.sessions), "batches": len(claimed.batches)}
        log.info("gateway_registered", gateway=self._me.name, url=self._me.url, **count)
        self._pending.append(claimed)
        await self._take_up()

    async def run(self) -> None:
        """Live among the others, for ever."""
        while True:
            await asyncio.sleep(self._me.lease_seconds / BEATS_IN_A_LEASE)
            try:
                await self._round()
            except StoreUnavailable:
                if self.suspended:
                    self.when_suspended()
            except Misdirected:
                continue  # fenced: the next round begins anew
            except Exception:  # the loop must outlive one bad round
                log.exception("membership_round_failed")

    async def leave(self) -> None:
        """Hand everything over: the others need not wait for a lease to end."""
        try:
            await self._rows.leave(self._me.name)
        except (StoreUnavailable, Misdirected):
            log.warning("gateway_left_without_a_word")

    async def _round(self) -> None:
        if self._lost:
            await self._begin_anew()
            return
        await self._rows.beat()
        found = await self._rows.all()
        for each in self._look(found):
            log.warning("gateway_declared_dead", gateway=each.name)
            await self._rows.declare_dead(each)
            self._claimed_at = 0.0
        if self._dead and time.monotonic() - self._claimed_at > LOOK_AGAIN_SECONDS:
            claimed = await self._rows.claim(self._me, self._settings.orphan_seconds, own=False)
            self._claimed_at = time.monotonic()
            if claimed.sessions or claimed.batches:
                sessions, batches = ([each.id for each in some] for some in (claimed.sessions, claimed.batches))
                log.warning("sessions_taken_over", sessions=sessions, batches=batches)
                self._pending.append(claimed)
        await self._take_up()

    async def _take_up(self) -> None:
        """What is claimed nobody else will take up: where the database is away in the midst, it is tried again."""
        while self._pending:
            await self.take_up(self._pending[0], partial(self._is_alive, self._me.life))
            del self._pending[:1]
            self.changed.fire()

    def _is_alive(self, life: str | None) -> bool:
        return not self._lost and life == self._me.life

    async def _begin_anew(self) -> None:
        mine = next((each for each in await self._rows.all() if each.name == self._me.name), None)
        if mine is not None and mine.life not in {None, self._me.life}:
            log.error("gateway_name_taken", gateway=self._me.name, why="another gateway runs under this --instance")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        await self.begin()

    def _fenced(self) -> None:
        if not self._lost:
            self._lost = True
            self._pending.clear()
            log.error("gateway_lost_its_lease", gateway=self._me.name)
            self.when_lost()
            self.changed.fire()

    def _look(self, found: Sequence[GatewayRecord]) -> list[GatewayRecord]:
        """Take note of the others; returns those whose beat has stood still for too long."""
        now = time.monotonic()
        # Who has not looked for a while, has not seen that a beat stood still.
        attentive = now - self._looked_at < self._me.lease_seconds / 2
        self._looked_at = now
        overdue, peers = [], {}
        for each in found:
            if each.name == self._me.name:
                continue
            known = self._watched.get(each.name)
            if known is None or not attentive or (known.life, known.beat) != (each.life, each.beat):
                known = self._watched[each.name] = _Watched(each.life, each.beat, now)
            if each.life is None:
                continue
            if now - known.since > max(each.lease_seconds, self._me.lease_seconds):
                overdue.append(each)
            else:
                peers[each.name] = each
        dead = frozenset(each.name for each in found) - peers.keys() - {self._me.name}
        if dead != self._dead:
            self._claimed_at = 0.0
        before = {name: each.life for name, each in self.peers.items()}
        self.peers, self._dead = peers, dead
        if before != {name: each.life for name, each in peers.items()}:
            self.changed.fire()
            self.when_changed()
        return overdue


def _place(sessions_dir: Path) -> str:
    """Where this gateway's drivers can be found, as processes and folders: a machine, as one container sees it."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"{socket.gethostname()}:{namespace}:{sessions_dir.resolve()}"[:1024]


async def _nobody(_claimed: Claimed, _still: Callable[[], bool]) -> None:
    """Before it is wired."""
