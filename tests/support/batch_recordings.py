"""Livy's recorded requests to batches, asked of a gateway in the same order: same status, same shape, same words.

The recording names one file for all (`file:///srv/livy`); ours are in WISHES, one for each batch that it started. Where
we answer otherwise, the case stands in DEVIATIONS with its reason.
"""

from typing import Any

import httpx

from support import transcripts
from support.transcripts import RECORDED, Exchange

SCRIPTS = {
    "good.py": (
        "import sys\nfrom pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
        "print('count', spark.range(1000).repartition(2).count(), *sys.argv[1:])\nspark.stop()\n"
    ),
    "failing.py": "import sys\nsys.exit(3)\n",
    "long.py": "import time\ntime.sleep(600)\n",
}
WISHES: dict[str, dict[str, Any]] = {
    "good batch": {
        "file": "JOBS/good.py", "args": ["20", "b c"], "name": "good", "driverMemory": "512m",
        "conf": {"spark.sql.shuffle.partitions": "2"},
    },
    "failing batch": {"file": "JOBS/failing.py"},
    "file that does not exist": {"file": "JOBS/absent.py"},
    "long batch": {"file": "JOBS/long.py", "args": ["300"]},
    "same name again, now a good file": {"file": "JOBS/good.py", "name": "ghost"},
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


def recorded() -> list[Exchange]:
    """Every request; what has none is a note: "batch state sequence polled every 50 ms"."""
    return [each for each in transcripts.exchanges(RECORDED, "17") if each.method] if RECORDED.is_dir() else []


class BatchReplay:
    """A client of a gateway whose batches find SCRIPTS under the address `jobs`; `ours` are its batches by the recorded
    ids."""

    def __init__(self, client: httpx.Client, jobs: str) -> None:
        self.client = client
        self.ours: dict[str, int] = {}
        self._jobs = jobs

    def compare(self, recorded: Exchange) -> None:
        """Raise AssertionError where ours is neither as Livy's nor as the deviation says."""
        theirs, ours = recorded.json, self.ours
        if recorded.title in STATES:
            assert _ended(self.client, ours[str(theirs["id"])])["state"] == STATES[recorded.title] == theirs["state"]
        answer = self._ask(recorded)
        status, why = DEVIATIONS.get(recorded.title, (recorded.status, ""))
        assert answer.status_code == status, (why, answer.text)
        if answer.status_code == 201:
            number = answer.json()["id"]
            assert answer.headers["Location"] == f"/batches/{number}"
            if recorded.status == 201:
                ours[str(theirs["id"])] = number
        if status == recorded.status:
            _same_shape(recorded, answer, ours)

    def _ask(self, recorded: Exchange) -> httpx.Response:
        wish = WISHES.get(recorded.title)
        if wish is None:
            return recorded.ask(self.client, self.ours)
        file = str(wish["file"]).replace("JOBS/", self._jobs)
        return self.client.post("/batches", json={**wish, "file": file})

    def good(self) -> tuple[dict[str, Any], list[str]]:
        """The batch that did its work, and its log."""
        number = self.ours["4"]
        log = self.client.get(f"/batches/{number}/log?from=0&size=-1").json()["log"]
        return self.client.get(f"/batches/{number}").json(), log


def _ended(client: httpx.Client, number: int) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for state in ("starting", "running") * 3:
        answer = client.get(f"/batches/{number}?wait=60&state={state}").json()
    assert answer["ended"] is not None, answer
    return answer


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
