"""Livy's recorded PySpark statements, run on a real Spark driver through our gateway: the same outputs.

Where ours is otherwise, the case stands in DEVIATIONS with its reason.
"""

import re
from typing import Any

import httpx
import pytest

from support import running_gateway, transcripts
from support.running_gateway import ROOT, TOKEN
from support.transcripts import Exchange

pytestmark = pytest.mark.spark

RECORDED = ROOT.parent / "shared" / "livy-transcripts"

CUT = {"python exception inside an executor", "long output (200 kB)"}
"""Recorded incompletely."""

DEVIATIONS = {
    "%json of an unknown name": "Livy answers `ok` with its own error inside: a defect; ours is an error",
    "%table unknown name": "likewise",
    "kind given: sparkr with no R installed": "ours says what the image lacks",
    "pandas repr": "ours has the HTML too, as notebooks show it",
}


def _pairs(number: str) -> list[tuple[Exchange, Exchange]]:
    if not RECORDED.is_dir():
        return []
    found = transcripts.exchanges(RECORDED, number)
    results = {each.title.removeprefix("result of: "): each for each in found if each.title.startswith("result of: ")}
    return [(each, results[each.title]) for each in found if each.method == "POST" and each.title in results]


PYSPARK = _pairs("05")


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared, the recorded answers of a real Livy, beside the project")
    with running_gateway.running(tmp_path_factory.mktemp("gateway")) as gateway:
        headers = {"Authorization": f"token {TOKEN}"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=130) as client:
            number = client.post("/sessions", json={"kind": "pyspark"}).json()["id"]
            state = "starting"
            for _ in range(3):
                state = client.get(f"/sessions/{number}?wait=60&state=starting").json()["state"]
            assert state == "idle", gateway.log
            yield client, {"11": number}


@pytest.mark.parametrize(
    ("asked", "recorded"), PYSPARK, ids=lambda each: each.title if isinstance(each, Exchange) else ""
)
def test_as_livy(spark, asked, recorded):
    client, sessions = spark
    made = asked.ask(client, sessions)
    assert made.status_code == 201
    number = made.json()["id"]
    ours = client.get(f"/sessions/{sessions['11']}/statements/{number}?wait=60").json()
    while ours["state"] not in ("available", "cancelled"):  # the first Scala makes its interpreter
        ours = client.get(f"/sessions/{sessions['11']}/statements/{number}?wait=60").json()
    if asked.title in CUT:
        assert ours["output"]["status"] == ("error" if "exception" in asked.title else "ok")
        return
    theirs = recorded.json
    assert list(ours)[:7] == list(theirs)
    assert (ours["code"], ours["state"], ours["progress"]) == (theirs["code"], "available", 1.0)
    assert ours["output"]["execution_count"] == number
    if asked.title == "pandas repr":
        assert ours["output"]["data"]["text/plain"] == theirs["output"]["data"]["text/plain"]
        return
    if "sparkr" in asked.title:
        assert (ours["output"]["ename"], theirs["output"]["ename"]) == ("InterpreterError", "InterpreterError")
        assert "no R" in ours["output"]["evalue"]
        return
    if asked.title in DEVIATIONS:
        assert (ours["output"]["status"], ours["output"]["ename"]) == ("error", "KeyError")
        return
    if "current_date" in theirs["code"]:
        for each in (ours, theirs):
            each["output"]["data"]["application/json"]["data"][0][-1] = "today"
    assert _comparable(ours["output"]) == _comparable(theirs["output"])


def _comparable(output: dict[str, Any]) -> dict[str, Any]:
    """What must be the same: not numbers of statements, addresses, nor the frames of Spark's own code."""
    kept: dict[str, Any] = {"status": output["status"]}
    if output["status"] == "ok":
        kept["data"] = {
            kind: re.sub(r"0x[0-9a-f]+|res\d+", "0x", value)
            if isinstance(value, str) and not kind.startswith("image/")
            else value
            for kind, value in output["data"].items()
            if not kind.startswith("image/")
        }
        kept["kinds"] = sorted(output["data"])
    else:
        kept["ename"] = output["ename"]
        kept["evalue"] = output["evalue"].splitlines()[0] if output["evalue"] else ""
    return kept
