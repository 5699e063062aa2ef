"""Kubernetes' events, put together and said in plain words."""

from typing import Any

import pytest

from sparkyard_gateway.backends import pod_events
from sparkyard_gateway.backends.pod_events import concerns, essential, event_of, merged, plain

NOW = 5_000_000


def event(uid: str = "e-1", reason: str = "Pulled", message: str = "m", **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "p", "uid": "u-p"}
    return {
        "metadata": {"uid": uid, "name": uid},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        **more,
    }


def at(second: int) -> str:
    return f"1970-01-01T00:00:{second:02}Z"


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ({"firstTimestamp": at(1), "lastTimestamp": at(9), "count": 4}, (1000, 9000, 4)),
        ({"eventTime": at(2), "firstTimestamp": None, "lastTimestamp": None}, (2000, 2000, 1)),
        ({"eventTime": at(2), "series": {"count": 7, "lastObservedTime": at(8)}}, (2000, 8000, 7)),
        ({"firstTimestamp": at(5), "lastTimestamp": at(1)}, (5000, 5000, 1)),
        ({}, (NOW, NOW, 1)),
    ],
)
def test_when_and_how_often(times, told):
    found = event_of(essential(event(**times)), "driver", NOW)
    assert (found.first, found.last, found.count) == told
    assert (found.who, found.pod, found.warning) == ("driver", "p", False)


def test_an_event_that_is_told_again_is_one_line():
    known = merged([], event_of(event(firstTimestamp=at(1), lastTimestamp=at(1), count=1), "driver", NOW))
    known = merged(known, event_of(event(firstTimestamp=at(1), lastTimestamp=at(7), count=3), "driver", NOW))
    # The list after a broken watch tells it once more.
    known = merged(known, event_of(event(firstTimestamp=at(1), lastTimestamp=at(7), count=3), "driver", NOW))
    # And another object of the same happening is added to it.
    known = merged(known, event_of(event("e-2", firstTimestamp=at(9), lastTimestamp=at(9)), "driver", NOW))
    assert [(each.count, each.first, each.last) for each in known] == [(4, 1000, 9000)]
    known = merged(known, event_of(event("e-3", message="other", firstTimestamp=at(8)), "driver", NOW))
    known = merged(known, event_of(event("e-4", firstTimestamp=at(2)), "executor 1", NOW))
    assert [(each.who, each.last) for each in known] == [("executor 1", 2000), ("driver", 8000), ("driver", 9000)]


def test_bounds(monkeypatch):
    monkeypatch.setattr(pod_events, "MOST", 3)
    known: list = []
    for number in range(6):
        kind = "Warning" if number in (0, 1) else "Normal"
        told = event(f"e-{number}", message=f"m{number}", type=kind, firstTimestamp=at(number + 1))
        known = merged(known, event_of(told, "driver", NOW))
    assert [each.message for each in known] == ["m0", "m1", "m5"]
    monkeypatch.setattr(pod_events, "MOST", 300)
    for number in range(60):
        told = event(f"s-{number}", message="same", firstTimestamp=at(number % 59 + 1))
        known = merged(known, event_of(told, "driver", NOW))
    same = next(each for each in known if each.message == "same")
    assert (same.count, len(same.counts)) == (60, pod_events.MOST_OBJECTS)
    assert len(event_of(essential(event(message="x" * 5000)), "driver", NOW).message) == pod_events.LONGEST


@pytest.mark.parametrize(
    ("about", "uid"),
    [
        ({"kind": "Pod", "uid": "u"}, "u"),
        ({"kind": "Node", "uid": "u"}, None),
        ({"kind": "Pod"}, None),
        (None, None),
    ],
)
def test_what_is_concerned(about, uid):
    assert concerns({"involvedObject": about}) == uid


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Scheduled", "Successfully assigned spark/p to node-1", "It was given node node-1."),
        ("FailedScheduling", "0/1 nodes.", "No node can take it so far: 0/1 nodes."),
        ("Pulling", 'Pulling image "a/b:1"', "Its node pulls the image a/b:1."),
        (
            "Pulled",
            'Successfully pulled image "a/b:1" in 2.3s (2.3s including waiting). Image size: 5 bytes.',
            "Its node has pulled the image a/b:1 in 2.3s.",
        ),
        (
            "Pulled",
            'Container image "a/b:1" already present on machine',
            "Its node has the image a/b:1 already.",
        ),
        ("Killing", "Stopping container executor", "It is being ended."),
        (
            "Evicted",
            "The node was low on resource: memory.",
            "Its node ended it: The node was low on resource: memory.",
        ),
        ("Preempted", "", "A pod of higher priority took its place."),
        ("Unheard", "what it says", "what it says"),
        ("Unheard", "", "Unheard"),
    ],
)
def test_plain_words(reason, message, words):
    assert plain(reason, message) == words
