"""In what order the recordings are asked, and what our gateway must be like when they are.

Livy was asked over an hour, on several servers; its sessions 11, 12, 14 ... came and went. `ROUTES` is what needs no
Spark: its drivers are simulated. `SPARK` is the rest.
"""

from collections.abc import Iterator

from support.deviations import NOT_ASKED
from support.replay import Replay, Step
from support.transcripts import RECORDED, Exchange, exchanges


def _file(number: str, first: str | None = None, last: str | None = None) -> Iterator[Exchange]:
    """The exchanges of a file that are asked, from one title to another, both included."""
    found = exchanges(RECORDED, number)
    titles = [each.title for each in found]
    begin = titles.index(first) if first is not None else 0
    end = titles.index(last) + 1 if last is not None else len(found)
    yield from (each for each in found[begin:end] if each.id not in NOT_ASKED)


def _new(replay: Replay, recorded: str | None, kind: str = "pyspark", client: str = "alice", **wish: object) -> int:
    made = replay.people[client].post("/sessions", json={"kind": kind, **wish})
    assert made.status_code == 201, made.text
    number: int = made.json()["id"]
    if recorded is not None:
        replay.sessions[recorded] = number
    return number


def _until(replay: Replay, number: int, state: str) -> None:
    client = replay.client
    for _ in range(10):
        now = client.get(f"/sessions/{number}", params={"wait": 30}).json()["state"]
        if now == state:
            return
        client.get(f"/sessions/{number}", params={"wait": 30, "state": now})
    raise AssertionError(f"the session {number} is {now}, not {state}")


def _run(replay: Replay, number: int, code: str) -> None:
    made = replay.client.post(f"/sessions/{number}/statements", params={"wait": 60}, json={"code": code})
    assert made.json()["state"] == "available", made.text


def _end_all(replay: Replay) -> None:
    """Livy was another server, or everything had ended there."""
    for client in (replay.people["alice"], replay.people["bob"], replay.people["hub"]):
        for session in client.get("/sessions").json()["sessions"]:
            client.delete(f"/sessions/{session['id']}")


def _hold_the_starts(replay: Replay) -> None:
    """One driver at a time starts here, and this one never gets ready: the next session goes on starting."""
    replay.sessions["held"] = _new(replay, None, name="never-ready")


def _let_them_start(replay: Replay) -> None:
    replay.client.delete(f"/sessions/{replay.sessions.pop('held')}")


def _eleven_ran_forty(replay: Replay) -> None:
    """Session 11 as it was when its statements were listed."""
    number = _new(replay, "11")
    known = {each["id"]: each["code"] for file in _file("07") for each in (file.json or {}).get("statements", [])}
    for position in range(40):
        _run(replay, number, known.get(position, "0"))


def _eleven_is_gone(replay: Replay) -> None:
    _end_all(replay)


def _twelve_is_idle(replay: Replay) -> None:
    _until(replay, replay.sessions["12"], "idle")


def _fourteen(replay: Replay) -> None:
    _end_all(replay)
    _until(replay, _new(replay, "14", "spark"), "idle")


def _eighteen_is_killed(replay: Replay) -> None:
    number = _new(replay, "18")
    _until(replay, number, "idle")
    asked = replay.client.post(f"/sessions/{number}/statements", params={"wait": 60}, json={"code": "os.getpid()"})
    pid = int(asked.json()["output"]["data"]["text/plain"])
    made = replay.client.post(f"/sessions/{number}/statements", json={"code": "sleep 100"})
    replay.statements["18", "0"] = made.json()["id"]
    replay.kill(number, pid)
    _until(replay, number, "dead")


def _twentytwo_ran_many(replay: Replay) -> None:
    _end_all(replay)
    number = _new(replay, "22")
    _until(replay, number, "idle")
    for _ in range(174):
        _run(replay, number, "1+1")


def _routes() -> Iterator[Step]:
    yield from (*_file("00"), *_file("01"), *_file("02"))
    yield _hold_the_starts
    yield from _file("03", last="pyspark session, minimal body")
    yield from _file("04", last="connect while starting")
    yield _let_them_start
    yield from _file("04", "session when idle")
    yield from _file("06")
    yield _eleven_ran_forty
    yield from _file("07")
    yield _eleven_is_gone
    yield _hold_the_starts_for_bob
    yield from _file("03", "every field the API takes (state is later seen as idle)")
    yield _let_bobs_start
    yield _twelve_is_idle
    yield from (*_file("12"), *_file("13"), *_file("11"))
    yield _fourteen
    yield from _file("16", last="statement without kind in a shared session")
    yield from _file("16", "statement with kind shared", "interrupt, unknown session")
    yield from _file("16", "a sparkr session (no R here)", "a sparkr session (no R here)")
    yield from _file("16", "interrupt = stop", "state after interrupt")
    yield _eighteen_is_killed
    yield from _file("16", "state after the driver was killed")
    yield _twentytwo_ran_many
    yield from _file("18")
    yield _end_all
    yield from _file("19")
    yield _end_all
    yield from _file("21")
    yield _end_all
    yield from _file("22")
    yield _end_all


def _hold_the_starts_for_bob(replay: Replay) -> None:
    """As before, but not in the list of who asks."""
    replay.sessions["held"] = _new(replay, None, client="bob", name="never-ready")


def _let_bobs_start(replay: Replay) -> None:
    replay.people["bob"].delete(f"/sessions/{replay.sessions.pop('held')}")


def _sessions_for_spark(replay: Replay) -> None:
    for recorded, kind in (("11", "pyspark"), ("15", "sql")):
        _new(replay, recorded, kind)
    _until(replay, replay.sessions["11"], "idle")


def _eleven_stands_for_twelve(replay: Replay) -> None:
    """Both are PySpark; Livy's 11 had died by then."""
    replay.sessions["12"] = replay.sessions["11"]
    replay.statements["12", "0"] = 0


def _the_sleep_has_begun(replay: Replay) -> None:
    """A cancel before it runs would be another story."""
    path = f"/sessions/{replay.sessions['12']}/statements/{replay.statements['12', '4']}"
    for version in range(100):
        if replay.client.get(path, params={"wait": 10, "seen": version}).json()["state"] == "running":
            return
    raise AssertionError("it never ran")


def _fifteen_is_idle(replay: Replay) -> None:
    replay.client.delete(f"/sessions/{replay.sessions['11']}")
    _until(replay, replay.sessions["15"], "idle")


def _fifteen_stands_for_sixteen(replay: Replay) -> None:
    """A session's kind is no matter where each statement has its own."""
    replay.sessions["16"] = replay.sessions["15"]


def _spark() -> Iterator[Step]:
    yield _sessions_for_spark
    yield from _file("05")
    yield from _file("08")
    yield _eleven_stands_for_twelve
    yield from _file("09", last="pure python sleep(45): cancel cannot interrupt it")
    yield _the_sleep_has_begun
    yield from (*_file("09", "cancel it"), *_file("10"))
    yield _fifteen_is_idle
    yield from _file("15")
    yield _fifteen_stands_for_sixteen
    yield from _file("16", "with kind pyspark", "result of: read it from sql")
    yield _end_all
    yield _fourteen
    yield from _file("14")
    yield _end_all
    yield from (*_file("20"), *_file("24"))


ROUTES: tuple[Step, ...] = tuple(_routes()) if RECORDED.is_dir() else ()
SPARK: tuple[Step, ...] = tuple(_spark()) if RECORDED.is_dir() else ()
