"""What a session's page and the API show of executors and pods that are on record, in a real Chromium too."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sparkyard_gateway.backends.executors import Executor, Kept, State
from sparkyard_gateway.backends.pod_book import PodBook
from sparkyard_gateway.backends.pod_events import PodEvent
from sparkyard_gateway.times import now_ms
from support.browser import chromium
from support.running_gateway import RunningGateway

from .conftest import StartGateway, client, new_session
from .test_pages import OF_A_SESSION, browser
from .test_pages_in_browser import EVIL, PATIENT, RULES, SECRET, signed_in

FAILED, RUNNING = "0a0a-1", "0b0b-2"
API = ("executors", "pod-events", "executors/1/log", "executors/1/log/text", "executors/1/log/events")


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    token = tmp_path_factory.mktemp("service") / "token"
    token.write_text(SECRET)
    return start_gateway("--hub-token-file", str(token), module="support.gateway_with_pods")


@pytest.fixture(scope="module")
def session(gateway: RunningGateway, as_alice: httpx.Client) -> int:
    """A session of Alice's with an executor that failed, one that runs, and 130 that ended."""
    number = new_session(as_alice)
    now = now_ms()
    book = PodBook(Path(gateway.state).parent / "sessions" / str(number))
    for count in range(130):
        ended = now - 500_000 + count
        book.put(
            Executor(
                uid=f"e-{count}",
                number=str(1000 + count),
                pod=f"p-{count}",
                namespace="spark",
                state=State.ENDED,
                created=now - 900_000 + count,
                started=now - 800_000,
                ended=ended,
                kept=Kept.DROPPED,
            )
        )
    common = {"namespace": "spark", "node": "node-1", "image": "img:1", "memory": 896 << 20}
    book.put(
        Executor(
            uid=FAILED,
            number="1",
            pod="p-exec-1",
            state=State.FAILED,
            kept=Kept.WHOLE,
            created=now - 990_000,
            started=now - 980_000,
            ended=now - 970_000,
            reason=f"Executor 1 ran out of memory: {EVIL}.",
            **common,
        )
    )
    book.put(
        Executor(
            uid=RUNNING,
            number="2",
            pod="p-exec-2",
            state=State.RUNNING,
            created=now,
            started=now,
            **common,
        )
    )
    for uid in (FAILED, RUNNING):
        book.log_of(book.executors[uid]).path.parent.mkdir(parents=True)
        book.log_of(book.executors[uid]).note(f"hello of {uid}\n{EVIL}\nits last words")
    message = "0/3 nodes are available: 3 Insufficient memory."
    told = {"pod": "p-exec-1", "who": "executor 1", "counts": {"e": 3}}
    book.tell(
        PodEvent(warning=True, reason="FailedScheduling", message=message, first=now - 9000, last=now - 5000, **told)
    )
    assigned = "Successfully assigned spark/p-exec-1 to node-1"
    book.tell(PodEvent(warning=False, reason="Scheduled", message=assigned, first=now, last=now, **told))
    book.save(book.text())
    return number


def test_the_api_tells_what_is_on_record(as_alice, session):
    page = as_alice.get(f"/sessions/{session}/executors", params={"size": 2}).json()
    assert (page["total"], [each["number"] for each in page["executors"]]) == (132, ["2", "1129"])
    last = as_alice.get(f"/sessions/{session}/executors", params={"from": 131, "size": 5}).json()["executors"]
    assert [(each["uid"], each["state"], each["log"], each["memory"]) for each in last] == [
        (FAILED, "failed", "whole", 896 << 20)
    ]
    events = as_alice.get(f"/sessions/{session}/pod-events").json()["events"]
    assert [(each["words"], each["count"], each["type"]) for each in events] == [
        ("No node can take it so far: 0/3 nodes are available: 3 Insufficient memory.", 3, "Warning"),
        ("It was given node node-1.", 3, "Normal"),
    ]


def test_an_executors_log_is_read_as_a_drivers_is(as_alice, session):
    for reference in ("1", FAILED):
        path = f"/sessions/{session}/executors/{reference}/log"
        assert as_alice.get(path, params={"from": 0}).json()["log"][-1] == "its last words"
        found = as_alice.get(path, params={"search": "LAST", "from": 0}).json()
        assert (found["total"], found["log"], found["id"]) == (1, ["its last words"], session)
        text = as_alice.get(f"{path}/text")
        assert text.headers["Content-Disposition"] == 'attachment; filename="p-exec-1.log"'
        assert text.text == f"hello of {FAILED}\n{EVIL}\nits last words\n"
        assert as_alice.get(f"{path}/text?follow=true").text == text.text
        told = as_alice.get(f"{path}/events?tail=15").text
        assert '"its last words\\n"' in told
        assert "event: end" in told
    absent = as_alice.get(f"/sessions/{session}/executors/7/log")
    assert (absent.status_code, absent.json()["msg"]) == (
        404,
        "It has no executor '7', and had none of whom anything is kept.",
    )


