"""No recording is passed over in silence: each exchange is asked, or named with the reason why not."""

import re
from collections import Counter

import pytest

from support.contract_backends import BACKENDS
from support.deviations import ASKED_ELSEWHERE, NOT_ASKED, OTHERWISE
from support.running_gateway import ROOT
from support.schedule import ROUTES, SPARK
from support.transcripts import RECORDED, Exchange, exchanges, numbers

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared, the recorded answers of a real Livy")


def recorded() -> set[str]:
    return {each.id for number in numbers() if number not in ASKED_ELSEWHERE for each in exchanges(RECORDED, number)}


def asked() -> list[str]:
    return [step.id for step in (*ROUTES, *SPARK) if isinstance(step, Exchange)]


def test_every_recorded_exchange_is_asked_or_named():
    assert recorded() - set(asked()) == set(NOT_ASKED)


def test_none_is_asked_twice():
    assert [each for each, times in Counter(asked()).items() if times > 1] == []


def test_the_lists_name_nothing_that_is_not_recorded():
    assert set(OTHERWISE) <= set(asked())
    assert set(NOT_ASKED) <= recorded()
    assert set(ASKED_ELSEWHERE) <= set(numbers())


def test_each_deviation_and_each_omission_has_its_reason():
    for reason in (*NOT_ASKED.values(), *ASKED_ELSEWHERE.values(), *(each.why for each in OTHERWISE.values())):
        assert re.search(r"\w{3}", reason)


def test_what_is_answered_otherwise_is_no_more_than_a_third():
    """A contract whose exceptions outgrow its rule is none."""
    assert len(OTHERWISE) < len(asked()) / 3


def test_there_is_a_backend_to_ask():
    assert [each.name for each in BACKENDS if each.missing() is None]
    assert (ROOT / "docs" / "livy.md").is_file()
