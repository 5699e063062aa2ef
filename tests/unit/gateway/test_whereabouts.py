"""Which gateway a reader of a history is led to: the one that has most of it."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sparkyard_gateway.errors import Unavailable
from sparkyard_gateway.peers import FORWARDED, SEEK, Question, UnreachableError
from sparkyard_gateway.whereabouts import KEPT, Whereabouts

SCOPE: dict[str, Any] = {
    "type": "http", "method": "GET", "path": "/spark-ui/7/", "raw_path": b"/spark-ui/7/", "query_string": b"",
    "headers": [(b"authorization", b"token ann"), (SEEK.encode(), b"forged")], "client": ("10.0.0.9", 1),
}  # fmt: skip
SUBJECT: Any = SimpleNamespace(area="", id=7)


@dataclass
class PeersThatMayBeAway:
    """What each has; None of one that does not answer."""

    has: dict[str, int | None]
    asked: list[Question] = field(default_factory=list)

    async def ask(self, peer: Any, question: Question) -> httpx.Response:
        self.asked.append(question)
        kept = self.has[peer.name]
        if kept is None:
            raise UnreachableError(taken=False)
        return httpx.Response(204, headers={KEPT: str(kept)})


def whereabouts(has: dict[str, int | None]) -> tuple[Whereabouts, PeersThatMayBeAway]:
    peers = PeersThatMayBeAway(has)
    membership: Any = SimpleNamespace(name="a", peers={name: SimpleNamespace(name=name) for name in has})
    return Whereabouts(membership, peers), peers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "has", "keeper"),
    [
        (0, {}, None),
        (10, {}, None),
        (10, {"b": 0}, None),
        (10, {"b": 10}, None),
        (10, {"b": 11}, "b"),
        (0, {"b": 1, "c": 5}, "c"),
        (0, {"b": 0, "c": 0}, None),
        (10, {"b": None}, None),
        (0, {"b": None, "c": 5}, "c"),
    ],
)
async def test_who_has_most_shows_it_and_one_that_has_as_much_itself_does(own, has, keeper):
    finder, _ = whereabouts(has)
    found = await finder.keeper(SCOPE, SUBJECT, own)
    assert (found.name if found is not None else None) == keeper


async def test_where_nobody_has_it_and_one_was_silent_it_is_not_said_that_there_is_none():
    finder, _ = whereabouts({"b": None, "c": 0})
    with pytest.raises(Unavailable, match="Try again"):
        await finder.keeper(SCOPE, SUBJECT, 0)


async def test_each_is_asked_in_the_readers_own_name_and_not_for_every_part_of_a_page():
    finder, peers = whereabouts({"b": 5})
    for _ in range(3):
        assert (await finder.keeper(SCOPE, SUBJECT, 0)) is not None
    (question,) = peers.asked
    assert question.headers["authorization"] == "token ann"
    assert question.headers[FORWARDED] == "a"
    assert question.headers[SEEK] == "how-much"