@pytest.mark.parametrize("path", API)
@pytest.mark.parametrize(
    ("token", "status"),
    [("token-of-bob", 404), ("token-of-olga", 404), ("token-of-eve", 403), ("token-of-lee", 200), (None, 401)],
)
def test_it_is_for_those_who_may_see_the_session(gateway, session, path, token, status):
    with client(gateway, token) as caller:
        answer, unknown = (caller.get(f"/sessions/{number}/{path}") for number in (session, 999_999))
    assert answer.status_code == status
    if status != 200:
        assert answer.text.replace(str(session), "N") == unknown.text.replace("999999", "N")


@pytest.mark.parametrize("path", OF_A_SESSION)
def test_a_strangers_page_reads_nothing(gateway, session, path):
    with browser(gateway, "token-of-bob", **{"Sec-Fetch-Mode": "cors"}) as bob:
        theirs, unknown = (bob.get(f"/sessions/{number}{path}") for number in (session, 999_999))
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(str(session), "N") == unknown.text.replace("999999", "N")
    if "executors" in path:
        with browser(gateway, "token-of-alice", **{"Sec-Fetch-Mode": "cors"}) as alice:
            assert alice.get(f"/sessions/{session}{path}").status_code == 200


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def opened(chrome: Browser, gateway: RunningGateway, session: int, **how: object) -> Page:
    return signed_in(chrome, gateway, "token-of-alice", f"sessions/{session}", **how)  # type: ignore[arg-type]


@pytest.mark.browser
def test_the_page_shows_executors_with_their_logs_and_what_happened(chrome, gateway, session):
    page = opened(chrome, gateway, session)
    table = page.get_by_role("table", name="Executors")
    failed = table.get_by_role("row").filter(has_text="ran out of memory")
    expect(failed).to_contain_text(f"failedExecutor 1 ran out of memory: {EVIL}.", timeout=PATIENT)
    expect(
        page.get_by_text("1 running, 130 ended, 1 failed. Shown are 100: those that live, that failed, and the newest.")
    ).to_be_visible()
    expect(table.get_by_text("Log not kept").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"of 1\.8 GiB$")).first).to_be_visible()
    happened = page.get_by_role("region", name="Events of its pods")
    expect(happened.get_by_role("listitem").first).to_contain_text("Executor 1: It was given node node-1.")
    expect(happened).to_contain_text("No node can take it so far: 0/3 nodes are available: 3 Insufficient memory.")
    expect(happened).to_contain_text("FailedScheduling, 3 times, first")
    page.get_by_role("button", name="Log of executor 1", exact=True).click()
    expect(page.get_by_role("heading", name="Log of executor 1")).to_be_focused()
    lines = page.get_by_role("region", name="Lines of the log")
    expect(lines).to_contain_text(f"hello of {FAILED}\n{EVIL}\nits last words")
    expect(page.get_by_role("link", name="Download")).to_have_attribute(
        "href", re.compile(rf"/executors/{FAILED}/log/text$")
    )
    page.get_by_label("Text to find in the log").fill("LAST WORDS")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("1 line holds “LAST WORDS”.")).to_be_visible()
    assert page.title() != "owned"
    assert Axe().run(page, options=RULES).violations_count == 0
    page.get_by_role("button", name="Log of executor 2", exact=True).click()
    expect(lines).to_contain_text(f"hello of {RUNNING}")
    expect(lines).not_to_contain_text(f"hello of {FAILED}")
    page.get_by_role("button", name="Back to the driver's log").click()
    expect(page.get_by_role("heading", name="Log", exact=True)).to_be_visible()
    expect(lines).not_to_contain_text("hello of")


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 390)])
def test_it_is_readable_in_the_dark_and_on_a_phone(chrome, gateway, session, theme, width):
    page = opened(chrome, gateway, session, theme=theme, width=width)
    expect(page.get_by_role("region", name="Events of its pods")).to_be_visible(timeout=PATIENT)
    assert Axe().run(page, options=RULES).violations_count == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_record_that_is_no_json_does_not_break_the_page(gateway, as_alice, session):
    other = new_session(as_alice)
    folder = Path(gateway.state).parent / "sessions" / str(other)
    folder.mkdir(exist_ok=True)
    (folder / "pods.json").write_text(json.dumps({"driver": 1}))
    assert as_alice.get(f"/sessions/{other}/executors").json()["executors"] == []
    as_alice.delete(f"/sessions/{other}")
