"""A driver's event log on its way: the real carrier sends it to a real gateway, whatever happens in between."""

import threading

import httpx
import pytest

from sparkyard_gateway.driver.event_log import Carrier
from support.waiting import until

from .conftest import client, new_session, run

APP = "spark-0123456789abcdef"
PART, RUNS, ENDED = f"events_1_{APP}.zstd", f"appstatus_{APP}.inprogress", f"appstatus_{APP}"
PATIENCE = 60


@pytest.fixture
def quick(monkeypatch):
    """It looks more often than every other second."""
    monkeypatch.setattr("sparkyard_gateway.driver.event_log._LOOK_SECONDS", 0.05)
    monkeypatch.setattr("sparkyard_gateway.driver.event_log._LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("sparkyard_gateway.driver.event_log._LAST_PAUSE", 0.05)


def token_of(alice, session):
    return run(alice, session, "bootstrap['token']")["output"]["data"]["text/plain"].strip("'")


def kept(gateway, place):
    return gateway.state.parent / "pod-events" / str(place) / f"eventlog_v2_{APP}"


def written(folder, data, name=PART):
    """As Spark writes on."""
    log = folder / f"eventlog_v2_{APP}"
    log.mkdir(exist_ok=True)
    with (log / name).open("ab") as file:
        file.write(data)
    return log


def test_what_spark_writes_is_with_the_gateway_and_its_end_too(quick, gateway, as_alice, tmp_path):
    session = new_session(as_alice)
    carrier = Carrier(
        str(tmp_path), lambda: [f"{gateway.url}/driver/v1/{session}".replace("http", "ws")], token_of(as_alice, session)
    )
    carrier.start()
    log = written(tmp_path, b"a" * 700_000)
    (log / RUNS).touch()
    there = kept(gateway, session)
    until(lambda: (there / RUNS).exists() and (there / PART).stat().st_size == 700_000, PATIENCE)
    written(tmp_path, b"b" * 10)
    until(lambda: (there / PART).stat().st_size == 700_010, PATIENCE)
    written(tmp_path, b"c" * 10)
    written(tmp_path, b"d" * 10, f"events_2_{APP}.zstd")
    (log / RUNS).rename(log / ENDED)
    assert carrier.finish(PATIENCE)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        PART: b"a" * 700_000 + b"b" * 10 + b"c" * 10,
        f"events_2_{APP}.zstd": b"d" * 10,
        ENDED: b"",
    }
    as_alice.delete(f"/sessions/{session}")


def test_a_gateway_that_lost_it_gets_it_again(quick, gateway, as_alice, tmp_path):
    session = new_session(as_alice)
    carrier = Carrier(str(tmp_path), lambda: [f"{gateway.url}/driver/v1/{session}"], token_of(as_alice, session))
    carrier.start()
    written(tmp_path, b"a" * 300_000)
    there = kept(gateway, session)
    until(lambda: there.exists() and (there / PART).exists() and (there / PART).stat().st_size == 300_000, PATIENCE)
    (there / PART).write_bytes(b"a" * 1000)
    written(tmp_path, b"b")
    until(lambda: (there / PART).stat().st_size == 300_001, PATIENCE)
    assert (there / PART).read_bytes() == b"a" * 300_000 + b"b"
    assert carrier.finish(PATIENCE)
    as_alice.delete(f"/sessions/{session}")


def test_another_gateway_behind_the_same_address_gets_the_parts_before_too(quick, gateway, as_alice, tmp_path):
    session = new_session(as_alice)
    carrier = Carrier(str(tmp_path), lambda: [f"{gateway.url}/driver/v1/{session}"], token_of(as_alice, session))
    carrier.start()
    written(tmp_path, b"a" * 1000)
    there = kept(gateway, session)
    until(lambda: there.exists() and (there / PART).exists() and (there / PART).stat().st_size == 1000, PATIENCE)
    (there / PART).unlink()
    written(tmp_path, b"b" * 10, f"events_2_{APP}.zstd")
    until(lambda: (there / PART).exists() and (there / PART).stat().st_size == 1000, PATIENCE)
    assert carrier.finish(PATIENCE)
    assert (there / f"events_2_{APP}.zstd").read_bytes() == b"b" * 10
    as_alice.delete(f"/sessions/{session}")


def test_it_waits_for_a_gateway_at_the_end_and_gives_up_in_time(quick, tmp_path):
    written(tmp_path, b"a")
    carrier = Carrier(str(tmp_path), lambda: ["http://127.0.0.1:9/driver/v1/1"], "token")
    carrier.start()
    assert carrier.finish(0.5) is False
    carrier._thread.join(PATIENCE)
    assert not carrier._thread.is_alive()


