"""Livy's recorded requests to batches, asked of our gateway in the same order: same status, same shape, same words.

The recording names one file for all (`file:///srv/livy`); ours are in WISHES, one for each batch that it started. Where
we answer otherwise, the case stands in DEVIATIONS with its reason. All of it is asked of batches on this machine, and
of batches at a real upstream Livy.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import running_gateway, transcripts, upstream_livy
from support.running_gateway import ROOT, TOKEN
from support.transcripts import Exchange

pytestmark = pytest.mark.spark

RECORDED = ROOT.parent / "shared" / "livy-transcripts"

SCRIPTS = {
    "good.py": (
        "import sys\nfrom pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
        "print('count', spark.range(1000).repartition(2).count(), *sys.argv[1:])\nspark.stop()\n"
    ),
    "failing.py": "import sys\nsys.exit(3)\n",
    "long.py": "import time\ntime.sleep(600)\n",
}
WISHES = {
    "good batch": {
        "file": "home://good.py", "args": ["20", "b c"], "name": "good", "driverMemory": "512m",
        "conf": {"spark.sql.shuffle.partitions": "2"},
    },
    "failing batch": {"file": "home://failing.py"},
    "file that does not exist": {"file": "home://absent.py"},
    "long batch": {"file": "home://long.py", "args": ["300"]},
    "same name again, now a good file": {"file": "home://good.py", "name": "ghost"},
}  # fmt: skip
STATES = {"batch by id": "success", "failing batch at its end": "dead", "it at its end": "dead"}
"""What has ended by then, and how."""

DEVIATIONS = {
    "same name again, now a good file": (201, "Livy keeps a refused batch's name for ever"),
}
OTHER_WORDS = {
    "local file not whitelisted": "our refusals name the profile and what it allows",
    "relative path": "likewise",
    "a rejected batch keeps its name taken": "likewise",
    "duplicate name": "Livy's word shows Scala's Some(...) and the id that the refused one would have had",
}


def _recorded() -> list[Exchange]:
    # What has no request is a note: "batch state sequence polled every 50 ms".
    return [each for each in transcripts.exchanges(RECORDED, "17") if each.method] if RECORDED.is_dir() else []


@pytest.fixture(scope="module", params=["local", "livy"])
def backend(request: pytest.FixtureRequest) -> str:
    """Where the batches run."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def ann(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[httpx.Client]:
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "homes" / "ann").mkdir(parents=True)
    for name, text in SCRIPTS.items():
        (folder / "homes" / "ann" / name).write_text(text)
    options = _at_livy(folder, request) if backend == "livy" else ("--homes-dir", str(folder / "homes"))
    with running_gateway.running(folder, *options) as gateway:
        headers = {"Authorization": f"token {TOKEN}"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=130) as client:
            yield client


def _at_livy(folder: Path, request: pytest.FixtureRequest) -> tuple[str, ...]:
    livy: upstream_livy.UpstreamLivy = request.getfixturevalue("upstream_livy")
    homes = f"{(folder / 'homes').as_uri()}/{{user}}"
    return (*upstream_livy.options(livy, "contract"), "--livy-poll-seconds", "0.5", "--livy-homes", homes)


@pytest.fixture(scope="module")
def ours(ann: httpx.Client) -> dict[str, int]:
    """Our batches by the recorded ids."""
    del ann
    return {}


def _ended(client: httpx.Client, number: int) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for state in ("starting", "running") * 3:
        answer = client.get(f"/batches/{number}?wait=60&state={state}").json()
    assert answer["ended"] is not None, answer
    return answer


@pytest.mark.parametrize("recorded", _recorded(), ids=lambda each: each.title)
def test_as_livy(ann, ours, recorded):
    theirs = recorded.json
    if recorded.title in STATES:
        assert _ended(ann, ours[str(theirs["id"])])["state"] == STATES[recorded.title] == theirs["state"]
    answer = ann.post("/batches", json=WISHES[recorded.title]) if recorded.title in WISHES else recorded.ask(ann, ours)
    status, why = DEVIATIONS.get(recorded.title, (recorded.status, ""))
    assert answer.status_code == status, (why, answer.text)
    if answer.status_code == 201:
        number = answer.json()["id"]
        assert answer.headers["Location"] == f"/batches/{number}"
        if recorded.status == 201:
            ours[str(theirs["id"])] = number
    if status == recorded.status:
        _same_shape(recorded, answer, ours)


def _same_shape(recorded: Exchange, answer: httpx.Response, ours: dict[str, int]) -> None:
    theirs = recorded.json
    if theirs is None:
        assert not recorded.whole or answer.content == b""
        return
    mine = answer.json()
    assert type(mine) is type(theirs)
    if not isinstance(theirs, dict):
        if recorded.title == "unknown field":
            known = theirs.partition("(16 known properties: ")[2].partition("]")[0]
            assert mine.startswith('Unrecognized field "kind"')
            assert all(each in mine for each in known.split(", "))
        return
    assert list(mine)[: len(theirs)] == list(theirs)
    for key, value in theirs.items():
        assert value is None or mine[key] is None or type(mine[key]) is type(value), key
    if "msg" in theirs and recorded.title not in OTHER_WORDS:
        expected = theirs["msg"]
        for recorded_id, number in ours.items():
            expected = expected.replace(f"'{recorded_id}'", f"'{number}'")
        assert mine["msg"] == expected
    if "appInfo" in theirs:
        assert list(mine["appInfo"]) == list(theirs["appInfo"])
        # Livy's local mode names no Spark UI; ours is at this gateway, once there is one.
        assert mine["appInfo"]["sparkUiUrl"] in (None, f"/services/gateway/spark-ui/batches/{mine['id']}/")
    if recorded.title == "log":
        assert (mine["from"], len(mine["log"])) == (mine["total"] - 4, 4)
    if recorded.title == "list after the errors":
        assert mine["total"] == 0  # Livy lists three phantoms


def test_the_application_is_known_and_its_output_is_in_the_log(ann, ours, backend):
    if "4" not in ours:
        pytest.skip("asked after the recorded requests")
    good = ann.get(f"/batches/{ours['4']}").json()
    # Livy itself knows no application of spark-submit's local mode.
    assert good["appId"] is None if backend == "livy" else good["appId"].startswith("local-")
    log = ann.get(f"/batches/{ours['4']}/log?from=0&size=-1").json()
    assert log["log"][:2] == ["stdout: ", "\nstderr: "]
    assert "count 1000 20 b c" in log["log"]


def test_the_lists_of_exceptions_hold_nothing_that_is_not_recorded(ann):
    known = {each.title for each in _recorded()}
    assert {*WISHES, *STATES, *DEVIATIONS, *OTHER_WORDS} <= known
