"""Livy's recorded statements, and all that Sparkmagic was seen to ask, on real Spark drivers: the same outputs.

Where ours are otherwise, the exchange stands in support/deviations.py with its reason.
"""

import pytest

from support import contract_backends
from support.contract_backends import BACKENDS
from support.replay import Replay
from support.schedule import SPARK
from support.transcripts import RECORDED, Exchange

ASKED = [step for step in SPARK if isinstance(step, Exchange)]

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared, the recorded answers of a real Livy"),
]


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda each: each.name)
def replay(request, tmp_path_factory):
    if (missing := request.param.missing()) is not None:
        pytest.skip(missing)
    with contract_backends.running(request.param, tmp_path_factory.mktemp("spark"), simulated=False) as people:
        yield Replay(people, SPARK)


@pytest.mark.parametrize("recorded", ASKED, ids=lambda each: each.id)
def test_as_livy(replay, recorded):
    replay.compare(recorded)