def test_where_there_is_no_room_it_says_so_and_keeps_the_drivers_disk_small(quick, start_gateway, tmp_path, capfd):
    gateway = start_gateway("--event-log-limit-bytes", "1000")
    with client(gateway, "token-of-alice") as alice:
        session = new_session(alice)
        carrier = Carrier(str(tmp_path), lambda: [f"{gateway.url}/driver/v1/{session}"], token_of(alice, session))
        carrier.start()
        log = written(tmp_path, b"a" * 600)
        until(lambda: kept(gateway, session).exists(), PATIENCE)
        written(tmp_path, b"b" * 600, f"events_2_{APP}.zstd")
        written(tmp_path, b"c" * 600, f"events_3_{APP}.zstd")
        until(lambda: sorted(path.name for path in log.iterdir()) == [f"events_3_{APP}.zstd"], PATIENCE)
        assert [path.name for path in kept(gateway, session).iterdir()] == [PART]
        assert carrier.finish(PATIENCE)
        assert "has reached its limit" in capfd.readouterr().err


def test_who_may_send_and_read_a_sessions_event_log(gateway, as_alice, as_bob):
    alices, other = new_session(as_alice), new_session(as_alice)
    own, others = token_of(as_alice, alices), token_of(as_alice, other)
    piece = f"/driver/v1/{alices}/events/{APP}/{PART}?at=0"
    with httpx.Client(base_url=gateway.url) as driver:
        for method, path in (("GET", f"/driver/v1/{alices}/events/{APP}"), ("POST", piece)):
            for authorization in (None, "token token-of-alice", f"Bearer {others}", "Bearer wrong"):
                headers = {"Authorization": authorization} if authorization else {}
                assert driver.request(method, path, content=b"x", headers=headers).status_code == 401, authorization
            old = {"Authorization": f"Bearer {own}", "Sparkyard-Epoch": "0"}
            assert driver.request(method, path, content=b"x", headers=old).status_code == 403
            mine = {"Authorization": f"Bearer {own}"}
            assert driver.request(method, path, content=b"x", headers={**mine, "Origin": "x"}).status_code == 404
            assert driver.request(method, f"/services/gateway{path}", content=b"x", headers=mine).status_code == 404
            # A session's token opens no batch of that number, nor an unknown one.
            for area in (f"batches/{alices}", "batches/999999", "999999"):
                elsewhere = path.replace(f"/v1/{alices}/", f"/v1/{area}/")
                assert driver.request(method, elsewhere, content=b"x", headers=mine).status_code == 401
        headers = {"Authorization": f"Bearer {own}"}
        assert driver.post(piece, content=b"abc", headers=headers).json() == {"have": 3, "all": 3}
        again = driver.post(piece, content=b"abc", headers=headers)
        assert (again.status_code, again.json()) == (409, {"have": 3})
        assert driver.get(f"/driver/v1/{alices}/events/{APP}", headers=headers).json() == {"have": {PART: 3}}
        large = driver.post(f"/driver/v1/{alices}/events/{APP}/{PART}?at=3", content=b"x" * 262_145, headers=headers)
        assert large.status_code == 413
        for strange in ("owner", "..%2Fowner", f"events_1_{APP}.compact"):
            answer = driver.post(f"/driver/v1/{alices}/events/{APP}/{strange}", content=b"x", headers=headers)
            assert answer.status_code == 404
    for session in (alices, other):
        as_alice.delete(f"/sessions/{session}")
    with httpx.Client(base_url=gateway.url) as driver:
        late = until(lambda: driver.post(piece, content=b"x", headers=headers).status_code == 401 or None, PATIENCE)
        assert late


def test_one_users_pieces_do_not_keep_the_others_out(gateway, as_alice, as_bob):
    alices, bobs = new_session(as_alice), new_session(as_bob)
    token, bobs_token = token_of(as_alice, alices), token_of(as_bob, bobs)
    release = threading.Event()

    def slow():
        yield b"x"
        release.wait(PATIENCE)

    def send(name):
        with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as driver:
            driver.post(
                f"/driver/v1/{alices}/events/{APP}/events_{name}_{APP}",
                content=slow(),
                headers={"Authorization": f"Bearer {token}"},
            )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as driver:

        def one_more() -> int | None:
            path = f"/driver/v1/{alices}/events/{APP}/events_9_{APP}"
            answer = driver.post(path, content=b"", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code if answer.status_code == 429 else None

        assert until(one_more, PATIENCE) == 429
        theirs = driver.post(
            f"/driver/v1/{bobs}/events/{APP}/{PART}", content=b"x", headers={"Authorization": f"Bearer {bobs_token}"}
        )
        assert theirs.status_code == 200
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    as_alice.delete(f"/sessions/{alices}")
    as_bob.delete(f"/sessions/{bobs}")
