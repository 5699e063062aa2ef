"""Livy's recorded requests that need no Spark, asked of our gateway in order: same status, same fields, same words.

Where we answer otherwise, the exchange stands in support/deviations.py with its reason; in which order and state they
are asked, in support/schedule.py; on which backends, in support/contract_backends.py.
"""

import pytest

from support import contract_backends
from support.contract_backends import BACKENDS
from support.replay import Replay
from support.schedule import ROUTES
from support.transcripts import RECORDED, Exchange

ASKED = [step for step in ROUTES if isinstance(step, Exchange)]

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared, the recorded answers of a real Livy")


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda each: each.name)
def replay(request, tmp_path_factory):
    if (missing := request.param.missing()) is not None:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp(request.param.name)
    with contract_backends.running(request.param, folder, "--concurrent-starts", "1", simulated=True) as people:
        yield Replay(people, ROUTES)


@pytest.mark.parametrize("recorded", ASKED, ids=lambda each: each.id)
def test_as_livy(replay, recorded):
    replay.compare(recorded)
