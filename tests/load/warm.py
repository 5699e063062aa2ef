"""The figure of the warm pool: from POST to an idle session whose driver, with Spark itself, was kept for it.

Part of ``make bench``; ``python -m load.warm`` measures it alone.
"""

import re
import statistics
import sys
import time

import httpx

from load.measure import Figure, print_table, spread
from support.hub_session import HubSession
from support.standalone import Standalone, running
from support.waiting import until

TIMES = 5
TIMEOUT = "      idle_timeout: {default: 1h, max: 12h}\n"
"""The last line of the first profile, "small"."""


def taken(stack: Standalone, token: str) -> list[Figure]:
    """Sessions that take a warm driver, one after the other, each once the pool is full again."""
    before = stack.catalog.read_text()
    http = httpx.Client(base_url=stack.gateway, headers={"Authorization": f"token {token}"}, timeout=300)

    def idle() -> bool:
        return 'warm_drivers_idle{profile="small"} 1.0' in http.get("/metrics").text

    def run(session: int, code: str) -> str:
        url = f"/sessions/{session}/statements?wait=60"
        output = http.post(url, json={"code": code, "kind": "pyspark"}).json()["output"]
        text: str = output["data"]["text/plain"]
        return text

    takes, jobs, refills = [], [], []
    stack.catalog.write_text(before.replace(TIMEOUT, f"{TIMEOUT}      warm: 1\n", 1))
    try:
        until(idle)
        for _ in range(TIMES):
            began = time.perf_counter()
            answer = http.post("/sessions", json={"kind": "pyspark", "profile": "small"})
            takes.append(time.perf_counter() - began)
            session = answer.json()
            assert (answer.status_code, session["state"]) == (201, "idle"), answer.text
            began = time.perf_counter()
            assert run(session["id"], "spark.range(1000).count()") == "1000"
            jobs.append(time.perf_counter() - began)
            began = time.perf_counter()
            until(idle)
            refills.append(time.perf_counter() - began)
            http.delete(f"/sessions/{session['id']}").raise_for_status()
    finally:
        stack.catalog.write_text(before)
    # What is measured next shall not share the machine with a driver that starts or ends.
    until(lambda: not re.search(r'warm_drivers_\w+{profile="small"} [^0]', http.get("/metrics").text))
    http.close()
    detail = (
        f"{spread(takes)}; its first Spark job {statistics.median(jobs):.2f} s; "
        f"another was warm {statistics.median(refills):.1f} s after that"
    )
    return [Figure("a session that takes a warm driver, POST to idle, slowest", max(takes), "s", 1, detail)]


def main() -> int:
    """Measure, print, and judge."""
    with running() as stack:
        user = stack.user("dana")
        with HubSession(stack.address, user.name, user.password) as person:
            person.start_server()
            figures = taken(stack, person.token())
    print_table(figures)
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
