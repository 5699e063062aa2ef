"""Random operations and faults against a real gateway process, checked against a model: nothing lost, nothing twice.

The model knows what was acknowledged, and no more. Each statement appends its own tag to a file, so that executions
are counted where they happen. Whatever answer was lost on its way is asked for again with the same idempotency key,
as a good client does, and must then be the one and only.

`HYPOTHESIS_PROFILE=long` runs more and longer stories, each time others, and shrinks what it finds.
"""

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from support import hub_stand_in
from support.running_gateway import RunningGateway

from .conftest import CATALOG, SIMULATED, admit_people
from .test_sessions import alive, until

PEOPLE = ("alice", "bob")
RANK = {"waiting": 0, "running": 1, "cancelling": 2, "available": 3, "cancelled": 3}
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
STORIES = settings(
    derandomize=not LONG,
    max_examples=30 if LONG else 2,
    stateful_step_count=50 if LONG else 20,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
PATIENCE = 60.0


@dataclass(eq=False)
class Statement:
    number: int
    tag: str
    cancelled: bool = False
    final: tuple[str, str] | None = None
    rank: int = 0
    life: int = 0


@dataclass(eq=False)
class Session:
    owner: str
    number: int
    driver: int | None = None
    killed: bool = False
    statements: dict[int, Statement] = field(default_factory=dict)


class Stories(RuleBasedStateMachine):
    """One gateway, two people, and what may happen to them."""

    sessions = Bundle("sessions")
    statements = Bundle("statements")
    folder: Path
    hub_url: str
    numbers = iter(range(1, 1_000_000))

    def __init__(self) -> None:
        super().__init__()
        self.home = self.folder / f"story-{next(self.numbers)}"
        self.home.mkdir()
        (self.home / "catalog.yaml").write_text(CATALOG)
        self.counts = self.home / "counts"
        self.counts.touch()
        self.counts.chmod(0o666)
        self.gateways = self.start_gateways()
        self.model: dict[int, Session] = {}
        self.highest = 0
        self.doubtful: set[str] = set()
        self.tags = 0
        self.lives = 0
        self.http = httpx.Client(timeout=70, verify=False)

    # What a subclass may do otherwise

    def start_gateways(self) -> list[RunningGateway]:
        gateway = RunningGateway(self.home, self.hub_url, *self.options(), forked=True)
        gateway.start()
        return [gateway]

    def options(self) -> tuple[str, ...]:
        return (
            "--driver-program", str(SIMULATED), "--catalog", str(self.home / "catalog.yaml"), "--sweep-seconds", "0.1",
            "--stop-grace-seconds", "1",
        )  # fmt: skip

    def hiccup(self) -> threading.Thread:
        """The database is not to be written for a moment."""
        holder = sqlite3.connect(self.home / "state" / "gateway.sqlite", isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN EXCLUSIVE")

        def let_go() -> None:
            time.sleep(0.3)
            holder.execute("ROLLBACK")
            holder.close()

        return threading.Thread(target=let_go)

    # A client that does not give up

    def ask(
        self, owner: str, method: str, path: str, which: int = 0, key: str | None = None, body: object = None
    ) -> httpx.Response:
        """Until there is an answer that is one: a lost connection and a 503 are asked again."""
        end = time.monotonic() + PATIENCE
        headers = {"Authorization": f"token token-of-{owner}"} | ({"Idempotency-Key": key} if key else {})
        answer = None
        while time.monotonic() < end:
            gateway = self.gateways[which % len(self.gateways)]
            try:
                answer = self.http.request(method, gateway.url + path, headers=headers, json=body)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code != 503:
                assert answer.status_code < 500, answer.text
                return answer
            self.revive()
            which += 1
            time.sleep(0.05)
        raise AssertionError(f"{method} {path} was never answered: {answer and answer.text}")

    def revive(self) -> None:
        for gateway in self.gateways:
            if gateway.process is not None and gateway.process.poll() is not None:
                self.lives += 1
                gateway.start()

    # What people do

    @rule(target=sessions, owner=st.sampled_from(PEOPLE), which=st.integers(0, 1), twice=st.booleans())
    def create(self, owner: str, which: int, twice: bool) -> Session:
        key = f"session-{self.highest}"
        made = self.ask(owner, "POST", "/sessions", which, key, {"kind": "pyspark"})
        assert made.status_code == 201, made.text
        number = made.json()["id"]
        assert number > self.highest, "an id was used again"
        self.highest = number
        if twice:
            again = self.ask(owner, "POST", "/sessions", which + 1, key, {"kind": "pyspark"})
            assert again.json()["id"] == number
        self.model[number] = Session(owner, number)
        return self.model[number]

    @rule(
        target=statements,
        session=sessions,
        slow=st.booleans(),
        which=st.integers(0, 1),
        trouble=st.sampled_from(["", "", "", "kill", "hiccup"]),
    )
    def submit(self, session: Session, slow: bool, which: int, trouble: str) -> Statement | None:
        if session.number not in self.model:
            return None
        self.tags += 1
        tag = f"{session.number}-{self.tags}"
        code = f"open({str(self.counts)!r}, 'a').write({tag + chr(10)!r}) and {tag!r}"
        if slow:
            code = f"__import__('time').sleep(0.2) or {code}"
        path = f"/sessions/{session.number}/statements"
        meanwhile: threading.Thread | None = None
        if trouble == "kill":
            victim = self.gateways[which % len(self.gateways)]
            meanwhile = threading.Timer(0.005, victim.kill)
        elif trouble == "hiccup":
            meanwhile = self.hiccup()
        if meanwhile is not None:
            meanwhile.start()
        made = self.ask(session.owner, "POST", path, which, tag, {"code": code})
        if meanwhile is not None:
            meanwhile.join()
            self.revive()
        if made.status_code == 400:
            assert session.killed, made.text
            self.doubtful.add(tag)
            return None
        statement = Statement(made.json()["id"], tag)
        assert statement.number not in session.statements, "a statement's number was used again"
        session.statements[statement.number] = statement
        again = self.ask(session.owner, "POST", path, which + 1, tag, {"code": code})
        assert session.killed or again.json()["id"] == statement.number
        return statement

    @rule(statement=statements, which=st.integers(0, 1))
    def cancel(self, statement: Statement | None, which: int) -> None:
        session = self.session_of(statement)
        if session is None or statement is None:
            return
        statement.cancelled = True
        path = f"/sessions/{session.number}/statements/{statement.number}/cancel"
        assert self.ask(session.owner, "POST", path, which).json() == {"msg": "canceled"}

    @rule(statement=statements, which=st.integers(0, 1))
    def wait(self, statement: Statement | None, which: int) -> None:
        session = self.session_of(statement)
        if session is not None and statement is not None:
            self.finished(session, statement, which)

    @rule(session=consumes(sessions), which=st.integers(0, 1))
    def delete(self, session: Session, which: int) -> None:
        if session.number in self.model:
            answer = self.ask(session.owner, "DELETE", f"/sessions/{session.number}", which)
            # Asked again after a lost answer it may be gone already.
            assert answer.status_code in {200, 404}, answer.text
            del self.model[session.number]

    # What happens to them

    @rule(which=st.integers(0, 1))
    def kill_a_gateway(self, which: int) -> None:
        gateway = self.gateways[which % len(self.gateways)]
        gateway.kill()
        self.revive()

    @rule(which=st.integers(0, 1))
    def restart_a_gateway(self, which: int) -> None:
        gateway = self.gateways[which % len(self.gateways)]
        gateway.stop()
        self.revive()

    @rule(session=sessions)
    def lose_the_line(self, session: Session) -> None:
        if session.number in self.model and (pid := self.driver(session)) is not None:
            os.kill(pid, signal.SIGUSR1)

    @rule(session=sessions)
    def kill_the_driver(self, session: Session) -> None:
        if session.number not in self.model or (pid := self.driver(session)) is None:
            return
        for statement in session.statements.values():
            self.finished(session, statement, 0)
        session.killed = True
        os.kill(pid, signal.SIGKILL)
        ended = until(lambda: (s := self.look(session))["state"] == "dead" and s, PATIENCE)
        assert "SIGKILL" in ended["stateReason"] or "not known" in ended["stateReason"]

    @rule()
    def lose_the_database_for_a_moment(self) -> None:
        meanwhile = self.hiccup()
        meanwhile.start()
        meanwhile.join()

    # What must hold

    @invariant()
    def everybody_sees_their_own_and_all_of_it(self) -> None:
        for owner in PEOPLE:
            mine = {number for number, session in self.model.items() if session.owner == owner}
            for which in range(len(self.gateways)):
                answer = self.ask(owner, "GET", "/sessions?size=1000", which).json()
                assert {each["id"] for each in answer["sessions"]} == mine
                assert (answer["total"], len(answer["sessions"])) == (len(mine), len(mine))
            for number in self.model.keys() - mine:
                assert self.ask(owner, "GET", f"/sessions/{number}").status_code == 404

    @invariant()
    def nothing_runs_twice(self) -> None:
        ran = Counter(self.counts.read_text().split())
        assert not ran or max(ran.values()) == 1, ran.most_common(3)

    def teardown(self) -> None:
        try:
            self.revive()
            for session in self.model.values():
                for statement in session.statements.values():
                    self.finished(session, statement, 0)
            drivers = [self.driver(each) for each in self.model.values()]
            for session in list(self.model.values()):
                self.ask(session.owner, "DELETE", f"/sessions/{session.number}")
            for pid in filter(None, drivers):
                until(lambda pid=pid: not alive(pid), PATIENCE)
        finally:
            self.http.close()
            for gateway in self.gateways:
                if gateway.process is not None and gateway.process.poll() is None:
                    gateway.process.send_signal(signal.SIGCONT)
                    gateway.kill()

    # Looking

    def session_of(self, statement: Statement | None) -> Session | None:
        found = (each for each in self.model.values() if statement in each.statements.values())
        return next(found, None)

    def look(self, session: Session) -> dict[str, object]:
        answer = self.ask(session.owner, "GET", f"/sessions/{session.number}")
        assert answer.status_code == 200, "an acknowledged session is gone"
        found: dict[str, object] = answer.json()
        return found

    def driver(self, session: Session) -> int | None:
        """The driver's pid, once the session is idle or busy; None where it has been killed."""
        if session.driver is None and not session.killed:
            until(lambda: self.look(session)["state"] in {"idle", "busy"}, PATIENCE)
            path = f"/sessions/{session.number}/statements"
            made = self.ask(session.owner, "POST", path, 0, "pid", {"code": "os.getpid()"}).json()
            statement = Statement(made["id"], "")
            session.statements[made["id"]] = statement
            self.finished(session, statement, 0)
            assert statement.final is not None
            session.driver = int(statement.final[1])
        return None if session.killed else session.driver

    def finished(self, session: Session, statement: Statement, which: int) -> None:
        """Wait for its outcome, which never changes, and is told of something that ran once, or says why not."""
        path = f"/sessions/{session.number}/statements/{statement.number}"
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.ask(session.owner, "GET", f"{path}?wait=5", which)
            assert answer.status_code == 200, f"an acknowledged statement is gone: {answer.text}"
            found = answer.json()
            # In one life of the gateway; after a kill its driver must first have called again.
            assert statement.life != self.lives or RANK[found["state"]] >= statement.rank, "a state went back"
            statement.life, statement.rank = self.lives, RANK[found["state"]]
            if RANK[found["state"]] == 3:
                break
            assert time.monotonic() < end, f"it never ended: {found}"
        output = found["output"] or {}
        seen = (found["state"], str(output.get("data", {}).get("text/plain") or output.get("ename")).strip("'"))
        assert statement.final in {None, seen}, "an outcome has changed"
        statement.final = seen
        if seen[0] == "available" and statement.tag and not session.killed:
            assert seen[1] == statement.tag
        if seen[1] == statement.tag:
            assert statement.tag in self.counts.read_text().split()
        assert statement.cancelled or seen[0] == "available", "it was cancelled by nobody"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with hub_stand_in.running() as hub:
        admit_people(hub)
        yield tmp_path_factory.mktemp("stories"), hub.url


@pytest.mark.timeout(3600 if LONG else 900)
def test_nothing_is_lost_and_nothing_runs_twice(world):
    class OneGateway(Stories):
        folder, hub_url = world

    run_state_machine_as_test(OneGateway, settings=STORIES)


@pytest.mark.timeout(3600 if LONG else 900)
def test_nor_with_two_gateways_on_one_database(world, postgres):
    class TwoGateways(Stories):
        folder, hub_url = world

        def start_gateways(self) -> list[RunningGateway]:
            self.database = postgres.new_database()
            shared = ("--database-url", postgres.url(self.database), "--lease-seconds", "4", *self.options())
            both = [
                RunningGateway(self.home, self.hub_url, *shared, "--instance", name, log=name, forked=True)
                for name in ("a", "b")
            ]
            for each in both:
                each.start()
            return both

        def hiccup(self) -> threading.Thread:
            """Every connection to the database is cut."""

            def cut() -> None:
                with postgres.connect() as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.database,)
                    )

            return threading.Thread(target=cut)

    run_state_machine_as_test(TwoGateways, settings=settings(STORIES, max_examples=30 if LONG else 1))
