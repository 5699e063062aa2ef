"""Event logs that drivers in pods carry to the gateway: names that Spark gives, appended in order, in bounds."""

import os
import time

import pytest

from sparkyard_gateway.backends.carried_logs import (
    MOST_APPLICATIONS,
    CarriedLogs,
    NoRoomError,
    OutOfPlaceError,
    StrangeNameError,
    file_name,
    place_of,
)

APP = "spark-0123456789abcdef"
PART, RUNS, ENDED = f"events_1_{APP}.zstd", f"appstatus_{APP}.inprogress", f"appstatus_{APP}"


@pytest.fixture
def make(tmp_path):
    def made(owners: int = 1000, limit: int = 1500, runs: frozenset[str] = frozenset()) -> CarriedLogs:
        logs = CarriedLogs(tmp_path / "events", owners, limit)
        logs.runs = runs.__contains__
        logs.open()
        return logs

    return made


def write(logs: CarriedLogs, place: str, owner: str, size: int, age: float, tmp_path) -> None:
    logs.append(place, owner, APP, PART, 0, b"x" * size)
    logs.append(place, owner, APP, ENDED, 0, b"")
    logs._kept[place].written = time.time() - age


@pytest.mark.parametrize(
    ("application", "name", "right"),
    [
        (APP, PART, True),
        (APP, f"events_200_{APP}", True),
        (APP, f"events_3_{APP}.lz4", True),
        (APP, RUNS, True),
        (APP, ENDED, True),
        (APP, f"events_0_{APP}", False),
        (APP, f"events_1_{APP}.zstd/../../x", False),
        (APP, f"events_1_{APP}.compact", False),
        (APP, "events_1_other", False),
        (APP, "appstatus_other", False),
        (APP, "owner", False),
        (APP, f"{PART}\n", False),
        (APP, "", False),
        ("..", "appstatus_..", False),
        ("a/b", "appstatus_a/b", False),
        ("", "appstatus_", False),
    ],
)
def test_files_are_called_as_spark_calls_them_and_not_otherwise(application, name, right):
    assert file_name(application, name) is right


@pytest.mark.parametrize(
    ("number", "batch", "place"), [(7, False, "7"), (7, True, "batch-7"), (70, False, "70"), (0, True, "batch-0")]
)
def test_sessions_and_batches_have_places_of_their_own(number, batch, place):
    assert place_of(number, batch=batch) == place


def test_pieces_go_on_where_the_file_ends_and_nowhere_else(make):
    logs = make()
    assert logs.append("7", "ann", APP, PART, 0, b"abc") == 3
    assert logs.append("7", "ann", APP, PART, 3, b"def") == 6
    for at in (0, 3, 7):
        with pytest.raises(OutOfPlaceError) as refused:
            logs.append("7", "ann", APP, PART, at, b"xyz")
        assert refused.value.have == 6
    assert logs.have("7", APP) == {PART: 6}
    assert logs.have("8", APP) == {}
    assert [path.read_bytes() for path in logs.files("7", APP)] == [b"abcdef"]


def test_there_is_something_to_show_once_its_state_is_known_and_the_end_takes_the_place_of_running(make):
    logs = make()
    logs.append("7", "ann", APP, PART, 0, b"abc")
    assert logs.size("7", APP) == 0
    logs.append("7", "ann", APP, RUNS, 0, b"")
    assert logs.size("7", APP) == 3
    logs.append("7", "ann", APP, ENDED, 0, b"")
    assert sorted(logs.have("7", APP)) == sorted([PART, ENDED])
    assert logs.applications("7") == [APP]
    assert logs.applications("8") == []
    for strange in (None, "", "..", "spark-other", f"{APP}/../{APP}"):
        assert logs.size("7", strange) == 0
    assert logs.size("batch-7", APP) == 0


@pytest.mark.parametrize(("name", "data"), [("owner", b"bob"), ("../../owner", b"x"), (ENDED, b"not empty")])
def test_a_driver_writes_no_file_of_another_kind(make, tmp_path, name, data):
    logs = make()
    with pytest.raises(StrangeNameError):
        logs.append("7", "ann", APP, name, 0, data)
    assert list((tmp_path / "events").iterdir()) == []


def test_of_an_owner_the_oldest_give_way_and_what_runs_never(make, tmp_path):
    logs = make(owners=1000, limit=10_000, runs=frozenset({"1"}))
    for number, age in ((1, 500), (2, 400), (3, 300)):
        write(logs, str(number), "ann", 300, age, tmp_path)
    write(logs, "9", "bob", 900, 900, tmp_path)
    logs.append("4", "ann", APP, PART, 0, b"x" * 300)
    assert [place for place in "12349" if logs.files(place, APP)] == ["1", "3", "4", "9"]
    with pytest.raises(NoRoomError):
        logs.append("4", "ann", APP, PART, 300, b"x" * 500)
    # Its own beginning is kept: without that the rest shows nothing.
    assert logs.have("4", APP) == {PART: 300}


def test_of_all_the_oldest_give_way(make, tmp_path):
    logs = make(owners=1000, limit=1500)
    for number, age in ((1, 500), (2, 400)):
        write(logs, str(number), f"user{number}", 600, age, tmp_path)
    logs.append("3", "ann", APP, PART, 0, b"x" * 600)
    assert [place for place in "123" if logs.files(place, APP)] == ["2", "3"]


def test_a_session_has_no_more_than_a_few_applications(make):
    logs = make()
    for number in range(MOST_APPLICATIONS):
        logs.append("7", "ann", f"spark-{number}", f"events_1_spark-{number}", 0, b"x")
    with pytest.raises(NoRoomError):
        logs.append("7", "ann", "spark-more", "events_1_spark-more", 0, b"x")


def test_what_is_old_goes_unless_it_may_still_be_written_to(make, tmp_path):
    logs = make(limit=10_000, runs=frozenset({"2"}))
    for number in (1, 2, 3, 4):
        write(logs, str(number), "ann", 10, 100 if number < 4 else 0, tmp_path)
    logs.tidy(50, ["3"])
    assert [place for place in "1234" if logs.files(place, APP)] == ["2", "3", "4"]


def test_the_next_gateway_knows_what_is_there_and_how_much(make, tmp_path):
    logs = make()
    write(logs, "1", "ann", 600, 0, tmp_path)
    path = tmp_path / "events" / "1" / f"eventlog_v2_{APP}" / PART
    os.utime(path, (time.time() - 90, time.time() - 90))
    again = make()
    assert (again._kept["1"].owner, again._kept["1"].size) == ("ann", 600)
    again.append("2", "ann", APP, PART, 0, b"x" * 600)
    assert [place for place in "12" if again.files(place, APP)] == ["2"]


def test_a_warm_driver_that_was_taken_counts_as_its_new_owners(make):
    logs = make(owners=500, limit=10_000)
    logs.append("1", "", APP, PART, 0, b"x" * 400)
    logs.append("1", "ann", APP, PART, 400, b"x")
    with pytest.raises(NoRoomError):
        logs.append("2", "ann", APP, PART, 0, b"x" * 501)
    # What cannot be kept in any case removes nothing.
    assert logs._kept["1"].owner == "ann"
    logs.append("2", "ann", APP, PART, 0, b"x" * 200)
    assert not logs.files("1", APP)
